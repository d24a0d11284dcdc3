// Packs that are mostly dead are written anew: space comes back, and nothing else changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/collect_support.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;

constexpr const char* kAsset = "rbd/rbd/vm-1";
constexpr std::chrono::microseconds kGrace = hours(1);
constexpr double kPart = 0.9;

class RepackTest : public ::testing::TestWithParam<bool> {
 protected:
  // The second point shares 10 chunks with the first, which brought them: once that went, its pack
  // of chunks holds 10 of 40 that are reached.
  RepackTest() : store_(GetParam()) {
    first_ = store_.add_point("tokyo", kAsset, first_content_).point.record.id;
    store_.add_point("tokyo", kAsset, second_content_);
  }

  CollectRequest request(double part = kPart) const {
    CollectRequest request;
    request.grace = kGrace;
    request.repack = part;
    request.keys = std::make_shared<const StoreKeys>(store_.keys().clone());
    return request;
  }
  CollectReport collect(double part = kPart) {
    return must(store_.service().collect(request(part)));
  }
  void drop_first() {
    must(store_.service().remove(first_));
    pass_grace();
  }
  void pass_grace() { store_.clock().advance(kGrace); }
  void expect_all_well() {
    expect_whole(store_);
    expect_rebuilt(store_);
  }
  PackId pack_of(const ChunkId& id) {
    return must(store_.service().locate(std::span(&id, 1))).front().pack;
  }

  TestService store_;
  const Content first_content_ = make_content(store_.keys(), 60, 1, 10);
  const Content second_content_ = make_content(store_.keys(), 60, 2, 10);
  const ChunkId shared_ = first_content_.chunks.front();
  PointId first_;
};

TEST_P(RepackTest, WhatIsReachedMovesAndTheRestGoesAfterItsGrace) {
  const PackId old = first_content_.packs.front().id;
  ASSERT_EQ(pack_of(shared_), old);
  drop_first();
  const CollectReport report = collect();
  EXPECT_GE(report.packs_repacked, 1U);
  EXPECT_GT(report.bytes_repacked, 0U);
  EXPECT_EQ(report.packs_to_repack, 0U);
  EXPECT_NE(pack_of(shared_), old);
  // Nothing was removed by it: both are there.
  EXPECT_TRUE(store_.backend()->size(pack_blob_name(old)));
  expect_all_well();

  EXPECT_GT(collect().packs_waiting, 0U);
  EXPECT_TRUE(store_.backend()->size(pack_blob_name(old)));
  pass_grace();
  EXPECT_GT(collect().packs_removed, 0U);
  EXPECT_EQ(code_of(store_.backend()->size(pack_blob_name(old))), ErrorCode::not_found);
  expect_all_well();
}

TEST_P(RepackTest, TheSpaceOfWhatIsDeadComesBack) {
  drop_first();
  for (int i = 0; i < 3; ++i, pass_grace()) collect(0);
  const std::uint64_t without = must(store_.service().stats()).pack_bytes;
  for (int i = 0; i < 3; ++i, pass_grace()) collect();
  EXPECT_LT(must(store_.service().stats()).pack_bytes, without);
  const CollectReport report = collect();
  EXPECT_EQ(report.packs_waiting, 0U);
  EXPECT_EQ(report.packs, must(store_.service().stats()).packs);
  // What is in them now is what the second point consists of, and each pack's own 128 bytes and
  // index.
  EXPECT_EQ(must(store_.service().stats()).chunks, second_content_.chunks.size());
  expect_all_well();
}

TEST_P(RepackTest, APackIsNotWrittenAnewTwice) {
  drop_first();
  EXPECT_GT(collect(1).packs_repacked, 0U);
  const auto names = store_.medium().names();
  for (int i = 0; i < 4; ++i, pass_grace()) EXPECT_EQ(collect(1).packs_repacked, 0U) << i;
  EXPECT_LE(store_.medium().names().size(), names.size());
}

