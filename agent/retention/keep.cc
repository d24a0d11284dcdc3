#include "agent/retention/keep.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"

namespace tidemark {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::sys_days;

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

// When the hour (the day …) of a point began.
Timestamp slot_of(KeepReason line, const RetentionPoint& point) {
  const std::chrono::sys_time<std::chrono::microseconds> time(
      std::chrono::microseconds(point.received.us));
  const sys_days day = floor<days>(time);
  const std::chrono::year_month_day date(day);
  const auto begin = [](std::chrono::sys_time<std::chrono::microseconds> t) {
    return Timestamp{t.time_since_epoch().count()};
  };
  switch (line) {
    case KeepReason::hourly:
      return begin(floor<std::chrono::hours>(time));
    case KeepReason::daily:
      return begin(day);
    case KeepReason::weekly:
      return begin(day - (std::chrono::weekday(day) - std::chrono::Monday));
    case KeepReason::monthly:
      return begin(sys_days(date.year() / date.month() / 1));
    default:
      return begin(sys_days(date.year() / 1 / 1));
  }
}

// "2026-11-23T10", "2026-11-23", "2026-W48" (ISO 8601: the year of the week's Thursday), "2026-11",
// "2026".
std::string slot_text(KeepReason line, Timestamp begin) {
  const std::string text = format_time(begin);
  switch (line) {
    case KeepReason::hourly:
      return text.substr(0, 13);
    case KeepReason::daily:
      return text.substr(0, 10);
    case KeepReason::weekly: {
      const Timestamp thursday = begin + days(3);
      const sys_days day(floor<days>(std::chrono::microseconds(thursday.us)));
      const auto first = sys_days(std::chrono::year_month_day(day).year() / 1 / 1);
      const std::string week = std::to_string((day - first).count() / 7 + 1);
      return format_time(thursday).substr(0, 4) + (week.size() < 2 ? "-W0" : "-W") + week;
    }
    case KeepReason::monthly:
      return text.substr(0, 7);
    default:
      return text.substr(0, 4);
  }
}

// For each line, the place of the points that it chooses among all: 1 for the newest. A rule wants
// those up to its number, so the places are the same for all rules.
class Places {
 public:
  // REQUIRES: newest first.
  explicit Places(const std::vector<const RetentionPoint*>& points)
      : points_(points), places_(points.size()) {
    for (std::size_t line = 0; line < kLines.size(); ++line)
      kLines[line].reason == KeepReason::last ? choose_last(line) : choose(line);
  }

  // Adds what `rule` wants of the n-th point.
  void add_wanted(std::size_t n, const KeepConfig& rule, bool own,
                  std::vector<KeepDecision::Reason>& out) const {
    for (std::size_t line = 0; line < kLines.size(); ++line) {
      const std::uint64_t place = places_[n][line], count = rule.*kLines[line].count;
      if (place == 0 || place > count) continue;
      const bool last_in_part = kLines[line].reason == KeepReason::last && points_[n]->in_part;
      const KeepReason reason = last_in_part ? KeepReason::last_in_part : kLines[line].reason;
      const bool slotted = kLines[line].reason != KeepReason::last;
      out.push_back(
          {reason, place, count, own, slotted ? slot_of(reason, *points_[n]) : Timestamp{}});
    }
  }

 private:
  void choose_last(std::size_t line) {
    std::uint64_t complete = 0, in_part = 0;
    for (std::size_t n = 0; n < points_.size(); ++n) {
      if (!points_[n]->in_part)
        places_[n][line] = ++complete;
      else if (complete == 0)
        places_[n][line] = ++in_part;
    }
  }

  void choose(std::size_t line) {
    const KeepReason reason = kLines[line].reason;
    std::uint64_t place = 0;
    for (std::size_t begin = 0; begin < points_.size();) {
      const Timestamp slot = slot_of(reason, *points_[begin]);
      std::size_t end = begin + 1;
      while (end < points_.size() && slot_of(reason, *points_[end]) == slot) ++end;
      std::size_t chosen = begin;
      while (chosen < end && points_[chosen]->in_part) ++chosen;
      if (chosen == end) chosen = begin;
      places_[chosen][line] = ++place;
      begin = end;
    }
  }

  const std::vector<const RetentionPoint*>& points_;
  std::vector<std::array<std::uint64_t, kLines.size()>> places_;  // 0: not chosen
};

std::string text_of_line(const KeepDecision::Reason& why) {
  const bool in_part = why.reason == KeepReason::last_in_part;
  const KeepReason reason = in_part ? KeepReason::last : why.reason;
  const auto line = std::ranges::find(kLines, reason, &Line::reason);
  std::string text =
      "number " + std::to_string(why.number) + " of " + std::to_string(why.of) + " " + line->unit;
  if (in_part) text += " in part";
  if (reason != KeepReason::last) text += " (" + slot_text(reason, why.time) + ")";
  if (why.by_own_rule) text += " by the rule it was taken under";
  return text;
}

std::string text_of(const KeepDecision::Reason& why) {
  switch (why.reason) {
    case KeepReason::pinned:
      return "pinned";
    case KeepReason::locked:
      return "locked until " + format_time(why.time);
    case KeepReason::locked_by_store:
      return "locked until " + format_time(why.time) + " by this store's rule for " + why.site;
    case KeepReason::future:
      return "received in the future, by a clock that was set back since";
    case KeepReason::role:
      return "what is in use at another site, or was handed over there, began as this point";
    case KeepReason::role_unknown:
      return "where the asset is in use cannot be told";
    case KeepReason::no_rule:
      return "without a rule every point is kept";
    case KeepReason::newest:
      return "the newest";
    case KeepReason::newest_complete:
      return "the newest that is complete";
    case KeepReason::last:
    case KeepReason::last_in_part:
    case KeepReason::hourly:
    case KeepReason::daily:
    case KeepReason::weekly:
    case KeepReason::monthly:
    case KeepReason::yearly:
      break;
  }
  return text_of_line(why);
}

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
    const RetentionPoint& point = points[i];
    decisions[i].id = point.id;
    auto& why = decisions[i].reasons;
    if (point.pinned) why.push_back({KeepReason::pinned});
    if (const auto until = locked_until(point.received, point.rule); until && now < *until)
      why.push_back({KeepReason::locked, 0, 0, false, *until});
    if (point.store_lock && now < *point.store_lock)
      why.push_back({KeepReason::locked_by_store, 0, 0, false, *point.store_lock, point.site});
    if (point.received > now)
      why.push_back({KeepReason::future});
    else
      sorted.push_back(&point);
    if (!rule || !point.rule) why.push_back({KeepReason::no_rule});
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
    if (i == 0)
      why.push_back({KeepReason::newest});
    else if (!complete_seen && !point.in_part)
      why.push_back({KeepReason::newest_complete});
    complete_seen = complete_seen || !point.in_part;
  }
  if (!rule) return decisions;
  const Places places(sorted);
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    places.add_wanted(i, *rule, false, reasons(sorted[i]));
    const auto& own = sorted[i]->rule;
    if (own && *own != *rule) places.add_wanted(i, *own, true, reasons(sorted[i]));
  }
  return decisions;
}

std::string explain(const KeepDecision& decision) {
  if (!decision.keep()) return "goes: no line of 'keep' wants it";
  std::string text;
  for (const KeepDecision::Reason& why : decision.reasons)
    text += (text.empty() ? "kept: " : "; ") + text_of(why);
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
