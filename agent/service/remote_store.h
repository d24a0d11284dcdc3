// A peer's store over HTTPS.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>

#include "agent/service/point_store.h"
#include "transport/http.h"

namespace tidemark {

// Safe from any thread; calls run side by side on connections of their own. A call that fails in a
// way that may pass (cut, refused, stalled, 503) is repeated with growing pauses until `retry_for`
// is over: every call of the protocol may be repeated. A begin whose answer was lost leaves a
// session behind that ends by itself.
class RemoteStore final : public PointStore {
 public:
  struct Options {
    HttpClientOptions http;
    std::chrono::seconds retry_for{60};
    std::stop_token stop;
  };
  static Result<std::unique_ptr<RemoteStore>> create(Options options);

  Result<StoreDescriptor> descriptor() override;
  Result<UploadSession> begin(std::string_view site, std::string_view asset,
                              const PointId& parent) override;
  Result<std::vector<bool>> missing(const UploadSession& session,
                                    std::span<const ChunkId> ids) override;
  Status put_pack(const UploadSession& session, const PackId& id, ByteView bytes) override;
  Result<PointRow> commit(const UploadSession& session, ByteView record) override;
  Status abandon(const UploadSession& session) override;
  Result<PointRow> find(const PointQuery& query) override;
  Result<std::vector<PointRow>> points(std::string_view site, std::string_view asset) override;
  Result<std::vector<BlobLocation>> locate(std::span<const ChunkId> ids) override;
  Result<Bytes> read(const PackId& pack, std::uint64_t offset, std::size_t size) override;
  Result<AssetRole> role_of(std::string_view site, std::string_view asset) override;
  // `site` is whoever asks: the store knows it by the certificate.
  Status take_back(std::string_view site, std::string_view asset) override;
  Result<UploadSession> begin_discarded(std::string_view site, std::string_view asset,
                                        const PointId& parent, std::uint64_t token) override;
  Status set_pinned(const PointId& id, bool pinned) override;
  Status remove(const PointId& id) override;
  Status undelete(const PointId& id) override;
  Status set_verified(const PointId& id) override;
  Result<JournalEntry> record_drill(std::string_view text) override;
  Result<JournalEntry> journal_entry(std::uint64_t sequence) override;
  Result<CatalogStats> stats() override;
  Result<CollectReport> collect(const CollectRequest& request) override;

 private:
  explicit RemoteStore(Options options) : options_(std::move(options)) {}
  Result<Bytes> call(std::string_view method, const std::string& target, ByteView body,
                     const HttpHeaders& headers = {});
  Result<Bytes> call_once(std::string_view method, const std::string& target, ByteView body,
                          const HttpHeaders& headers);
  Result<UploadSession> begin_with(const nlohmann::json& request);
  Status administer(const PointId& id, std::string_view verb);

  Options options_;
  std::unique_ptr<HttpClient> client_;
};

}  // namespace tidemark
