// Many use one store at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using ::testing::IsEmpty;

class PointStoreThreadsTest : public ::testing::TestWithParam<Kind> {
 protected:
  PointStoreThreadsTest() : store_(GetParam().encrypted), reach_(store_, GetParam().access) {}

  // One backup. A session may be fenced by another thread's, and nothing else may go wrong.
  void back_up(PointStore& store, const std::string& asset, std::uint64_t seed) {
    const Content content = make_content(store_.keys(), 60, seed, 20);
    const auto session = store.begin("tokyo", asset, {});
    ASSERT_TRUE(session) << session.error().describe();
    const Status sent = send(store, *session, content);
    ASSERT_TRUE(sent || sent.error().code() == ErrorCode::refused) << sent.error().describe();
    if (!sent) return;
    const auto row = store.commit(
        *session, store_.sealed(store_.record(*session, "tokyo", asset, content.root)));
    ASSERT_TRUE(row || row.error().code() == ErrorCode::refused) << row.error().describe();
    if (!row) return;
    std::lock_guard lock(mutex_);
    acknowledged_.push_back(*row);
  }
  void read(PointStore& store) {
    const auto rows = store.points("", "");
    ASSERT_TRUE(rows) << rows.error().describe();
    ASSERT_TRUE(store.stats());
    if (rows->empty()) return;
    const PointRecord& record = rows->back().point.record;
    ASSERT_TRUE(store.find(newest_of(record.site, record.asset)));
    EXPECT_FALSE(read_all(store, store_.keys(), record.root).empty());
  }
  void expect_one_chain() {
    auto rows = must(store_.service().points("", ""));
    EXPECT_EQ(rows.size(), acknowledged_.size());
    std::sort(rows.begin(), rows.end(), [](const PointRow& a, const PointRow& b) {
      return a.point.sequence < b.point.sequence;
    });
    Digest previous;
    for (const PointRow& row : rows) {
      EXPECT_EQ(row.point.previous, previous);
      previous = row.record_hash;
    }
    for (const PointRow& row : acknowledged_)
      EXPECT_TRUE(same_row(must(store_.service().find(by_id(row.point.record.id.hex()))), row));
    EXPECT_THAT(must(store_.service().catalog().check()), IsEmpty());
  }

  Rng rng_;
  TestService store_;
  Reach reach_;
  std::mutex mutex_;
  std::vector<PointRow> acknowledged_;  // guarded by mutex_
};

TEST_P(PointStoreThreadsTest, WhoWaitsForPointsIsWokenByACommit) {
  constexpr std::chrono::seconds kLong{60};
  StoreService& service = store_.service();
  std::stop_source stop;
  EXPECT_EQ(service.wait_for_commit(0, std::chrono::milliseconds(1), stop.get_token()), 0U);
  std::uint64_t seen = 0;
  std::thread waiting([&] { seen = service.wait_for_commit(0, kLong, stop.get_token()); });
  back_up(reach_.as("tokyo"), "rbd/rbd/vm-1", 1);
  waiting.join();
  EXPECT_EQ(seen, 1U);
  // One that came while nobody waited is not missed, and each is told once.
  back_up(reach_.as("tokyo"), "rbd/rbd/vm-1", 2);
  EXPECT_EQ(service.wait_for_commit(seen, kLong, stop.get_token()), 2U);
  EXPECT_EQ(service.wait_for_commit(2, std::chrono::milliseconds(1), stop.get_token()), 2U);
  std::thread stopped([&] { service.wait_for_commit(2, kLong, stop.get_token()); });
  stop.request_stop();
  stopped.join();
}

TEST_P(PointStoreThreadsTest, PointsAreOneChainWhoeverWritesThem) {
  constexpr int kWriters = 4;
  PointStore& tokyo = reach_.as("tokyo");
  PointStore& osaka = reach_.as("osaka");
  const std::uint64_t seed = rng_.next();
  std::atomic<int> writing{kWriters};
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      // Two of them protect the same asset.
      const std::string asset = "rbd/rbd/vm-" + std::to_string(std::max(writer, 1));
      for (std::size_t round = 0; round < rounds(20); ++round)
        back_up(tokyo, asset, seed + 1000 * static_cast<std::uint64_t>(writer) + round);
      --writing;
    });
  }
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      while (writing > 0) read(osaka);
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_one_chain();
}

INSTANTIATE_TEST_SUITE_P(Stores, PointStoreThreadsTest,
                         ::testing::Values(Kind{Access::direct, true}, Kind{Access::direct, false},
                                           Kind{Access::remote, true}),
                         [](const auto& kind) { return kind_name(kind.param); });

// What the marks on the backend say is what a rebuilt catalog says.
TEST(StoreServiceThreadsTest, APointIsPinnedOrDeletedAndNeverBoth) {
  TestService store;
  std::vector<PointId> ids;
  for (std::size_t i = 0; i < rounds(60); ++i)
    ids.push_back(store.add_point("tokyo", "rbd/rbd/a", Content{}).point.record.id);
  StoreService& service = store.service();
  std::thread pins([&] {
    for (const PointId& id : ids) ignore_error(service.set_pinned(id, true), "one of two wins");
  });
  std::thread deletions([&] {
    for (const PointId& id : ids) ignore_error(service.remove(id), "one of two wins");
  });
  pins.join();
  deletions.join();
  const auto marks = store.medium().names();
  for (const PointId& id : ids) {
    const PointRow row = must(service.find(by_id(id.hex())));
    EXPECT_NE(row.pinned, row.deleted.has_value());
    const bool pin = std::ranges::count(marks, "marks/" + id.hex() + ".pin") == 1;
    const bool deletion = std::ranges::count(marks, "marks/" + id.hex() + ".deleted") == 1;
    EXPECT_EQ(pin, row.pinned);
    EXPECT_EQ(deletion, row.deleted.has_value());
  }
}

}  // namespace
}  // namespace tidemark::test
