// The backend fails at each of its operations in turn while points are being written: what was
// acknowledged stays, nothing half shows, and the next run goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <type_traits>

#include "agent/service/bare_store.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using ::testing::IsEmpty;

constexpr const char* kAsset = "rbd/rbd/vm-1";
constexpr const char* kOther = "rbd/rbd/vm-2";
constexpr std::uint64_t kFaultsMax = 500;
// Under a sanitizer, where opening a store takes long, not every call fails.
constexpr std::uint64_t kStride = rounds(100) < 100 ? 12 : 1;

// Points that are written while the backend fails, and what came of them.
class Sources {
 public:
  // Sources repeat so often what may pass, as RemoteStore does, and give up then.
  Sources(TestService& store, int repetitions) : store_(store), repetitions_(repetitions) {}

  // One backup; what fails ends it. True where it was acknowledged.
  bool back_up(const std::string& asset) {
    contents_.push_back(make_content(store_.keys(), 30, contents_.size()));
    const Content& content = contents_.back();
    StoreService& service = store_.service();
    const auto session = repeated([&] { return service.begin("tokyo", asset, {}); });
    if (!session) return false;
    for (const auto& pack : content.packs)
      if (!repeated([&] { return service.put_pack(*session, pack.id, pack.bytes); })) return false;
    const Bytes record = store_.sealed(store_.record(*session, "tokyo", asset, content.root));
    const auto row = repeated([&] { return service.commit(*session, record); });
    if (row) {
      acknowledged_.push_back(*row);
    } else if (!row.error().retryable()) {
      ignore_error(service.abandon(*session), "as a source does");
    }
    return row.has_value();
  }

  // Everything acknowledged is there, everything there is whole, and the records are one chain.
  void check() {
    StoreService& service = store_.service();
    for (const PointRow& row : acknowledged_)
      EXPECT_TRUE(same_row(must(service.find(by_id(row.point.record.id.hex()))), row));
    auto rows = must(service.points("", ""));
    EXPECT_GE(rows.size(), acknowledged_.size());
    const auto bare = must(BareStore::open(store_.backend()));
    EXPECT_THAT(bare->damaged_records(), IsEmpty());
    EXPECT_EQ(must(bare->points("", "")).size(), rows.size());
    std::sort(rows.begin(), rows.end(), [](const PointRow& a, const PointRow& b) {
      return a.point.sequence < b.point.sequence;
    });
    Digest previous;
    std::uint64_t sequence = 0;
    for (const PointRow& row : rows) {
      EXPECT_EQ(row.point.sequence, ++sequence);
      EXPECT_EQ(row.point.previous, previous);
      previous = row.record_hash;
      EXPECT_FALSE(read_all(service, store_.keys(), row.point.record.root).empty());
      EXPECT_FALSE(read_all(*bare, store_.keys(), row.point.record.root).empty());
    }
    EXPECT_THAT(must(service.catalog().check()), IsEmpty());
  }

 private:
  template <class Call>
  std::invoke_result_t<Call> repeated(Call call) {
    auto result = call();
    for (int i = 0; i < repetitions_ && !result && result.error().retryable(); ++i) result = call();
    return result;
  }

  TestService& store_;
  const int repetitions_;
  std::vector<Content> contents_;
  std::vector<PointRow> acknowledged_;
};

// A call fails once and may be repeated, or not; or its answer is lost, and the source repeats it,
// abandons the session, or is not heard of any more; or from then on all calls of the kind fail.
enum class Failure { once, broken, lost_repeated, lost_abandoned, lost_left, outage };
constexpr const char* kFailureNames[] = {"once",           "broken",    "lost_repeated",
                                         "lost_abandoned", "lost_left", "outage"};
using Case = std::tuple<BackendOp, Failure>;

Fault fault_of(const Case& what, std::uint64_t after) {
  const Error broken(ErrorCode::internal, "injected: input/output error");
  Fault fault;
  fault.op = std::get<0>(what);
  fault.after = after;
  switch (std::get<1>(what)) {
    case Failure::once:
      break;
    case Failure::broken:
      fault.error = broken;
      break;
    case Failure::lost_repeated:
    case Failure::lost_left:
      fault.kind = FaultKind::lost_answer;
      break;
    case Failure::lost_abandoned:
      fault.kind = FaultKind::lost_answer;
      fault.error = broken;
      break;
    case Failure::outage:
      fault.calls = kEvery;
      break;
  }
  return fault;
}

std::string case_name(const ::testing::TestParamInfo<Case>& what) {
  return std::string(to_string(std::get<0>(what.param))) + "_" +
         kFailureNames[static_cast<int>(std::get<1>(what.param))];
}

class StoreFaultTest : public ::testing::TestWithParam<Case> {};

