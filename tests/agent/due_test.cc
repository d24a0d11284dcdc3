// When points are due: simulated months with exact numbers of points, outages, clocks that jump,
// and the order of those that are due.
#include "agent/schedule/due.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>

#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using ::testing::ElementsAre;

Timestamp at(std::string_view text) {
  const auto parsed = parse_time(text, {});
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed ? *parsed : Timestamp{};
}

Schedule every(Duration interval, Duration jitter = {}) {
  Schedule schedule;
  schedule.every = interval;
  schedule.jitter = jitter;
  return schedule;
}

Schedule on(std::string_view text, std::string_view zone = "UTC", Duration jitter = {}) {
  Schedule schedule;
  auto calendar = parse_calendar(text, zone);
  EXPECT_TRUE(calendar.has_value()) << text;
  if (calendar) schedule.calendar = *std::move(calendar);
  schedule.jitter = jitter;
  return schedule;
}

// An agent that looks once a minute and takes what is due at once.
class Agent {
 public:
  Agent(Schedule schedule, std::string asset)
      : schedule_(std::move(schedule)), asset_(std::move(asset)) {}
  void look(Timestamp now) {
    const auto due = next_due(schedule_, asset_, newest_, now);
    ASSERT_TRUE(due.has_value());
    if (!due->now()) {
      EXPECT_GT(due->at, now);
      return;
    }
    EXPECT_LE(due->at, now);
    take(now);
  }
  void run(Timestamp from, Timestamp to) {
    for (Timestamp now = from; now < to; now = now + minutes(1)) look(now);
  }
  void take(Timestamp now) {
    newest_ = now;
    taken_.push_back(now);
  }
  std::size_t count() const { return taken_.size(); }
  std::vector<std::string> taken_texts() const {
    std::vector<std::string> out;
    for (const Timestamp t : taken_) out.push_back(format_time(t));
    return out;
  }
  const std::vector<Timestamp>& taken() const { return taken_; }

 private:
  Schedule schedule_;
  std::string asset_;
  std::optional<Timestamp> newest_;
  std::vector<Timestamp> taken_;
};

// --- slots

TEST(DueTest, WithoutAScheduleNothingIsDue) {
  EXPECT_EQ(next_due(Schedule{}, "rbd/a", std::nullopt, at("2026-11-23")), std::nullopt);
}

TEST(DueTest, AnAssetWithoutAPointIsDue) {
  const Timestamp now = at("2026-11-23 10:20");
  EXPECT_EQ(next_due(every(hours(1)), "rbd/a", std::nullopt, now), (Due{Due::Why::no_point, now}));
  EXPECT_EQ(next_due(on("yearly"), "rbd/a", std::nullopt, now), (Due{Due::Why::no_point, now}));
}

TEST(DueTest, AnyPointOfASlotStandsForItAndOneFromBeforeDoesNot) {
  const Timestamp slot = at("2026-11-23 10:00"), now = at("2026-11-23 10:20");
  for (const Schedule& schedule : {every(hours(1)), on("hourly"), on("0 10,11 * * *")}) {
    const auto due = [&](Timestamp newest) { return *next_due(schedule, "rbd/a", newest, now); };
    EXPECT_EQ(due(slot + -microseconds(1)), (Due{Due::Why::slot, slot}));
    EXPECT_EQ(due(slot), (Due{Due::Why::waiting, slot + hours(1)}));
    EXPECT_EQ(due(now), (Due{Due::Why::waiting, slot + hours(1)}));
    EXPECT_EQ(next_due(schedule, "rbd/a", slot, slot + hours(1))->at, slot + hours(1));
    EXPECT_TRUE(next_due(schedule, "rbd/a", slot, slot + hours(1))->now());
  }
}

TEST(DueTest, APointByHandJustBeforeASlotLeavesNoGapAndShiftsNothing) {
  Agent agent(every(hours(1)), "rbd/a");
  agent.run(at("2026-11-23 10:00"), at("2026-11-23 10:59"));
  agent.take(at("2026-11-23 10:59"));
  agent.run(at("2026-11-23 11:00"), at("2026-11-23 12:30"));
  EXPECT_THAT(agent.taken_texts(), ElementsAre("2026-11-23T10:00:00Z", "2026-11-23T10:59:00Z",
                                               "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"));
}

