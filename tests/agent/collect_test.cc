// Garbage collection: what goes, what never goes, and that nothing in between matters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/agent/collect_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kAsset = "rbd/rbd/vm-1";
constexpr std::chrono::microseconds kGrace = hours(1);
// Under a sanitizer, where opening a store takes long, not every call fails.
constexpr std::uint64_t kStride = rounds(100) < 100 ? 5 : 1;

Result<CollectReport> collect(TestService& store, bool dry_run = false, double repack = 0) {
  CollectRequest request;
  request.grace = kGrace;
  request.dry_run = dry_run;
  request.repack = repack;
  request.keys = std::make_shared<const StoreKeys>(store.keys().clone());
  return store.service().collect(request);
}

class CollectTest : public ::testing::Test {
 protected:
  PointId add(std::uint64_t seed, std::size_t entries = 60) {
    return store_.add_point("tokyo", kAsset, make_content(store_.keys(), entries, seed))
        .point.record.id;
  }
  void pass_grace() { store_.clock().advance(kGrace); }

  TestService store_;
};

TEST_F(CollectTest, ADeletedPointGoesAfterItsGraceAndItsPacksAfterTheirs) {
  const PointId old = add(1);
  add(2);
  const std::size_t packs = count_blobs(store_, "packs/");
  must(store_.service().remove(old));
  EXPECT_EQ(must(collect(store_)).points_dropped, 0U);
  EXPECT_EQ(must(collect(store_)).packs_waiting, 0U);  // it can still be taken back

  pass_grace();
  CollectReport report = must(collect(store_));
  EXPECT_EQ(report.points_dropped, 1U);
  EXPECT_EQ(report.packs_waiting, packs / 2);
  EXPECT_EQ(report.packs_removed, 0U);
  EXPECT_EQ(code_of(store_.service().find(by_id(old.hex()))), ErrorCode::not_found);
  EXPECT_EQ(count_blobs(store_, "packs/"), packs);
  EXPECT_EQ(count_blobs(store_, "points/"), 1U);
  EXPECT_EQ(count_blobs(store_, "marks/"), 0U);

  pass_grace();
  report = must(collect(store_));
  EXPECT_EQ(report.packs_removed, packs / 2);
  EXPECT_EQ(count_blobs(store_, "packs/"), packs / 2);
  EXPECT_EQ(count_blobs(store_, "garbage/"), 0U);
  expect_whole(store_);
  expect_rebuilt(store_);
  store_.reopen();
  expect_whole(store_);
}

TEST_F(CollectTest, ADryRunChangesNothing) {
  const PointId old = add(1);
  add(2);
  must(store_.service().remove(old));
  pass_grace();
  const auto before = store_.medium().names();
  EXPECT_EQ(must(collect(store_, true)).points_dropped, 0U);
  EXPECT_EQ(store_.medium().names(), before);
}

TEST_F(CollectTest, WhatAPointSharesWithADeletedOneStays) {
  const Content shared = make_content(store_.keys(), 50, 1);
  const PointId old = store_.add_point("tokyo", kAsset, shared).point.record.id;
  store_.add_point("kyoto", kAsset, shared);
  must(store_.service().remove(old));
  for (int i = 0; i < 3; ++i) {
    pass_grace();
    EXPECT_EQ(must(collect(store_)).packs_removed, 0U);
  }
  expect_whole(store_);
}

TEST_F(CollectTest, APackThatIsUsedAgainDuringItsGraceLosesItsMark) {
  const Content content = make_content(store_.keys(), 50, 1);
  const PointId old = store_.add_point("tokyo", kAsset, content).point.record.id;
  add(2);
  must(store_.service().remove(old));
  pass_grace();
  EXPECT_GT(must(collect(store_)).packs_waiting, 0U);
  const PointId again = store_.add_point("tokyo", kAsset, content).point.record.id;
  pass_grace();
  EXPECT_EQ(must(collect(store_)).packs_removed, 0U);
  EXPECT_EQ(count_blobs(store_, "garbage/"), 0U);
  expect_whole(store_);
  // The grace begins anew.
  must(store_.service().remove(again));
  add(3);
  pass_grace();
  EXPECT_EQ(must(collect(store_)).packs_removed, 0U);
}

