#include "support.h"

namespace tidemark {
namespace {

constexpr Timestamp kNow{1'790'000'000'000'000};

class PointsTest : public ::testing::Test {
 protected:
  void reopen() {
    catalog_.reset();
    catalog_ = open_catalog(directory_.path() / "catalog");
  }
  PointId as_of(std::string_view site, std::string_view asset, std::int64_t us) {
    const auto row = must(catalog_->find_point_as_of(site, asset, Timestamp{us}));
    return row ? row->point.record.id : PointId{};
  }
  TempDir directory_;
  std::unique_ptr<Catalog> catalog_ = open_catalog(directory_.path() / "catalog");
};

TEST_F(PointsTest, ACommittedPointIsThereInFull) {
  PointRow row = make_point(1, "tokyo", "rbd/rbd/vm", {100}, std::nullopt);
  row.pinned = true;
  row.verified = Timestamp{7};
  must(catalog_->commit_point(row, {}, std::nullopt));
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_TRUE(same_row(*must(catalog_->find_point(nth<PointId>(1))), row));
    EXPECT_TRUE(same_row(*must(catalog_->last_point()), row));
    EXPECT_EQ(must(catalog_->stats()).points, 1U);
    EXPECT_TRUE(must(catalog_->check()).empty());
  }
  EXPECT_FALSE(must(catalog_->find_point(nth<PointId>(2))));
}

TEST_F(PointsTest, AnEmptyCatalogHasNoLastPoint) {
  EXPECT_FALSE(must(catalog_->last_point()));
  EXPECT_TRUE(points(*catalog_).empty());
}

TEST_F(PointsTest, CommittingTheSameRecordAgainIsSuccessAndChangesNothing) {
  const PointRow row = commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  commit(*catalog_, 2, "tokyo", "rbd/rbd/vm", {200});
  const std::size_t entries = journal(*catalog_).size();
  must(catalog_->commit_point(row, {}, std::nullopt));
  EXPECT_EQ(journal(*catalog_).size(), entries);
  EXPECT_EQ(must(catalog_->last_point())->point.record.id, nth<PointId>(2));
  EXPECT_EQ(must(catalog_->stats()).points, 2U);
}

TEST_F(PointsTest, AnotherRecordUnderTheSameIdAlreadyExists) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  PointRow other = make_point(1, "tokyo", "rbd/rbd/vm", {101}, std::nullopt);
  EXPECT_EQ(code_of(catalog_->commit_point(other, {}, std::nullopt)), ErrorCode::already_exists);
}

TEST_F(PointsTest, RefusesAPointThatDoesNotFollowTheLast) {
  const PointRow first = commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  PointRow row = make_point(2, "tokyo", "rbd/rbd/vm", {200}, first);
  for (const std::uint64_t wrong : {0U, 1U, 3U}) {
    row.point.sequence = wrong;
    row.record_hash = sha256(encode(row.point));
    EXPECT_EQ(code_of(catalog_->commit_point(row, {}, std::nullopt)), ErrorCode::refused);
  }
  row.point.sequence = 2;
  row.point.previous = nth<Digest>(9);
  row.record_hash = sha256(encode(row.point));
  EXPECT_EQ(code_of(catalog_->commit_point(row, {}, std::nullopt)), ErrorCode::refused);
  EXPECT_FALSE(must(catalog_->find_point(nth<PointId>(2))));
  reopen();
  row = make_point(2, "tokyo", "rbd/rbd/vm", {200}, first);
  must(catalog_->commit_point(row, {}, std::nullopt));
}

TEST_F(PointsTest, RefusesAHashThatIsNotTheRecords) {
  PointRow row = make_point(1, "tokyo", "rbd/rbd/vm", {100}, std::nullopt);
  row.record_hash = nth<Digest>(3);
  EXPECT_EQ(code_of(catalog_->commit_point(row, {}, std::nullopt)), ErrorCode::invalid_argument);
}

TEST_F(PointsTest, RefusesNamesThatAKeyCannotHold) {
  for (const std::string& bad : {std::string(), std::string("a\0b", 3), std::string("a\nb"),
                                 std::string("a\x7f"), std::string(1025, 'x')}) {
    const PointRow site = make_point(1, bad, "rbd/rbd/vm", {100}, std::nullopt);
    EXPECT_EQ(code_of(catalog_->commit_point(site, {}, std::nullopt)), ErrorCode::invalid_argument);
    const PointRow asset = make_point(1, "tokyo", bad, {100}, std::nullopt);
    EXPECT_EQ(code_of(catalog_->commit_point(asset, {}, std::nullopt)),
              ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(catalog_->find_point_as_of(bad, "rbd/rbd/vm", {1})),
              ErrorCode::invalid_argument);
  }
}

TEST_F(PointsTest, ClosesNodesWithTheCommitAndOnlyThen) {
  must(add(*catalog_, make_pack(1, {20, 21, 22}, BlobKind::node)));
  must(add(*catalog_, make_pack(2, {10})));
  const PointRow row = make_point(1, "tokyo", "rbd/rbd/vm", {100}, std::nullopt);
  const std::vector<ChunkId> absent = {nth<ChunkId>(20), nth<ChunkId>(99)};
  EXPECT_EQ(code_of(catalog_->commit_point(row, absent, std::nullopt)), ErrorCode::not_found);
  const std::vector<ChunkId> not_a_node = {nth<ChunkId>(20), nth<ChunkId>(10)};
  EXPECT_EQ(code_of(catalog_->commit_point(row, not_a_node, std::nullopt)),
            ErrorCode::invalid_argument);
  EXPECT_FALSE(must(catalog_->find_point(nth<PointId>(1))));
  EXPECT_FALSE(find_chunk(*catalog_, 20)->closed);
  const std::vector<ChunkId> closed = {nth<ChunkId>(22), nth<ChunkId>(20)};
  must(catalog_->commit_point(row, closed, std::nullopt));
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_TRUE(find_chunk(*catalog_, 20)->closed);
    EXPECT_FALSE(find_chunk(*catalog_, 21)->closed);
    EXPECT_TRUE(find_chunk(*catalog_, 22)->closed);
  }
}

