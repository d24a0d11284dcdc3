// Which points are kept: examples with exact answers, and properties against a slow second
// reckoning.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "agent/retention/keep.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using ::testing::ElementsAre;

const Timestamp kNow{1'795'440'600'000'000};  // 2026-11-23T13:30:00Z, a Monday

std::string date_of(Timestamp t) { return format_time(t).substr(0, 10); }

PointId nth_id(std::uint64_t n) {
  PointId id;
  for (std::size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::uint8_t>(n >> (56 - 8 * i));
  id.bytes[15] = 1;
  return id;
}

RetentionPoint point_at(Timestamp when, std::uint64_t sequence, const KeepConfig& rule) {
  RetentionPoint point;
  point.id = nth_id(sequence);
  point.received = when;
  point.sequence = sequence;
  point.rule = rule;
  return point;
}

std::vector<RetentionPoint> kept_of(const std::vector<RetentionPoint>& points,
                                    const std::optional<KeepConfig>& rule, Timestamp now) {
  std::vector<RetentionPoint> kept;
  const auto decisions = decide_retention(points, rule, now);
  for (std::size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(decisions[i].id, points[i].id);
    if (decisions[i].keep()) kept.push_back(points[i]);
  }
  return kept;
}

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
  EXPECT_EQ(explain(decisions[0]), "kept: the newest that is complete; number 1 of 1 days");
  EXPECT_EQ(explain(decisions[1]), "goes: no line of 'keep' wants it");
  EXPECT_EQ(explain(decisions[2]), "kept: the newest");
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

TEST(RetentionTest, ForgedPointsPushNoLockedOneOut) {
  KeepConfig rule;
  rule.last = 3;
  rule.locked_for = hours(48);
  std::vector<RetentionPoint> points = {point_at(kNow + -hours(5), 1, rule)};
  for (std::uint64_t i = 2; i < 1000; ++i) points.push_back(point_at(kNow, i, KeepConfig{}));
  EXPECT_EQ(kept_of(points, KeepConfig{}, kNow).front().sequence, 1U);
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

// --- properties

// Straight from the words of the header, point by point.
std::set<PointId> oracle(const std::vector<RetentionPoint>& points, const KeepConfig& rule) {
  std::vector<RetentionPoint> newest_first = points;
  std::ranges::sort(newest_first, [](const auto& a, const auto& b) {
    return std::pair(a.received, a.sequence) > std::pair(b.received, b.sequence);
  });
  std::set<PointId> wanted;
  for (std::size_t i = 0; i < newest_first.size() && i < rule.last; ++i)
    wanted.insert(newest_first[i].id);
  const auto by_text = [&](std::uint32_t count, auto name) {
    std::vector<std::string> names;
    std::map<std::string, const RetentionPoint*> best;
    for (const RetentionPoint& point : newest_first) {
      const std::string unit = name(point.received);
      const RetentionPoint*& chosen = best[unit];
      if (chosen == nullptr) names.push_back(unit);
      if (chosen == nullptr || (chosen->in_part && !point.in_part)) chosen = &point;
    }
    for (std::size_t i = 0; i < names.size() && i < count; ++i) wanted.insert(best[names[i]]->id);
  };
  by_text(rule.hourly, [](Timestamp t) { return format_time(t).substr(0, 13); });
  by_text(rule.daily, [](Timestamp t) { return date_of(t); });
  by_text(rule.weekly, [](Timestamp t) {
    while (true) {  // back to the Monday
      const auto day = std::chrono::floor<std::chrono::days>(
          std::chrono::sys_time<std::chrono::microseconds>(std::chrono::microseconds(t.us)));
      if (std::chrono::weekday(day) == std::chrono::Monday) return date_of(t);
      t = t + -hours(24);
    }
  });
  by_text(rule.monthly, [](Timestamp t) { return format_time(t).substr(0, 7); });
  by_text(rule.yearly, [](Timestamp t) { return format_time(t).substr(0, 4); });
  return wanted;
}

class RetentionPropertyTest : public ::testing::Test {
 protected:
  KeepConfig any_rule() {
    KeepConfig rule;
    for (auto count : {&KeepConfig::last, &KeepConfig::hourly, &KeepConfig::daily,
                       &KeepConfig::weekly, &KeepConfig::monthly, &KeepConfig::yearly})
      rule.*count = random_.below(2) ? static_cast<std::uint32_t>(random_.below(8)) : 0;
    if (random_.below(4) == 0) rule.locked_for = hours(1 + random_.below(500));
    return rule;
  }
  std::vector<RetentionPoint> any_points(const std::vector<KeepConfig>& rules) {
    std::vector<RetentionPoint> points;
    const std::uint64_t span = std::uint64_t{1} << random_.below(16);  // hours: up to seven years
    const std::uint64_t count = random_.below(60);
    for (std::uint64_t i = 1; i <= count; ++i) {
      // Times in any order, some equal, some of the future.
      const auto ago = std::chrono::microseconds(hours(random_.below(span))) +
                       std::chrono::minutes(random_.below(3) * 20);
      points.push_back(
          point_at(kNow + (hours(random_.below(10) == 0) - ago), i,
                   rules[random_.below(rules.size())]));
      points.back().pinned = random_.below(20) == 0;
      points.back().in_part = random_.below(5) == 0;
    }
    return points;
  }
  Random random_;
};

TEST_F(RetentionPropertyTest, AgreesWithTheWordsPointByPoint) {
  for (int round = 0; round < 3000; ++round) {
    const KeepConfig now_rule = any_rule();
    const std::vector<KeepConfig> rules = {now_rule, any_rule(), any_rule()};
    const auto points = any_points(rules);
    const auto decisions = decide_retention(points, now_rule, kNow);
    const auto wanted = oracle(points, now_rule);
    const RetentionPoint *newest = nullptr, *complete = nullptr;
    for (const RetentionPoint& point : points) {
      const auto later = [&](const RetentionPoint* other) {
        return other == nullptr || std::pair(point.received, point.sequence) >
                                       std::pair(other->received, other->sequence);
      };
      if (later(newest)) newest = &point;
      if (!point.in_part && later(complete)) complete = &point;
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
      const RetentionPoint& point = points[i];
      const auto until = locked_until(point.received, point.rule);
      const bool expected = point.pinned || (until && kNow < *until) || &point == newest ||
                            &point == complete || wanted.contains(point.id) ||
                            oracle(points, *point.rule).contains(point.id);
      ASSERT_EQ(decisions[i].keep(), expected)
          << "round " << round << ", point " << i << " of " << points.size() << " at "
          << format_time(point.received) << ", rule " << keep_text(now_rule) << ", own "
          << keep_text(*point.rule) << ": " << explain(decisions[i]);
    }
  }
}

TEST_F(RetentionPropertyTest, DecidingAgainDropsNothingMoreAndALargerRuleKeepsAtLeastAsMuch) {
  for (int round = 0; round < 1000; ++round) {
    const KeepConfig rule = any_rule();
    auto points = any_points({rule});
    for (RetentionPoint& point : points) point.in_part = false;
    const auto kept = kept_of(points, rule, kNow);
    EXPECT_EQ(kept_of(kept, rule, kNow).size(), kept.size()) << keep_text(rule);
    KeepConfig larger = rule;
    larger.daily += 3;
    larger.last += 1;
    std::set<std::uint64_t> more;
    for (const auto& point : kept_of(points, larger, kNow)) more.insert(point.sequence);
    for (const auto& point : kept) EXPECT_TRUE(more.contains(point.sequence)) << keep_text(rule);
  }
}

TEST_F(RetentionPropertyTest, EveryRuleReadsBackAsItWas) {
  for (int round = 0; round < 1000; ++round) {
    const KeepConfig rule = any_rule();
    const auto parsed = parse_keep(keep_text(rule));
    ASSERT_TRUE(parsed.has_value()) << keep_text(rule);
    EXPECT_EQ(*parsed, rule);
  }
}

}  // namespace
}  // namespace tidemark::test
