// Region maps against the bytes that they stand for.
#include "store/volume.h"

#include <algorithm>

#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

constexpr std::uint32_t kRegion = 256 * 1024;

std::vector<RegionRun> random_runs(Rng& rng, std::size_t count_max, std::uint32_t align) {
  std::vector<RegionRun> runs;
  std::size_t at = 0;
  for (std::size_t i = rng.below(count_max + 1); i > 0 && at < kRegion; --i) {
    const std::size_t begin = at + rng.below(1 + kRegion / count_max) / align * align;
    const std::size_t size = (1 + rng.below(20000)) / align * align;
    if (begin >= kRegion) break;
    const std::size_t end = std::min<std::size_t>(kRegion, begin + size);
    if (end > begin)
      runs.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end - begin)});
    at = end;
  }
  return runs;
}

// A region as its map and as its bytes.
class Region {
 public:
  explicit Region(Rng& rng) : rng_(rng), bytes_(kRegion, 0) {}

  const RegionMap& map() const { return map_; }
  const Bytes& bytes() const { return bytes_; }

  // What capture does with the bytes that changed: one chunk of the written runs, one behind
  // another.
  void write(const std::vector<RegionRun>& cleared, const std::vector<RegionRun>& written) {
    zero(cleared);
    Bytes data;
    for (const RegionRun& run : written) {
      const Bytes fresh = rng_.bytes(run.size);
      std::copy(fresh.begin(), fresh.end(), bytes_.begin() + run.offset);
      append(data, fresh);
    }
    map_ = overlay(map_, cleared, written, keep(data));
  }
  void clear(const std::vector<RegionRun>& cleared) {
    zero(cleared);
    map_ = clear_runs(map_, cleared);
  }
  void capture_whole() {
    const auto runs = nonzero_runs(bytes_, 0);
    Bytes data;
    for (const RegionRun& run : runs) append(data, ByteView(bytes_).subspan(run.offset, run.size));
    map_ = overlay({}, {}, runs, keep(data));
    EXPECT_FALSE(wants_whole_capture(map_));
  }
  Bytes read_back(const RegionMap& map) const {
    Bytes out(kRegion, 0);
    for (const RegionExtent& extent : map.extents) {
      const Bytes& chunk = chunks_.at(map.chunks[extent.chunk].id);
      EXPECT_EQ(chunk.size(), map.chunks[extent.chunk].plain_size);
      const ByteView piece = ByteView(chunk).subspan(extent.chunk_offset, extent.size);
      std::copy(piece.begin(), piece.end(), out.begin() + extent.offset);
    }
    return out;
  }

 private:
  void zero(const std::vector<RegionRun>& runs) {
    for (const RegionRun& run : runs)
      std::fill_n(bytes_.begin() + run.offset, run.size, std::uint8_t{0});
  }
  RegionChunk keep(const Bytes& data) {
    const ChunkId id = StoreKeys::unencrypted().chunk_id(data);
    chunks_[id] = data;
    return {id, static_cast<std::uint32_t>(data.size())};
  }

  Rng& rng_;
  Bytes bytes_;
  RegionMap map_;
  std::map<ChunkId, Bytes> chunks_;
};

// Sorted, disjoint, merged, every chunk used and numbered in the order of first use.
void expect_normal_form(const RegionMap& map) {
  std::uint32_t next_chunk = 0, end = 0;
  for (std::size_t i = 0; i < map.extents.size(); ++i) {
    const RegionExtent& extent = map.extents[i];
    ASSERT_GT(extent.size, 0U);
    ASSERT_GE(extent.offset, end);
    ASSERT_LE(extent.chunk, next_chunk);
    if (extent.chunk == next_chunk) ++next_chunk;
    if (i > 0) {
      const RegionExtent& before = map.extents[i - 1];
      ASSERT_FALSE(before.offset + before.size == extent.offset && before.chunk == extent.chunk &&
                   before.chunk_offset + before.size == extent.chunk_offset);
    }
    end = extent.offset + extent.size;
  }
  ASSERT_EQ(next_chunk, map.chunks.size());
}

