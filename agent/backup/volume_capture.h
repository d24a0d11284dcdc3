// The pipeline that turns an image's snapshot into chunks, packs and a tree.
//
//   list changes -> read -> split, hash -> ask the store -> compress, seal -> pack -> upload
//                                    \-> new region maps, in order -> tree
//
// Every arrow is bounded: by bytes read ahead and not yet packed (kReadAheadBytes), by jobs under
// way, and by packs not yet uploaded (PackSender). So memory stays the same for an image of any
// size.
#pragma once

#include <atomic>
#include <memory>
#include <stop_token>

#include "agent/backup/pack_sender.h"
#include "agent/service/point_store.h"
#include "snapshot/rbd/changes.h"
#include "snapshot/rbd/image.h"
#include "store/tree.h"

namespace tidemark {

struct BackupProgress {
  std::atomic<std::uint64_t> size_bytes{0};      // of the image
  std::atomic<std::uint64_t> position_bytes{0};  // how far the listing has come
  std::atomic<std::uint64_t> read_bytes{0};      // from the image
  std::atomic<std::uint64_t> changed_bytes{0};
  std::atomic<std::uint64_t> sent_bytes{0};      // packs acknowledged
  std::atomic<std::uint64_t> keys_unsettled{0};  // of a bucket
};

struct CaptureInput {
  RbdImage* newer = nullptr;  // at the snapshot to capture
  RbdImage* base = nullptr;   // at the base snapshot; null: capture everything
  TreeRoot base_root;         // of the base's point; the empty tree without a base
  std::uint64_t base_size_bytes = 0;
  int zstd_level = 1;
  BackupProgress* progress = nullptr;  // never null
  RateLimiter* limiter = nullptr;      // of what is sent; may be null
  std::stop_token stop;
};

struct CaptureResult {
  TreeRoot root;
  std::uint64_t changed_bytes = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t sent_bytes = 0;
  ChangeStats listing;
  // Bit per region: reported by the listing.
  std::vector<bool> changed_regions;
};

inline constexpr std::uint64_t kReadAheadBytes = 32 * kMiB;
inline constexpr std::uint64_t kJobsMax = 4096;

// Captures and uploads; everything that the new root reaches is durable at the store on success.
// `nodes` reads trees of the store. After a failure nothing is left running.
Result<CaptureResult> capture_volume(const CaptureInput& input, PointStore& store,
                                     const UploadSession& session, const StoreKeys& keys,
                                     TreeNodes& nodes);

}  // namespace tidemark
