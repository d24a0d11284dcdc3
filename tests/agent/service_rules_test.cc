// What a store holds its peers to, whatever they say themselves: locks and quotas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/collect_support.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using ::testing::HasSubstr;

constexpr const char* kAsset = "rbd/rbd/vm-1";

class RulesTest : public ::testing::Test {
 protected:
  StoreService& service() { return store_.service(); }
  PointRow add(const std::string& site, std::uint64_t seed) {
    return store_.add_point(site, kAsset, make_content(store_.keys(), 60, seed));
  }
  void lock(const std::string& site, std::chrono::microseconds time) {
    must(service().set_rules({{site, {time, std::nullopt}}}));
  }
  void limit(const std::string& site, std::uint64_t bytes) {
    must(service().set_rules({{site, {std::nullopt, bytes}}}));
  }
  CollectReport collect() {
    CollectRequest request;
    request.grace = hours(1);
    return must(service().collect(request));
  }
  std::optional<ErrorCode> remove(const PointRow& row) {
    return code_of(service().remove(row.point.record.id));
  }

  TestService store_;
};

TEST_F(RulesTest, NobodyDeletesAPointBeforeItsSitesLockEnds) {
  const PointRow tokyo = add("tokyo", 1), kyoto = add("kyoto", 2);
  lock("tokyo", hours(48));
  store_.clock().advance(hours(47));
  const auto refused = service().remove(tokyo.point.record.id);
  EXPECT_EQ(code_of(refused), ErrorCode::refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("locked until"));
  must(service().remove(kyoto.point.record.id));
  store_.clock().advance(hours(1));
  must(service().remove(tokyo.point.record.id));
}

TEST_F(RulesTest, AShorterLockOfTheSourceShortensNothingAndALongerOneHolds) {
  const auto add_locked = [&](std::uint64_t seed, const char* keep) {
    const Content content = make_content(store_.keys(), 20, seed);
    const UploadSession session = must(service().begin("tokyo", kAsset, {}));
    must(send(service(), session, content));
    PointRecord record = store_.record(session, "tokyo", kAsset, content.root);
    record.labels[std::string(kKeepLabel)] = keep;
    return must(service().commit(session, store_.sealed(std::move(record))));
  };
  const PointRow shorter = add_locked(1, "last=1 locked_for=60s");
  const PointRow longer = add_locked(2, "last=1 locked_for=360000s");
  lock("tokyo", hours(48));
  store_.clock().advance(hours(47));
  EXPECT_EQ(remove(shorter), ErrorCode::refused);
  store_.clock().advance(hours(1));
  must(service().remove(shorter.point.record.id));
  EXPECT_EQ(remove(longer), ErrorCode::refused);
}

TEST_F(RulesTest, AClockThatIsTurnedEndsNoLock) {
  const PointRow row = add("tokyo", 1);
  lock("tokyo", hours(48));
  store_.clock().jump(hours(72));  // it seems to be over
  EXPECT_EQ(remove(row), ErrorCode::refused);
  store_.clock().jump(-hours(144));
  EXPECT_EQ(remove(row), ErrorCode::refused);
  store_.reopen();
  lock("tokyo", hours(48));
  EXPECT_EQ(remove(row), ErrorCode::refused);
}

TEST_F(RulesTest, AReloadShortensLiftsAndSetsALock) {
  const PointRow first = add("tokyo", 1), second = add("tokyo", 2), third = add("tokyo", 3);
  lock("tokyo", hours(48));
  store_.clock().advance(hours(24));
  EXPECT_EQ(remove(first), ErrorCode::refused);
  lock("tokyo", hours(24));
  must(service().remove(first.point.record.id));
  lock("tokyo", hours(25));
  EXPECT_EQ(remove(second), ErrorCode::refused);
  must(service().set_rules({}));
  must(service().remove(second.point.record.id));
  lock("tokyo", hours(25));
  EXPECT_EQ(remove(third), ErrorCode::refused);
}

TEST_F(RulesTest, APointThatWasDeletedBeforeTheLockWasSetStaysUntilItEnds) {
  const PointRow row = add("tokyo", 1);
  add("kyoto", 2);
  must(service().remove(row.point.record.id));
  lock("tokyo", hours(48));
  store_.clock().advance(hours(2));
  EXPECT_EQ(collect().points_dropped, 0U);
  must(service().undelete(row.point.record.id));
  read_all(service(), store_.keys(), row.point.record.root);
  must(service().set_rules({}));
  must(service().remove(row.point.record.id));
  store_.clock().advance(hours(2));
  EXPECT_EQ(collect().points_dropped, 1U);
}