TEST_P(RepackTest, ZeroAndADryRunWriteNothing) {
  drop_first();
  EXPECT_EQ(collect(0).packs_repacked, 0U);
  const auto names = store_.medium().names();
  CollectRequest dry = request();
  dry.dry_run = true;
  const CollectReport report = must(store_.service().collect(dry));
  EXPECT_EQ(report.packs_repacked, 0U);
  EXPECT_GT(report.packs_to_repack, 0U);
  EXPECT_GT(report.bytes_to_repack, 0U);
  EXPECT_EQ(store_.medium().names(), names);
}

TEST_P(RepackTest, WithoutTheKeyItIsSaidWhatItWouldBring) {
  drop_first();
  CollectRequest without = request();
  without.keys.reset();
  const CollectReport report = must(store_.service().collect(without));
  EXPECT_EQ(report.packs_repacked, 0U);
  EXPECT_GT(report.packs_to_repack, 0U);
  EXPECT_EQ(pack_of(shared_), first_content_.packs.front().id);
}

TEST_P(RepackTest, APackThatASessionHoldsStaysAsItIs) {
  const UploadSession session = must(store_.service().begin("kyoto", kAsset, {}));
  must(store_.service().missing(session, std::span(&shared_, 1)));
  drop_first();
  EXPECT_GT(collect().packs_to_repack, 0U);
  EXPECT_EQ(pack_of(shared_), first_content_.packs.front().id);
  must(store_.service().abandon(session));
  EXPECT_GT(collect().packs_repacked, 0U);
  EXPECT_NE(pack_of(shared_), first_content_.packs.front().id);
}

// The promise of missing() holds for the pack that it named, at whichever step of a run that was.
TEST_P(RepackTest, APackThatIsHandedOutDuringTheRunKeepsItsChunks) {
  drop_first();
  const PackId old = first_content_.packs.front().id;
  bool moved = false;
  for (std::uint64_t at = 0; !moved; ++at) {
    const UploadSession session = must(store_.service().begin("kyoto", kAsset, {}));
    std::uint64_t steps = 0;
    PackId told;
    CollectRequest wanted = request();
    wanted.on_step = [&] {
      if (steps++ != at) return;
      told = pack_of(shared_);
      must(store_.service().missing(session, std::span(&shared_, 1)));
    };
    must(store_.service().collect(wanted));
    moved = steps <= at;  // it was never asked: now the pack is free
    EXPECT_EQ(pack_of(shared_) == old, !moved) << at;
    if (!moved) {
      EXPECT_EQ(told, old);
    }
    must(store_.service().abandon(session));
    expect_all_well();
    pass_grace();  // a new pack that came to nothing goes
  }
}

TEST_P(RepackTest, APackThatIsHandedOutWhileTheNewOneIsWrittenKeepsItsChunks) {
  drop_first();
  const UploadSession session = must(store_.service().begin("kyoto", kAsset, {}));
  bool asked = false;
  store_.faults().set_observer([&](BackendOp op, std::string_view name) {
    const bool writes = op == BackendOp::commit || op == BackendOp::replace;
    if (asked || !writes || !name.starts_with("packs/")) return;
    asked = true;
    must(store_.service().missing(session, std::span(&shared_, 1)));
  });
  EXPECT_GT(collect().packs_repacked, 0U);
  store_.faults().set_observer({});
  EXPECT_TRUE(asked);
  EXPECT_EQ(pack_of(shared_), first_content_.packs.front().id);
  expect_all_well();
}

TEST_P(RepackTest, ADamagedPackIsLeftAlone) {
  drop_first();
  const std::string name = pack_blob_name(first_content_.packs.front().id);
  const std::uint64_t size = must(store_.backend()->size(name));
  store_.medium().flip(name, size / 2);
  EXPECT_GT(collect().packs_to_repack, 0U);
  EXPECT_EQ(pack_of(shared_), first_content_.packs.front().id);
  // Nothing of it was believed.
  store_.medium().flip(name, size / 2);
  EXPECT_GT(collect().packs_repacked, 0U);
  expect_all_well();
}

