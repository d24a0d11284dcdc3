#include "agent/retention/keep.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "base/text.h"

namespace tidemark {
namespace {

using std::chrono::days;
using std::chrono::floor;

struct Line {
  KeepReason reason;
  const char* word;
  const char* unit;
  std::uint32_t KeepConfig::*count;
};
constexpr std::array<Line, 6> kLines = {
    {{KeepReason::last, "last", "points", &KeepConfig::last},
     {KeepReason::hourly, "hourly", "hours", &KeepConfig::hourly},
     {KeepReason::daily, "daily", "days", &KeepConfig::daily},
     {KeepReason::weekly, "weekly", "weeks", &KeepConfig::weekly},
     {KeepReason::monthly, "monthly", "months", &KeepConfig::monthly},
     {KeepReason::yearly, "yearly", "years", &KeepConfig::yearly}}};
constexpr std::uint32_t kCountMax = 100'000;
constexpr std::int64_t kLockSecondsMax = 3650LL * 24 * 3600;

// Of reasons that no line of a rule gives.
std::string_view plain_word(KeepReason reason) {
  switch (reason) {
    case KeepReason::pinned:
      return "pinned";
    case KeepReason::locked:
      return "locked";
    case KeepReason::no_rule:
      return "without a rule every point is kept";
    case KeepReason::newest:
      return "the newest";
    default:
      return "the newest that is complete";
  }
}

// Points of equal numbers share the hour (the day …); numbers grow with time.
std::int64_t slot_of(KeepReason line, const RetentionPoint& point) {
  const std::chrono::sys_time<std::chrono::microseconds> time(
      std::chrono::microseconds(point.received.us));
  const std::chrono::year_month_day date(floor<days>(time));
  const std::int64_t year = static_cast<int>(date.year());
  switch (line) {
    case KeepReason::hourly:
      return floor<std::chrono::hours>(time).time_since_epoch().count();
    case KeepReason::daily:
      return floor<days>(time).time_since_epoch().count();
    case KeepReason::weekly: {
      // The epoch was a Thursday.
      const auto day = floor<days>(time).time_since_epoch() + days(3);
      return floor<std::chrono::weeks>(day).count();
    }
    case KeepReason::monthly:
      return year * 12 + static_cast<unsigned>(date.month());
    case KeepReason::yearly:
      return year;
    default:
      return 0;
  }
}

// What one rule wants, as reasons for each of the points (which stand newest first).
class Chooser {
 public:
  Chooser(const std::vector<const RetentionPoint*>& points, const KeepConfig& rule)
      : points_(points), wanted_(points.size()) {
    for (const Line& line : kLines)
      if (rule.*line.count > 0) choose(line, rule.*line.count);
  }
  const std::vector<std::vector<KeepDecision::Reason>>& wanted() const { return wanted_; }

 private:
  void choose(const Line& line, std::uint64_t count) {
    std::uint64_t number = 0;
    for (std::size_t begin = 0; begin < points_.size() && number < count;) {
      const std::int64_t slot = slot_of(line.reason, *points_[begin]);
      std::size_t end = begin + 1;
      if (line.reason != KeepReason::last)
        while (end < points_.size() && slot_of(line.reason, *points_[end]) == slot) ++end;
      std::size_t chosen = begin;
      while (chosen < end && points_[chosen]->in_part) ++chosen;
      if (chosen == end) chosen = begin;
      wanted_[chosen].push_back({line.reason, ++number, count, false});
      begin = end;
    }
  }

