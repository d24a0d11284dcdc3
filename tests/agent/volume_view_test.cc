// Volumes read at random places while they stay in the store: bytes, holes, damage, many at once.
#include "agent/read/volume_view.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/agent/service_support.h"
#include "tests/agent/volume_maker.h"

namespace tidemark::test {
namespace {

// A store that first says that everything lies in packs which are gone, as to somebody who asked
// before a collection wrote them anew. Reads only.
class MovedStore final : public PointStore {
 public:
  explicit MovedStore(PointStore& store) : store_(store) {}
  Result<std::vector<BlobLocation>> locate(std::span<const ChunkId> ids) override {
    TM_TRY(auto located, store_.locate(ids));
    for (BlobLocation& at : located)
      if (at.entry.kind == BlobKind::chunk && told_.insert(at.entry.id).second)
        at.pack.bytes[0] ^= 1;
    return located;
  }
  Result<Bytes> read(const PackId& pack, std::uint64_t offset, std::size_t size) override {
    return store_.read(pack, offset, size);
  }
  Result<StoreDescriptor> descriptor() override { return store_.descriptor(); }
  Result<UploadSession> begin(std::string_view, std::string_view, const PointId&) override {
    return no();
  }
  Result<std::vector<bool>> missing(const UploadSession&, std::span<const ChunkId>) override {
    return no();
  }
  Status put_pack(const UploadSession&, const PackId&, ByteView) override { return no(); }
  Result<PointRow> commit(const UploadSession&, ByteView) override { return no(); }
  Status abandon(const UploadSession&) override { return no(); }
  Result<PointRow> find(const PointQuery&) override { return no(); }
  Result<std::vector<PointRow>> points(std::string_view, std::string_view) override { return no(); }
  Status set_pinned(const PointId&, bool) override { return no(); }
  Status remove(const PointId&) override { return no(); }
  Status undelete(const PointId&) override { return no(); }
  Status set_verified(const PointId&) override { return no(); }
  Result<CatalogStats> stats() override { return no(); }
  Result<CollectReport> collect(const CollectRequest&) override { return no(); }

 private:
  static Error no() { return Error(ErrorCode::unsupported, "for reading only"); }
  PointStore& store_;
  std::set<ChunkId> told_;
};

class VolumeViewTest : public ::testing::Test {
 protected:
  // REQUIRES: called once.
  VolumeView& view(const VolumeMaker& volume, VolumeViewOptions options = {}) {
    const Content content = volume.content();
    store_.add_point("osaka", "rbd/rbd/vol", content);
    view_ = std::make_unique<VolumeView>(store_.service(), store_.keys(), content.root,
                                         volume.bytes.size(), options);
    return *view_;
  }
  static VolumeViewOptions small_cache(std::uint64_t bytes) {
    VolumeViewOptions options;
    options.cache_bytes = bytes;
    return options;
  }

  TestService store_;
  std::unique_ptr<VolumeView> view_;
};

void expect_same(VolumeView& view, const Bytes& want, std::uint64_t offset, std::size_t size) {
  Bytes got(size);
  std::fill(got.begin(), got.end(), std::uint8_t{0xee});
  must(view.read(offset, got));
  ASSERT_TRUE(std::equal(got.begin(), got.end(), want.data() + offset))
      << size << " bytes at " << offset;
}

// Runs alternate, add up, and call nothing zero that is not.
void expect_runs(VolumeView& view, const Bytes& want, std::uint64_t offset, std::uint64_t length,
                 std::size_t runs_max) {
  const auto runs = must(view.runs(offset, length, runs_max));
  ASSERT_FALSE(runs.empty());
  ASSERT_LE(runs.size(), runs_max);
  std::uint64_t at = offset;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    ASSERT_GT(runs[i].size, 0U);
    ASSERT_TRUE(i == 0 || runs[i].data != runs[i - 1].data);
    ASSERT_TRUE(runs[i].data || is_all_zero(ByteView(want).subspan(at, runs[i].size)));
    at += runs[i].size;
  }
  ASSERT_LE(at, offset + length);
  ASSERT_TRUE(at == offset + length || runs.size() == runs_max);
}

TEST_F(VolumeViewTest, RandomReadsAndRunsAreThoseOfAPlainBuffer) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  VolumeMaker volume(store_.keys(), 40 * kMiB + rng.below(kMiB));
  scribble(volume, rng, 150);
  VolumeView& served = view(volume, small_cache(rng.between(1, 64) * kMiB));
  const std::uint64_t size = volume.bytes.size();
  for (std::size_t i = 0; i < rounds(400); ++i) {
    const std::uint64_t offset = rng.below(size);
    const std::uint64_t length = rng.between(
        1, std::min<std::uint64_t>(size - offset, rng.chance(20) ? 12 * kMiB : 64 * kKiB));
    expect_same(served, volume.bytes, offset, length);
    expect_runs(served, volume.bytes, offset, length, rng.chance(50) ? rng.between(1, 9) : 4096);
    if (rng.chance(10)) served.expect(rng.below(2 * size), rng.below(size));
    if (HasFatalFailure()) return;
  }
}

