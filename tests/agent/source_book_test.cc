#include "agent/site/source_book.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "agent/site/orphans.h"
#include "base/files.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;

StoreId store_id(char digit) { return *StoreId::from_hex(std::string(32, digit)); }

class SourceBookTest : public ::testing::Test {
 protected:
  std::vector<SourceEntry> entries() { return must(book_.entries()); }

  Scratch scratch_;
  SourceBook book_{scratch_.path() / "state" / "sources.json"};
};

TEST_F(SourceBookTest, RemembersEachAssetAndStoreOnce) {
  EXPECT_TRUE(entries().empty());
  for (int i = 0; i < 2; ++i) {
    must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
    must(book_.note("rbd/rbd/a", store_id('2'), "kyoto"));
    must(book_.note("rbd/rbd/b", store_id('1'), "osaka"));
  }
  const std::vector<SourceEntry> expected = {{"rbd/rbd/a", store_id('1'), "osaka"},
                                             {"rbd/rbd/a", store_id('2'), "kyoto"},
                                             {"rbd/rbd/b", store_id('1'), "osaka"}};
  EXPECT_EQ(entries(), expected);
  EXPECT_EQ(must(SourceBook(scratch_.path() / "state" / "sources.json").entries()), expected);
}

TEST_F(SourceBookTest, AStoreMadeAnewUnderTheNameSupersedesTheOldOne) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  must(book_.note("rbd/rbd/b", store_id('1'), "osaka"));
  must(book_.note("rbd/rbd/a", store_id('2'), "osaka"));
  const auto all = entries();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_TRUE(all[0].superseded);
  EXPECT_FALSE(all[1].superseded);
  EXPECT_FALSE(all[2].superseded);
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));  // it was put back
  EXPECT_FALSE(entries()[0].superseded);
  EXPECT_TRUE(entries()[2].superseded);
}

TEST_F(SourceBookTest, AFileThatCannotBeUnderstoodIsTakenForAnEmptyOne) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  for (const std::string text : {"", "{", "[1]", "{\"version\":9,\"sources\":[]}",
                                 "{\"version\":1,\"sources\":[7,{\"asset\":\"x\"}]}"}) {
    must(write_file_durably(scratch_.path() / "state" / "sources.json", as_bytes(text)));
    EXPECT_TRUE(entries().empty()) << text;
    must(book_.note("rbd/rbd/b", store_id('1'), "osaka"));
    EXPECT_EQ(entries().size(), 1U);
  }
}

TEST_F(SourceBookTest, WritersSideBySideLoseNothing) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 8; ++i)
        must(book_.note(fmt::format("rbd/rbd/{}-{}", t, i), store_id('1'), "osaka"));
    });
  threads.clear();
  EXPECT_EQ(entries().size(), 32U);
}

// What is removed needs a cluster: tests/e2e/test_snapshots.py. Here: when.
class OrphanTest : public SourceBookTest {
 protected:
  OrphanSweep sweep() {
    return must(sweep_orphans(
        book_, config_, clock_,
        [&](const std::string& asset, const std::string& to) -> std::optional<bool> {
          const auto it = wanted_.find(asset + ">" + to);
          return it == wanted_.end() ? std::nullopt : std::optional(it->second);
        },
        [&](const std::string& asset) { return gone_claims_.contains(asset); },
        [&]() -> Result<std::shared_ptr<CephCluster>> {
          ++connections_;
          return Error(ErrorCode::unavailable, "no cluster here");
        }));
  }
  bool sweep_fails() {
    const int before = connections_;
    const auto done = sweep_orphans(
        book_, config_, clock_,
        [&](const std::string& asset, const std::string& to) {
          return std::optional(wanted_[asset + ">" + to]);
        },
        [&](const std::string& asset) { return gone_claims_.contains(asset); },
        [&]() -> Result<std::shared_ptr<CephCluster>> {
          ++connections_;
          return Error(ErrorCode::unavailable, "no cluster here");
        });
    return !done && connections_ == before + 1;
  }