  const std::vector<const RetentionPoint*>& points_;
  std::vector<std::vector<KeepDecision::Reason>> wanted_;
};

}  // namespace

std::optional<Timestamp> locked_until(Timestamp received, const std::optional<KeepConfig>& rule) {
  if (!rule || !rule->locked_for) return std::nullopt;
  return received + *rule->locked_for;
}

std::vector<KeepDecision> decide_retention(std::span<const RetentionPoint> points,
                                           const std::optional<KeepConfig>& rule, Timestamp now) {
  std::vector<KeepDecision> decisions(points.size());
  std::vector<const RetentionPoint*> sorted;
  for (std::size_t i = 0; i < points.size(); ++i) {
    decisions[i].id = points[i].id;
    sorted.push_back(&points[i]);
  }
  std::ranges::sort(sorted, [](const RetentionPoint* a, const RetentionPoint* b) {
    return std::pair(a->received, a->sequence) > std::pair(b->received, b->sequence);
  });
  const auto reasons = [&](const RetentionPoint* point) -> std::vector<KeepDecision::Reason>& {
    return decisions[static_cast<std::size_t>(point - points.data())].reasons;
  };
  bool complete_seen = false;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const RetentionPoint& point = *sorted[i];
    auto& why = reasons(sorted[i]);
    if (point.pinned) why.push_back({KeepReason::pinned});
    if (const auto until = locked_until(point.received, point.rule); until && now < *until)
      why.push_back({KeepReason::locked});
    if (!rule || !point.rule) why.push_back({KeepReason::no_rule});
    if (i == 0)
      why.push_back({KeepReason::newest});
    else if (!complete_seen && !point.in_part)
      why.push_back({KeepReason::newest_complete});
    complete_seen = complete_seen || !point.in_part;
  }
  if (!rule) return decisions;
  const Chooser now_wanted(sorted, *rule);
  // Points of one rule are asked about at once; there are few rules.
  std::map<std::string, std::vector<std::size_t>> by_rule;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    auto& why = reasons(sorted[i]);
    const auto& wanted = now_wanted.wanted()[i];
    why.insert(why.end(), wanted.begin(), wanted.end());
    if (sorted[i]->rule && *sorted[i]->rule != *rule)
      by_rule[keep_text(*sorted[i]->rule)].push_back(i);
  }
  for (const auto& [text, members] : by_rule) {
    const Chooser own(sorted, *sorted[members.front()]->rule);
    for (const std::size_t i : members)
      for (KeepDecision::Reason reason : own.wanted()[i]) {
        reason.by_own_rule = true;
        reasons(sorted[i]).push_back(reason);
      }
  }
  return decisions;
}

std::string explain(const KeepDecision& decision) {
  if (!decision.keep()) return "goes: no line of 'keep' wants it";
  std::string text;
  for (const KeepDecision::Reason& why : decision.reasons) {
    text += text.empty() ? "kept: " : "; ";
    const auto line = std::ranges::find(kLines, why.reason, &Line::reason);
    if (line != kLines.end()) {
      text += "number " + std::to_string(why.number) + " of " + std::to_string(why.of) + " " +
              line->unit;
      if (why.by_own_rule) text += " by the rule it was taken under";
      continue;
    }
    text += plain_word(why.reason);
  }
  return text;
}

std::string keep_text(const KeepConfig& keep) {
  std::string text;
  const auto add = [&](const std::string& word) { text += (text.empty() ? "" : " ") + word; };
  for (const Line& line : kLines)
    if (keep.*line.count > 0) add(std::string(line.word) + "=" + std::to_string(keep.*line.count));
  if (keep.locked_for)
    add("locked_for=" +
        std::to_string(std::chrono::ceil<std::chrono::seconds>(*keep.locked_for).count()) + "s");
  return text;
}

Result<KeepConfig> parse_keep(std::string_view text) {
  KeepConfig keep;
  if (text.empty()) return keep;
  const auto wrong = [&](std::string_view word) {
    return Error(ErrorCode::invalid_argument,
                 "'" + std::string(word) + "' is no part of a rule of retention");
  };
  for (const std::string& word : split(text, ' ')) {
    const auto equals = word.find('=');
    if (equals == std::string::npos) return wrong(word);
    const std::string name = word.substr(0, equals);
    std::int64_t value = 0;
    const char* const end = word.data() + word.size();
    const auto [at, error] = std::from_chars(word.data() + equals + 1, end, value);
    if (error != std::errc() || value < 1) return wrong(word);
    if (name == "locked_for") {
      if (std::string_view(at, end) != "s" || value > kLockSecondsMax) return wrong(word);
      keep.locked_for = std::chrono::seconds(value);
      continue;
    }
    const auto line =
        std::ranges::find(kLines, name, [](const Line& l) { return std::string(l.word); });
    if (line == kLines.end())
      return Error(ErrorCode::unsupported, "'" + name + "' is not known to this version");
    if (at != end || value > kCountMax) return wrong(word);
    keep.*line->count = static_cast<std::uint32_t>(value);
  }
  if (keep_text(keep) != text)
    return Error(ErrorCode::invalid_argument, "a rule of retention in an unusual form");
  return keep;
}

}  // namespace tidemark
