// What the tests of retention share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/retention/keep.h"

namespace tidemark::test {

using std::chrono::hours;

inline constexpr Timestamp kNow{1'795'440'600'000'000};  // 2026-11-23T13:30:00Z, a Monday

inline std::string date_of(Timestamp t) { return format_time(t).substr(0, 10); }

inline PointId nth_id(std::uint64_t n) {
  PointId id;
  for (std::size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::uint8_t>(n >> (56 - 8 * i));
  id.bytes[15] = 1;
  return id;
}

inline RetentionPoint point_at(Timestamp when, std::uint64_t sequence, const KeepConfig& rule) {
  RetentionPoint point;
  point.id = nth_id(sequence);
  point.received = when;
  point.sequence = sequence;
  point.rule = rule;
  return point;
}

inline std::vector<RetentionPoint> kept_of(const std::vector<RetentionPoint>& points,
                                           const std::optional<KeepConfig>& rule, Timestamp now) {
  std::vector<RetentionPoint> kept;
  const auto decisions = decide_retention(points, rule, now);
  for (std::size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(decisions[i].id, points[i].id);
    if (decisions[i].keep()) kept.push_back(points[i]);
  }
  return kept;
}

// What a rule wants, straight from the words of the header, point by point.
inline std::set<PointId> oracle(const std::vector<RetentionPoint>& points, const KeepConfig& rule) {
  std::vector<RetentionPoint> newest_first = points;
  std::ranges::sort(newest_first, [](const auto& a, const auto& b) {
    return std::pair(a.received, a.sequence) > std::pair(b.received, b.sequence);
  });
  std::set<PointId> wanted;
  for (const RetentionPoint& point : newest_first) {
    const auto newer = [&](const RetentionPoint& other) {
      return std::pair(other.received, other.sequence) > std::pair(point.received, point.sequence);
    };
    const auto complete = std::ranges::count_if(
        points, [&](const auto& other) { return newer(other) && !other.in_part; });
    const auto in_part = std::ranges::count_if(
        points, [&](const auto& other) { return newer(other) && other.in_part; });
    if (point.in_part ? complete == 0 && in_part < rule.last : complete < rule.last)
      wanted.insert(point.id);
  }
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

}  // namespace tidemark::test
