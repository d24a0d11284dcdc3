#include "store/volume.h"

#include <algorithm>

#include "base/assert.h"

namespace tidemark {
namespace {

// The extents of `from` that lie outside the (sorted, disjoint) runs.
std::vector<RegionExtent> outside(const std::vector<RegionExtent>& from,
                                  std::span<const RegionRun> runs) {
  std::vector<RegionExtent> out;
  auto run = runs.begin();
  for (const RegionExtent& extent : from) {
    std::uint32_t at = extent.offset;
    const std::uint32_t end = extent.offset + extent.size;
    while (run != runs.end() && run->offset + run->size <= at) ++run;
    for (auto hole = run; at < end;) {
      const std::uint32_t hole_begin =
          hole == runs.end() ? end : std::min(end, std::max(at, hole->offset));
      if (hole_begin > at)
        out.push_back(
            {at, hole_begin - at, extent.chunk, extent.chunk_offset + at - extent.offset});
      if (hole == runs.end()) break;
      at = std::max(at, std::min(end, hole->offset + hole->size));
      if (hole->offset >= end) break;
      ++hole;
    }
  }
  return out;
}

bool continues(const RegionExtent& a, const RegionExtent& b) {
  return a.offset + a.size == b.offset && a.chunk == b.chunk &&
         a.chunk_offset + a.size == b.chunk_offset;
}

// Sorts, merges, and keeps only chunks in use, in the order of first use: equal content in equal
// chunks has one form.
RegionMap normalized(std::vector<RegionExtent> extents, const std::vector<RegionChunk>& chunks) {
  std::sort(extents.begin(), extents.end(),
            [](const auto& a, const auto& b) { return a.offset < b.offset; });
  RegionMap out;
  for (RegionExtent extent : extents) {
    const RegionChunk& chunk = chunks[extent.chunk];
    const auto known = std::find_if(out.chunks.begin(), out.chunks.end(),
                                    [&](const RegionChunk& c) { return c.id == chunk.id; });
    extent.chunk = static_cast<std::uint32_t>(known - out.chunks.begin());
    if (known == out.chunks.end()) out.chunks.push_back(chunk);
    if (!out.extents.empty() && continues(out.extents.back(), extent)) {
      out.extents.back().size += extent.size;
    } else {
      out.extents.push_back(extent);
    }
  }
  return out;
}

}  // namespace

std::uint64_t RegionMap::data_bytes() const {
  std::uint64_t sum = 0;
  for (const RegionExtent& extent : extents) sum += extent.size;
  return sum;
}

std::vector<RegionRun> nonzero_runs(ByteView data, std::uint32_t offset) {
  std::vector<RegionRun> runs;
  std::uint32_t at = 0;
  const auto size = static_cast<std::uint32_t>(data.size());
  while (at < size) {
    // Blocks are aligned in the region, whatever the data's own offset is.
    const std::uint32_t to_boundary = kZeroBlockBytes - (offset + at) % kZeroBlockBytes;
    const std::uint32_t block = std::min(to_boundary, size - at);
    if (!is_all_zero(data.subspan(at, block))) {
      if (!runs.empty() && runs.back().offset + runs.back().size == offset + at) {
        runs.back().size += block;
      } else {
        runs.push_back({offset + at, block});
      }
    }
    at += block;
  }
  return runs;
}

RegionMap overlay(const RegionMap& old, std::span<const RegionRun> cleared,
                  std::span<const RegionRun> written, const RegionChunk& chunk) {
  std::vector<RegionExtent> extents = outside(outside(old.extents, cleared), written);
  std::vector<RegionChunk> chunks = old.chunks;
  const auto added = static_cast<std::uint32_t>(chunks.size());
  chunks.push_back(chunk);
  std::uint32_t chunk_offset = 0;
  for (const RegionRun& run : written) {
    if (run.size == 0) continue;
    extents.push_back({run.offset, run.size, added, chunk_offset});
    chunk_offset += run.size;
  }
  TM_CHECK(chunk_offset <= chunk.plain_size);
  return normalized(std::move(extents), chunks);
}

RegionMap clear_runs(const RegionMap& old, std::span<const RegionRun> cleared) {
  return normalized(outside(old.extents, cleared), old.chunks);
}

bool wants_whole_capture(const RegionMap& map) {
  static constexpr std::uint64_t kDeadBytesFree = 256 * kKiB;
  std::uint64_t chunk_bytes = 0;
  for (const RegionChunk& chunk : map.chunks) chunk_bytes += chunk.plain_size;
  // What a whole capture would leave: one piece for each stretch between holes.
  std::size_t stretches = 0;
  std::uint32_t end = 0;
  for (const RegionExtent& extent : map.extents) {
    if (stretches == 0 || extent.offset != end) ++stretches;
    end = extent.offset + extent.size;
  }
  const bool whole_helps = map.extents.size() > 2 * stretches;
  return (map.extents.size() > kRegionExtentsMax && whole_helps) ||
         chunk_bytes > 2 * map.data_bytes() + kDeadBytesFree;
}

std::string region_key(std::uint64_t region) {
  std::string key(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) key[i] = static_cast<char>(region >> (56 - 8 * i) & 0xff);
  return key;
}

Result<std::uint64_t> region_of_key(std::string_view key) {
  if (key.size() != 8) return Error(ErrorCode::corruption, "volume tree: not a region's key");
  std::uint64_t region = 0;
  for (const char c : key) region = region << 8 | static_cast<std::uint8_t>(c);
  if (region > 1ULL << 40) return Error(ErrorCode::corruption, "volume tree: impossible region");
  return region;
}

TreeEntry encode_region(std::uint64_t region, const RegionMap& map) {
  TreeEntry entry;
  entry.key = region_key(region);
  ByteWriter w;
  w.varint(map.chunks.size());
  for (const RegionChunk& chunk : map.chunks) {
    entry.refs.push_back(chunk.id);
    w.varint(chunk.plain_size);
  }
  w.varint(map.extents.size());
  std::uint32_t end = 0;
  for (const RegionExtent& extent : map.extents) {
    w.varint(extent.offset - end);
    w.varint(extent.size);
    w.varint(extent.chunk);
    w.varint(extent.chunk_offset);
    end = extent.offset + extent.size;
  }
  entry.value = w.take();
  return entry;
}

Result<RegionMap> decode_region(const TreeEntry& entry, std::uint32_t region_bytes) {
  const Error damaged(ErrorCode::corruption, "volume tree: a region's map is damaged");
  ByteReader r(entry.value);
  RegionMap map;
  const std::size_t chunks = r.count(1);
  if (chunks != entry.refs.size()) return damaged;
  for (std::size_t i = 0; i < chunks; ++i)
    map.chunks.push_back({entry.refs[i], static_cast<std::uint32_t>(r.varint_max(region_bytes))});
  std::vector<bool> used(chunks);
  const std::size_t extents = r.count(4);
  std::uint32_t end = 0;
  for (std::size_t i = 0; i < extents && r.ok(); ++i) {
    RegionExtent extent;
    const std::uint64_t offset = end + r.varint_max(region_bytes);
    const std::uint64_t size = r.varint_max(region_bytes);
    const std::uint64_t chunk = r.varint();
    const std::uint64_t chunk_offset = r.varint_max(region_bytes);
    if (!r.ok() || size == 0 || offset + size > region_bytes || chunk >= map.chunks.size() ||
        chunk_offset + size > map.chunks[static_cast<std::size_t>(chunk)].plain_size)
      return damaged;
    extent = {static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(size),
              static_cast<std::uint32_t>(chunk), static_cast<std::uint32_t>(chunk_offset)};
    end = extent.offset + extent.size;
    map.extents.push_back(extent);
    used[extent.chunk] = true;
  }
  if (!r.done() || std::find(used.begin(), used.end(), false) != used.end()) return damaged;
  return map;
}

}  // namespace tidemark