TEST_F(CollectTest, WhatASessionHoldsStaysUntilItEnds) {
  const Content content = make_content(store_.keys(), 50, 1);
  const PointId old = store_.add_point("tokyo", kAsset, content).point.record.id;
  add(2);
  must(store_.service().remove(old));
  const UploadSession session = must(store_.service().begin("kyoto", kAsset, {}));
  must(send(store_.service(), session, content));  // finds it all there
  for (int i = 0; i < 3; ++i) {
    pass_grace();
    EXPECT_EQ(must(collect(store_)).packs_removed, 0U);
  }
  must(store_.service().commit(
      session, store_.sealed(store_.record(session, "kyoto", kAsset, content.root))));
  expect_whole(store_);
}

// Two send the same chunks in different packs, and the one whose pack has their place gives up.
// What the other one commits while the collection runs that removes this pack must not miss them.
TEST_F(CollectTest, WhatASessionSentStaysThoughAnotherPackHasItsPlace) {
  for (const bool known : {false, true}) {
    SCOPED_TRACE(known ? "its pack was sent before, too" : "its pack is new");
    TestService store;
    StoreService& service = store.service();
    const Content first = make_content(store.keys(), 30, 1);
    // Begins with the same entries, and is longer: its packs are others.
    const Content second = make_content(store.keys(), 50, 1);
    store.add_point("tokyo", "rbd/rbd/else", Content{});
    const UploadSession keeps = must(service.begin("tokyo", "rbd/rbd/b", {}));
    const auto send = [&](const char* asset, const Content& content) {
      const UploadSession gives_up = must(service.begin("tokyo", asset, {}));
      for (const PackWriter::Pack& pack : content.packs)
        must(service.put_pack(gives_up, pack.id, pack.bytes));
      must(service.abandon(gives_up));
    };
    send("rbd/rbd/a", first);
    if (known) send("rbd/rbd/c", second);
    for (const PackWriter::Pack& pack : second.packs)
      must(service.put_pack(keeps, pack.id, pack.bytes));
    const auto collect_with = [&](const std::function<void()>& on_step) {
      CollectRequest request;
      request.grace = kGrace;
      request.on_step = on_step;
      return must(service.collect(request));
    };
    collect_with({});
    store.clock().advance(kGrace);
    store.add_point("tokyo", "rbd/rbd/else", Content{});
    int steps = 0;
    collect_with([&] {
      // Behind the moment that the collection looks at.
      if (++steps != 3) return;
      const auto record = store.record(keeps, "tokyo", "rbd/rbd/b", second.root);
      must(service.commit(keeps, store.sealed(record)));
    });
    ASSERT_GE(steps, 3);
    expect_whole(store);
    store.clock().advance(kGrace);
    must(collect(store));
    expect_whole(store);
    expect_rebuilt(store);
  }
}

TEST_F(CollectTest, AnAbandonedUploadGoes) {
  add(1);
  const std::size_t packs = count_blobs(store_, "packs/");
  const UploadSession session = must(store_.service().begin("kyoto", kAsset, {}));
  must(send(store_.service(), session, make_content(store_.keys(), 50, 2)));
  must(store_.service().abandon(session));
  must(collect(store_));
  pass_grace();
  EXPECT_GT(must(collect(store_)).packs_removed, 0U);
  EXPECT_EQ(count_blobs(store_, "packs/"), packs);
  expect_whole(store_);
}

TEST_F(CollectTest, APackThatTheCatalogDoesNotKnowGoesToo) {
  add(1);
  const Content lost = make_content(store_.keys(), 50, 2);
  must(store_.backend()->create(pack_blob_name(lost.packs[0].id), lost.packs[0].bytes));
  EXPECT_EQ(must(collect(store_)).orphans, 1U);
  pass_grace();
  EXPECT_EQ(must(collect(store_)).packs_removed, 1U);
  expect_whole(store_);
}

