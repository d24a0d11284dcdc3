// The map of one region of a volume: which bytes of it lie in which chunk. Format:
// docs/format/tree.md.
//
// A region is a fixed stretch of the volume's logical bytes; key = region number, value = extents.
// What no extent covers reads as zeros. Captured whole, a region is one chunk that holds its
// non-zero runs, one behind another; an incremental adds a chunk with what changed and lets the
// extents refer partly to it and partly to the old ones.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/tree.h"

namespace tidemark {

inline constexpr std::uint32_t kRegionBytes = 4 << 20;
// Zeros are found and left out in units of this size.
inline constexpr std::uint32_t kZeroBlockBytes = 4096;
// A region in more pieces than this is captured whole again, where that at least halves their
// number: reading it back would cost too many pieces, and its map would cost more than what it
// describes.
inline constexpr std::size_t kRegionExtentsMax = 256;

struct RegionExtent {
  std::uint32_t offset = 0;  // in the region
  std::uint32_t size = 0;
  std::uint32_t chunk = 0;         // index into RegionMap::chunks
  std::uint32_t chunk_offset = 0;  // in the chunk's plain bytes
  bool operator==(const RegionExtent&) const = default;
};

struct RegionChunk {
  ChunkId id;
  std::uint32_t plain_size = 0;
  bool operator==(const RegionChunk&) const = default;
};

struct RegionMap {
  std::vector<RegionExtent> extents;  // sorted, disjoint
  std::vector<RegionChunk> chunks;    // each used by some extent
  bool operator==(const RegionMap&) const = default;

  bool empty() const { return extents.empty(); }
  std::uint64_t data_bytes() const;
};

// A run of bytes within a region.
struct RegionRun {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
  bool operator==(const RegionRun&) const = default;
};

// The runs of `data` (which lies at `offset` of its region) that are not zero, in units of
// kZeroBlockBytes of the region, neighbours merged.
std::vector<RegionRun> nonzero_runs(ByteView data, std::uint32_t offset);

// The map after the runs `cleared` became zeros and the runs `written`, whose bytes lie one behind
// another in `chunk`, were written over that. Both lists are sorted and disjoint; written runs may
// lie within cleared ones. Merges what touches; drops chunks that nothing uses any more.
RegionMap overlay(const RegionMap& old, std::span<const RegionRun> cleared,
                  std::span<const RegionRun> written, const RegionChunk& chunk);

// The same with nothing written.
RegionMap clear_runs(const RegionMap& old, std::span<const RegionRun> cleared);

// True where the region is better captured whole again: too many pieces, or mostly dead chunks.
bool wants_whole_capture(const RegionMap& map);

// Region numbers as tree keys (big-endian, so that keys ascend as numbers do).
std::string region_key(std::uint64_t region);
Result<std::uint64_t> region_of_key(std::string_view key);

TreeEntry encode_region(std::uint64_t region, const RegionMap& map);
// Checks that extents are in order and inside region and chunks, and that each chunk is used.
Result<RegionMap> decode_region(const TreeEntry& entry, std::uint32_t region_bytes);

}  // namespace tidemark