TEST_F(PointsTest, AsOfGivesTheNewestAtOrBefore) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {-50});
  commit(*catalog_, 2, "tokyo", "rbd/rbd/vm", {300});  // captured later than the next one
  commit(*catalog_, 3, "tokyo", "rbd/rbd/vm", {100});
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", -51), PointId{});
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", -50), nth<PointId>(1));
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 99), nth<PointId>(1));
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 100), nth<PointId>(3));
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 299), nth<PointId>(3));
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 300), nth<PointId>(2));
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", INT64_MAX), nth<PointId>(2));
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", INT64_MIN), PointId{});
  }
}

TEST_F(PointsTest, AsOfPrefersTheLaterCommitAtTheSameInstant) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  commit(*catalog_, 2, "tokyo", "rbd/rbd/vm", {100});
  EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 100), nth<PointId>(2));
}

TEST_F(PointsTest, NamesThatArePrefixesOfOthersAreKeptApart) {
  commit(*catalog_, 1, "to", "rbd/rbd/vm", {100});
  commit(*catalog_, 2, "tokyo", "rbd/rbd/vm", {100});
  commit(*catalog_, 3, "tokyo", "rbd/rbd/vm1", {100});
  commit(*catalog_, 4, "tokyo\xff", "rbd/rbd/vm", {100});
  EXPECT_EQ(as_of("to", "rbd/rbd/vm", 200), nth<PointId>(1));
  EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 200), nth<PointId>(2));
  EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm1", 200), nth<PointId>(3));
  EXPECT_EQ(as_of("tokyo\xff", "rbd/rbd/vm", 200), nth<PointId>(4));
  EXPECT_EQ(as_of("tok", "rbd/rbd/vm", 200), PointId{});
  EXPECT_EQ(points(*catalog_, "to").size(), 1U);
  EXPECT_EQ(points(*catalog_, "tokyo").size(), 2U);
  EXPECT_EQ(points(*catalog_, "tokyo", "rbd/rbd/vm").size(), 1U);
  EXPECT_EQ(points(*catalog_, "", "rbd/rbd/vm").size(), 3U);
}

TEST_F(PointsTest, ListsInTheOrderOfSiteAssetAndTime) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/b", {300});
  commit(*catalog_, 2, "tokyo", "rbd/rbd/b", {100});
  commit(*catalog_, 3, "osaka", "rbd/rbd/z", {900});
  commit(*catalog_, 4, "tokyo", "rbd/rbd/a", {500});
  std::vector<PointId> ids;
  for (const PointRow& row : points(*catalog_)) ids.push_back(row.point.record.id);
  EXPECT_EQ(ids, (std::vector<PointId>{nth<PointId>(3), nth<PointId>(4), nth<PointId>(2),
                                       nth<PointId>(1)}));
}

TEST_F(PointsTest, FindsByAnyPrefixOfTheHexId) {
  std::vector<PointId> ids;
  for (std::uint64_t i = 1; i <= 64; ++i) {
    commit(*catalog_, i, "tokyo", "rbd/rbd/vm", {static_cast<std::int64_t>(i)});
    ids.push_back(nth<PointId>(i));
  }
  std::ranges::sort(ids);
  for (const std::size_t digits : {0U, 1U, 2U, 3U, 31U, 32U}) {
    const std::string prefix = ids[40].hex().substr(0, digits);
    std::vector<PointId> expected;
    for (const PointId& id : ids)
      if (id.hex().starts_with(prefix)) expected.push_back(id);
    std::vector<PointId> found;
    for (const PointRow& row : must(catalog_->find_points_by_prefix(prefix, 1000)))
      found.push_back(row.point.record.id);
    EXPECT_EQ(found, expected) << prefix;
  }
  EXPECT_EQ(must(catalog_->find_points_by_prefix("", 5)).size(), 5U);
  EXPECT_TRUE(must(catalog_->find_points_by_prefix("xyz", 5)).empty());
  EXPECT_TRUE(must(catalog_->find_points_by_prefix(std::string(33, '0'), 5)).empty());
  std::string upper = ids[3].hex();
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(must(catalog_->find_points_by_prefix(upper, 5)).size(), 1U);
}