TEST_F(CollectTest, TheNewestPointOfTheStoreWaitsForTheNext) {
  const PointId only = add(1);
  must(store_.service().remove(only));
  pass_grace();
  EXPECT_EQ(must(collect(store_)).points_dropped, 0U);
  add(2);
  EXPECT_EQ(must(collect(store_)).points_dropped, 1U);
  store_.reopen_without_catalog();
  add(3);
  expect_rebuilt(store_);
}

TEST_F(CollectTest, APinnedPointIsNotDropped) {
  const PointId old = add(1);
  add(2);
  must(store_.service().set_pinned(old, true));
  EXPECT_EQ(code_of(store_.service().remove(old)), ErrorCode::refused);
  pass_grace();
  must(collect(store_));
  pass_grace();
  EXPECT_EQ(must(collect(store_)).packs_removed, 0U);
}

TEST_F(CollectTest, WithATreeThatCannotBeFollowedNothingGoes) {
  const PointId old = add(1);
  add(2);
  const Content damaged = make_content(store_.keys(), 60, 3);
  store_.add_point("tokyo", "rbd/rbd/vm-2", damaged);
  must(store_.service().remove(old));
  pass_grace();
  must(collect(store_));
  pass_grace();
  must(store_.service().set_aside(damaged.packs.back().id));  // a pack of nodes
  const std::size_t packs = count_blobs(store_, "packs/");
  const auto refused = collect(store_);
  EXPECT_EQ(code_of(refused), ErrorCode::corruption);
  EXPECT_EQ(count_blobs(store_, "packs/"), packs);
}

// Figure 18: a clock that went another way than time removes nothing.
TEST_F(CollectTest, AClockThatWasSetRemovesNothing) {
  for (const auto skew :
       {std::chrono::microseconds(hours(1)), std::chrono::microseconds(-hours(1)),
        std::chrono::microseconds(hours(24)), std::chrono::microseconds(-hours(24)),
        std::chrono::microseconds(minutes(6)), std::chrono::microseconds(-minutes(6))}) {
    store_.clock().jump(skew);
    EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused) << skew.count();
    store_.clock().jump(-skew);
    must(collect(store_));
  }
  // Behind the newest point, in a process that never saw it go back.
  add(1);
  store_.clock().jump(-hours(1));
  store_.reopen();
  EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused);
}

// Set forward by years while no agent runs, it looks like a long sleep.
TEST_F(CollectTest, AfterALongSleepNothingIsRemovedUntilSomebodyConfirmsTheClock) {
  const PointId first = add(1);
  add(2);
  store_.clock().jump(hours(49));
  store_.reopen();
  EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused);
  add(3);  // its source has the same time
  must(collect(store_));
  must(store_.service().remove(first));

  // A source with another time confirms nothing.
  store_.clock().jump(hours(24 * 365));
  store_.reopen();
  EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused);
  store_.add_point("tokyo", kAsset, Content{}, store_.clock().now() + -hours(24 * 365));
  EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused);
}

TEST_F(CollectTest, AClockThatRanEvenlyForTwoDaysIsBelieved) {
  add(1);
  store_.clock().jump(hours(24 * 30));
  store_.reopen();
  store_.clock().advance(hours(47));
  EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused);
  store_.clock().advance(hours(1));
  must(collect(store_));
}

TEST_F(CollectTest, AStoreThatIsStartedAfterADayAsUsualIsCollected) {
  add(1);
  store_.clock().jump(hours(47));
  store_.reopen();
  must(collect(store_));
}

TEST_F(CollectTest, AStoreWhoseSourcesHaveAnotherTimeRemovesNothing) {
  add(1);
  store_.add_point("tokyo", kAsset, Content{}, store_.clock().now() + -hours(2));
  EXPECT_EQ(code_of(collect(store_)), ErrorCode::refused);
  store_.add_point("tokyo", kAsset, Content{});
  must(collect(store_));
}

