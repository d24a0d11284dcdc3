#include "support.h"

namespace tidemark {
namespace {

class ChunksTest : public ::testing::Test {
 protected:
  void reopen() {
    catalog_.reset();
    catalog_ = open_catalog(directory_.path() / "catalog");
  }
  TempDir directory_;
  std::unique_ptr<Catalog> catalog_ = open_catalog(directory_.path() / "catalog");
};

TEST_F(ChunksTest, FindsWhatAPackHoldsAndNothingElse) {
  const TestPack pack = make_pack(1, {10, 11, 12});
  must(add(*catalog_, pack));
  const std::vector<ChunkId> ids = {nth<ChunkId>(12), nth<ChunkId>(99), nth<ChunkId>(10),
                                    nth<ChunkId>(12), nth<ChunkId>(11)};
  for (int round = 0; round < 2; ++round, reopen()) {
    const auto rows = must(catalog_->find_chunks(ids));
    ASSERT_EQ(rows.size(), 5U);
    EXPECT_EQ(rows[0]->location.entry, pack.entries[2]);
    EXPECT_FALSE(rows[1]);
    EXPECT_EQ(rows[2]->location.entry, pack.entries[0]);
    EXPECT_EQ(rows[3]->location.entry, pack.entries[2]);
    EXPECT_EQ(rows[4]->location.entry, pack.entries[1]);
    for (const std::size_t i : {0U, 2U, 3U, 4U}) EXPECT_EQ(rows[i]->location.pack, pack.row.id);
    EXPECT_FALSE(rows[0]->closed);
  }
}

TEST_F(ChunksTest, FindsNothingForNoIds) { EXPECT_TRUE(must(catalog_->find_chunks({})).empty()); }

TEST_F(ChunksTest, ExtremeFieldsOfAnEntrySurvive) {
  PackEntry entry = make_entry(1, 0, BlobKind::node);
  entry.codec = Codec::raw;
  entry.offset = (std::uint64_t{1} << 63) + 5;
  entry.stored_size = UINT32_MAX;
  entry.plain_size = UINT32_MAX;
  const PackRow row{nth<PackId>(1), UINT64_MAX, 1, false};
  must(catalog_->add_pack(row, std::span(&entry, 1)));
  EXPECT_EQ(find_chunk(*catalog_, 1)->location.entry, entry);
}

TEST_F(ChunksTest, AKnownChunkKeepsItsPlace) {
  must(add(*catalog_, make_pack(1, {10, 11})));
  must(add(*catalog_, make_pack(2, {11, 12})));
  EXPECT_EQ(find_chunk(*catalog_, 11)->location.pack, nth<PackId>(1));
  EXPECT_EQ(find_chunk(*catalog_, 12)->location.pack, nth<PackId>(2));
}

TEST_F(ChunksTest, AChunkTwiceInOnePackIsCountedOnce) {
  must(add(*catalog_, make_pack(1, {10, 10, 10})));
  EXPECT_EQ(find_chunk(*catalog_, 10)->location.entry.ordinal, 0U);
  EXPECT_EQ(must(catalog_->stats()).chunks, 1U);
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(ChunksTest, AddingAPackTwiceChangesNothing) {
  const TestPack pack = make_pack(1, {10, 11});
  must(add(*catalog_, pack));
  const CatalogStats before = must(catalog_->stats());
  must(add(*catalog_, pack));
  EXPECT_EQ(must(catalog_->stats()).packs, before.packs);
  EXPECT_EQ(must(catalog_->stats()).plain_bytes, before.plain_bytes);
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(ChunksTest, RefusesEntriesThatDoNotFitTheirPack) {
  TestPack pack = make_pack(1, {10, 11});
  pack.row.entries = 3;
  EXPECT_EQ(code_of(add(*catalog_, pack)), ErrorCode::invalid_argument);
  pack = make_pack(1, {10, 11});
  pack.entries[1].offset = pack.row.size_bytes - 99;
  EXPECT_EQ(code_of(add(*catalog_, pack)), ErrorCode::invalid_argument);
  pack.entries[1].offset = UINT64_MAX - 1;  // offset + size would overflow
  EXPECT_EQ(code_of(add(*catalog_, pack)), ErrorCode::invalid_argument);
  pack = make_pack(1, {10, 11});
  pack.entries[1].ordinal = 2;
  EXPECT_EQ(code_of(add(*catalog_, pack)), ErrorCode::invalid_argument);
  EXPECT_FALSE(must(catalog_->find_pack(nth<PackId>(1))));
  EXPECT_FALSE(find_chunk(*catalog_, 10));
}

TEST_F(ChunksTest, ChunksOfADamagedPackReadAsAbsentUntilAnotherPackHasThem) {
  must(add(*catalog_, make_pack(1, {10, 11})));
  must(add(*catalog_, make_pack(2, {12})));
  must(catalog_->mark_pack_damaged(nth<PackId>(1)));
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_FALSE(find_chunk(*catalog_, 10));
    EXPECT_FALSE(find_chunk(*catalog_, 11));
    EXPECT_TRUE(find_chunk(*catalog_, 12));
    EXPECT_TRUE(must(catalog_->find_pack(nth<PackId>(1)))->damaged);
  }
  must(add(*catalog_, make_pack(3, {10})));
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_EQ(find_chunk(*catalog_, 10)->location.pack, nth<PackId>(3));
    EXPECT_FALSE(find_chunk(*catalog_, 11));
  }
  EXPECT_EQ(must(catalog_->stats()).chunks, 3U);
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(ChunksTest, ADamagedPackThatIsAddedAgainIsWhole) {
  must(add(*catalog_, make_pack(1, {10, 11, 12})));
  must(catalog_->mark_pack_damaged(nth<PackId>(1)));
  must(add(*catalog_, make_pack(2, {11, 12})));
  must(catalog_->mark_pack_damaged(nth<PackId>(2)));
  must(add(*catalog_, make_pack(3, {12})));
  must(add(*catalog_, make_pack(1, {10, 11, 12})));
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_FALSE(must(catalog_->find_pack(nth<PackId>(1)))->damaged);
    EXPECT_EQ(find_chunk(*catalog_, 10)->location.pack, nth<PackId>(1));
    // Its later place is damaged, too.
    EXPECT_EQ(find_chunk(*catalog_, 11)->location.pack, nth<PackId>(1));
    EXPECT_EQ(find_chunk(*catalog_, 12)->location.pack, nth<PackId>(3));
    EXPECT_EQ(must(catalog_->stats()).packs, 3U);
    EXPECT_EQ(must(catalog_->stats()).chunks, 3U);
    EXPECT_TRUE(must(catalog_->check()).empty());
  }
}

TEST_F(ChunksTest, MovedChunksLieInTheNewPackAndNoOthersDo) {
  must(add(*catalog_, make_pack(1, {10, 11, 12})));
  must(add(*catalog_, make_pack(2, {20, 21})));
  must(add(*catalog_, make_pack(3, {30})));
  const CatalogStats before = must(catalog_->stats());
  const TestPack fresh = make_pack(4, {11, 20, 30, 40});
  const std::vector<PackId> from = {nth<PackId>(1), nth<PackId>(2), nth<PackId>(9)};
  for (int round = 0; round < 2; ++round, reopen()) {
    must(catalog_->move_chunks(fresh.row, fresh.entries, from));
    const auto lies_in = [&](std::uint64_t chunk, std::uint64_t pack) {
      EXPECT_EQ(find_chunk(*catalog_, chunk)->location.pack, nth<PackId>(pack)) << chunk;
    };
    lies_in(10, 1);
    lies_in(11, 4);
    lies_in(12, 1);
    lies_in(20, 4);
    lies_in(21, 2);
    lies_in(30, 3);  // its pack was not named
    lies_in(40, 4);
    EXPECT_EQ(find_chunk(*catalog_, 20)->location.entry, fresh.entries[1]);
    EXPECT_EQ(must(catalog_->stats()).packs, before.packs + 1);
    EXPECT_EQ(must(catalog_->stats()).chunks, before.chunks + 1);
    EXPECT_TRUE(must(catalog_->check()).empty());
  }
  // What is left there goes without them.
  const std::vector<PackId> gone = {nth<PackId>(1)};
  const std::vector<ChunkId> rows = {nth<ChunkId>(10), nth<ChunkId>(11), nth<ChunkId>(12)};
  must(catalog_->drop_packs(gone, rows));
  EXPECT_TRUE(find_chunk(*catalog_, 11));
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(ChunksTest, AMovedNodeStaysClosed) {
  must(add(*catalog_, make_pack(1, {20, 21}, BlobKind::node)));
  const ChunkId node = nth<ChunkId>(20);
  must(catalog_->commit_point(make_point(1, "tokyo", "rbd/rbd/a", {1}, std::nullopt),
                              std::span(&node, 1), std::nullopt));
  const TestPack fresh = make_pack(2, {20, 21}, BlobKind::node);
  const PackId from = nth<PackId>(1);
  must(catalog_->move_chunks(fresh.row, fresh.entries, std::span(&from, 1)));
  EXPECT_EQ(find_chunk(*catalog_, 20)->location.pack, nth<PackId>(2));
  EXPECT_TRUE(find_chunk(*catalog_, 20)->closed);
  EXPECT_FALSE(find_chunk(*catalog_, 21)->closed);
}

TEST_F(ChunksTest, AKnownPackThatIsAddedAgainTakesBackWhatHasNoPlace) {
  const TestPack old = make_pack(1, {10, 11}), fresh = make_pack(2, {10});
  must(add(*catalog_, old));
  const PackId from = nth<PackId>(1), gone = nth<PackId>(2);
  must(catalog_->move_chunks(fresh.row, fresh.entries, std::span(&from, 1)));
  const ChunkId moved = nth<ChunkId>(10);
  must(catalog_->drop_packs(std::span(&gone, 1), std::span(&moved, 1)));
  EXPECT_FALSE(find_chunk(*catalog_, 10));
  must(add(*catalog_, old));
  EXPECT_EQ(find_chunk(*catalog_, 10)->location.pack, nth<PackId>(1));
  EXPECT_EQ(must(catalog_->stats()).packs, 1U);
  EXPECT_EQ(must(catalog_->stats()).chunks, 2U);
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(ChunksTest, MarkingAPackTwiceIsTheSameAndAnUnknownOneIsNotFound) {
  must(add(*catalog_, make_pack(1, {10})));
  must(catalog_->mark_pack_damaged(nth<PackId>(1)));
  must(catalog_->mark_pack_damaged(nth<PackId>(1)));
  EXPECT_EQ(code_of(catalog_->mark_pack_damaged(nth<PackId>(2))), ErrorCode::not_found);
}

TEST_F(ChunksTest, DamageVoidsTheClosedMarksOfAllNodes) {
  must(add(*catalog_, make_pack(1, {10})));
  must(add(*catalog_, make_pack(2, {20}, BlobKind::node)));
  const PointRow first = make_point(1, "tokyo", "rbd/rbd/a", {1}, std::nullopt);
  const ChunkId node = nth<ChunkId>(20);
  must(catalog_->commit_point(first, std::span(&node, 1), std::nullopt));
  EXPECT_TRUE(find_chunk(*catalog_, 20)->closed);
  must(catalog_->mark_pack_damaged(nth<PackId>(1)));
  for (int round = 0; round < 2; ++round, reopen()) EXPECT_FALSE(find_chunk(*catalog_, 20)->closed);
  const PointRow second = make_point(2, "tokyo", "rbd/rbd/a", {2}, first);
  must(catalog_->commit_point(second, std::span(&node, 1), std::nullopt));
  for (int round = 0; round < 2; ++round, reopen()) EXPECT_TRUE(find_chunk(*catalog_, 20)->closed);
}

TEST_F(ChunksTest, ListsPacksAndStopsWhenAsked) {
  for (std::uint64_t i = 1; i <= 20; ++i) must(add(*catalog_, make_pack(i, {i})));
  std::vector<PackId> seen;
  must(catalog_->each_pack([&](const PackRow& row) {
    seen.push_back(row.id);
    EXPECT_EQ(row.size_bytes, 1100U);
    EXPECT_EQ(row.entries, 1U);
    return Status();
  }));
  EXPECT_EQ(seen.size(), 20U);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  int calls = 0;
  const Status stopped = catalog_->each_pack([&](const PackRow&) -> Status {
    if (++calls == 3) return Error(ErrorCode::cancelled, "enough");
    return {};
  });
  EXPECT_EQ(code_of(stopped), ErrorCode::cancelled);
  EXPECT_EQ(calls, 3);
}

TEST_F(ChunksTest, StatisticsFollowWhatIsAdded) {
  must(add(*catalog_, make_pack(1, {10, 11})));
  must(add(*catalog_, make_pack(2, {20}, BlobKind::node)));
  for (int round = 0; round < 2; ++round, reopen()) {
    const CatalogStats stats = must(catalog_->stats());
    EXPECT_EQ(stats.packs, 2U);
    EXPECT_EQ(stats.pack_bytes, 1200U + 1100U);
    EXPECT_EQ(stats.chunks, 2U);
    EXPECT_EQ(stats.nodes, 1U);
    EXPECT_EQ(stats.plain_bytes, 3U * 4096U);
    EXPECT_EQ(stats.points, 0U);
  }
}

// More ids than one lookup takes at a time, more packs than the cache of pack numbers has places
// for.
TEST_F(ChunksTest, LargeBatchesOverManyPacks) {
  std::vector<ChunkId> ids;
  for (std::uint64_t pack = 0; pack < 500; ++pack) {
    std::vector<std::uint64_t> chunks;
    for (std::uint64_t i = 0; i < 20; ++i) chunks.push_back(1000 + pack * 20 + i);
    must(add(*catalog_, make_pack(pack, chunks)));
  }
  for (std::uint64_t i = 0; i < 11000; ++i) ids.push_back(nth<ChunkId>(i));
  reopen();
  for (int round = 0; round < 2; ++round) {  // without and with what the first one has cached
    const auto rows = must(catalog_->find_chunks(ids));
    for (std::uint64_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(rows[i].has_value(), i >= 1000) << i;
      if (!rows[i]) continue;
      ASSERT_EQ(rows[i]->location.entry.id, ids[i]);
      ASSERT_EQ(rows[i]->location.pack, nth<PackId>((i - 1000) / 20));
    }
  }
}

}  // namespace
}  // namespace tidemark