  Config config_;
  SetClock clock_;
  std::map<std::string, bool> wanted_;
  std::set<std::string> gone_claims_;
  int connections_ = 0;
};

TEST_F(OrphanTest, WhatAClaimThatIsGoneLeftGoesAtOnce) {
  config_.snapshots.orphans_after = std::chrono::hours(24);
  must(book_.note("rbd/rbd/csi-vol-1", store_id('1'), "osaka", true));
  must(book_.note("rbd/rbd/plain", store_id('1'), "osaka"));
  gone_claims_ = {"rbd/rbd/csi-vol-1", "rbd/rbd/plain"};
  wanted_ = {{"rbd/rbd/csi-vol-1>osaka", true}, {"rbd/rbd/plain>osaka", false}};
  EXPECT_EQ(sweep().unwanted, 1U) << "a policy still wants it; and what is no claim waits";
  EXPECT_EQ(connections_, 0);
  wanted_["rbd/rbd/csi-vol-1>osaka"] = false;
  EXPECT_TRUE(sweep_fails()) << "the cluster is asked at once";
  gone_claims_.clear();  // its claim is there, and no policy means it: that may be a mistake
  EXPECT_EQ(sweep().unwanted, 2U);
}

TEST_F(OrphanTest, WhatIsWantedOrNotKnownStays) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  must(book_.note("rbd/rbd/b", store_id('1'), "osaka"));
  wanted_ = {{"rbd/rbd/a>osaka", true}};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sweep().unwanted, 0U);
    clock_.advance(hours(100));
  }
  EXPECT_EQ(connections_, 0);
  EXPECT_EQ(entries().size(), 2U);
}

TEST_F(OrphanTest, WhatIsUnwantedGoesAfterItsTimeAndNotBefore) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  wanted_ = {{"rbd/rbd/a>osaka", false}};
  EXPECT_EQ(sweep().unwanted, 1U);
  clock_.advance(config_.snapshots.orphans_after - std::chrono::seconds(1));
  EXPECT_EQ(sweep().unwanted, 1U);
  EXPECT_EQ(connections_, 0);
  clock_.advance(std::chrono::seconds(1));
  EXPECT_TRUE(sweep_fails());
  EXPECT_EQ(entries().size(), 1U) << "a cluster that does not answer: the next time";
}

TEST_F(OrphanTest, BeingWantedAgainBeginsTheWaitAnew) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  wanted_ = {{"rbd/rbd/a>osaka", false}};
  sweep();
  clock_.advance(hours(23));
  wanted_["rbd/rbd/a>osaka"] = true;
  EXPECT_EQ(sweep().unwanted, 0U);
  wanted_["rbd/rbd/a>osaka"] = false;
  clock_.advance(hours(2));
  EXPECT_EQ(sweep().unwanted, 1U);
  EXPECT_EQ(connections_, 0);
}

TEST_F(OrphanTest, AStoreUnderItsNewNameIsNeeded) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka-2"));
  wanted_ = {{"rbd/rbd/a>osaka", false}, {"rbd/rbd/a>osaka-2", true}};
  EXPECT_EQ(sweep().unwanted, 0U);
  clock_.advance(hours(1000));
  EXPECT_EQ(sweep().unwanted, 0U);
  EXPECT_EQ(connections_, 0);
}

TEST_F(OrphanTest, AWaitThatBeganInTheFutureBeginsNow) {
  must(book_.note("rbd/rbd/a", store_id('1'), "osaka"));
  wanted_ = {{"rbd/rbd/a>osaka", false}};
  clock_.jump(hours(24 * 365));
  sweep();
  clock_.jump(-hours(24 * 365));
  sweep();
  EXPECT_EQ(entries()[0].unwanted_since, clock_.now());
}

}  // namespace
}  // namespace tidemark::test