TEST(RegionMap, ReadsBackAsTheBytesAfterAnyHistory) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t round = 0; round < test::rounds(30); ++round) {
    Region region(rng);
    const std::uint32_t align = rng.chance(50) ? 1 : 512;
    for (int step = 0; step < 40; ++step) {
      const std::size_t runs = rng.between(1, 12);
      if (rng.chance(20)) {
        region.clear(random_runs(rng, runs, align));
      } else if (rng.chance(5)) {
        region.capture_whole();
      } else {
        const auto cleared =
            rng.chance(50) ? random_runs(rng, runs, align) : std::vector<RegionRun>();
        region.write(cleared, random_runs(rng, runs, align));
      }
      ASSERT_NO_FATAL_FAILURE(expect_normal_form(region.map()));
      ASSERT_TRUE(region.read_back(region.map()) == region.bytes());
      const TreeEntry entry = encode_region(7, region.map());
      const auto decoded = decode_region(entry, kRegion);
      ASSERT_TRUE(decoded);
      ASSERT_EQ(*decoded, region.map());
    }
  }
}

TEST(RegionMap, WholeRegionClearedIsEmpty) {
  Rng rng;
  Region region(rng);
  region.write({}, random_runs(rng, 5, 1));
  region.clear({{0, kRegion}});
  EXPECT_TRUE(region.map().empty());
  EXPECT_TRUE(region.map().chunks.empty());
  EXPECT_EQ(region.map().data_bytes(), 0U);
}

TEST(RegionMap, ClearingInOneStepOrInManyIsTheSame) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (int i = 0; i < 100; ++i) {
    Region region(rng);
    for (int k = 0; k < 5; ++k) region.write({}, random_runs(rng, 6, 1));
    const auto runs = random_runs(rng, 8, 1);
    const RegionMap at_once = clear_runs(region.map(), runs);
    RegionMap one_by_one = region.map();
    std::vector<RegionRun> shuffled = runs;
    while (!shuffled.empty()) {
      const std::size_t at = rng.below(shuffled.size());
      one_by_one = clear_runs(one_by_one, std::vector{shuffled[at]});
      shuffled.erase(shuffled.begin() + static_cast<std::ptrdiff_t>(at));
    }
    ASSERT_EQ(at_once, one_by_one);
    ASSERT_EQ(overlay(region.map(), runs, {}, RegionChunk{}), at_once);
  }
}

TEST(RegionMap, ChunkThatIsThereAlreadyIsNotListedTwice) {
  const RegionChunk chunk{ChunkId::from(sha256(as_bytes("x")).view()), 8192};
  const RegionMap once = overlay({}, {}, std::vector<RegionRun>{{0, 8192}}, chunk);
  const RegionMap twice = overlay(once, {}, std::vector<RegionRun>{{0, 4096}, {8192, 4096}}, chunk);
  EXPECT_EQ(twice.chunks.size(), 1U);
  EXPECT_EQ(twice.extents, (std::vector<RegionExtent>{{0, 8192, 0, 0}, {8192, 4096, 0, 4096}}));
}

TEST(RegionMap, RunsOfNoLengthLeaveNoTrace) {
  const RegionChunk chunk{ChunkId::from(sha256(as_bytes("x")).view()), 4096};
  const std::vector<RegionRun> runs = {{0, 0}, {4096, 4096}, {8192, 0}};
  const RegionMap map = overlay({}, {}, runs, chunk);
  EXPECT_EQ(map.extents, (std::vector<RegionExtent>{{4096, 4096, 0, 0}}));
  EXPECT_EQ(clear_runs(map, std::vector<RegionRun>{{5000, 0}}), map);
}