// A source that was taken over sends many points that its own rule would keep instead of the old.
TEST_F(RulesTest, ForgedPointsPushNoneOutWhileTheyAreLocked) {
  const StoreRules rules = {{"tokyo", {hours(48), std::nullopt}}};
  KeepConfig keep;
  keep.last = 1;
  for (std::uint64_t i = 0; i < 5; ++i) {
    const UploadSession session = must(service().begin("tokyo", kAsset, {}));
    PointRecord record = store_.record(session, "tokyo", kAsset, {});
    record.labels[std::string(kKeepLabel)] = keep_text(keep);
    must(service().commit(session, store_.sealed(std::move(record))));
  }
  const auto planned = [&](const StoreRules& by) {
    std::size_t kept = 0;
    for (const auto& point :
         plan_retention(must(service().points("", "")), by, store_.clock().now()))
      if (point.decision.keep()) ++kept;
    return kept;
  };
  store_.clock().advance(hours(1));
  EXPECT_EQ(planned(rules), 5U);
  EXPECT_EQ(planned({}), 1U);
  const auto plan = plan_retention(must(service().points("", "")), rules, store_.clock().now());
  EXPECT_THAT(explain(plan.front().decision),
              HasSubstr("locked until " + format_time(store_.clock().now() + hours(47)) +
                        " by this store's rule for tokyo"));
  store_.clock().advance(hours(47));
  EXPECT_EQ(planned(rules), 1U);
}

TEST_F(RulesTest, BeyondItsQuotaASiteSendsNothingAndReadsOn) {
  const PointRow row = add("tokyo", 1);
  const std::uint64_t used = row.point.stored_bytes;
  limit("tokyo", used);
  EXPECT_EQ(service().used_by("tokyo"), used);
  const auto refused = service().begin("tokyo", kAsset, {});
  EXPECT_EQ(code_of(refused), ErrorCode::resource_exhausted);
  EXPECT_THAT(refused.error().message(), HasSubstr("quota of site tokyo"));
  EXPECT_THAT(refused.error().hint(), HasSubstr("peers.tokyo.quota"));
  read_all(service(), store_.keys(), row.point.record.root);
  add("kyoto", 2);
  // A reload raises it.
  limit("tokyo", 4 * used);
  add("tokyo", 3);
  EXPECT_GT(*service().used_by("tokyo"), used);
}

TEST_F(RulesTest, WhatOpenSessionsSentCounts) {
  const Content content = make_content(store_.keys(), 60, 1);
  limit("tokyo", 1);
  const UploadSession session = must(service().begin("tokyo", kAsset, {}));
  EXPECT_EQ(code_of(send(service(), session, content)), ErrorCode::resource_exhausted);
  std::uint64_t bytes = 0;
  for (const auto& pack : content.packs) bytes += pack.bytes.size();
  limit("tokyo", bytes);
  must(send(service(), session, content));
  // What is there may be sent again.
  must(service().put_pack(session, content.packs[0].id, content.packs[0].bytes));
  EXPECT_EQ(code_of(service().begin("tokyo", "rbd/rbd/vm-2", {})), ErrorCode::resource_exhausted);
  // What was sent in full may be committed.
  must(service().commit(session,
                        store_.sealed(store_.record(session, "tokyo", kAsset, content.root))));
  EXPECT_EQ(service().used_by("tokyo"), bytes);
}

TEST_F(RulesTest, TheCountFollowsCommitsAndDropsAndOutlivesARestart) {
  const PointRow old = add("tokyo", 1);
  limit("tokyo", kGiB);
  const PointRow next = add("tokyo", 2);
  add("kyoto", 3);
  const std::uint64_t both = old.point.stored_bytes + next.point.stored_bytes;
  EXPECT_EQ(service().used_by("tokyo"), both);
  must(service().remove(old.point.record.id));
  EXPECT_EQ(service().used_by("tokyo"), both);  // its bytes are still there
  store_.clock().advance(hours(2));
  EXPECT_EQ(collect().points_dropped, 1U);
  EXPECT_EQ(service().used_by("tokyo"), next.point.stored_bytes);
  store_.reopen_without_catalog();
  EXPECT_EQ(service().used_by("tokyo"), std::nullopt);
  limit("tokyo", kGiB);
  EXPECT_EQ(service().used_by("tokyo"), next.point.stored_bytes);
}

}  // namespace
}  // namespace tidemark::test
