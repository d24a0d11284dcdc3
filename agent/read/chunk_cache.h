// Chunks of a store, opened and checked, for readers that come back to them.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "agent/read/blob_reader.h"

namespace tidemark {

// Keeps the chunks that were used last, and where others lie. Who asks for a chunk that is under
// way waits for it instead of fetching it again. Safe from any thread; `reader` must outlive it.
class ChunkCache {
 public:
  using Chunk = std::shared_ptr<const Bytes>;
  // Ids that will be asked for soon: they are located together with those that are wanted now.
  using Neighbours = std::function<std::vector<ChunkId>()>;

  // `bytes_max` bounds what is kept; what callers hold comes on top of it.
  ChunkCache(BlobReader& reader, std::uint64_t bytes_max)
      : reader_(reader), bytes_max_(bytes_max) {}

  // The plain bytes of each id in turn, or the failure of the first that has none. A failure is not
  // kept: the next call tries again.
  Result<std::vector<Chunk>> get(std::span<const ChunkId> ids, const Neighbours& neighbours = {});

 private:
  // A chunk on its way; guarded by mutex_.
  struct Fetch {
    bool done = false;
    Chunk chunk;
    std::optional<Error> error;
  };
  struct Kept {
    ChunkId id;
    Chunk chunk;
  };

  Chunk find_kept(const ChunkId& id);
  void settle(const ChunkId& id, Result<Chunk> outcome);
  void fetch_all(const std::vector<ChunkId>& ids, const Neighbours& neighbours);
  void fetch_read(const PackRead& read);
  Status fetch_alone(const BlobLocation& location);
  bool is_under_way(const ChunkId& id);
  Result<std::vector<BlobLocation>> locate(const std::vector<ChunkId>& ids,
                                           const Neighbours& neighbours);
  Result<std::vector<BlobLocation>> locate_anew(std::span<const ChunkId> ids);

  BlobReader& reader_;
  const std::uint64_t bytes_max_;
  std::mutex mutex_;
  std::condition_variable settled_;
  std::list<Kept> recent_;  // guarded by mutex_; most recently used first
  std::unordered_map<ChunkId, std::list<Kept>::iterator, IdHash> kept_;    // guarded by mutex_
  std::uint64_t bytes_ = 0;                                                // guarded by mutex_
  std::unordered_map<ChunkId, std::shared_ptr<Fetch>, IdHash> under_way_;  // guarded by mutex_
  std::unordered_map<ChunkId, BlobLocation, IdHash> locations_;            // guarded by mutex_
};

}  // namespace tidemark
