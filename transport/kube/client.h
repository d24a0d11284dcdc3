// The contract of the client of the Kubernetes API: objects as JSON, read, listed and written.
//
// Safe from any thread; connections are kept between calls. TLS 1.2 is spoken beside 1.3, HTTP/1.1
// only. Each call ends by itself, or when its stop token or deadline says so. Errors are ApiErrors
// (error.h), whose code says what to do and whose fields tell AlreadyExists from Conflict. What is
// repeated by itself stands in request.h; a write that may have been done already is not:
// `outcome_unknown` is set then, and the caller reads before it decides. Warnings of the server are
// logged, and errors carry the id of the server's audit log.
//
// Objects are told apart by metadata.uid, not by name: check it after every read across time.
// resourceVersions are opaque: compare them for equality only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "transport/kube/request.h"

namespace tidemark::kube {

using Json = nlohmann::json;

struct ListOptions {
  std::string ns = {};              // empty: all namespaces, or a resource without
  std::string label_selector = {};  // "tidemark=protect,app!=x"
  std::string field_selector = {};  // "metadata.name=x"; each resource knows few fields
  // Objects asked for at once; less where they turn out too large for one answer.
  unsigned page = 250;
  // No spec, status or data, for what need not or must not be read.
  bool metadata_only = false;
};

// Called on the caller's thread, for one object after the other.
struct ListVisitor {
  // apiVersion and kind are filled in where the server leaves them out. An error ends the list.
  std::function<Status(Json object)> item;
  // The list begins anew, since its position in time is no longer there: forget all items so far.
  std::function<void()> restarted = {};
};

struct Listed {
  std::string resource_version;  // the instant that all items show; a watch can start there
  std::size_t count = 0;
};

struct ListedObjects {
  std::string resource_version;
  std::vector<Json> items;
};

struct WriteOptions {
  std::string subresource = {};  // "status"
  bool dry_run = false;          // everything is checked, nothing is stored
  // Unknown and doubled fields are refused, and not dropped with a warning.
  bool strict = true;
  std::string field_manager = {};  // empty: the client's where it is needed
  bool force = false;              // apply: takes fields over from other managers
  // update(): overwrites whatever is there where the object carries no resourceVersion.
  bool unconditional = false;
};

enum class PatchKind {
  merge,  // RFC 7386: null deletes, lists are replaced whole
  json,   // RFC 6902, with `test` as a guard
  apply,  // server-side apply: all that the field manager wants, and nothing else
};

enum class Propagation { as_usual, background, foreground, orphan };

struct RemoveOptions {
  // The object must be this very one; `refused` (a conflict) otherwise. Without a uid a delete
  // whose outcome is unknown is not repeated.
  std::string uid = {};
  std::string resource_version = {};
  Propagation propagation = Propagation::as_usual;
  bool dry_run = false;
};

struct Removed {
  // It is not there any more. False: deletion has begun, and finalizers or a grace period hold it.
  bool gone = false;
  // The object while it is still there, or the server's Status; null where there was nothing.
  Json answer = nullptr;
};

class Client {
 public:
  // `invalid_argument` where the address, certificates or keys of `options.access` do not fit.
  static Result<std::unique_ptr<Client>> create(ClientOptions options);

  Outcome<Json> get(const Resource& resource, const ObjectRef& ref, const Call& call = {},
                    std::string_view subresource = {});

  // All objects, as they were at one instant, a page at a time: memory holds one page. An error
  // leaves no picture: nothing may be concluded from the items that came.
  Outcome<Listed> list(const Resource& resource, const ListOptions& options,
                       const ListVisitor& visitor, const Call& call = {});
  // The same at once, for lists that are known to be short.
  Outcome<ListedObjects> list(const Resource& resource, const ListOptions& options = {},
                              const Call& call = {});

  // The object as it was stored. The namespace comes from its metadata. Give it a fixed name: then
  // a repeat after a lost answer meets AlreadyExists and makes no second object.
  Outcome<Json> create(const Resource& resource, const Json& object,
                       const WriteOptions& options = {}, const Call& call = {});
  // PUT. Conditional by metadata.resourceVersion, without which it is refused as
  // `invalid_argument` unless `options.unconditional` is set. Hand back fields that are not known.
  Outcome<Json> update(const Resource& resource, const Json& object,
                       const WriteOptions& options = {}, const Call& call = {});
  Outcome<Json> patch(const Resource& resource, const ObjectRef& ref, PatchKind kind,
                      const Json& patch, const WriteOptions& options = {}, const Call& call = {});
  // What is not there already counts as removed.
  Outcome<Removed> remove(const Resource& resource, const ObjectRef& ref,
                          const RemoveOptions& options = {}, const Call& call = {});

  // Anything else: discovery, reviews, health. Any status of success.
  Outcome<Answer> send(const ApiRequest& request, const Call& call = {});

  // For watches and exec.
  Requester& requester() { return *requester_; }
  const std::string& default_namespace() const {
    return requester_->options().access.default_namespace;
  }

 private:
  struct Page;
  explicit Client(std::unique_ptr<Requester> requester) : requester_(std::move(requester)) {}
  Outcome<Json> write(ApiRequest request, const WriteOptions& options, const Call& call,
                      const std::string& doing);
  Outcome<bool> list_page(const ApiRequest& base, Page& page, const ListVisitor& visitor,
                          const Call& call);

  std::unique_ptr<Requester> requester_;
};

// metadata.name, .namespace, .uid and .resourceVersion; empty where `object` has none.
ObjectRef ref_of(const Json& object);
std::string uid_of(const Json& object);
std::string resource_version_of(const Json& object);

}  // namespace tidemark::kube
