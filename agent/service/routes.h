// The store's HTTP API: which request does what, and who may. Protocol: docs/protocol.md.
#pragma once

#include <functional>
#include <string>

#include "agent/service/store_service.h"
#include "base/asset.h"
#include "transport/http.h"

namespace tidemark {

// What is decided by configuration, asked anew for every request.
struct ApiPolicy {
  std::string own_site;
  // True where the site is a configured peer (or ourselves).
  std::function<bool(const std::string& site)> known;
  // True where `reader` may read the points of `owner`'s asset; its own it always may.
  std::function<bool(const std::string& reader, const std::string& owner, const AssetName& asset)>
      may_read;
  // Adds to a collection what is no matter of the request: when packs are written anew, and the
  // key for it. May be empty.
  std::function<void(CollectRequest& request)> prepare_collection;
};

// Answers a request under /v1/. `store` may be null at a site that serves none. Only the store's
// own site may pin, unpin and delete: no peer has a verb that removes anything.
class StoreApi {
 public:
  StoreApi(StoreService* store, ApiPolicy policy) : store_(store), policy_(std::move(policy)) {}
  HttpResponse handle(HttpRequest& request);

 private:
  Result<HttpResponse> route(HttpRequest& request);
  Result<HttpResponse> get_store();
  Result<HttpResponse> begin(HttpRequest& request);
  Result<HttpResponse> in_session(HttpRequest& request, const std::vector<std::string>& parts);
  Result<HttpResponse> list_points(const HttpRequest& request);
  Result<HttpResponse> find_point(const HttpRequest& request);
  Result<HttpResponse> locate(HttpRequest& request);
  Result<HttpResponse> find_role(const HttpRequest& request);
  Result<HttpResponse> take_back(const HttpRequest& request);
  Result<HttpResponse> read_pack(const HttpRequest& request, const std::string& id);
  Result<HttpResponse> administer(HttpRequest& request, const std::vector<std::string>& parts);
  Result<HttpResponse> journal(HttpRequest& request, const std::string& what);
  Result<HttpResponse> collect(const HttpRequest& request);
  Status check_own_site(const HttpRequest& request) const;
  bool may_read(const HttpRequest& request, const PointRecord& record) const;

  StoreService* store_;
  ApiPolicy policy_;
};

// The HTTP status that stands for an error's code.
unsigned http_status(ErrorCode code);
HttpResponse json_response(unsigned status, const std::string& text);
HttpResponse error_response(const Error& error);

}  // namespace tidemark
