// Volumes that are made in memory, and what a store has of them.
#pragma once

#include <algorithm>

#include "store/volume.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {

// A volume made in steps, as backups make one: its bytes beside what the store has of it.
class VolumeMaker {
 public:
  VolumeMaker(const StoreKeys& keys, std::uint64_t size) : keys_(keys), bytes(size) {
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
  }

  // Overwrites a run of one region, as an increment does.
  void write(std::uint64_t offset, ByteView data) {
    const std::uint64_t region = offset / kRegionBytes;
    const auto at = static_cast<std::uint32_t>(offset % kRegionBytes);
    std::copy(data.begin(), data.end(), bytes.data() + offset);
    const RegionChunk chunk = add_chunk(data);
    const RegionRun run{at, static_cast<std::uint32_t>(data.size())};
    maps_[region] = overlay(maps_[region], {}, std::span(&run, 1), chunk);
  }
  void clear(std::uint64_t offset, std::uint32_t size) {
    const RegionRun run{static_cast<std::uint32_t>(offset % kRegionBytes), size};
    std::fill_n(bytes.data() + offset, size, std::uint8_t{0});
    maps_[offset / kRegionBytes] = clear_runs(maps_[offset / kRegionBytes], std::span(&run, 1));
  }
  // The first chunk of a region.
  ChunkId chunk_at(std::uint64_t offset) const {
    return maps_.at(offset / kRegionBytes).chunks.front().id;
  }
  // No pack will hold it.
  void lose(const ChunkId& id) { chunks_.erase(id); }

  Content content() const {
    Content made;
    std::map<ChunkId, std::pair<Bytes, std::size_t>> nodes;
    TreeBuilder builder(keys_, [&](const ChunkId& id, EncodedNode node, std::uint8_t) -> Status {
      nodes[id] = {std::move(node.plain), node.clear_size};
      return {};
    });
    for (const auto& [region, map] : maps_)
      if (!map.empty()) must(builder.add(encode_region(region, map)));
    made.root = must(builder.finish(nullptr));
    PackWriter writer(keys_);
    const auto finish = [&] {
      if (writer.count() > 0) made.packs.push_back(writer.finish());
    };
    for (const auto& [id, plain] : chunks_) {
      writer.add(must(encode_blob(id, BlobKind::chunk, plain, 0, 1)));
      if (writer.size() > kPackBytesTarget / 4) finish();
    }
    finish();
    for (const auto& [id, node] : nodes)
      writer.add(must(encode_blob(id, BlobKind::node, node.first, node.second, 1)));
    finish();
    return made;
  }

 private:
  RegionChunk add_chunk(ByteView data) {
    const ChunkId id = keys_.chunk_id(data);
    chunks_[id] = copy_of(data);
    return {id, static_cast<std::uint32_t>(data.size())};
  }
  const StoreKeys& keys_;
  std::map<std::uint64_t, RegionMap> maps_;
  std::map<ChunkId, Bytes> chunks_;

 public:
  Bytes bytes;
};

// Some random writes and holes, in units of 4 KiB and of single bytes.
inline void scribble(VolumeMaker& volume, Rng& rng, int steps) {
  const std::uint64_t size = volume.bytes.size();
  for (int i = 0; i < steps; ++i) {
    const std::uint64_t offset = rng.below(size);
    const std::uint64_t most =
        std::min({size - offset, kRegionBytes - offset % kRegionBytes, std::uint64_t{512 * kKiB}});
    const std::size_t length = rng.between(1, most);
    if (rng.chance(25))
      volume.clear(offset, static_cast<std::uint32_t>(length));
    else
      volume.write(offset, rng.chance(50) ? rng.bytes(length) : rng.text(length));
  }
}

}  // namespace tidemark::test
