// Packs encoded blobs and uploads the packs, a few at a time.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "agent/backup/rate_limit.h"
#include "agent/service/point_store.h"
#include "base/queue.h"
#include "store/pack.h"
#include "store/tree.h"

namespace tidemark {

// Chunks and nodes go into packs of their own, so that walking a tree reads a few neighbouring
// places. add() is safe from any thread; it waits while uploads are behind, which is the
// back-pressure of the whole pipeline. After any failure all calls return it.
class PackSender {
 public:
  static constexpr std::size_t kUploadThreads = 2;
  static constexpr std::size_t kQueuedPacksMax = 1;

  // `store` and `keys` must outlive the sender, as must `limiter`, which may be null.
  PackSender(PointStore& store, UploadSession session, const StoreKeys& keys, RateLimiter* limiter);
  ~PackSender();

  Status add(const EncodedBlob& blob);
  // Sends what is left and waits until everything is durable at the store.
  Status finish();
  // Makes all waiting calls fail.
  void abort();
  std::uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  struct Lane {
    std::mutex mutex;
    std::unique_ptr<PackWriter> writer;  // guarded by mutex
  };
  Status enqueue(std::unique_ptr<PackWriter> writer);
  Status upload_all();

  PointStore& store_;
  const UploadSession session_;
  const StoreKeys& keys_;
  RateLimiter* const limiter_;
  std::stop_source stop_;  // of those who wait for the limiter
  Lane chunks_, nodes_;
  std::atomic<std::uint64_t> bytes_sent_{0};
  BoundedQueue<PackWriter::Pack> queue_{kQueuedPacksMax};
  ThreadGroup uploads_{[this] {
    stop_.request_stop();
    queue_.abort();
  }};  // last: its threads use the rest
};

// What a TreeBuilder gives its nodes to: compresses and adds them. `sender` must outlive it.
TreeBuilder::Sink node_sink(PackSender& sender, int zstd_level);

}  // namespace tidemark