// A fault at every call that a collection makes of its backend.
TEST(CollectFaultTest, AFailureAtAnyCallLosesNothing) {
  for (const BackendOp op : {BackendOp::read, BackendOp::list, BackendOp::list_item,
                             BackendOp::replace, BackendOp::remove, BackendOp::size,
                             BackendOp::writer, BackendOp::append, BackendOp::commit}) {
    for (const FaultKind kind : {FaultKind::error, FaultKind::lost_answer}) {
      for (std::uint64_t after = 0;; after += kStride) {
        TestService store;
        const auto add = [&](const char* asset, std::uint64_t seed) {
          return store.add_point("tokyo", asset, make_content(store.keys(), 45, seed, 10))
              .point.record.id;
        };
        const PointId a = add(kAsset, 1), b = add(kAsset, 2);
        add("rbd/rbd/vm-2", 3);
        must(store.service().remove(a));
        store.clock().advance(kGrace);
        must(collect(store));
        must(store.service().remove(b));
        store.clock().advance(kGrace);
        Fault fault;
        fault.op = op;
        fault.kind = kind;
        fault.after = after;
        store.faults().add(fault);
        // What the third shares with the first, which brought it, lies in a pack mostly dead.
        const auto done = collect(store, false, 0.9);
        const bool befallen = !store.faults().log().empty();
        EXPECT_TRUE(befallen || done.has_value());
        store.reopen();
        expect_whole(store);
        expect_rebuilt(store);
        if (after % 2 == 1) store.reopen_without_catalog();
        for (int i = 0; i < 4; ++i) {
          store.clock().advance(kGrace);
          must(collect(store, false, 0.9));
        }
        EXPECT_EQ(must(collect(store, false, 0.9)).packs_repacked, 0U);
        EXPECT_EQ(count_blobs(store, "points/"), 1U);
        EXPECT_EQ(must(store.service().stats()).packs, count_blobs(store, "packs/"));
        EXPECT_EQ(count_blobs(store, "garbage/"), 0U);
        expect_whole(store);
        if (!befallen || ::testing::Test::HasFailure()) {
          if (::testing::Test::HasFailure())
            FAIL() << to_string(op) << " " << static_cast<int>(kind) << " after " << after;
          break;
        }
      }
    }
  }
}

// Figure 16: collections and backups, step by step in an order that the seed draws: between any
// two steps of a collection, backups go some steps further.
class Interleaving {
 public:
  explicit Interleaving(std::uint64_t seed) : random_(seed), store_(seed % 4 != 0) {
    for (std::uint64_t i = 0; i < kContents; ++i)
      contents_.push_back(make_content(store_.keys(), 30 + 20 * (i % 3), i / 2, i % 2 ? 15 : 0));
  }

  void run() {
    for (int round = 0; round < 6; ++round) {
      for (std::uint64_t i = random_.below(12); i > 0; --i) advance();
      drop_some();
      store_.clock().advance(minutes(random_.below(80)));
      CollectRequest request;
      request.grace = kGrace;
      if (random_.below(3) > 0) {
        request.repack = 0.9;
        request.keys = std::make_shared<const StoreKeys>(store_.keys().clone());
      }
      request.on_step = [this] {
        for (std::uint64_t i = random_.below(3); i > 0; --i) advance();
      };
      const auto done = store_.service().collect(request);
      ASSERT_TRUE(done.has_value()) << done.error().describe();
      repacked_ += done->packs_repacked;
      expect_whole(store_);
      if (random_.below(4) == 0) store_.reopen();
      if (random_.below(12) == 0) lose_catalog();
    }
    finish();
  }
  std::uint64_t steps() const { return steps_; }
  std::uint64_t repacked() const { return repacked_; }

