#include "agent/backup/pack_sender.h"

namespace tidemark {

PackSender::PackSender(PointStore& store, UploadSession session, const StoreKeys& keys,
                       RateLimiter* limiter)
    : store_(store), session_(session), keys_(keys), limiter_(limiter) {
  for (Lane* lane : {&chunks_, &nodes_}) lane->writer = std::make_unique<PackWriter>(keys_);
  for (std::size_t i = 0; i < kUploadThreads; ++i)
    uploads_.start("tm-upload", [this] { return upload_all(); });
}

PackSender::~PackSender() {
  stop_.request_stop();
  queue_.abort();
}

void PackSender::abort() { uploads_.fail(Error(ErrorCode::cancelled, "upload stopped")); }

Status PackSender::upload_all() {
  while (auto pack = queue_.pop()) {
    if (limiter_ != nullptr) TM_DO(limiter_->wait(pack->bytes.size(), stop_.get_token()));
    TM_DO(store_.put_pack(session_, pack->id, pack->bytes));
    bytes_sent_ += pack->bytes.size();
  }
  return {};
}

Status PackSender::add(const EncodedBlob& blob) {
  Lane& lane = blob.kind == BlobKind::node ? nodes_ : chunks_;
  std::unique_ptr<PackWriter> full;
  {
    std::lock_guard lock(lane.mutex);
    lane.writer->add(blob);
    if (lane.writer->size() < kPackBytesTarget && lane.writer->count() < kPackEntriesMax) return {};
    full = std::exchange(lane.writer, std::make_unique<PackWriter>(keys_));
  }
  return enqueue(std::move(full));
}

Status PackSender::enqueue(std::unique_ptr<PackWriter> writer) {
  // The name (a hash over all of the pack) is computed here, on the caller's thread and without a
  // lock.
  if (queue_.push(writer->finish())) return {};
  TM_DO(uploads_.failure());
  return Error(ErrorCode::cancelled, "upload stopped");
}

Status PackSender::finish() {
  for (Lane* lane : {&chunks_, &nodes_})
    if (lane->writer->count() > 0) TM_DO(enqueue(std::exchange(lane->writer, nullptr)));
  queue_.close();
  return uploads_.join();
}

TreeBuilder::Sink node_sink(PackSender& sender, int zstd_level) {
  return [&sender, zstd_level](const ChunkId& id, EncodedNode node, std::uint8_t) -> Status {
    TM_TRY(const EncodedBlob blob,
           encode_blob(id, BlobKind::node, node.plain, node.clear_size, zstd_level));
    return sender.add(blob);
  };
}

}  // namespace tidemark
