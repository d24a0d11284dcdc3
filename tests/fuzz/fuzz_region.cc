#include "store/volume.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

// First byte: the number of references beside the value; the rest: the value.
TM_FUZZ_TARGET(region) {
  if (input.empty()) return;
  TreeEntry entry;
  entry.key = region_key(0);
  for (std::uint8_t i = 0; i < input[0]; ++i) {
    entry.refs.emplace_back();
    entry.refs.back().bytes[0] = i;
  }
  entry.value.assign(input.begin() + 1, input.end());
  const auto map = decode_region(entry, kRegionBytes);
  if (!map) return;
  TM_CHECK(encode_region(0, *map) == entry);
  std::uint32_t end = 0;
  for (const RegionExtent& extent : map->extents) {
    TM_CHECK(extent.size > 0 && extent.offset >= end &&
             extent.size <= kRegionBytes - extent.offset);
    TM_CHECK(extent.size <= map->chunks[extent.chunk].plain_size - extent.chunk_offset);
    end = extent.offset + extent.size;
  }
  wants_whole_capture(*map);
  TM_CHECK(map->data_bytes() <= kRegionBytes);
  const std::vector<RegionRun> middle = {{kRegionBytes / 4, kRegionBytes / 2}};
  TM_CHECK(clear_runs(*map, middle).data_bytes() <= map->data_bytes());
}
