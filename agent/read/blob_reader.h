// Reads chunks and nodes back: finds them, fetches neighbours together, opens and checks them.
#pragma once

#include <atomic>
#include <mutex>
#include <unordered_map>

#include "agent/service/point_store.h"
#include "store/tree.h"

namespace tidemark {

// One read of a pack, and the blobs that it brings.
struct PackRead {
  PackId pack;
  std::uint64_t offset = 0;
  std::size_t size = 0;
  std::vector<PackEntry> entries;  // in the order of offsets, all within
};

// Groups blobs by pack and joins those that lie close together into reads of at most
// `read_bytes_max`. Equal blobs are read once.
std::vector<PackRead> plan_reads(std::span<const BlobLocation> locations,
                                 std::size_t read_bytes_max = 4 * kMiB,
                                 std::size_t gap_bytes_max = 64 * kKiB);

// Safe from any thread. `store` and `keys` must outlive it.
class BlobReader final : public NodeSource {
 public:
  BlobReader(PointStore& store, const StoreKeys& keys) : store_(store), keys_(keys) {}

  // Any number of ids.
  Result<std::vector<BlobLocation>> locate(std::span<const ChunkId> ids);
  // Fetches one planned read and calls `each` with every blob's plain bytes, checked against its
  // id.
  Status fetch(const PackRead& read,
               const std::function<Status(const PackEntry& entry, Bytes plain)>& each);
  // The plain bytes of each id in turn, read by a few threads. For what fits in memory.
  Result<std::vector<Bytes>> fetch_blobs(std::span<const ChunkId> ids);
  Result<std::vector<Bytes>> fetch_nodes(std::span<const ChunkId> ids) override {
    return fetch_blobs(ids);
  }
  // Bytes that came from the store so far.
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  Result<std::array<std::uint8_t, kPackHeaderBytes>> header(const PackId& pack);

  PointStore& store_;
  const StoreKeys& keys_;
  std::mutex mutex_;
  // Guarded by mutex_; emptied when full, since packs read together lie together.
  std::unordered_map<PackId, std::array<std::uint8_t, kPackHeaderBytes>, IdHash> headers_;
  std::atomic<std::uint64_t> bytes_read_{0};
};

}  // namespace tidemark