// As a kill between the two writes leaves it: the new pack is there, and the catalog is as before.
TEST_P(RepackTest, ANewPackThatTheCatalogDoesNotKnowIsHarmless) {
  drop_first();
  collect(0);
  const std::size_t packs = count_blobs(store_, "packs/");
  Fault fault;  // of the call between the two
  fault.op = BackendOp::remove;
  fault.when = [](std::string_view name) { return name.ends_with(".damaged"); };
  store_.faults().add(fault);
  EXPECT_EQ(code_of(store_.service().collect(request())), ErrorCode::unavailable);
  // Without a key equal blobs make equal packs: it is the one that the second point sent.
  EXPECT_EQ(count_blobs(store_, "packs/"), packs + (GetParam() ? 1 : 0));
  EXPECT_EQ(pack_of(shared_), first_content_.packs.front().id);
  store_.reopen();
  EXPECT_EQ(pack_of(shared_), first_content_.packs.front().id);
  expect_all_well();
  for (int i = 0; i < 5; ++i, pass_grace()) collect();
  EXPECT_EQ(must(store_.service().stats()).packs, count_blobs(store_, "packs/"));
  expect_all_well();
}

TEST_P(RepackTest, ARebuildAfterTheKillTakesTheNewPackIn) {
  drop_first();
  collect(0);
  Fault fault;
  fault.op = BackendOp::remove;
  fault.when = [](std::string_view name) { return name.ends_with(".damaged"); };
  store_.faults().add(fault);
  EXPECT_EQ(code_of(store_.service().collect(request())), ErrorCode::unavailable);
  store_.reopen_without_catalog();
  expect_all_well();
  for (int i = 0; i < 5; ++i, pass_grace()) collect();
  EXPECT_EQ(must(store_.service().stats()).packs, count_blobs(store_, "packs/"));
  expect_all_well();
}

TEST_P(RepackTest, ACatalogThatIsRebuiltWithBothPacksIsWhole) {
  drop_first();
  EXPECT_GT(collect().packs_repacked, 0U);
  store_.reopen_without_catalog();
  expect_all_well();
  for (int i = 0; i < 4; ++i, pass_grace()) {
    collect();
    expect_all_well();
  }
  EXPECT_EQ(collect().packs_waiting, 0U);
  EXPECT_EQ(must(store_.service().stats()).packs, count_blobs(store_, "packs/"));
}

TEST_P(RepackTest, AClockThatWasSetWritesNothingAnew) {
  drop_first();
  store_.clock().jump(hours(2));
  const auto names = store_.medium().names();
  EXPECT_EQ(code_of(store_.service().collect(request())), ErrorCode::refused);
  EXPECT_EQ(store_.medium().names(), names);
}

TEST_P(RepackTest, NodesAndChunksStayApartAndSmallPacksBecomeOne) {
  for (std::uint64_t seed = 10; seed < 18; ++seed)
    store_.add_point("tokyo", kAsset, make_content(store_.keys(), 60, seed, 10 + seed));
  std::vector<PointRow> rows = must(store_.service().points("", ""));
  for (std::size_t i = 0; i + 1 < rows.size(); ++i)
    must(store_.service().remove(rows[i].point.record.id));
  pass_grace();
  const std::uint64_t before = must(store_.service().stats()).packs;
  const CollectReport report = collect();
  EXPECT_GE(report.packs_repacked, 3U);
  must(store_.service().catalog().each_pack([&](const PackRow& pack) -> Status {
    const Bytes bytes = must(read_blob(store_.service().backend(), pack_blob_name(pack.id),
                                       kPackBytesMax));
    const PackIndex index = must(check_pack(bytes, pack.id));
    for (const PackEntry& entry : index.entries)
      EXPECT_EQ(entry.kind, index.entries.front().kind);
    return {};
  }));
  EXPECT_LE(must(store_.service().stats()).packs, before + 2);
  expect_all_well();
}

INSTANTIATE_TEST_SUITE_P(Keys, RepackTest, ::testing::Bool(), [](const auto& keys) {
  return keys.param ? "encrypted" : "plain";
});

}  // namespace
}  // namespace tidemark::test