TEST(NonzeroRuns, FindsEveryByteInWholeBlocksOfTheRegion) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (int i = 0; i < 200; ++i) {
    const auto offset = static_cast<std::uint32_t>(rng.chance(50) ? 0 : rng.below(20000));
    Bytes data(rng.below(100000), 0);
    for (std::size_t k = rng.below(6); k > 0 && !data.empty(); --k)
      data[rng.below(data.size())] = 1;
    const auto runs = nonzero_runs(data, offset);
    Bytes covered(data.size(), 0);
    std::uint32_t end = 0;
    for (const RegionRun& run : runs) {
      ASSERT_GT(run.size, 0U);
      ASSERT_TRUE(end == 0 || run.offset > end);  // neighbours are merged
      ASSERT_GE(run.offset, offset);
      end = run.offset + run.size;
      ASSERT_LE(end, offset + data.size());
      std::fill_n(covered.begin() + (run.offset - offset), run.size, std::uint8_t{1});
    }
    for (std::size_t at = 0; at < data.size(); ++at) {
      const std::size_t block = (offset + at) / kZeroBlockBytes;
      const std::size_t begin = std::max<std::size_t>(block * kZeroBlockBytes, offset) - offset;
      const std::size_t stop =
          std::min<std::size_t>((block + 1) * kZeroBlockBytes - offset, data.size());
      const bool zero = is_all_zero(ByteView(data).subspan(begin, stop - begin));
      for (; at < stop; ++at) ASSERT_EQ(covered[at] == 0, zero);
      --at;
    }
  }
  EXPECT_TRUE(nonzero_runs({}, 0).empty());
}

TEST(WholeCapture, IsWantedWhereChunksAreMostlyDead) {
  Rng rng;
  Region region(rng);
  EXPECT_FALSE(wants_whole_capture(region.map()));
  for (int i = 0; i < 10; ++i) region.write({}, {{0, kRegion}});
  EXPECT_FALSE(wants_whole_capture(region.map()));  // each overwrite kills the chunk before
  for (std::uint32_t i = 0; i < 16; ++i) region.write({}, {{i * 100, kRegion - i * 100}});
  EXPECT_TRUE(wants_whole_capture(region.map()));
  region.capture_whole();
}

TEST(WholeCapture, IsWantedForManyPiecesButNotWhereHolesMakeThem) {
  RegionMap map;
  for (std::uint32_t i = 0; i <= kRegionExtentsMax; ++i) {
    const RegionChunk chunk{ChunkId::from(sha256(as_bytes(std::to_string(i))).view()), 512};
    EXPECT_FALSE(wants_whole_capture(map));
    map = overlay(map, {}, std::vector<RegionRun>{{i * 512, 512}}, chunk);
  }
  EXPECT_TRUE(wants_whole_capture(map));

  // Every other block is zero: a whole capture has as many pieces, and would be wanted for ever.
  std::vector<RegionRun> runs;
  for (std::uint32_t at = 0; at < kRegionBytes; at += 2 * kZeroBlockBytes)
    runs.push_back({at, kZeroBlockBytes});
  ASSERT_GT(runs.size(), kRegionExtentsMax);
  const RegionMap striped = overlay({}, {}, runs, {ChunkId{}, kRegionBytes / 2});
  EXPECT_FALSE(wants_whole_capture(striped));
}

TEST(RegionKey, AscendsAsNumbersDo) {
  Rng rng;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t a = rng.next() >> (24 + rng.below(40)),
                        b = rng.next() >> (24 + rng.below(40));
    EXPECT_EQ(a < b, region_key(a) < region_key(b));
    const auto back = region_of_key(region_key(a));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, a);
  }
  EXPECT_EQ(test::code_of(region_of_key("1234567")), ErrorCode::corruption);
  EXPECT_EQ(test::code_of(region_of_key("123456789")), ErrorCode::corruption);
  EXPECT_EQ(test::code_of(region_of_key(region_key(~0ULL))), ErrorCode::corruption);
}

