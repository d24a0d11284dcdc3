// Which points are kept: examples with exact answers.
#include <gmock/gmock.h>

#include <chrono>
#include <cstdio>
#include <set>

#include "tests/agent/retention_support.h"

namespace tidemark::test {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> days_of(const std::vector<RetentionPoint>& points) {
  std::vector<std::string> out;
  for (const RetentionPoint& point : points) out.push_back(date_of(point.received));
  return out;
}

// A day's last point, for each day from `days` ago to today.
std::vector<RetentionPoint> daily_points(int days, const KeepConfig& rule) {
  std::vector<RetentionPoint> points;
  for (int i = days; i >= 0; --i)
    points.push_back(
        point_at(kNow + -hours(24 * i), static_cast<std::uint64_t>(days - i + 1), rule));
  return points;
}

TEST(RetentionTest, LinesAddUpAndEachTakesTheNewestOfItsUnit) {
  KeepConfig rule;
  rule.last = 2;
  rule.weekly = 3;
  rule.monthly = 2;
  EXPECT_THAT(days_of(kept_of(daily_points(60, rule), rule, kNow)),
              ElementsAre("2026-10-31", "2026-11-15", "2026-11-22", "2026-11-23"));
}

TEST(RetentionTest, AMonthOfHourlyPointsEndsWithExactlyWhatTheRulePromises) {
  KeepConfig rule;
  rule.last = 6;
  rule.hourly = 24;
  rule.daily = 14;
  rule.weekly = 8;
  std::vector<RetentionPoint> points;
  std::uint64_t sequence = 0;
  for (int hour = 30 * 24; hour >= 0; --hour) {
    points.push_back(point_at(kNow + -hours(hour), ++sequence, rule));
    points = kept_of(points, rule, points.back().received);
  }
  // 24 hours reach back to yesterday 14:30; of 14 days two have points among them; weeks end on
  // 1, 8, 15 and 22 November, and the first of them began the month of points.
  std::set<std::string> expected;
  for (int hour = 0; hour < 24; ++hour) expected.insert(format_time(kNow + -hours(hour)));
  for (int day = 0; day < 14; ++day)
    expected.insert(day == 0 ? format_time(kNow) : date_of(kNow + -hours(24 * day)) + "T23:30:00Z");
  expected.insert("2026-11-08T23:30:00Z");
  expected.insert("2026-11-01T23:30:00Z");
  expected.insert("2026-10-25T23:30:00Z");
  std::set<std::string> actual;
  for (const RetentionPoint& point : points) actual.insert(format_time(point.received));
  EXPECT_EQ(actual, expected);
}

TEST(RetentionTest, WithoutARuleEverythingIsKept) {
  const auto points = daily_points(5, KeepConfig{});
  EXPECT_EQ(kept_of(points, std::nullopt, kNow).size(), 6U);
  auto unruled = points;
  for (RetentionPoint& point : unruled) point.rule.reset();
  EXPECT_EQ(kept_of(unruled, KeepConfig{}, kNow).size(), 6U);
}

TEST(RetentionTest, AnEmptyRuleKeepsTheNewestAndTheNewestComplete) {
  auto points = daily_points(5, KeepConfig{});
  points[5].in_part = points[4].in_part = true;
  EXPECT_THAT(days_of(kept_of(points, KeepConfig{}, kNow)),
              ElementsAre("2026-11-21", "2026-11-23"));
}

TEST(RetentionTest, ACompletePointIsChosenBeforeOneInPart) {
  KeepConfig rule;
  rule.daily = 1;
  std::vector<RetentionPoint> points = {point_at(kNow + -hours(3), 1, rule),
                                        point_at(kNow + -hours(2), 2, rule),
                                        point_at(kNow + -hours(1), 3, rule)};
  points[1].in_part = points[2].in_part = true;
  const auto decisions = decide_retention(points, rule, kNow);
  EXPECT_EQ(explain(decisions[0]),
            "kept: the newest that is complete; number 1 of 1 days (2026-11-23)");
  EXPECT_EQ(explain(decisions[1]), "goes: no line of 'keep' wants it");
  EXPECT_EQ(explain(decisions[2]), "kept: the newest");
}

TEST(RetentionTest, PointsInPartTakeNoPlaceOfLastFromCompleteOnes) {
  KeepConfig rule;
  rule.last = 2;
  auto points = daily_points(9, rule);  // the 14th to the 23rd
  for (const std::size_t i : {3U, 6U, 7U, 8U, 9U}) points[i].in_part = true;
  EXPECT_THAT(days_of(kept_of(points, rule, kNow)),
              ElementsAre("2026-11-18", "2026-11-19", "2026-11-22", "2026-11-23"));
  const auto decisions = decide_retention(points, rule, kNow);
  EXPECT_EQ(explain(decisions[8]), "kept: number 2 of 2 points in part");
  EXPECT_EQ(explain(decisions[4]), "kept: number 2 of 2 points");
  // Once a complete one has come, those in part before it are not wanted any more.
  points.push_back(point_at(kNow + hours(1), 11, rule));
  EXPECT_THAT(days_of(kept_of(points, rule, kNow + hours(1))),
              ElementsAre("2026-11-19", "2026-11-23"));
  // Where none is complete, they are what there is.
  for (auto& point : points) point.in_part = true;
  EXPECT_EQ(kept_of(points, rule, kNow + hours(1)).size(), 2U);
}

TEST(RetentionTest, ASmallerRuleHoldsForPointsTakenSinceOnly) {
  KeepConfig large, small;
  large.daily = 5;
  small.last = 1;
  auto points = daily_points(5, large);
  points.back().rule = small;
  EXPECT_EQ(kept_of(points, small, kNow).size(), 5U);
  // A larger one at once.
  points = daily_points(5, small);
  EXPECT_EQ(kept_of(points, large, kNow).size(), 5U);
}

TEST(RetentionTest, ALockHoldsUntilItsTimeWhateverTheClockSays) {
  KeepConfig rule;
  rule.locked_for = hours(72);
  const auto points = daily_points(5, rule);
  EXPECT_THAT(days_of(kept_of(points, KeepConfig{}, kNow)),
              ElementsAre("2026-11-21", "2026-11-22", "2026-11-23"));
  // Set back: all of them are younger than that, and stay.
  EXPECT_EQ(kept_of(points, KeepConfig{}, kNow + -hours(240)).size(), 6U);
}

TEST(RetentionTest, PointsOfTheFutureStayAndTakeNoPlace) {
  KeepConfig rule;
  rule.last = 2;
  const auto points = daily_points(9, rule);
  // Four days and an hour back: five points are of the future then, and two are wanted by `last`.
  const auto decisions = decide_retention(points, rule, kNow + -hours(24 * 4 + 1));
  for (std::size_t i = 0; i < points.size(); ++i) EXPECT_EQ(decisions[i].keep(), i >= 3) << i;
  EXPECT_EQ(explain(decisions[9]),
            "kept: received in the future, by a clock that was set back since");
  EXPECT_THAT(days_of(kept_of(points, rule, kNow)), ElementsAre("2026-11-22", "2026-11-23"));
}

TEST(RetentionTest, AClockThatIsWrongForAWhileDropsNothingThatWasTakenRight) {
  KeepConfig rule;
  rule.last = 3;
  rule.daily = 5;
  for (const Timestamp wrong : {kNow + -hours(6 * 8766), kNow + hours(6 * 8766)}) {
    auto points = kept_of(daily_points(20, rule), rule, kNow);
    const auto before = points;
    // Points come in by the wrong clock, and the rules are applied by it.
    std::uint64_t sequence = 100;
    for (int hour = 0; hour < 3; ++hour) {
      const Timestamp now = wrong + hours(hour);
      points.push_back(point_at(now, ++sequence, rule));
      points = kept_of(points, rule, now);
      EXPECT_EQ(points.back().sequence, sequence);
    }
    if (wrong < kNow) {
      EXPECT_EQ(points.size(), before.size() + 3);
    }
    // By the right one again: those of the wrong one push nothing out.
    points.push_back(point_at(kNow + hours(1), ++sequence, rule));
    points = kept_of(points, rule, kNow + hours(1));
    EXPECT_EQ(points.back().sequence, sequence);
    std::vector<RetentionPoint> right;
    for (const auto& point : points)
      if (point.received >= before.back().received && point.received <= kNow + hours(1))
        right.push_back(point);
    EXPECT_EQ(right.size(), 2U);
  }
}

TEST(RetentionTest, EveryReasonIsSaidWithItsTimeAndItsNumber) {
  KeepConfig own, rule;
  own.last = 1;
  own.locked_for = hours(48);
  for (auto count : {&KeepConfig::last, &KeepConfig::hourly, &KeepConfig::daily,
                     &KeepConfig::weekly, &KeepConfig::monthly, &KeepConfig::yearly})
    rule.*count = 9;
  RetentionPoint point = point_at(kNow, 1, own);
  point.pinned = true;
  const auto all = decide_retention(std::vector{point}, rule, kNow);
  EXPECT_EQ(explain(all[0]),
            "kept: pinned; locked until 2026-11-25T13:30:00Z; the newest; number 1 of 9 points; "
            "number 1 of 9 hours (2026-11-23T13); number 1 of 9 days (2026-11-23); "
            "number 1 of 9 weeks (2026-W48); number 1 of 9 months (2026-11); "
            "number 1 of 9 years (2026); number 1 of 1 points by the rule it was taken under");
  // As data, for whoever shows it otherwise.
  EXPECT_EQ(all[0].reasons[1],
            (KeepDecision::Reason{KeepReason::locked, 0, 0, false, kNow + hours(48)}));
  point.rule.reset();
  point.pinned = false;
  EXPECT_EQ(explain(decide_retention(std::vector{point}, rule, kNow + -hours(1))[0]),
            "kept: received in the future, by a clock that was set back since; "
            "without a rule every point is kept");
}

TEST(RetentionTest, WeeksAreThoseOfIso8601) {
  KeepConfig rule;
  rule.weekly = 1;
  const std::vector<std::pair<const char*, const char*>> weeks = {
      {"2026-01-01", "2026-W01"}, {"2025-12-29", "2026-W01"}, {"2025-12-28", "2025-W52"},
      {"2027-01-03", "2026-W53"}, {"2027-01-04", "2027-W01"}, {"2024-12-30", "2025-W01"},
      {"1969-12-29", "1970-W01"}};
  for (const auto& [date, week] : weeks) {
    const Timestamp time = *parse_time(date, kNow);
    const auto decisions = decide_retention(std::vector{point_at(time, 1, rule)}, rule, time);
    EXPECT_EQ(explain(decisions[0]),
              "kept: the newest; number 1 of 1 weeks (" + std::string(week) + ")");
  }
}

TEST(RetentionTest, ForgedPointsPushNoLockedOneOut) {
  KeepConfig rule;
  rule.last = 3;
  rule.locked_for = hours(48);
  std::vector<RetentionPoint> points = {point_at(kNow + -hours(5), 1, rule)};
  for (std::uint64_t i = 2; i < 1000; ++i) points.push_back(point_at(kNow, i, KeepConfig{}));
  EXPECT_EQ(kept_of(points, KeepConfig{}, kNow).front().sequence, 1U);
}

TEST(RetentionTest, TenThousandPointsEachOfARuleOfItsOwnAreDecidedAtOnce) {
  // As many rules as points, which a source can make up: what one costs must not grow with them.
  std::vector<RetentionPoint> points;
  KeepConfig rule;
  rule.hourly = rule.yearly = 1;
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    rule.last = rule.daily = static_cast<std::uint32_t>(i);
    points.push_back(point_at(kNow + -hours(10'000 - i), i, rule));
  }
  const auto began = std::chrono::steady_clock::now();
  const auto kept = kept_of(points, KeepConfig{}, kNow);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  std::printf("10,000 points: %.1f ms\n", took.count());
  // By `last`, those whose number is at least their place: the newer half.
  EXPECT_GE(kept.size(), 5000U);
  EXPECT_LT(kept.size(), 5500U);
}

TEST(RetentionTest, TextsOfRules) {
  KeepConfig rule;
  EXPECT_EQ(keep_text(rule), "");
  rule.last = 6;
  rule.yearly = 3;
  rule.locked_for = hours(168);
  EXPECT_EQ(keep_text(rule), "last=6 yearly=3 locked_for=604800s");
  EXPECT_EQ(*parse_keep(keep_text(rule)), rule);
  EXPECT_EQ(*parse_keep(""), KeepConfig{});
  for (const char* text : {"last", "last=", "last=0", "last=-1", "last=x", "last=1 ", " last=1",
                           "last=1 last=2", "hourly=1 last=2", "last=100001", "locked_for=5",
                           "locked_for=99999999999s", "last=01", "last=1\n"}) {
    const auto parsed = parse_keep(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument) << text;
  }
  EXPECT_EQ(parse_keep("last=1 decennial=2").error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace tidemark::test