 private:
  static constexpr std::uint64_t kContents = 8;
  struct Source {
    std::string asset;
    std::optional<UploadSession> session;
    std::size_t content = 0, pack = 0;
    bool must_send = false;
  };

  // One step of one backup. A session may have been ended, by a newer one or by time.
  void advance() {
    ++steps_;
    Source& source = sources_[random_.below(sources_.size())];
    StoreService& service = store_.service();
    if (!source.session) {
      source.content = random_.below(kContents);
      source.pack = 0;
      source.must_send = false;
      source.session = must(service.begin("tokyo", source.asset, {}));
      return;
    }
    const Content& content = contents_[source.content];
    if (source.pack == content.packs.size()) {
      const auto record = store_.record(*source.session, "tokyo", source.asset, content.root);
      const auto done = service.commit(*source.session, store_.sealed(record));
      ASSERT_TRUE(done.has_value()) << done.error().describe();
      source.session.reset();
      return;
    }
    const PackWriter::Pack& pack = content.packs[source.pack];
    if (source.must_send) {
      must(service.put_pack(*source.session, pack.id, pack.bytes));
    } else {
      std::vector<ChunkId> ids;
      for (const PackEntry& entry : pack.entries) ids.push_back(entry.id);
      const auto missing = must(service.missing(*source.session, ids));
      source.must_send = std::ranges::find(missing, true) != missing.end();
      if (source.must_send) return;
    }
    source.must_send = false;
    ++source.pack;
    if (random_.below(40) == 0) {
      must(service.abandon(*source.session));
      source.session.reset();
    }
  }

  void drop_some() {
    for (const PointRow& row : must(store_.service().points("", "")))
      if (random_.below(2) == 0) must(store_.service().remove(row.point.record.id));
  }

  // A rebuild knows of no sessions.
  void lose_catalog() {
    for (Source& source : sources_) source.session.reset();
    store_.reopen_without_catalog();
  }

  // With all at rest, what is left is what points reach.
  void finish() {
    for (Source& source : sources_)
      while (source.session) advance_alone(source);
    for (int i = 0; i < 3; ++i) {
      store_.clock().advance(kGrace);
      must(collect(store_));
    }
    expect_whole(store_);
    expect_rebuilt(store_);
    const CollectReport report = must(collect(store_));
    EXPECT_EQ(report.packs_waiting, 0U);
    EXPECT_EQ(report.packs_removed, 0U);
    EXPECT_EQ(report.packs, must(store_.service().stats()).packs);
    EXPECT_LE(count_blobs(store_, "garbage/"), 0U);
  }

  void advance_alone(Source& source) {
    must(store_.service().abandon(*source.session));
    source.session.reset();
  }

  Random random_;
  TestService store_;
  std::vector<Content> contents_;
  std::vector<Source> sources_ = {
      {"rbd/rbd/a", {}, 0, 0, false}, {"rbd/rbd/b", {}, 0, 0, false}, {"s3/c", {}, 0, 0, false}};
  std::uint64_t steps_ = 0, repacked_ = 0;
};

TEST(CollectInterleavingTest, BackupsAndCollectionsInAnyOrder) {
  const char* const given = std::getenv("TM_ROUNDS");
  const std::uint64_t count = given != nullptr ? std::strtoull(given, nullptr, 10)
                                               : static_cast<std::uint64_t>(rounds(100));
  Random seeds;
  std::uint64_t steps = 0, repacked = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t seed = seeds.u64();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Interleaving interleaving(seed);
    try {
      interleaving.run();
    } catch (const std::exception& error) {
      FAIL() << error.what();
    }
    steps += interleaving.steps();
    repacked += interleaving.repacked();
    if (::testing::Test::HasFailure()) return;
  }
  std::printf(
      "%llu interleavings, %llu steps of backups, %llu packs written anew: "
      "0 reached chunks removed\n",
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(steps),
      static_cast<unsigned long long>(repacked));
  if (count >= 20) {
    EXPECT_GT(repacked, 0U);
  }
}

}  // namespace
}  // namespace tidemark::test
