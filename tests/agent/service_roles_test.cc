// Only the holder of an asset sends points of it, whatever was begun before, also after a restart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/agent/collect_support.h"

namespace tidemark::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr const char* kAsset = "rbd/rbd/vm-1";

bool is_role(std::string_view name) { return name.starts_with("roles/"); }

class RolesTest : public ::testing::Test {
 protected:
  StoreService& service() { return store_.service(); }
  PointRow add(const std::string& asset = kAsset) {
    return store_.add_point("tokyo", asset, make_content(store_.keys(), 10, ++seed_));
  }
  // Under a rule that keeps one.
  PointRow add_kept() {
    const auto session = must(service().begin("tokyo", kAsset, {}));
    PointRecord record = store_.record(session, "tokyo", kAsset, {});
    record.labels[std::string(kKeepLabel)] = "last=1";
    store_.clock().advance(std::chrono::hours(1));
    return must(service().commit(session, store_.sealed(std::move(record))));
  }
  // What retention would drop.
  std::vector<PointId> going() {
    std::vector<PointId> out;
    const auto role_of = [this](const std::string& site, const std::string& asset) {
      return service().role_of(site, asset);
    };
    for (const PlannedPoint& point :
         plan_retention(must(service().points("", "")), {}, store_.clock().now(), role_of))
      if (!point.decision.keep()) out.push_back(point.row.point.record.id);
    return out;
  }
  Status hand_to(const std::string& holder, std::uint64_t token, const PointId& point = {}) {
    AssetRole role;
    role.point = point;
    role.site = "tokyo";
    role.asset = kAsset;
    role.token = token;
    role.holder = holder;
    return service().set_role(role);
  }
  // What the site had when its asset came back.
  PointRow add_discarded(std::uint64_t token, bool keep_last = false) {
    const auto session = must(service().begin_discarded("tokyo", kAsset, {}, token));
    const Content content = make_content(store_.keys(), 10, ++seed_);
    must(send(service(), session, content));
    PointRecord record = store_.record(session, "tokyo", kAsset, content.root);
    record.labels[std::string(kDiscardedLabel)] = std::to_string(token);
    if (keep_last) record.labels[std::string(kKeepLabel)] = "last=1";
    store_.clock().advance(std::chrono::hours(1));
    record.time = store_.clock().now();
    return must(service().commit(session, store_.sealed(std::move(record))));
  }
  std::optional<ErrorCode> begin(const std::string& site = "tokyo") {
    return code_of(service().begin(site, kAsset, {}));
  }

  TestService store_;
  std::uint64_t seed_ = 0;
};

TEST_F(RolesTest, AnAssetIsItsOwnSitesUntilThatChanges) {
  const AssetRole role = must(service().role_of("tokyo", kAsset));
  EXPECT_EQ(role.holder, "tokyo");
  EXPECT_EQ(role.token, 0U);
  add();
}

TEST_F(RolesTest, TheSiteThatWasLostBeginsNothingAndFinishesNothing) {
  const Content content = make_content(store_.keys(), 10, 99);
  const UploadSession open = must(service().begin("tokyo", kAsset, {}));
  must(send(service(), open, content));
  must(hand_to("osaka", 1));
  const auto commit =
      service().commit(open, store_.sealed(store_.record(open, "tokyo", kAsset, content.root)));
  EXPECT_EQ(code_of(commit), ErrorCode::refused);
  EXPECT_THAT(commit.error().message(), HasSubstr("in use at site osaka"));
  EXPECT_EQ(begin(), ErrorCode::refused);
  EXPECT_TRUE(must(service().points("tokyo", kAsset)).empty());
  add("rbd/rbd/another");
  EXPECT_EQ(begin("kyoto"), std::nullopt) << "another site's asset of that name";
}

TEST_F(RolesTest, ARoleOutlivesTheServiceAndItsCatalog) {
  must(hand_to("osaka", 7));
  store_.reopen_without_catalog();
  EXPECT_EQ(must(service().role_of("tokyo", kAsset)).token, 7U);
  EXPECT_EQ(begin(), ErrorCode::refused);
}

