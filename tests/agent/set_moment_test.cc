#include "agent/backup/set_moment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/agent/service_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SetMomentTest : public ::testing::Test {
 protected:
  SetMoment::Options options(std::size_t members) {
    SetMoment::Options options;
    options.id = "shop-00000001";
    options.members = members;
    options.limit = options.hold_limit = seconds(20);
    options.stop = stop_.get_token();
    options.hooks.before = [this]() -> Status {
      ++befores_;
      return before_;
    };
    options.hooks.after = [this]() -> Status {
      ++afters_;
      return after_;
    };
    return options;
  }
  // Each member's way, on a thread; what came of it.
  std::vector<Status> run(SetMoment& moment, std::size_t members,
                          const std::function<Status(std::size_t, SetMember&)>& way) {
    std::vector<Status> ends(members);
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < members; ++i)
      threads.emplace_back([&, i] {
        SetMember member(moment);
        ends[i] = way(i, member);
        member.end(ends[i]);
      });
    threads.clear();
    return ends;
  }
  static Status all_of_it(SetMember& member) {
    TM_DO(member.ready());
    TM_DO(member.held());
    return member.taken({}, true);
  }

  SetClock clock_;
  std::stop_source stop_;
  Status before_, after_;
  std::atomic<int> befores_{0}, afters_{0};
};

TEST_F(SetMomentTest, AllMembersMeetAndTheHooksRunOnce) {
  constexpr std::size_t kMembers = SetMoment::kMembersMax;
  SetMoment moment(options(kMembers), clock_);
  std::atomic<std::size_t> ready{0}, taken{0};
  const auto ends = run(moment, kMembers, [&](std::size_t, SetMember& member) -> Status {
    EXPECT_EQ(befores_, 0);
    TM_DO(member.ready());
    EXPECT_EQ(befores_, 1);
    ++ready;
    TM_DO(member.held());
    EXPECT_EQ(ready, kMembers) << "nobody takes a snapshot before all are held";
    ++taken;
    EXPECT_EQ(afters_, 0);
    TM_DO(member.taken({}, true));
    EXPECT_EQ(taken, kMembers) << "nobody goes on before all have theirs";
    EXPECT_EQ(afters_, 1);
    EXPECT_EQ(moment.time(), clock_.now());
    return {};
  });
  for (const Status& end : ends) EXPECT_TRUE(end) << end.error().describe();
  const auto labels = moment.labels();
  EXPECT_EQ(labels.at(std::string(kSetMembersLabel)), "64");
  EXPECT_EQ(labels.at(std::string(kSetGuaranteeLabel)), "frozen");
}

TEST_F(SetMomentTest, OneMemberThatIsNotHeldIsEnoughForTheSetNotToBeFrozen) {
  for (const bool quiesced : {true, false}) {
    auto some = options(3);
    some.quiesced = quiesced;
    SetMoment moment(some, clock_);
    run(moment, 3, [](std::size_t i, SetMember& member) -> Status {
      TM_DO(member.ready());
      TM_DO(member.held());
      return member.taken({}, i != 1);
    });
    EXPECT_EQ(moment.labels().at(std::string(kSetGuaranteeLabel)),
              quiesced ? "quiesced" : "together");
  }
}

TEST_F(SetMomentTest, WhoeverFailsBeforeTheInstantFailsAll) {
  for (int step = 0; step < 3; ++step) {
    befores_ = afters_ = 0;
    SetMoment moment(options(5), clock_);
    const auto ends = run(moment, 5, [&](std::size_t i, SetMember& member) -> Status {
      const Error lost(ErrorCode::not_found, "no such image");
      if (i != 3) return all_of_it(member);
      if (step == 0) return lost;  // never came
      TM_DO(member.ready());
      if (step == 1) return lost;
      TM_DO(member.held());
      return member.taken(lost, true);
    });
    for (const Status& end : ends) {
      ASSERT_FALSE(end) << step;
      EXPECT_EQ(end.error().code(), ErrorCode::not_found) << step;
    }
    // What was half frozen thaws, though the set is not taken, and before its moment is destroyed:
    // its members may take long to end.
    EXPECT_EQ(befores_, step == 0 ? 0 : 1);
    EXPECT_EQ(afters_, befores_);
  }
}

TEST_F(SetMomentTest, WhatIsFrozenWhileItIsCalledOffThaws) {
  auto some = options(3);
  some.hooks.before = [&]() -> Status {
    ++befores_;
    stop_.request_stop();
    std::this_thread::sleep_for(milliseconds(50));  // so that the others give up meanwhile
    return {};
  };
  SetMoment moment(some, clock_);
  run(moment, 3, [&](std::size_t, SetMember& member) { return member.ready(); });
  EXPECT_EQ(befores_, 1);
  EXPECT_EQ(afters_, 1);
}

TEST_F(SetMomentTest, AHookThatFailsFailsAllAndTheOtherRunsAllTheSame) {
  before_ = Error(ErrorCode::refused, "not now");
  {
    SetMoment moment(options(3), clock_);
    for (const Status& end :
         run(moment, 3, [](std::size_t, SetMember& member) { return all_of_it(member); }))
      EXPECT_EQ(end.error().code(), ErrorCode::refused);
  }
  EXPECT_EQ(afters_, 1);
  before_ = {};
  after_ = Error(ErrorCode::refused, "stuck");
  SetMoment moment(options(3), clock_);
  for (const Status& end :
       run(moment, 3, [](std::size_t, SetMember& member) { return all_of_it(member); }))
    EXPECT_EQ(end.error().code(), ErrorCode::refused);
}

