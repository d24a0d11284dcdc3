#include "agent/read/volume_reader.h"

#include <algorithm>
#include <memory>

namespace tidemark {
namespace {

// Where a map has the byte at a place, and how far that goes on: the chunk and its place there, or
// nothing (zeros).
struct Piece {
  std::optional<std::pair<ChunkId, std::uint32_t>> source;
  std::uint32_t end = 0;
};

Piece piece_at(const RegionMap& map, std::uint32_t at) {
  const auto next = std::upper_bound(
      map.extents.begin(), map.extents.end(), at,
      [](std::uint32_t offset, const RegionExtent& extent) { return offset < extent.offset; });
  if (next != map.extents.begin()) {
    const RegionExtent& extent = *(next - 1);
    if (at < extent.offset + extent.size)
      return {{{map.chunks[extent.chunk].id, extent.chunk_offset + at - extent.offset}},
              extent.offset + extent.size};
  }
  return {std::nullopt, next == map.extents.end() ? kRegionBytes : next->offset};
}

void add_run(std::vector<RegionRun>& runs, RegionRun run) {
  if (!runs.empty() && runs.back().offset + runs.back().size >= run.offset) {
    const std::uint32_t end =
        std::max(runs.back().offset + runs.back().size, run.offset + run.size);
    runs.back().size = end - runs.back().offset;
  } else {
    runs.push_back(run);
  }
}

std::vector<RegionRun> runs_of(const RegionMap& map) {
  std::vector<RegionRun> runs;
  for (const RegionExtent& extent : map.extents) add_run(runs, {extent.offset, extent.size});
  return runs;
}

}  // namespace

RegionPlan plan_everything(TreeNodes& nodes, const TreeRoot& root) {
  auto cursor = std::make_shared<TreeCursor>(nodes, root);
  auto started = std::make_shared<bool>(false);
  return [cursor, started]() -> Result<std::optional<RegionWork>> {
    TM_DO(*started ? cursor->next() : cursor->seek(""));
    *started = true;
    if (!cursor->valid()) return std::optional<RegionWork>();
    RegionWork work;
    TM_TRY(work.region, region_of_key(cursor->entry().key));
    TM_TRY(work.map, decode_region(cursor->entry(), kRegionBytes));
    work.runs = runs_of(work.map);
    return std::optional<RegionWork>(std::move(work));
  };
}

std::vector<RegionRun> differing_runs(const RegionMap& a, const RegionMap& b) {
  std::vector<RegionRun> runs;
  for (std::uint32_t at = 0; at < kRegionBytes;) {
    const Piece in_a = piece_at(a, at), in_b = piece_at(b, at);
    const std::uint32_t end = std::min(in_a.end, in_b.end);
    if (in_a.source != in_b.source) add_run(runs, {at, end - at});
    at = end;
  }
  return runs;
}

Result<std::vector<RegionWork>> plan_difference(TreeNodes& nodes, const TreeRoot& from,
                                                const TreeRoot& to) {
  std::vector<RegionWork> plan;
  TM_DO(diff_trees(nodes, from, to, [&](const TreeEntry* a, const TreeEntry* b) -> Status {
    RegionWork work;
    RegionMap before;
    TM_TRY(work.region, region_of_key((a != nullptr ? a : b)->key));
    if (a != nullptr) {
      TM_TRY(before, decode_region(*a, kRegionBytes));
    }
    if (b != nullptr) {
      TM_TRY(work.map, decode_region(*b, kRegionBytes));
    }
    work.runs = differing_runs(before, work.map);
    if (!work.runs.empty()) plan.push_back(std::move(work));
    return {};
  }));
  return plan;
}

std::vector<RegionRun> merge_runs(const std::vector<RegionRun>& a,
                                  const std::vector<RegionRun>& b) {
  std::vector<RegionRun> all = a;
  all.insert(all.end(), b.begin(), b.end());
  std::sort(all.begin(), all.end(),
            [](const RegionRun& x, const RegionRun& y) { return x.offset < y.offset; });
  std::vector<RegionRun> out;
  for (const RegionRun& run : all) add_run(out, run);
  return out;
}

std::vector<RegionRun> cut_runs(const std::vector<RegionRun>& runs, std::uint32_t limit) {
  std::vector<RegionRun> out;
  for (const RegionRun& run : runs)
    if (run.offset < limit) out.push_back({run.offset, std::min(run.size, limit - run.offset)});
  return out;
}

Result<std::vector<Bytes>> read_regions(BlobReader& reader, std::span<const RegionWork> work) {
  std::vector<ChunkId> ids;
  for (const RegionWork& region : work)
    for (const RegionChunk& chunk : region.map.chunks) ids.push_back(chunk.id);
  TM_TRY(const auto chunks, reader.fetch_blobs(ids));
  std::vector<Bytes> out;
  std::size_t first = 0;
  for (const RegionWork& region : work) {
    Bytes bytes(kRegionBytes);
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
    for (const RegionExtent& extent : region.map.extents) {
      const Bytes& chunk = chunks[first + extent.chunk];
      if (chunk.size() < extent.chunk_offset + extent.size)
        return Error(ErrorCode::corruption, "a chunk is shorter than its region's map says");
      std::copy_n(chunk.begin() + extent.chunk_offset, extent.size, bytes.begin() + extent.offset);
    }
    first += region.map.chunks.size();
    out.push_back(std::move(bytes));
  }
  return out;
}

Result<Bytes> read_region(BlobReader& reader, const TreeEntry& entry) {
  RegionWork work;
  TM_TRY(work.map, decode_region(entry, kRegionBytes));
  TM_TRY(auto regions, read_regions(reader, std::span(&work, 1)));
  return std::move(regions.front());
}

}  // namespace tidemark
