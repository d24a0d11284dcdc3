#include "agent/read/volume_view.h"

#include <algorithm>

#include "agent/backup/volume_backup.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr std::size_t kAheadThreads = 4;
constexpr std::size_t kAheadQueueMax = 64;
// Of a stream's chunks no more than this part of the cache is asked for before it is used.
constexpr std::uint64_t kAheadCachePart = 4;
// What a client that reads here and there does not read of one region.
constexpr std::uint64_t kStreamBytesMin = 256 * kKiB;
constexpr std::size_t kNodesMax = 2048;
// Chunks are asked for together up to this many plain bytes, whatever a region's map refers to.
constexpr std::uint64_t kWindowBytes = 16 * kMiB;
// How many of a leaf's next entries are located together.
constexpr std::size_t kNeighbourEntries = 128;
constexpr std::size_t kNeighbourIdsMax = 1024;

// A part of a region that a chunk holds.
struct Piece {
  std::uint32_t offset = 0;  // in the region
  std::uint32_t size = 0;
  std::uint32_t chunk_offset = 0;
  RegionChunk chunk;
};

std::vector<Piece> pieces_within(const RegionMap& map, std::uint32_t at, std::size_t size) {
  std::vector<Piece> pieces;
  const std::uint64_t end = at + size;
  auto extent = std::upper_bound(
      map.extents.begin(), map.extents.end(), at,
      [](std::uint32_t offset, const RegionExtent& e) { return offset < e.offset + e.size; });
  for (; extent != map.extents.end() && extent->offset < end; ++extent) {
    const std::uint32_t from = std::max(at, extent->offset);
    const auto to =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(end, extent->offset + extent->size));
    pieces.push_back({from, to - from, extent->chunk_offset + (from - extent->offset),
                      map.chunks[extent->chunk]});
  }
  return pieces;
}

// How many pieces from `first` on refer to about kWindowBytes of chunks.
std::size_t window_end(const std::vector<Piece>& pieces, std::size_t first) {
  std::uint64_t bytes = 0;
  std::size_t end = first;
  for (; end < pieces.size() && (end == first || bytes < kWindowBytes); ++end) {
    const bool same = end > first && pieces[end].chunk.id == pieces[end - 1].chunk.id;
    bytes += same ? 0 : pieces[end].chunk.plain_size;
  }
  return end;
}

std::vector<ChunkId> ids_after(const TreeNode& leaf, std::size_t index) {
  std::vector<ChunkId> ids;
  const std::size_t end = std::min(leaf.entries.size(), index + kNeighbourEntries);
  for (; index < end && ids.size() < kNeighbourIdsMax; ++index)
    ids.insert(ids.end(), leaf.entries[index].refs.begin(), leaf.entries[index].refs.end());
  return ids;
}

void add_run(std::vector<BlockRun>& runs, std::uint64_t size, bool data) {
  if (size == 0) return;
  if (!runs.empty() && runs.back().data == data)
    runs.back().size += size;
  else
    runs.push_back({size, data});
}

std::size_t ahead_of(const VolumeViewOptions& options) {
  return std::min<std::uint64_t>(options.ahead_regions_max,
                                 options.cache_bytes / kAheadCachePart / kRegionBytes);
}

}  // namespace

Result<std::unique_ptr<VolumeView>> VolumeView::open(PointStore& store, const StoreKeys& keys,
                                                     const PointRow& point,
                                                     const VolumeViewOptions& options) {
  const PointRecord& record = point.point.record;
  if (record.kind != PointKind::volume)
    return Error(ErrorCode::invalid_argument, "the point is not of a volume");
  if (record.region_bytes != kRegionBytes)
    return Error(ErrorCode::unsupported, "the point's regions are not of 4 MiB");
  TM_DO(read_volume_meta(record, keys));
  return std::make_unique<VolumeView>(store, keys, record.root, record.size_bytes, options);
}

VolumeView::VolumeView(PointStore& store, const StoreKeys& keys, const TreeRoot& root,
                       std::uint64_t size_bytes, const VolumeViewOptions& options)
    : root_(root),
      size_(size_bytes),
      ahead_regions_(ahead_of(options)),
      reader_(store, keys),
      nodes_(reader_, kNodesMax),
      chunks_(reader_, options.cache_bytes) {
  for (std::size_t i = 0; i < kAheadThreads && ahead_regions_ > 0; ++i) {
    threads_.start("tm-ahead", [this]() -> Status {
      run_ahead();
      return {};
    });
  }
}

VolumeView::~VolumeView() { stop_ahead(); }

Status VolumeView::read(std::uint64_t offset, ByteSpan into) {
  if (offset > size_ || into.size() > size_ - offset)
    return Error(ErrorCode::invalid_argument, "a read past the end of the volume");
  while (!into.empty()) {
    const auto at = static_cast<std::uint32_t>(offset % kRegionBytes);
    const std::size_t part = std::min<std::size_t>(into.size(), kRegionBytes - at);
    TM_DO(read_part(offset / kRegionBytes, at, into.first(part)));
    offset += part;
    into = into.subspan(part);
  }
  return {};
}

