#include "agent/read/chunk_cache.h"

#include <algorithm>
#include <unordered_set>

#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::size_t kFetchThreads = 4;
constexpr std::size_t kLocationsMax = 65536;

// Whether a failure may be that of one chunk among several: the others are worth another try.
bool of_a_blob(const Error& error) {
  return error.code() == ErrorCode::corruption || error.code() == ErrorCode::not_found;
}

}  // namespace

Result<std::vector<ChunkCache::Chunk>> ChunkCache::get(std::span<const ChunkId> ids,
                                                       const Neighbours& neighbours) {
  std::vector<Chunk> out(ids.size());
  std::vector<std::shared_ptr<Fetch>> awaited(ids.size());
  std::vector<ChunkId> ours;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      out[i] = find_kept(ids[i]);
      if (out[i] != nullptr) continue;
      std::shared_ptr<Fetch>& fetch = under_way_[ids[i]];
      if (fetch == nullptr) {
        fetch = std::make_shared<Fetch>();
        ours.push_back(ids[i]);
      }
      awaited[i] = fetch;
    }
  }
  // What is ours first: nobody waits for a thread that waits.
  if (!ours.empty()) fetch_all(ours, neighbours);
  std::unique_lock lock(mutex_);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (awaited[i] == nullptr) continue;
    settled_.wait(lock, [&] { return awaited[i]->done; });
    if (awaited[i]->error) return *awaited[i]->error;
    out[i] = awaited[i]->chunk;
  }
  return out;
}

// REQUIRES: mutex_ is held.
ChunkCache::Chunk ChunkCache::find_kept(const ChunkId& id) {
  const auto it = kept_.find(id);
  if (it == kept_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, it->second);
  return it->second->chunk;
}

void ChunkCache::settle(const ChunkId& id, Result<Chunk> outcome) {
  std::vector<Chunk> dropped;  // freed without the lock
  const std::lock_guard lock(mutex_);
  const auto it = under_way_.find(id);
  if (it == under_way_.end()) return;
  Fetch& fetch = *it->second;
  fetch.done = true;
  if (!outcome) {
    fetch.error = std::move(outcome).error();
  } else {
    fetch.chunk = *std::move(outcome);
    recent_.push_front({id, fetch.chunk});
    kept_[id] = recent_.begin();
    bytes_ += fetch.chunk->size();
    while (bytes_ > bytes_max_ && recent_.size() > 1) {
      bytes_ -= recent_.back().chunk->size();
      dropped.push_back(std::move(recent_.back().chunk));
      kept_.erase(recent_.back().id);
      recent_.pop_back();
    }
  }
  under_way_.erase(it);
  settled_.notify_all();
}

bool ChunkCache::is_under_way(const ChunkId& id) {
  const std::lock_guard lock(mutex_);
  return under_way_.contains(id);
}

// Settles each of `ids`, every one by itself: one that is damaged or lost spoils no other.
void ChunkCache::fetch_all(const std::vector<ChunkId>& ids, const Neighbours& neighbours) {
  auto located = locate(ids, neighbours);
  if (!located && !of_a_blob(located.error())) {
    for (const ChunkId& id : ids) settle(id, located.error());
    return;
  }
  if (located) {
    const auto reads = plan_reads(*located);
    const auto fetch = [&](std::size_t i) -> Status {
      fetch_read(reads[i]);
      return {};
    };
    if (reads.size() == 1)
      ignore_error(fetch(0), "settled one by one");
    else
      ignore_error(parallel_for(reads.size(), kFetchThreads, fetch), "settled one by one");
  }
  for (const ChunkId& id : ids) {
    if (!is_under_way(id)) continue;
    // Left over: one of them or of their neighbours is lost, or no thread could be started.
    auto alone = locate(std::vector<ChunkId>{id}, {});
    const Status status = alone ? fetch_alone(alone->front()) : std::move(alone).error();
    if (!status) settle(id, status.error());
  }
}

void ChunkCache::fetch_read(const PackRead& read) {
  const auto keep = [this](const PackEntry& entry, Bytes plain) -> Status {
    settle(entry.id, std::make_shared<const Bytes>(std::move(plain)));
    return {};
  };
  const Status together = reader_.fetch(read, keep);
  if (together) return;
  for (const PackEntry& entry : read.entries) {
    if (!is_under_way(entry.id)) continue;
    const Status status = of_a_blob(together.error()) ? fetch_alone({read.pack, entry}) : together;
    if (!status) settle(entry.id, status.error());
  }
}

// A pack that was written anew while it was known here is looked for again.
Status ChunkCache::fetch_alone(const BlobLocation& location) {
  const auto fetch = [this](const BlobLocation& at) {
    return reader_.fetch({at.pack, at.entry.offset, at.entry.stored_size, {at.entry}},
                         [this](const PackEntry& entry, Bytes plain) -> Status {
                           settle(entry.id, std::make_shared<const Bytes>(std::move(plain)));
                           return {};
                         });
  };
  const Status status = fetch(location);
  if (status || status.error().code() != ErrorCode::not_found) return status;
  TM_TRY(const auto fresh, locate_anew(std::span(&location.entry.id, 1)));
  if (fresh.front().pack == location.pack) return status;
  return fetch(fresh.front());
}

Result<std::vector<BlobLocation>> ChunkCache::locate(const std::vector<ChunkId>& ids,
                                                     const Neighbours& neighbours) {
  std::vector<BlobLocation> known;
  {
    const std::lock_guard lock(mutex_);
    for (const ChunkId& id : ids)
      if (const auto it = locations_.find(id); it != locations_.end()) known.push_back(it->second);
  }
  if (known.size() == ids.size()) return known;
  std::vector<ChunkId> all = ids;
  std::unordered_set<ChunkId, IdHash> asked(ids.begin(), ids.end());
  for (const ChunkId& id : neighbours ? neighbours() : std::vector<ChunkId>())
    if (all.size() < kIdsPerCallMax && asked.insert(id).second) all.push_back(id);
  TM_TRY(auto located, locate_anew(all));
  located.resize(ids.size());
  return located;
}

Result<std::vector<BlobLocation>> ChunkCache::locate_anew(std::span<const ChunkId> ids) {
  TM_TRY(auto located, reader_.locate(ids));
  const std::lock_guard lock(mutex_);
  if (locations_.size() + located.size() > kLocationsMax) locations_.clear();
  for (const BlobLocation& at : located) locations_[at.entry.id] = at;
  return located;
}

}  // namespace tidemark