TEST_F(VolumeViewTest, WhatIsPastTheEndIsRefused) {
  VolumeMaker volume(store_.keys(), kMiB);
  volume.write(0, Rng(1).bytes(kMiB));
  VolumeView& served = view(volume);
  Bytes some(4096);
  EXPECT_EQ(code_of(served.read(kMiB - 4095, some)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(served.read(~std::uint64_t{0} - 100, some)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(served.runs(kMiB, 1, 1)), ErrorCode::invalid_argument);
  EXPECT_TRUE(served.read(kMiB, ByteSpan()));
}

TEST_F(VolumeViewTest, HolesOfAVastVolumeCostNothing) {
  constexpr std::uint64_t kTiB = 1024 * kGiB;
  VolumeMaker volume(store_.keys(), 8 * kMiB);
  volume.write(5 * kMiB, Rng(2).bytes(kMiB));
  const Content content = volume.content();
  store_.add_point("osaka", "rbd/rbd/vol", content);
  VolumeView served(store_.service(), store_.keys(), content.root, kTiB, {});
  EXPECT_EQ(served.fetched_bytes(), 0U);
  const std::vector<BlockRun> want = {{5 * kMiB, false}, {kMiB, true}, {kTiB - 6 * kMiB, false}};
  EXPECT_EQ(must(served.runs(0, kTiB, 100)), want);
  Bytes some(32 * kMiB);
  must(served.read(512 * kGiB, some));
  EXPECT_TRUE(is_all_zero(some));
  EXPECT_LT(served.fetched_bytes(), 16 * kKiB);  // nodes only
}

TEST_F(VolumeViewTest, ManyWhoWantTheSameChunkFetchItOnce) {
  Rng rng(3);
  VolumeMaker volume(store_.keys(), kRegionBytes);
  volume.write(0, rng.bytes(kRegionBytes));
  VolumeView& served = view(volume);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] { expect_same(served, volume.bytes, t * 300'000, 4096); });
  for (auto& thread : threads) thread.join();
  EXPECT_LT(served.fetched_bytes(), 2 * kRegionBytes);
}

TEST_F(VolumeViewTest, ThreadsReadAtOnceWithACacheThatIsTooSmall) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  VolumeMaker volume(store_.keys(), 48 * kMiB);
  scribble(volume, rng, 120);
  VolumeView& served = view(volume, small_cache(20 * kMiB));
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t, seed = rng.next()] {
      Rng own(seed);
      if (t < 2) {  // streams
        for (std::uint64_t at = t * 20 * kMiB; at < volume.bytes.size(); at += 256 * kKiB)
          expect_same(served, volume.bytes, at, 256 * kKiB);
        return;
      }
      for (std::size_t i = 0; i < rounds(150); ++i) {
        const std::uint64_t offset = own.below(volume.bytes.size());
        const auto most = std::min<std::uint64_t>(volume.bytes.size() - offset, 128 * kKiB);
        expect_same(served, volume.bytes, offset, own.between(1, most));
        expect_runs(served, volume.bytes, offset, most, own.between(1, 50));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(VolumeViewTest, NoMoreIsKeptThanTheCacheMayHold) {
  Rng rng(8);
  VolumeMaker volume(store_.keys(), 10 * kRegionBytes);
  for (std::uint64_t region = 0; region < 10; ++region)
    volume.write(region * kRegionBytes, rng.bytes(kRegionBytes));
  VolumeViewOptions options = small_cache(16 * kMiB);
  options.ahead_regions_max = 0;
  VolumeView& served = view(volume, options);
  const auto fetched_by_reading = [&](std::uint64_t region) {
    const std::uint64_t before = served.fetched_bytes();
    expect_same(served, volume.bytes, region * kRegionBytes, 4096);
    return served.fetched_bytes() - before;
  };
  for (std::uint64_t region = 0; region < 10; ++region)
    EXPECT_GE(fetched_by_reading(region), std::uint64_t{kRegionBytes});
  EXPECT_EQ(fetched_by_reading(9), 0U);
  EXPECT_EQ(fetched_by_reading(7), 0U);
  EXPECT_GE(fetched_by_reading(0), std::uint64_t{kRegionBytes});
}

TEST_F(VolumeViewTest, StreamsAreReadAheadAndReadsHereAndThereAreNot) {
  Rng rng(9);
  VolumeMaker volume(store_.keys(), 12 * kRegionBytes);
  for (std::uint64_t region = 0; region < 12; ++region)
    volume.write(region * kRegionBytes, rng.bytes(kRegionBytes));
  VolumeView& served = view(volume);
  for (std::uint64_t region = 5; region < 8; ++region) {
    expect_same(served, volume.bytes, region * kRegionBytes, 4096);
    expect_same(served, volume.bytes, region * kRegionBytes + kMiB, 4096);
  }
  EXPECT_LT(served.fetched_bytes(), std::uint64_t{4} * kRegionBytes);
  for (std::uint64_t at = 0; at < kRegionBytes + 1; at += 256 * kKiB)
    expect_same(served, volume.bytes, at, 256 * kKiB);
  // Regions 0 and 1 were read; those behind them come by themselves, and no others.
  constexpr std::uint64_t kWanted = std::uint64_t{8} * kRegionBytes;
  for (int i = 0; i < 1000 && served.fetched_bytes() < kWanted; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(served.fetched_bytes(), kWanted);
  EXPECT_LT(served.fetched_bytes(), kWanted + kRegionBytes);
}

TEST_F(VolumeViewTest, AFailureIsThatOfTheReadAndPasses) {
  Rng rng(4);
  VolumeMaker volume(store_.keys(), 4 * kRegionBytes);
  for (std::uint64_t region = 0; region < 4; ++region)
    volume.write(region * kRegionBytes, rng.bytes(100'000));
  VolumeView& served = view(volume);
  expect_same(served, volume.bytes, 0, 4096);
  Fault away;
  away.calls = kEvery;
  store_.faults().add(away);
  Bytes some(4096);
  EXPECT_EQ(code_of(served.read(kRegionBytes, some)), ErrorCode::unavailable);
  expect_same(served, volume.bytes, 50'000, 4096);            // kept
  expect_same(served, volume.bytes, kRegionBytes / 2, 4096);  // a hole
  store_.faults().clear();
  expect_same(served, volume.bytes, kRegionBytes, 4096);
}

TEST_F(VolumeViewTest, ALostChunkSpoilsNothingBesideIt) {
  Rng rng(5);
  VolumeMaker volume(store_.keys(), 2 * kRegionBytes);
  volume.write(0, rng.bytes(50'000));
  volume.write(100'000, rng.bytes(50'000));
  volume.write(kRegionBytes, rng.bytes(50'000));
  volume.lose(volume.chunk_at(0));
  const Content content = volume.content();
  // The service takes no point of which a chunk is missing: its packs alone are enough.
  const UploadSession session = must(store_.service().begin("osaka", "rbd/rbd/vol", {}));
  must(send(store_.service(), session, content));
  VolumeView served(store_.service(), store_.keys(), content.root, volume.bytes.size(), {});
  Bytes some(4096);
  EXPECT_EQ(code_of(served.read(0, some)), ErrorCode::corruption);
  expect_same(served, volume.bytes, 100'000, 50'000);
  expect_same(served, volume.bytes, kRegionBytes, 50'000);
  Bytes all(kRegionBytes);
  EXPECT_EQ(code_of(served.read(0, all)), ErrorCode::corruption);
}

TEST_F(VolumeViewTest, DamageInAPackSpoilsNothingThatWasReadWithIt) {
  Rng rng(6);
  VolumeMaker volume(store_.keys(), kRegionBytes);
  for (std::uint64_t at = 0; at < 10; ++at) volume.write(at * 100'000, rng.bytes(50'000));
  VolumeView& served = view(volume);
  const ChunkId damaged = volume.chunk_at(0);
  const BlobLocation at = must(store_.service().locate(std::span(&damaged, 1))).front();
  store_.medium().flip(pack_blob_name(at.pack), at.entry.offset + 1000);
  // All chunks of the region are read in one go, the readers' own among them.
  Bytes all(kMiB);
  EXPECT_EQ(code_of(served.read(0, all)), ErrorCode::corruption);
  for (std::uint64_t good = 1; good < 10; ++good)
    expect_same(served, volume.bytes, good * 100'000 - 1000, 50'000);
}

TEST_F(VolumeViewTest, ChunksThatMovedAreFoundAgain) {
  Rng rng(10);
  VolumeMaker volume(store_.keys(), 2 * kRegionBytes);
  for (const std::uint64_t at : {std::uint64_t{0}, 200 * kKiB, std::uint64_t{kRegionBytes}})
    volume.write(at, rng.bytes(50'000));
  const Content content = volume.content();
  store_.add_point("osaka", "rbd/rbd/vol", content);
  MovedStore moved(store_.service());
  VolumeViewOptions options;
  options.ahead_regions_max = 0;  // the store above is for one thread
  VolumeView served(moved, store_.keys(), content.root, volume.bytes.size(), options);
  expect_same(served, volume.bytes, 0, 2 * kRegionBytes);
}

}  // namespace
}  // namespace tidemark::test