Status VolumeView::read_part(std::uint64_t region, std::uint32_t at, ByteSpan into) {
  note_visit(region, into.size());
  std::fill(into.begin(), into.end(), std::uint8_t{0});
  const std::string key = region_key(region);
  TM_TRY(const auto leaf, find_leaf(nodes_, root_, key));
  if (leaf == nullptr) return {};
  const std::size_t index = entry_at(*leaf, key);
  if (index == leaf->entries.size() || leaf->entries[index].key != key) return {};
  TM_TRY(const RegionMap map, decode_region(leaf->entries[index], kRegionBytes));
  const auto pieces = pieces_within(map, at, into.size());
  for (std::size_t first = 0; first < pieces.size();) {
    const std::size_t end = window_end(pieces, first);
    std::vector<ChunkId> ids;
    for (std::size_t i = first; i < end; ++i) ids.push_back(pieces[i].chunk.id);
    TM_TRY(const auto chunks, chunks_.get(ids, [&] { return ids_after(*leaf, index); }));
    for (std::size_t i = first; i < end; ++i) {
      const Piece& piece = pieces[i];
      const Bytes& chunk = *chunks[i - first];
      if (std::uint64_t{piece.chunk_offset} + piece.size > chunk.size())
        return Error(ErrorCode::corruption, "a chunk is shorter than its region's map says");
      std::copy_n(chunk.data() + piece.chunk_offset, piece.size, into.data() + (piece.offset - at));
    }
    first = end;
  }
  return {};
}

// Brings a region's chunks into the cache.
Status VolumeView::load(std::uint64_t region) {
  const std::string key = region_key(region);
  TM_TRY(const auto leaf, find_leaf(nodes_, root_, key));
  if (leaf == nullptr) return {};
  const std::size_t index = entry_at(*leaf, key);
  if (index == leaf->entries.size() || leaf->entries[index].key != key) return {};
  TM_TRY(const RegionMap map, decode_region(leaf->entries[index], kRegionBytes));
  std::uint64_t bytes = 0;
  std::vector<ChunkId> ids;
  for (const RegionChunk& chunk : map.chunks) {
    bytes += chunk.plain_size;
    if (bytes <= kWindowBytes) ids.push_back(chunk.id);
  }
  TM_DO(chunks_.get(ids, [&] { return ids_after(*leaf, index); }));
  return {};
}

Result<std::vector<BlockRun>> VolumeView::runs(std::uint64_t offset, std::uint64_t length,
                                               std::size_t runs_max) {
  if (offset > size_ || length > size_ - offset || length == 0 || runs_max == 0)
    return Error(ErrorCode::invalid_argument, "runs past the end of the volume");
  std::vector<BlockRun> runs;
  std::uint64_t at = offset;
  const std::uint64_t end = offset + length;
  const auto add = [&](std::uint64_t to, bool data) {
    add_run(runs, to - at, data);
    at = to;
  };
  TreeCursor cursor(nodes_, root_, false);
  TM_DO(cursor.seek(region_key(offset / kRegionBytes)));
  while (cursor.valid() && runs.size() <= runs_max) {
    TM_TRY(const std::uint64_t region, region_of_key(cursor.entry().key));
    if (region > (end - 1) / kRegionBytes) break;
    const std::uint64_t start = region * kRegionBytes;
    TM_TRY(const RegionMap map, decode_region(cursor.entry(), kRegionBytes));
    for (const RegionExtent& extent : map.extents) {
      const std::uint64_t from = std::max(at, start + extent.offset);
      const std::uint64_t to = std::min(end, start + extent.offset + extent.size);
      if (from >= to) continue;
      add(from, false);
      add(to, true);
    }
    TM_DO(cursor.next());
  }
  if (runs.size() <= runs_max) add(end, false);
  if (runs.size() > runs_max) runs.resize(runs_max);
  return runs;
}

void VolumeView::expect(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_ || length == 0) return;
  const std::uint64_t last = offset + std::min(length, size_ - offset) - 1;
  const std::lock_guard lock(mutex_);
  const std::uint64_t first = offset / kRegionBytes;
  queue_ahead(first, std::min(last / kRegionBytes + 1, first + ahead_regions_));
}

// A region of which much was read and then its neighbour: a stream, which goes on. Threads that
// serve one client overtake each other, so the neighbour may be the next but one.
void VolumeView::note_visit(std::uint64_t region, std::size_t bytes) {
  if (ahead_regions_ == 0) return;
  const std::lock_guard lock(mutex_);
  const Visit* before = nullptr;
  for (Visit& visit : visits_) {
    if (visit.region == region) {
      visit.read_bytes += bytes;
      return;
    }
    const bool near = visit.region + 1 == region || (region > 1 && visit.region == region - 2);
    if (near && visit.read_bytes >= kStreamBytesMin &&
        (before == nullptr || visit.ahead_end > before->ahead_end))
      before = &visit;
  }
  Visit visit{region, bytes, region + 1};
  if (before != nullptr) {
    const std::uint64_t regions = (size_ + kRegionBytes - 1) / kRegionBytes;
    const std::uint64_t first = std::max(region + 1, before->ahead_end);
    visit.ahead_end = std::max(first, std::min(regions, region + 1 + ahead_regions_));
    queue_ahead(first, visit.ahead_end);
  }
  visits_[next_visit_] = visit;
  next_visit_ = (next_visit_ + 1) % kVisits;
}

// REQUIRES: mutex_ is held.
void VolumeView::queue_ahead(std::uint64_t first, std::uint64_t end) {
  for (; first < end && ahead_.size() < kAheadQueueMax; ++first) ahead_.push_back(first);
  wake_.notify_all();
}

void VolumeView::run_ahead() {
  while (true) {
    std::uint64_t region = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !ahead_.empty(); });
      if (stopping_) return;
      region = ahead_.front();
      ahead_.pop_front();
    }
    // Whoever reads there finds the failure again, and hears of it.
    if (const auto loaded = load(region); !loaded)
      log::debug("read ahead: {}", loaded.error().message());
  }
}

void VolumeView::stop_ahead() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
}

}  // namespace tidemark