// One region value written by hand: chunk sizes, then four numbers for each extent.
bool value_decodes(std::vector<std::uint64_t> sizes, std::vector<std::uint64_t> extents) {
  ByteWriter w;
  TreeEntry entry;
  entry.key = region_key(0);
  w.varint(sizes.size());
  for (const std::uint64_t size : sizes) {
    w.varint(size);
    entry.refs.push_back(ChunkId::from(sha256(as_bytes(std::to_string(size))).view()));
  }
  w.varint(extents.size() / 4);
  for (const std::uint64_t number : extents) w.varint(number);
  entry.value = w.take();
  return decode_region(entry, kRegion).has_value();
}

TEST(RegionValue, RefusesWhatDoesNotFit) {
  const std::uint64_t all = ~0ULL;
  EXPECT_TRUE(value_decodes({}, {}));
  EXPECT_TRUE(value_decodes({100}, {0, 100, 0, 0}));
  EXPECT_TRUE(value_decodes({100, 50}, {0, 50, 0, 50, 5, 10, 1, 40}));
  EXPECT_TRUE(value_decodes({kRegion}, {0, kRegion, 0, 0}));
  EXPECT_FALSE(value_decodes({100}, {}));  // a chunk of no use
  EXPECT_FALSE(value_decodes({100, 50}, {0, 100, 0, 0}));
  EXPECT_FALSE(value_decodes({100}, {0, 0, 0, 0}));    // no length
  EXPECT_FALSE(value_decodes({100}, {0, 101, 0, 0}));  // past the chunk
  EXPECT_FALSE(value_decodes({100}, {0, 100, 0, 1}));
  EXPECT_FALSE(value_decodes({100}, {0, 100, 1, 0}));             // no such chunk
  EXPECT_FALSE(value_decodes({100}, {kRegion - 99, 100, 0, 0}));  // past the region
  EXPECT_FALSE(value_decodes({kRegion + 1}, {0, 1, 0, 0}));
  EXPECT_FALSE(value_decodes({100}, {all, 100, 0, 0}));
  EXPECT_FALSE(value_decodes({100}, {0, all, 0, 0}));
  EXPECT_FALSE(value_decodes({100}, {0, 100, all, 0}));
  EXPECT_FALSE(value_decodes({100}, {0, 100, 0, all}));
  EXPECT_FALSE(value_decodes({100}, {0, 100, 0, 0, kRegion, 1, 0, 0}));
}

TEST(RegionValue, EveryDamagedByteIsRefusedOrStaysInside) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  Region region(rng);
  for (int i = 0; i < 6; ++i) region.write({}, random_runs(rng, 4, 1));
  const TreeEntry whole = encode_region(3, region.map());
  for (std::size_t size = 0; size < whole.value.size(); ++size) {
    TreeEntry cut = whole;
    cut.value.resize(size);
    EXPECT_EQ(test::code_of(decode_region(cut, kRegion)), ErrorCode::corruption);
  }
  for (std::size_t at = 0; at < whole.value.size(); ++at) {
    for (unsigned flip = 1; flip < 256; ++flip) {
      TreeEntry damaged = whole;
      damaged.value[at] = static_cast<std::uint8_t>(damaged.value[at] ^ flip);
      const auto map = decode_region(damaged, kRegion);
      if (!map) continue;
      std::uint32_t end = 0;
      for (const RegionExtent& extent : map->extents) {
        ASSERT_GE(extent.offset, end);
        ASSERT_LE(extent.size, kRegion - extent.offset);
        ASSERT_LE(extent.size, map->chunks[extent.chunk].plain_size - extent.chunk_offset);
        end = extent.offset + extent.size;
      }
      ASSERT_EQ(to_hex(encode_region(3, *map).value), to_hex(damaged.value));
    }
  }
  TreeEntry fewer_refs = whole;
  fewer_refs.refs.pop_back();
  EXPECT_FALSE(decode_region(fewer_refs, kRegion));
}

}  // namespace
}  // namespace tidemark
