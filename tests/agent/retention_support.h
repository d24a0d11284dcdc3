// What the tests of retention share.
#pragma once

#include <gtest/gtest.h>

#include <optional>
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

}  // namespace tidemark::test