TEST_F(RolesTest, OnlyAHigherTokenChangesIt) {
  must(hand_to("osaka", 2));
  EXPECT_EQ(code_of(hand_to("kyoto", 2)), ErrorCode::refused);
  EXPECT_EQ(code_of(hand_to("kyoto", 1)), ErrorCode::refused);
  EXPECT_EQ(must(service().role_of("tokyo", kAsset)).holder, "osaka");
  must(hand_to("kyoto", 3));
}

// Else a promotion that was told to have failed would come to pass at some later start.
TEST_F(RolesTest, AWriteWhoseAnswerWasLostCountsByWhatIsThere) {
  store_.faults().add({.op = BackendOp::replace, .when = is_role, .kind = FaultKind::lost_answer});
  must(hand_to("osaka", 1));
  EXPECT_EQ(begin(), ErrorCode::refused);
  store_.faults().add({.op = BackendOp::replace, .when = is_role});
  EXPECT_EQ(code_of(hand_to("", 2)), ErrorCode::unavailable);
  EXPECT_EQ(must(service().role_of("tokyo", kAsset)).token, 1U);
  must(hand_to("", 2));
}

TEST_F(RolesTest, WhileItIsNotKnownWhatIsThereNobodyIsLetIn) {
  store_.faults().add({.op = BackendOp::replace, .when = is_role, .kind = FaultKind::lost_answer});
  store_.faults().add({.op = BackendOp::read, .calls = 3, .when = is_role});
  EXPECT_EQ(code_of(hand_to("osaka", 1)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(service().role_of("tokyo", kAsset)), ErrorCode::unavailable);
  EXPECT_EQ(begin(), ErrorCode::unavailable);
  add("rbd/rbd/another");
  EXPECT_EQ(begin(), ErrorCode::refused) << "osaka has it";
  EXPECT_EQ(must(service().settled_role_of("tokyo", kAsset)).holder, "osaka");
  EXPECT_EQ(code_of(hand_to("kyoto", 1)), ErrorCode::refused);
}

TEST_F(RolesTest, NoPointIsCommittedBetweenTheChoiceAndTheRole) {
  add();
  const Content content = make_content(store_.keys(), 10, 98);
  const UploadSession open = must(service().begin("tokyo", kAsset, {}));
  must(send(service(), open, content));
  const Bytes record = store_.sealed(store_.record(open, "tokyo", kAsset, content.root));
  std::optional<ErrorCode> committed;
  std::thread late;
  AssetRole role;
  role.site = "tokyo";
  role.asset = kAsset;
  role.token = 1;
  role.holder = "osaka";
  role = must(service().set_role_at(role, [&]() -> Result<PointRow> {
    late = std::thread([&] { committed = code_of(service().commit(open, record)); });
    // It is let wait, which nothing shows.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return service().find(newest_of("tokyo", kAsset));
  }));
  late.join();
  EXPECT_EQ(committed, ErrorCode::refused);
  EXPECT_EQ(must(service().find(newest_of("tokyo", kAsset))).point.record.id, role.point);
}

TEST_F(RolesTest, TheHolderGoesOnWithTheAssetsLine) {
  const PointRow before = add();
  must(hand_to("osaka", 1));
  EXPECT_EQ(code_of(service().begin_as("kyoto", "tokyo", kAsset, {})), ErrorCode::refused);
  const Content content = make_content(store_.keys(), 10, 5);
  const auto session = must(service().begin_as("osaka", "tokyo", kAsset, before.point.record.id));
  must(send(service(), session, content));
  PointRecord record = store_.record(session, "tokyo", kAsset, content.root);
  record.parent = before.point.record.id;
  must(service().commit(session, store_.sealed(std::move(record))));
  EXPECT_EQ(must(service().points("tokyo", kAsset)).size(), 2U);
}

TEST_F(RolesTest, WhatWasHandedOverIsTakenBackByItsOwnSite) {
  must(hand_to("osaka", 1));
  EXPECT_EQ(code_of(service().take_back("tokyo", kAsset)), ErrorCode::refused);
  must(hand_to("", 2));
  EXPECT_EQ(begin(), ErrorCode::refused) << "what is stale is not sent";
  EXPECT_EQ(code_of(service().begin_discarded("tokyo", kAsset, {}, 1)), ErrorCode::refused);
  EXPECT_EQ(code_of(service().begin_discarded("tokyo", kAsset, {}, 2)), std::nullopt);
  must(service().take_back("tokyo", kAsset));
  must(service().take_back("tokyo", kAsset));
  const AssetRole role = must(service().role_of("tokyo", kAsset));
  EXPECT_EQ(role.holder, "tokyo");
  EXPECT_EQ(role.token, 3U);
  add();
}

// `restore latest`, the next backup's base, what a standby follows: all ask for the newest.
TEST_F(RolesTest, WhatWasDiscardedIsNobodysNewestPoint) {
  const PointRow handed_over = add();
  must(hand_to("", 2));
  const PointRow discarded = add_discarded(2);
  const auto bare = must(BareStore::open(store_.backend()));
  for (PointStore* const store : std::initializer_list<PointStore*>{&service(), bare.get()}) {
    const auto meant = [&](const PointQuery& query) {
      return must(store->find(query)).point.record.id;
    };
    EXPECT_EQ(meant(newest_of("tokyo", kAsset)), handed_over.point.record.id);
    EXPECT_EQ(meant(as_of("tokyo", kAsset, store_.clock().now())), handed_over.point.record.id);
    EXPECT_EQ(meant(by_id(discarded.point.record.id.hex())), discarded.point.record.id);
  }
  must(service().remove(handed_over.point.record.id));
  EXPECT_EQ(must(service().find(newest_of("tokyo", kAsset))).point.record.id,
            discarded.point.record.id)
      << "better than none";
}

// A failback that is interrupted for days, under a rule that keeps one point.
TEST_F(RolesTest, ThePointOfARoleStaysUntilTheAssetIsBack) {
  const PointRow first = add_kept(), handed_over = add_kept();
  must(hand_to("", 2, handed_over.point.record.id));
  const PointRow discarded = add_discarded(2, true);
  EXPECT_THAT(going(), ElementsAre(first.point.record.id));
  EXPECT_EQ(code_of(service().remove(handed_over.point.record.id)), ErrorCode::refused);
  must(service().take_back("tokyo", kAsset));
  EXPECT_THAT(going(), ElementsAre(first.point.record.id)) << "it is the newest";
  add_kept();
  EXPECT_THAT(going(), UnorderedElementsAre(first.point.record.id, handed_over.point.record.id,
                                            discarded.point.record.id));
  must(service().remove(handed_over.point.record.id));
}

TEST_F(RolesTest, NorDoesThePointGoThatWasDeletedBeforeItWasPromotedAt) {
  const PointRow point = add(), other = add();
  must(service().remove(point.point.record.id));
  must(service().remove(other.point.record.id));
  add();
  must(hand_to("osaka", 1, point.point.record.id));
  CollectRequest request;
  request.grace = std::chrono::microseconds(0);
  store_.clock().advance(std::chrono::minutes(1));
  EXPECT_EQ(must(service().collect(request)).points_dropped, 1U);
  EXPECT_FALSE(service().find(by_id(other.point.record.id.hex())));
  must(service().find(by_id(point.point.record.id.hex())));
}

TEST_F(RolesTest, WhereTheRoleCannotBeReadNoPointOfTheAssetGoes) {
  const PointRow first = add_kept();
  add_kept();
  EXPECT_THAT(going(), ElementsAre(first.point.record.id));
  must(service().backend().replace(role_blob_name("tokyo", kAsset), as_bytes("nonsense")));
  store_.reopen();
  EXPECT_THAT(going(), IsEmpty());
  EXPECT_EQ(code_of(service().remove(first.point.record.id)), ErrorCode::refused);
}

TEST_F(RolesTest, ARoleThatCannotBeReadLetsNobodyIn) {
  must(hand_to("osaka", 1));
  must(service().backend().replace(role_blob_name("tokyo", kAsset), as_bytes("nonsense")));
  store_.reopen();
  EXPECT_EQ(begin(), ErrorCode::corruption);
  add("rbd/rbd/another");
  must(hand_to("osaka", 2));
  EXPECT_EQ(begin(), ErrorCode::refused);
}

}  // namespace
}  // namespace tidemark::test