TEST_F(SetMomentTest, WhoeverFailsAfterTheInstantFailsAlone) {
  SetMoment moment(options(4), clock_);
  const auto ends = run(moment, 4, [&](std::size_t i, SetMember& member) -> Status {
    TM_DO(all_of_it(member));
    if (i == 2) return Error(ErrorCode::unavailable, "cut");
    return {};
  });
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(ends[i].has_value(), i != 2);
}

TEST_F(SetMomentTest, AMemberThatIsLateIsNotWaitedForForever) {
  auto some = options(3);
  some.limit = milliseconds(100);
  SetMoment moment(some, clock_);
  std::atomic<bool> over{false};
  const auto ends = run(moment, 3, [&](std::size_t i, SetMember& member) -> Status {
    if (i == 0)
      while (!over) std::this_thread::yield();
    auto end = all_of_it(member);
    over = true;
    return end;
  });
  for (const Status& end : ends) EXPECT_EQ(end.error().code(), ErrorCode::deadline_exceeded);
  EXPECT_FALSE(moment.missed()) << "it was not ready";
}

TEST_F(SetMomentTest, ItIsMissedWhereAllWereReadyAndOneIsLate) {
  for (const bool late_snapshot : {false, true}) {
    SetMoment moment(options(3), clock_);
    run(moment, 3, [&](std::size_t i, SetMember& member) -> Status {
      const Error late(ErrorCode::deadline_exceeded, "late");
      TM_DO(member.ready());
      if (i == 1 && !late_snapshot) return late;
      TM_DO(member.held());
      return member.taken(i == 1 ? Status(late) : Status(), true);
    });
    ASSERT_TRUE(moment.missed());
    EXPECT_EQ(moment.missed()->code(), ErrorCode::deadline_exceeded);
  }
}

TEST_F(SetMomentTest, ItIsNotMissedWhereItIsPastOrAHookFailedOrItWasCalledOff) {
  const auto way = [](std::size_t, SetMember& member) { return all_of_it(member); };
  SetMoment past(options(3), clock_);
  run(past, 3, way);
  EXPECT_FALSE(past.missed());
  for (Status* const hook : {&before_, &after_}) {
    *hook = Error(ErrorCode::deadline_exceeded, "the hook hangs");
    SetMoment failed(options(3), clock_);
    run(failed, 3, way);
    EXPECT_FALSE(failed.missed());
    *hook = {};
  }
  SetMoment called_off(options(3), clock_);
  run(called_off, 3, [&](std::size_t i, SetMember& member) -> Status {
    TM_DO(member.ready());
    if (i == 0) {
      stop_.request_stop();
      return Error(ErrorCode::cancelled, "interrupted");
    }
    TM_DO(member.held());
    return member.taken({}, true);
  });
  EXPECT_FALSE(called_off.missed());
}

TEST_F(SetMomentTest, CanBeCalledOff) {
  SetMoment moment(options(3), clock_);
  const auto ends = run(moment, 3, [&](std::size_t i, SetMember& member) -> Status {
    if (i == 0) {
      stop_.request_stop();
      return Error(ErrorCode::cancelled, "interrupted");
    }
    return all_of_it(member);
  });
  for (const Status& end : ends) EXPECT_EQ(end.error().code(), ErrorCode::cancelled);
}

TEST_F(SetMomentTest, NoMoreSendAtATimeThanAllowed) {
  auto some = options(16);
  some.transfers = 3;
  SetMoment moment(some, clock_);
  std::atomic<int> sending{0}, most{0};
  const auto ends = run(moment, 16, [&](std::size_t, SetMember& member) -> Status {
    TM_DO(all_of_it(member));
    const int now = ++sending;
    int before = most;
    while (before < now && !most.compare_exchange_weak(before, now)) {
    }
    std::this_thread::yield();
    --sending;
    return {};
  });
  for (const Status& end : ends) EXPECT_TRUE(end);
  EXPECT_LE(most, 3);
}

// Members that fail anywhere, in any order: all end, and either none is past the instant or all
// that were to be.
TEST_F(SetMomentTest, ItEndsWhateverFailsWhere) {
  Random random;
  for (int round = 0; round < 300; ++round) {
    const std::size_t members = 1 + random.below(6);
    std::vector<std::uint64_t> step(members);
    for (auto& s : step) s = random.below(12);  // up to 3: where it fails
    SetMoment moment(options(members), clock_);
    std::atomic<std::size_t> past{0};
    run(moment, members, [&](std::size_t i, SetMember& member) -> Status {
      const Error lost(ErrorCode::unavailable, "lost");
      if (step[i] == 0) return lost;
      TM_DO(member.ready());
      if (step[i] == 1) return lost;
      TM_DO(member.held());
      TM_DO(member.taken(step[i] == 2 ? Status(lost) : Status(), true));
      ++past;
      return step[i] == 3 ? Status(lost) : Status();
    });
    const bool whole = std::ranges::none_of(step, [](auto s) { return s < 3; });
    ASSERT_EQ(past, whole ? members : 0U) << round;
  }
}

}  // namespace
}  // namespace tidemark::test
