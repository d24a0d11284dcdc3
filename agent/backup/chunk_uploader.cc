#include "agent/backup/chunk_uploader.h"

#include <unordered_set>

namespace tidemark {
namespace {

constexpr std::size_t kAskBatchMax = 256;
constexpr std::size_t kRecentIdsMax = 65536;

}  // namespace

void ChunkUploader::add(ChunkUpload chunk) {
  asks_.push(std::make_shared<ChunkUpload>(std::move(chunk)));
}

void ChunkUploader::release(ChunkUpload& chunk) {
  chunk.data = Bytes();
  chunk.released();
}

Status ChunkUploader::run() {
  std::unordered_set<ChunkId, IdHash> recent;
  while (auto first = asks_.pop()) {
    std::vector<UploadPtr> batch;
    std::vector<ChunkId> ids;
    for (auto chunk = std::move(first); chunk;) {
      if (recent.insert((*chunk)->id).second) {
        ids.push_back((*chunk)->id);
        batch.push_back(*chunk);
      } else {
        release(**chunk);
      }
      chunk = ids.size() < kAskBatchMax ? asks_.try_pop() : std::nullopt;
    }
    if (ids.empty()) continue;
    TM_TRY(const auto missing, store_.missing(session_, ids));
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (!missing[i]) {
        release(*batch[i]);
      } else {
        schedule_([this, chunk = batch[i]] { return encode(*chunk); });
      }
    }
    if (recent.size() > kRecentIdsMax) recent.clear();
  }
  return {};
}

Status ChunkUploader::encode(ChunkUpload& chunk) {
  TM_TRY(const EncodedBlob blob,
         encode_blob(chunk.id, BlobKind::chunk, chunk.data, 0, zstd_level_));
  release(chunk);
  return sender_.add(blob);
}

}  // namespace tidemark
