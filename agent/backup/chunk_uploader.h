// Sends the chunks that a store does not have: asks which are missing, compresses, seals, packs.
#pragma once

#include <functional>
#include <memory>

#include "agent/backup/pack_sender.h"
#include "base/queue.h"

namespace tidemark {

struct ChunkUpload {
  ChunkId id;
  Bytes data;
  // Run once when the bytes are not held any longer, whether they were sent or not; not after an
  // abort.
  std::function<void()> released;
};

// Questions form batches by themselves: while one is under way, the next ids gather. How much waits
// is up to the caller's budget of bytes. Its threads are the caller's: one in run(), and those that
// `schedule` hands compression to.
class ChunkUploader {
 public:
  using Task = std::function<Status()>;
  using Schedule = std::function<void(Task)>;
  // No more chunks than this may wait at once.
  static constexpr std::size_t kWaitingMax = 4 * 4096;

  // `store` and `sender` must outlive it.
  ChunkUploader(PointStore& store, const UploadSession& session, PackSender& sender, int zstd_level,
                Schedule schedule)
      : store_(store),
        session_(session),
        sender_(sender),
        zstd_level_(zstd_level),
        schedule_(std::move(schedule)) {}

  // Safe from any thread. Does nothing after close() or abort().
  void add(ChunkUpload chunk);
  // Asks until close(), and what was added before is asked.
  Status run();
  void close() { asks_.close(); }
  void abort() { asks_.abort(); }

 private:
  using UploadPtr = std::shared_ptr<ChunkUpload>;
  static void release(ChunkUpload& chunk);
  Status encode(ChunkUpload& chunk);

  PointStore& store_;
  const UploadSession session_;
  PackSender& sender_;
  const int zstd_level_;
  const Schedule schedule_;
  BoundedQueue<UploadPtr> asks_{kWaitingMax};
};

}  // namespace tidemark