TEST_F(PointsTest, ADeletedPointIsNotListedButFound) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  commit(*catalog_, 2, "tokyo", "rbd/rbd/vm", {200});
  must(catalog_->set_deleted(nth<PointId>(2), kNow, kNow));
  for (int round = 0; round < 2; ++round, reopen()) {
    EXPECT_EQ(points(*catalog_).size(), 1U);
    EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 300), nth<PointId>(1));
    EXPECT_EQ(must(catalog_->find_point(nth<PointId>(2)))->deleted, kNow);
    EXPECT_EQ(must(catalog_->last_point())->point.record.id, nth<PointId>(2));
    EXPECT_EQ(must(catalog_->find_points_by_prefix("", 9)).size(), 2U);
    EXPECT_EQ(must(catalog_->stats()).points, 1U);
    EXPECT_TRUE(must(catalog_->check()).empty());
  }
  must(catalog_->set_deleted(nth<PointId>(2), std::nullopt, kNow));
  EXPECT_EQ(as_of("tokyo", "rbd/rbd/vm", 300), nth<PointId>(2));
  EXPECT_EQ(must(catalog_->stats()).points, 2U);
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(PointsTest, APinnedPointCannotBeDeletedNorADeletedOnePinned) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  must(catalog_->set_pinned(nth<PointId>(1), true, kNow));
  EXPECT_EQ(code_of(catalog_->set_deleted(nth<PointId>(1), kNow, kNow)), ErrorCode::refused);
  reopen();
  EXPECT_TRUE(must(catalog_->find_point(nth<PointId>(1)))->pinned);
  must(catalog_->set_pinned(nth<PointId>(1), false, kNow));
  must(catalog_->set_deleted(nth<PointId>(1), kNow, kNow));
  EXPECT_EQ(code_of(catalog_->set_pinned(nth<PointId>(1), true, kNow)), ErrorCode::refused);
  must(catalog_->set_pinned(nth<PointId>(1), false, kNow));
}

TEST_F(PointsTest, ChangesOfAnUnknownPointAreNotFound) {
  EXPECT_EQ(code_of(catalog_->set_pinned(nth<PointId>(1), true, kNow)), ErrorCode::not_found);
  EXPECT_EQ(code_of(catalog_->set_deleted(nth<PointId>(1), kNow, kNow)), ErrorCode::not_found);
  EXPECT_EQ(code_of(catalog_->set_verified(nth<PointId>(1), kNow)), ErrorCode::not_found);
}

TEST_F(PointsTest, DecisionsAreInTheJournalAndRepeatingOneIsNot) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  must(catalog_->set_pinned(nth<PointId>(1), true, kNow));
  must(catalog_->set_pinned(nth<PointId>(1), true, kNow));
  must(catalog_->set_pinned(nth<PointId>(1), false, kNow));
  must(catalog_->set_deleted(nth<PointId>(1), kNow, kNow));
  must(catalog_->set_deleted(nth<PointId>(1), std::nullopt, kNow));
  must(catalog_->set_verified(nth<PointId>(1), kNow));
  std::vector<std::string> kinds;
  for (const JournalEntry& entry : journal(*catalog_)) {
    kinds.push_back(entry.kind);
    EXPECT_NE(entry.text.find(nth<PointId>(1).hex()), std::string::npos);
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"commit", "pin", "unpin", "delete", "undelete"}));
}

TEST_F(PointsTest, VerifiedIsKept) {
  commit(*catalog_, 1, "tokyo", "rbd/rbd/vm", {100});
  must(catalog_->set_verified(nth<PointId>(1), kNow));
  reopen();
  EXPECT_EQ(must(catalog_->find_point(nth<PointId>(1)))->verified, kNow);
}

TEST_F(PointsTest, TheCatalogMayBeCalledWhileListing) {
  for (std::uint64_t i = 1; i <= 10; ++i)
    commit(*catalog_, i, "tokyo", "rbd/rbd/vm", {static_cast<std::int64_t>(i)});
  int seen = 0;
  must(catalog_->each_point("", "", [&](const PointRow& row) {
    ++seen;
    return catalog_->set_deleted(row.point.record.id, kNow, kNow);
  }));
  EXPECT_EQ(seen, 10);
  EXPECT_TRUE(points(*catalog_).empty());
}

}  // namespace
}  // namespace tidemark
