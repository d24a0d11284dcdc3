// Which points are kept: properties of random points and rules, against a slow second reckoning.
#include <algorithm>
#include <map>
#include <set>

#include "tests/agent/retention_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

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
      points.push_back(point_at(kNow + (hours(random_.below(10) == 0) - ago), i,
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
    // Those of the future are kept, and the others decided upon as if they were not there.
    auto present = points;
    std::erase_if(present, [](const auto& point) { return point.received > kNow; });
    const auto wanted = oracle(present, now_rule);
    const RetentionPoint *newest = nullptr, *complete = nullptr;
    for (const RetentionPoint& point : present) {
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
      const auto is = [&](const RetentionPoint* other) {
        return other != nullptr && other->id == point.id;
      };
      const bool expected = point.pinned || (until && kNow < *until) || point.received > kNow ||
                            is(newest) || is(complete) || wanted.contains(point.id) ||
                            oracle(present, *point.rule).contains(point.id);
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
    const auto points = any_points({rule, any_rule(), any_rule()});
    const auto kept = kept_of(points, rule, kNow);
    EXPECT_EQ(kept_of(kept, rule, kNow).size(), kept.size()) << keep_text(rule);
    KeepConfig larger = rule;
    for (auto count : {&KeepConfig::last, &KeepConfig::hourly, &KeepConfig::daily,
                       &KeepConfig::weekly, &KeepConfig::monthly, &KeepConfig::yearly})
      larger.*count += static_cast<std::uint32_t>(random_.below(3));
    std::set<std::uint64_t> more;
    for (const auto& point : kept_of(points, larger, kNow)) more.insert(point.sequence);
    for (const auto& point : kept) EXPECT_TRUE(more.contains(point.sequence)) << keep_text(rule);
  }
}

TEST_F(RetentionPropertyTest, NewerPointsDropNothingThatIsPinnedOrLocked) {
  for (int round = 0; round < 500; ++round) {
    const std::vector<KeepConfig> rules = {any_rule(), any_rule(), any_rule()};
    auto points = any_points(rules);
    const std::size_t before = points.size();
    for (std::uint64_t i = 1; i <= 20; ++i) {
      points.push_back(point_at(kNow, before + i, rules[random_.below(rules.size())]));
      points.back().in_part = random_.below(2) == 0;
    }
    // At any time and under any rule, also by a clock that was set either way.
    const Timestamp now = kNow + (hours(random_.below(1000)) - hours(500));
    const auto decisions = decide_retention(points, rules[random_.below(rules.size())], now);
    for (std::size_t i = 0; i < points.size(); ++i) {
      const auto until = locked_until(points[i].received, points[i].rule);
      if (points[i].pinned || (until && now < *until)) {
        EXPECT_TRUE(decisions[i].keep()) << "round " << round;
      }
    }
  }
}

TEST_F(RetentionPropertyTest, RandomTextsAreRulesInTheirOneFormOrRefused) {
  const std::vector<std::string> pieces = {
      "last", "=",    "hourly",     " ",        "1",
      "24",   "0",    "locked_for", "s",        "daily",
      "\t",   "3600", "-",          "yearly",   "99999999999999999999",
      "=",    " ",    "weekly",     "decennial"};
  int rules = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto n = random_.below(9); n > 0; --n) text += pieces[random_.below(pieces.size())];
    const auto parsed = parse_keep(text);
    if (!parsed) continue;
    ++rules;
    EXPECT_EQ(keep_text(*parsed), text);
  }
  EXPECT_GT(rules, 0);
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