TEST(DueTest, WhatABackupTakesShiftsNothing) {
  // The agent is busy for seven minutes after each point that it takes.
  const Schedule schedule = every(minutes(15));
  std::optional<Timestamp> newest;
  int taken = 0;
  for (Timestamp now = at("2026-11-01"); now < at("2026-12-01"); now = now + minutes(1)) {
    if (!next_due(schedule, "rbd/a", newest, now)->now()) continue;
    newest = now;
    ++taken;
    now = now + minutes(7);
  }
  EXPECT_EQ(taken, 30 * 24 * 4);
}

TEST(DueTest, AnOutageIsMadeUpForByOnePoint) {
  for (const Schedule& schedule : {every(hours(1)), on("hourly", "Europe/Berlin")}) {
    Agent agent(schedule, "rbd/a");
    agent.run(at("2026-11-23 10:00"), at("2026-11-23 10:30"));
    agent.run(at("2026-11-26 17:40"), at("2026-11-26 18:30"));
    EXPECT_THAT(agent.taken_texts(), ElementsAre("2026-11-23T10:00:00Z", "2026-11-26T17:40:00Z",
                                                 "2026-11-26T18:00:00Z"));
  }
}

TEST(DueTest, AMonthHasExactlyItsSlots) {
  const auto count = [](const Schedule& schedule, std::string_view from, std::string_view to) {
    Agent agent(schedule, "rbd/a");
    agent.run(at(from), at(to));
    return agent.count();
  };
  EXPECT_EQ(count(every(hours(1)), "2026-11-01", "2026-12-01"), 720U);
  EXPECT_EQ(count(every(hours(24)), "2026-11-01", "2026-12-01"), 30U);
  // The first one comes at once, in the slot that began before.
  EXPECT_EQ(count(every(hours(1)), "2026-11-01 00:30", "2026-12-01 00:30"), 721U);
  EXPECT_EQ(count(every(hours(1), hours(1)), "2026-11-01", "2026-12-01"), 721U);
  EXPECT_EQ(count(on("0 */6 * * *"), "2026-11-01", "2026-12-01"), 120U);
  EXPECT_EQ(count(on("mon..fri 08:00"), "2026-11-02 08:00", "2026-11-30"), 20U);
  // Months in which clocks change: days are days, hours real ones.
  EXPECT_EQ(count(on("30 2 * * *", "Europe/Berlin"), "2026-03-01 01:30", "2026-04-01"), 31U);
  EXPECT_EQ(count(on("30 2 * * *", "Europe/Berlin"), "2026-10-01 00:30", "2026-11-01"), 31U);
  EXPECT_EQ(count(on("hourly", "Europe/Berlin"), "2026-03-01", "2026-04-01"), 744U);
  EXPECT_EQ(count(on("hourly", "America/New_York"), "2026-11-01", "2026-12-01"), 720U);
}

// --- clocks that jump

TEST(DueTest, AClockThatIsSetBackMakesOnePointDue) {
  for (const Schedule& schedule : {every(hours(1)), on("hourly")}) {
    Agent agent(schedule, "rbd/a");
    agent.look(at("2026-11-23 10:10"));
    agent.run(at("2026-11-20 03:20"), at("2026-11-20 05:30"));
    EXPECT_THAT(agent.taken_texts(), ElementsAre("2026-11-23T10:10:00Z", "2026-11-20T03:20:00Z",
                                                 "2026-11-20T04:00:00Z", "2026-11-20T05:00:00Z"));
    EXPECT_EQ(next_due(schedule, "rbd/a", at("2026-11-23"), at("2026-11-20"))->why,
              Due::Why::clock_set_back);
  }
}

TEST(DueTest, AClockThatGoesAheadAndBackMakesOnePointDueEachTime) {
  Agent agent(every(hours(1)), "rbd/a");
  agent.run(at("2026-11-23 10:00"), at("2026-11-23 10:10"));
  agent.run(at("2031-01-01 07:05"), at("2031-01-01 07:10"));
  agent.run(at("2026-11-23 10:15"), at("2026-11-23 11:10"));
  EXPECT_THAT(agent.taken_texts(), ElementsAre("2026-11-23T10:00:00Z", "2031-01-01T07:05:00Z",
                                               "2026-11-23T10:15:00Z", "2026-11-23T11:00:00Z"));
}

