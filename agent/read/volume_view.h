// A volume's point as a disk that can be read anywhere at once: nothing is copied beforehand, the
// tree is walked only where it is asked for, and what is not data is never fetched.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "agent/read/chunk_cache.h"
#include "base/queue.h"
#include "store/volume.h"
#include "transport/block_view.h"

namespace tidemark {

struct VolumeViewOptions {
  std::uint64_t cache_bytes = 512 * kMiB;  // of opened chunks
  std::size_t ahead_regions_max = 6;       // how far streams are read ahead; 0: not at all
};

// Safe from any thread. `store` and `keys` must outlive it. Reads fail with the store's errors:
// `unavailable` while it is away, `corruption` for what is damaged, `not_found` once the point was
// deleted and collected; each read fails for itself, and a later one may succeed.
class VolumeView final : public BlockView {
 public:
  // Checks the record's authentication. Reads nothing else.
  static Result<std::unique_ptr<VolumeView>> open(PointStore& store, const StoreKeys& keys,
                                                  const PointRow& point,
                                                  const VolumeViewOptions& options);
  VolumeView(PointStore& store, const StoreKeys& keys, const TreeRoot& root,
             std::uint64_t size_bytes, const VolumeViewOptions& options);
  ~VolumeView() override;

  std::uint64_t size() const override { return size_; }
  Status read(std::uint64_t offset, ByteSpan into) override;
  Result<std::vector<BlockRun>> runs(std::uint64_t offset, std::uint64_t length,
                                     std::size_t runs_max) override;
  void expect(std::uint64_t offset, std::uint64_t length) override;

  // Bytes of chunks and nodes that came from the store so far.
  std::uint64_t fetched_bytes() const { return reader_.bytes_read(); }

 private:
  // A region that was read lately, and how far ahead of it the stream through it was asked for.
  struct Visit {
    std::uint64_t region = ~std::uint64_t{0};
    std::uint64_t read_bytes = 0;
    std::uint64_t ahead_end = 0;
  };
  static constexpr std::size_t kVisits = 64;

  Status read_part(std::uint64_t region, std::uint32_t at, ByteSpan into);
  Status load(std::uint64_t region);
  void note_visit(std::uint64_t region, std::size_t bytes);
  void queue_ahead(std::uint64_t first, std::uint64_t end);
  void run_ahead();
  void stop_ahead();

  const TreeRoot root_;
  const std::uint64_t size_;
  const std::size_t ahead_regions_;
  BlobReader reader_;
  TreeNodes nodes_;
  ChunkCache chunks_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::array<Visit, kVisits> visits_;              // guarded by mutex_; a ring
  std::size_t next_visit_ = 0;                     // guarded by mutex_
  std::deque<std::uint64_t> ahead_;                // guarded by mutex_; regions to load
  bool stopping_ = false;                          // guarded by mutex_
  ThreadGroup threads_{[this] { stop_ahead(); }};  // last: its threads use the rest
};

}  // namespace tidemark
