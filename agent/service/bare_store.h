// A store read as bare blobs: no agent, no catalog, nothing written. What recovery works with when
// only the binary, the key and the backend are left.
#pragma once

#include <memory>
#include <set>
#include <unordered_map>

#include "agent/service/point_store.h"
#include "store/backend.h"

namespace tidemark {

class BareStore final : public PointStore {
 public:
  // Lists the backend and reads every pack's index: memory and time grow with the number of chunks
  // (about 100 bytes each).
  static Result<std::unique_ptr<BareStore>> open(std::unique_ptr<Backend> backend);

  Result<StoreDescriptor> descriptor() override;
  // `corruption` for "newest" and "as of" while a record is damaged: it may be the one that is
  // meant.
  Result<PointRow> find(const PointQuery& query) override;
  Result<std::vector<PointRow>> points(std::string_view site, std::string_view asset) override;
  Result<std::vector<BlobLocation>> locate(std::span<const ChunkId> ids) override;
  Result<Bytes> read(const PackId& pack, std::uint64_t offset, std::size_t size) override;
  std::vector<DamagedRecord> damaged_records() const override { return damaged_; }
  Result<CatalogStats> stats() override;

  // All refused: this store is read-only.
  Result<UploadSession> begin(std::string_view, std::string_view, const PointId&) override;
  Result<std::vector<bool>> missing(const UploadSession&, std::span<const ChunkId>) override;
  Status put_pack(const UploadSession&, const PackId&, ByteView) override;
  Result<PointRow> commit(const UploadSession&, ByteView) override;
  Status abandon(const UploadSession&) override;
  Status set_pinned(const PointId&, bool) override;
  Status remove(const PointId&) override;
  Status undelete(const PointId&) override;
  Status set_verified(const PointId&) override;
  Result<CollectReport> collect(const CollectRequest&) override;

 private:
  explicit BareStore(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  Status load_points();
  Status load_packs();

  std::unique_ptr<Backend> backend_;
  std::vector<PackId> packs_;
  struct Place {
    std::uint32_t pack;  // index into packs_
    PackEntry entry;
  };
  std::unordered_map<ChunkId, Place, IdHash> chunks_;
  StoreId id_;
  std::set<std::string> marks_;   // names of blobs
  std::vector<PointRow> points_;  // in the order of (site, asset, time)
  std::vector<DamagedRecord> damaged_;
  CatalogStats stats_;
};

}  // namespace tidemark
