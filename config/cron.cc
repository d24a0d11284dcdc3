#include "config/cron.h"

#include <array>
#include <charconv>
#include <chrono>
#include <optional>
#include <vector>

#include "base/text.h"

namespace tidemark {
namespace {

struct CronField {
  std::string_view name;
  unsigned min, max;
  std::string_view words;  // three letters each, for the values from `min` on
};
constexpr std::array kFields = {
    CronField{"minute", 0, 59, ""},
    CronField{"hour", 0, 23, ""},
    CronField{"day", 1, 31, ""},
    CronField{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    CronField{"weekday", 0, 7, "sunmontuewedthufrisat"},
};

std::optional<unsigned> parse_number(std::string_view text) {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || text.size() > 2 || error != std::errc() || rest != end) return std::nullopt;
  return value;
}

std::optional<unsigned> parse_value(const CronField& field, std::string_view text) {
  for (std::size_t i = 0; 3 * i < field.words.size(); ++i)
    if (field.words.substr(3 * i, 3) == text) return field.min + static_cast<unsigned>(i);
  const auto value = parse_number(text);
  if (!value || *value < field.min || *value > field.max) return std::nullopt;
  return value;
}

struct Range {
  unsigned from, to;
};

std::optional<Range> parse_range(const CronField& field, std::string_view text) {
  if (text == "*") return Range{field.min, field.max};
  const auto dash = text.find('-');
  const auto from = parse_value(field, text.substr(0, dash));
  const auto to = dash == std::string_view::npos ? from : parse_value(field, text.substr(dash + 1));
  if (!from || !to || *from > *to) return std::nullopt;
  return Range{*from, *to};
}

// The bits of one field: "*", "5", "1-5", "*/15", "1-30/2", "mon,wed".
std::optional<std::uint64_t> parse_field(const CronField& field, std::string_view text) {
  std::uint64_t bits = 0;
  for (const std::string& item : split(text, ',')) {
    const auto slash = item.find('/');
    const std::string_view range_text = std::string_view(item).substr(0, slash);
    const auto range = parse_range(field, range_text);
    unsigned step = 1;
    if (slash != std::string::npos) {
      const auto given = parse_number(std::string_view(item).substr(slash + 1));
      const bool stepped_range =
          range_text == "*" || range_text.find('-') != std::string_view::npos;
      if (!given || *given == 0 || !stepped_range) return std::nullopt;
      step = *given;
    }
    if (!range) return std::nullopt;
    for (unsigned v = range->from; v <= range->to; v += step) bits |= std::uint64_t{1} << v;
  }
  return bits;
}

// True where some day of the month exists in some month of the schedule.
bool can_come_true(const CronSchedule& cron) {
  static constexpr std::array<unsigned, 12> kDays = {31, 29, 31, 30, 31, 30,
                                                     31, 31, 30, 31, 30, 31};
  if (!cron.any_weekday) return true;
  for (unsigned month = 1; month <= 12; ++month) {
    if ((cron.months >> month & 1) == 0) continue;
    for (unsigned day = 1; day <= kDays[month - 1]; ++day)
      if ((cron.days >> day & 1) != 0) return true;
  }
  return false;
}

Error wrong(std::string message) { return Error(ErrorCode::invalid_argument, std::move(message)); }

}  // namespace

Result<CronSchedule> parse_cron(std::string_view text) {
  std::vector<std::string> fields;
  for (auto& part : split(text, ' '))
    if (!part.empty()) fields.push_back(std::move(part));
  if (fields.size() != kFields.size())
    return wrong("it has " + std::to_string(fields.size()) + " fields");
  std::array<std::uint64_t, kFields.size()> bits{};
  for (std::size_t i = 0; i < kFields.size(); ++i) {
    const auto parsed = parse_field(kFields[i], fields[i]);
    if (!parsed)
      return wrong("the " + std::string(kFields[i].name) + " field is made of values from " +
                   std::to_string(kFields[i].min) + " to " + std::to_string(kFields[i].max));
    bits[i] = *parsed;
  }
  if ((bits[4] & 1U << 7) != 0) bits[4] = (bits[4] & 0x7f) | 1;  // Sunday is 0 and 7
  CronSchedule cron{std::string(text),
                    bits[0],
                    static_cast<std::uint32_t>(bits[1]),
                    static_cast<std::uint32_t>(bits[2]),
                    static_cast<std::uint32_t>(bits[3]),
                    static_cast<std::uint32_t>(bits[4]),
                    fields[2].starts_with('*'),
                    fields[4].starts_with('*')};
  if (!can_come_true(cron)) return wrong("no such day ever comes");
  return cron;
}

Timestamp last_time(const CronSchedule& cron, Timestamp now) {
  using std::chrono::days;
  using std::chrono::minutes;
  const std::chrono::sys_time<std::chrono::microseconds> time(std::chrono::microseconds(now.us));
  auto day = std::chrono::floor<days>(time);
  // The minute of the day to begin with; of all days before, the last one.
  auto minute = std::chrono::floor<minutes>(time - day);
  // What names a day at all names one within eight years: 29 February.
  for (;; day -= days(1), minute = minutes(24 * 60 - 1)) {
    const std::chrono::year_month_day date(day);
    if ((cron.months >> static_cast<unsigned>(date.month()) & 1) == 0) continue;
    const bool by_day = (cron.days >> static_cast<unsigned>(date.day()) & 1) != 0;
    const bool by_weekday = (cron.weekdays >> std::chrono::weekday(day).c_encoding() & 1) != 0;
    const bool named =
        cron.any_day || cron.any_weekday ? by_day && by_weekday : by_day || by_weekday;
    if (!named) continue;
    for (; minute >= minutes(0); minute -= minutes(1)) {
      const auto hour = static_cast<unsigned>(minute.count() / 60);
      const auto rest = static_cast<unsigned>(minute.count() % 60);
      if ((cron.hours >> hour & 1) == 0 || (cron.minutes >> rest & 1) == 0) continue;
      return {
          std::chrono::duration_cast<std::chrono::microseconds>((day + minute).time_since_epoch())
              .count()};
    }
  }
}

}  // namespace tidemark