TEST(DueTest, AnyTimeOfAPointIsAnswered) {
  const Timestamp now = at("2026-11-23");
  for (const Schedule& schedule : {every(hours(1)), on("daily", "Europe/Berlin")}) {
    for (const std::int64_t us :
         {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
      EXPECT_TRUE(next_due(schedule, "rbd/a", Timestamp{us}, now)->now());
      EXPECT_TRUE(std::isfinite(urgency(now, Timestamp{us}, hours(1), std::nullopt)));
    }
  }
  EXPECT_TRUE(next_due(every(hours(7)), "rbd/a", at("1969-12-30"), at("1969-12-31"))->now());
}

// --- jitter

TEST(DueTest, JitterIsStableAndSpreadsAssetsEvenly) {
  // Stable over versions too: slots must not move with an upgrade.
  EXPECT_EQ(jitter_of("rbd/rbd/vol-1", hours(1)).count(), 52'170'058);
  EXPECT_EQ(jitter_of("rbd/rbd/vol-1", Duration::zero()), Duration::zero());
  std::array<int, 10> tenths{};
  for (int i = 0; i < 10'000; ++i) {
    const auto jitter = jitter_of("rbd/rbd/vol-" + std::to_string(i), hours(1));
    ASSERT_GE(jitter, Duration::zero());
    ASSERT_LT(jitter, hours(1));
    ++tenths[static_cast<std::size_t>(jitter / minutes(6))];
  }
  for (const int n : tenths) EXPECT_NEAR(n, 1000, 150);
}

TEST(DueTest, JitterMovesSlotsAndKeepsTheirDistance) {
  const Duration moved = jitter_of("rbd/a", minutes(30));
  const Timestamp now = at("2026-11-23 12:00");
  for (const Schedule& schedule :
       {every(hours(6), minutes(30)), on("0 */6 * * *", "UTC", minutes(30))}) {
    EXPECT_EQ(next_due(schedule, "rbd/a", now + -hours(1), now)->at, now + moved);
    EXPECT_FALSE(
        next_due(schedule, "rbd/a", now + -hours(1), now + moved + -microseconds(1))->now());
    EXPECT_EQ(*next_due(schedule, "rbd/a", now + -hours(1), now + moved + minutes(5)),
              (Due{Due::Why::slot, now + moved}));
    EXPECT_EQ(next_due(schedule, "rbd/a", now + moved, now + moved)->at, now + moved + hours(6));
  }
  // No more than the whole of `every`.
  EXPECT_EQ(next_due(every(hours(1), hours(100)), "rbd/a", now, now),
            next_due(every(hours(1), hours(1)), "rbd/a", now, now));
}

// --- against slots counted one by one

TEST(DueTest, RandomSchedulesTakeOnePointASlot) {
  Random random;
  const Timestamp from = at("2026-10-20"), to = at("2026-10-30");  // Berlin changes between
  for (int round = 0; round < 60; ++round) {
    const Duration jitter = minutes(random.below(50));
    const std::string asset = "rbd/" + std::to_string(random.u64());
    const Duration interval = minutes(1 + random.below(600));
    const bool by_calendar = random.below(2) == 0;
    const Schedule schedule = by_calendar ? on("mon..sun " + std::to_string(random.below(24)) +
                                                   ":" + std::to_string(random.below(60)),
                                               "Europe/Berlin", jitter)
                                          : every(interval, jitter);
    // The slots' beginnings, one after the other.
    std::vector<Timestamp> slots;
    const Duration moved = jitter_of(asset, by_calendar ? jitter : std::min(jitter, interval));
    for (Timestamp t = from + -hours(48); t < to; t = t + minutes(1)) {
      if (by_calendar ? last_instant(*schedule.calendar, t) == t : t.us % interval.count() == 0)
        slots.push_back(t + moved);
    }
    std::optional<Timestamp> newest;
    std::map<std::ptrdiff_t, int> points;  // by slot
    for (Timestamp now = from; now < to;
         now = now + microseconds(1 + random.below(3'600'000'000))) {
      const auto slot = std::ranges::upper_bound(slots, now) - slots.begin() - 1;
      const auto due = *next_due(schedule, asset, newest, now);
      ASSERT_EQ(due.now(), points[slot] == 0) << format_time(now);
      if (due.now()) {
        ++points[slot];
        newest = now;
      } else if (static_cast<std::size_t>(slot) + 1 < slots.size()) {
        ASSERT_EQ(due.at, slots[static_cast<std::size_t>(slot) + 1]) << format_time(now);
      }
    }
  }
}

// --- urgency

TEST(DueTest, UrgencyIsTheAgeAsAPartOfTheObjective) {
  const Timestamp now = at("2026-11-23 12:00");
  EXPECT_DOUBLE_EQ(urgency(now, now + -hours(1), hours(2), hours(1)), 0.5);
  EXPECT_DOUBLE_EQ(urgency(now, now + -hours(1), std::nullopt, hours(1)), 0.5);
  EXPECT_DOUBLE_EQ(urgency(now, now + -hours(36), std::nullopt, std::nullopt), 1.5);
  EXPECT_DOUBLE_EQ(urgency(now, now, hours(2), hours(1)), 0);
  EXPECT_DOUBLE_EQ(urgency(now, now + hours(1), hours(2), hours(1)), 1);
  EXPECT_TRUE(std::isinf(urgency(now, std::nullopt, hours(2), hours(1))));
  EXPECT_TRUE(std::isfinite(urgency(now, now + -hours(1), Duration::zero(), std::nullopt)));
}

TEST(DueTest, ThoseDueComeInTheOrderOfUrgency) {
  const Timestamp now = at("2026-11-23 12:10");
  const Schedule hourly = every(hours(1)), daily = on("daily"), by_hand;
  const std::vector<AssetState> assets = {
      {"just-taken", &hourly, now, hours(2)},
      {"half", &hourly, now + -hours(1), hours(2)},
      {"new-b", &hourly, std::nullopt, hours(2)},
      {"by-hand", &by_hand, std::nullopt, std::nullopt},
      {"missed", &hourly, now + -hours(3), hours(2)},
      {"new-a", &daily, std::nullopt, std::nullopt},
      {"calendar", &daily, now + -hours(36), std::nullopt},  // of twice 24 h
      {"half", &hourly, now + -hours(1), hours(2)},
      {"set-back", &hourly, now + hours(5), hours(2)},
  };
  std::vector<std::size_t> order;
  for (const DueAsset& due : due_assets(assets, now)) {
    order.push_back(due.index);
    const AssetState& state = assets[due.index];
    EXPECT_EQ(due.due, *next_due(*state.schedule, state.asset, state.newest, now));
  }
  EXPECT_THAT(order, ElementsAre(5, 2, 4, 8, 6, 1, 7));
}

TEST(DueTest, TenThousandAssetsAreOrdered) {
  const Timestamp now = at("2026-11-23 12:10");
  const std::vector<Schedule> schedules = {
      every(hours(1), minutes(30)), on("30 2 * * *", "Europe/Berlin", minutes(30)),
      on("hourly", "America/New_York", minutes(30)), on("mon..fri 08:00 Australia/Lord_Howe")};
  std::vector<AssetState> assets;
  for (std::uint64_t i = 0; i < 10'000; ++i)
    assets.push_back({"rbd/rbd/vol-" + std::to_string(i), &schedules[i % schedules.size()],
                      now + -minutes(i * 7919 % 4000), hours(1 + i % 30)});
  const auto began = std::chrono::steady_clock::now();
  const auto due = due_assets(assets, now);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  std::printf("10,000 assets, %zu due: %.1f ms\n", due.size(), took.count());
  std::size_t expected = 0;
  for (const AssetState& state : assets)
    if (next_due(*state.schedule, state.asset, state.newest, now)->now()) ++expected;
  EXPECT_EQ(due.size(), expected);
  EXPECT_GT(due.size(), 1000U);
  EXPECT_TRUE(std::ranges::is_sorted(due, std::greater<>(), &DueAsset::urgency));
}

}  // namespace
}  // namespace tidemark::test