// Runs `body` with the n-th call failing, for n from 1 on until no call is reached any more.
void for_each_call(const Case& what,
                   const std::function<void(TestService& store, Sources& sources)>& body) {
  std::uint64_t after = 0;
  for (; after < kFaultsMax; after += kStride) {
    SCOPED_TRACE("call " + std::to_string(after + 1) + " of " +
                 std::string(to_string(std::get<0>(what))));
    TestService store;
    Sources sources(store, std::get<1>(what) == Failure::lost_left ? 0 : 2);
    ASSERT_TRUE(sources.back_up(kAsset));
    store.faults().add(fault_of(what, after));
    sources.back_up(kAsset);
    sources.back_up(kOther);
    sources.back_up(kAsset);
    const bool reached = !store.faults().log().empty();
    store.faults().clear();
    ASSERT_NO_FATAL_FAILURE(body(store, sources));
    if (!reached) break;
  }
  EXPECT_GT(after, 0U) << "no call of this kind was ever made";
  EXPECT_LT(after, kFaultsMax);
}

TEST_P(StoreFaultTest, TheSameProcessGoesOnAndARebuildAgrees) {
  for_each_call(GetParam(), [](TestService& store, Sources& sources) {
    ASSERT_TRUE(store.service().still_owner());
    ASSERT_TRUE(sources.back_up(kAsset));
    ASSERT_TRUE(sources.back_up(kOther));
    sources.check();
    store.reopen_without_catalog();
    sources.check();
  });
}

TEST_P(StoreFaultTest, TheNextProcessGoesOn) {
  for_each_call(GetParam(), [](TestService& store, Sources& sources) {
    store.reopen();
    sources.check();
    ASSERT_TRUE(sources.back_up(kAsset));
    ASSERT_TRUE(sources.back_up(kOther));
    sources.check();
  });
}

INSTANTIATE_TEST_SUITE_P(Writes, StoreFaultTest,
                         ::testing::Combine(::testing::Values(BackendOp::create, BackendOp::commit),
                                            ::testing::Values(Failure::once, Failure::broken,
                                                              Failure::lost_repeated,
                                                              Failure::lost_abandoned,
                                                              Failure::lost_left, Failure::outage)),
                         case_name);
// These leave nothing behind, so that there is no answer to lose.
INSTANTIATE_TEST_SUITE_P(Rest, StoreFaultTest,
                         ::testing::Combine(::testing::Values(BackendOp::writer, BackendOp::append,
                                                              BackendOp::read),
                                            ::testing::Values(Failure::once, Failure::outage)),
                         case_name);

class DecisionFaultTest : public ::testing::TestWithParam<Case> {};

// A pin that is acknowledged holds, whatever failed before; so does a deletion.
TEST_P(DecisionFaultTest, WhatWasAcknowledgedHoldsAndWhatFailedMayBeRepeated) {
  TestService store;
  const PointId pinned = store.add_point("tokyo", kAsset, Content{}).point.record.id;
  const PointId unpinned = store.add_point("tokyo", kAsset, Content{}).point.record.id;
  const PointId deleted = store.add_point("tokyo", kAsset, Content{}).point.record.id;
  must(store.service().set_pinned(unpinned, true));
  StoreService& service = store.service();
  const auto decide = [&](const std::function<Status()>& call) {
    store.faults().add(fault_of(GetParam(), 0));
    const bool acknowledged = call().has_value();
    store.faults().clear();
    return acknowledged;
  };
  const auto is_pinned = [&](const PointId& id) {
    return must(store.service().find(by_id(id.hex()))).pinned;
  };
  const bool pin = decide([&] { return service.set_pinned(pinned, true); });
  const bool unpin = decide([&] { return service.set_pinned(unpinned, false); });
  const bool gone = decide([&] { return service.remove(deleted); });
  EXPECT_FALSE(pin && unpin && gone);
  EXPECT_FALSE(store.faults().log().empty());
  if (!pin) must(service.set_pinned(pinned, true));
  if (!unpin) must(service.set_pinned(unpinned, false));
  if (!gone) must(service.remove(deleted));
  for (int round = 0; round < 2; ++round) {
    round == 0 ? store.reopen() : store.reopen_without_catalog();
    EXPECT_TRUE(is_pinned(pinned));
    EXPECT_FALSE(is_pinned(unpinned));
    EXPECT_TRUE(must(store.service().find(by_id(deleted.hex()))).deleted);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Marks, DecisionFaultTest,
    ::testing::Combine(::testing::Values(BackendOp::replace, BackendOp::remove),
                       ::testing::Values(Failure::once, Failure::lost_left, Failure::outage)),
    case_name);

}  // namespace
}  // namespace tidemark::test
