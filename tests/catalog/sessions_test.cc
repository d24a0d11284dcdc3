#include "support.h"

namespace tidemark {
namespace {

class SessionsTest : public ::testing::Test {
 protected:
  void reopen() {
    catalog_.reset();
    catalog_ = open_catalog(directory_.path() / "catalog");
  }
  SessionRow open(std::uint64_t number, std::string asset = "rbd/rbd/vm") {
    SessionRow row;
    row.id = nth<SessionId>(number);
    row.site = "tokyo";
    row.asset = std::move(asset);
    row.parent = nth<PointId>(77);
    row.opened = row.renewed = Timestamp{1000};
    return must(catalog_->open_session(row));
  }
  std::vector<PackId> pinned(std::uint64_t number) {
    std::vector<PackId> packs;
    must(catalog_->each_pinned_pack(nth<SessionId>(number), [&](const PackId& id) {
      packs.push_back(id);
      return Status();
    }));
    return packs;
  }
  std::size_t sessions() {
    std::size_t count = 0;
    must(catalog_->each_session([&](const SessionRow&) {
      ++count;
      return Status();
    }));
    return count;
  }
  TempDir directory_;
  std::unique_ptr<Catalog> catalog_ = open_catalog(directory_.path() / "catalog");
};

TEST_F(SessionsTest, ASessionIsKeptInFull) {
  open(1);
  must(catalog_->renew_session(nth<SessionId>(1), {2000}, 500));
  must(catalog_->renew_session(nth<SessionId>(1), {3000}, 50));
  for (int round = 0; round < 2; ++round, reopen()) {
    const SessionRow row = *must(catalog_->find_session(nth<SessionId>(1)));
    EXPECT_EQ(row.id, nth<SessionId>(1));
    EXPECT_EQ(row.site, "tokyo");
    EXPECT_EQ(row.asset, "rbd/rbd/vm");
    EXPECT_EQ(row.parent, nth<PointId>(77));
    EXPECT_EQ(row.fence, 1U);
    EXPECT_EQ(row.opened, Timestamp{1000});
    EXPECT_EQ(row.renewed, Timestamp{3000});
    EXPECT_EQ(row.stored_bytes, 550U);
  }
}

TEST_F(SessionsTest, FencesGrowWithEachSessionOfAnAssetAndSurviveItsEnd) {
  EXPECT_EQ(must(catalog_->newest_fence("tokyo", "rbd/rbd/vm")), 0U);
  EXPECT_EQ(open(1).fence, 1U);
  EXPECT_EQ(open(2).fence, 2U);
  EXPECT_EQ(open(3, "rbd/rbd/other").fence, 1U);
  must(catalog_->close_session(nth<SessionId>(1)));
  must(catalog_->close_session(nth<SessionId>(2)));
  reopen();
  EXPECT_EQ(must(catalog_->newest_fence("tokyo", "rbd/rbd/vm")), 2U);
  EXPECT_EQ(open(4).fence, 3U);
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(SessionsTest, ChoosesAnIdWhereNoneIsGivenAndRefusesATakenOne) {
  SessionRow row;
  row.site = "tokyo";
  row.asset = "rbd/rbd/vm";
  const SessionRow opened = must(catalog_->open_session(row));
  EXPECT_FALSE(opened.id.is_null());
  EXPECT_EQ(code_of(catalog_->open_session(opened)), ErrorCode::already_exists);
}

TEST_F(SessionsTest, PinsAreKnownUntilTheSessionEnds) {
  open(1);
  open(2, "rbd/rbd/other");
  const std::vector<PackId> packs = {nth<PackId>(5), nth<PackId>(6), nth<PackId>(5)};
  must(catalog_->pin_packs(nth<SessionId>(1), packs));
  must(catalog_->pin_packs(nth<SessionId>(2), std::span(packs).first(1)));
  for (int round = 0; round < 2; ++round, reopen()) EXPECT_EQ(pinned(1).size(), 2U);
  must(catalog_->close_session(nth<SessionId>(1)));
  EXPECT_TRUE(pinned(1).empty());
  EXPECT_EQ(pinned(2).size(), 1U);
  EXPECT_FALSE(must(catalog_->find_session(nth<SessionId>(1))));
  must(catalog_->close_session(nth<SessionId>(1)));
  EXPECT_TRUE(must(catalog_->check()).empty());
}

TEST_F(SessionsTest, AnUnknownSessionCannotPinOrRenew) {
  const PackId pack = nth<PackId>(5);
  EXPECT_EQ(code_of(catalog_->pin_packs(nth<SessionId>(1), std::span(&pack, 1))),
            ErrorCode::not_found);
  EXPECT_EQ(code_of(catalog_->renew_session(nth<SessionId>(1), {1}, 0)), ErrorCode::not_found);
}

TEST_F(SessionsTest, ACommitEndsItsSessionAndItsPins) {
  open(1);
  const PackId pack = nth<PackId>(5);
  must(catalog_->pin_packs(nth<SessionId>(1), std::span(&pack, 1)));
  const PointRow row = make_point(1, "tokyo", "rbd/rbd/vm", {100}, std::nullopt);
  must(catalog_->commit_point(row, {}, nth<SessionId>(1)));
  EXPECT_EQ(sessions(), 0U);
  EXPECT_TRUE(pinned(1).empty());
  // The answer was lost; the source begins again, and its commit says that all is done.
  open(2);
  must(catalog_->commit_point(row, {}, nth<SessionId>(2)));
  EXPECT_EQ(sessions(), 0U);
}

TEST_F(SessionsTest, ASessionThatIsFencedOffEndedOrOfAnotherAssetCannotCommit) {
  open(1);
  open(2);
  open(3, "rbd/rbd/other");
  const PointRow row = make_point(1, "tokyo", "rbd/rbd/vm", {100}, std::nullopt);
  for (const std::uint64_t wrong : {1U, 3U, 9U})
    EXPECT_EQ(code_of(catalog_->commit_point(row, {}, nth<SessionId>(wrong))), ErrorCode::refused);
  EXPECT_FALSE(must(catalog_->find_point(nth<PointId>(1))));
  must(catalog_->commit_point(row, {}, nth<SessionId>(2)));
  EXPECT_EQ(sessions(), 2U);
}

}  // namespace
}  // namespace tidemark
