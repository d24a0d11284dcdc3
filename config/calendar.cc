#include "config/calendar.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "base/text.h"

namespace tidemark {
namespace {

using std::chrono::days;
using std::chrono::microseconds;
using std::chrono::minutes;

constexpr microseconds kTick(1);

// What the clock on the wall shows, as if it were UTC.
Timestamp shown(Timestamp t, microseconds offset) { return t + offset; }
Timestamp instant(Timestamp local, microseconds offset) { return local + -offset; }

bool names_day(const CronSchedule& times, std::chrono::sys_days day) {
  const std::chrono::year_month_day date(day);
  if ((times.months >> static_cast<unsigned>(date.month()) & 1) == 0) return false;
  const bool by_day = (times.days >> static_cast<unsigned>(date.day()) & 1) != 0;
  const bool by_weekday = (times.weekdays >> std::chrono::weekday(day).c_encoding() & 1) != 0;
  return times.any_day || times.any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

// The first bit set from `from` on; nothing where there is none.
std::optional<int> first_bit(std::uint64_t bits, int from) {
  if (from > 63) return std::nullopt;
  bits = bits >> from << from;
  if (bits == 0) return std::nullopt;
  return std::countr_zero(bits);
}

// The first minute of the day that is named, at or after `from`.
std::optional<minutes> first_minute(const CronSchedule& times, minutes from) {
  const int hour_from = static_cast<int>(from.count() / 60);
  for (auto hour = first_bit(times.hours, hour_from); hour;
       hour = first_bit(times.hours, *hour + 1)) {
    const auto minute =
        first_bit(times.minutes, *hour == hour_from ? static_cast<int>(from.count() % 60) : 0);
    if (minute) return minutes(60 * *hour + *minute);
  }
  return std::nullopt;
}

// The first time named at or after `local`; last_time() is its twin.
Timestamp first_time(const CronSchedule& times, Timestamp local) {
  const std::chrono::sys_time<microseconds> time(microseconds(local.us));
  const auto from = std::chrono::ceil<minutes>(time);
  auto day = std::chrono::floor<days>(from);
  minutes minute = from - day;
  // What names a day at all names one within forty years: a 29 February of a certain weekday.
  for (;; day += days(1), minute = minutes(0)) {
    if (!names_day(times, day)) continue;
    if (const auto found = first_minute(times, minute))
      return {microseconds((day + *found).time_since_epoch()).count()};
  }
}

// The clock has shown all times before this one by the beginning of the span: where it was set
// back, more than it shows then.
Timestamp shown_before(const Zone::Span& span, const Zone::Span& previous) {
  return shown(span.begin, std::max(span.offset, previous.offset));
}

Zone::Span previous(const Zone& zone, const Zone::Span& span) {
  return zone.at(span.begin + -kTick);
}

Timestamp last_starred(const Calendar& calendar, Timestamp t) {
  for (;;) {
    const Zone::Span span = calendar.zone.at(t);
    const Timestamp found = instant(last_time(calendar.times, shown(t, span.offset)), span.offset);
    if (found >= span.begin) return found;
    t = span.begin + -kTick;
  }
}

Timestamp next_starred(const Calendar& calendar, Timestamp t) {
  for (Timestamp from = t + kTick;;) {
    const Zone::Span span = calendar.zone.at(from);
    const Timestamp found =
        instant(first_time(calendar.times, shown(from, span.offset)), span.offset);
    if (found < span.end) return found;
    from = span.end;
  }
}

// A line with a fixed hour and minute counts when the clock shows its time or a later one for the
// first time. That instant never decreases while the time on the wall grows, so both searches look
// for a time first and for its instant then.
Timestamp last_fixed(const Calendar& calendar, Timestamp t) {
  Zone::Span span = calendar.zone.at(t);
  Zone::Span before = previous(calendar.zone, span);
  const Timestamp highest = std::max(shown(t, span.offset), shown_before(span, before) + -kTick);
  const Timestamp local = last_time(calendar.times, highest);
  while (instant(local, before.offset) < span.begin) {
    span = before;
    before = previous(calendar.zone, span);
  }
  return std::max(instant(local, span.offset), span.begin);
}

Timestamp next_fixed(const Calendar& calendar, Timestamp t) {
  Zone::Span span = calendar.zone.at(t);
  const Timestamp lowest =
      std::max(shown(t + kTick, span.offset), shown_before(span, previous(calendar.zone, span)));
  const Timestamp local = first_time(calendar.times, lowest);
  while (instant(local, span.offset) >= span.end) span = calendar.zone.at(span.end);
  return std::max(instant(local, span.offset), span.begin);
}

// --- text

Error wrong(std::string_view text, const std::string& why) {
  return Error(ErrorCode::invalid_argument, "'" + std::string(text) + "': " + why)
      .with_hint("write a cron line, daily, 'mon..fri 08:00' or '*-*-01 03:30 Europe/Berlin'");
}

struct Word {
  std::string_view word, cron;
};
constexpr std::array<Word, 9> kWords = {{{"minutely", "* * * * *"},
                                         {"hourly", "0 * * * *"},
                                         {"daily", "0 0 * * *"},
                                         {"weekly", "0 0 * * 1"},
                                         {"monthly", "0 0 1 * *"},
                                         {"quarterly", "0 0 1 1,4,7,10 *"},
                                         {"semiannually", "0 0 1 1,7 *"},
                                         {"yearly", "0 0 1 1 *"},
                                         {"annually", "0 0 1 1 *"}}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "1..5/2" as cron writes it, "1-5/2"; "5/7" runs to the field's end, `max`.
std::optional<std::string> to_cron_field(std::string_view text, std::string_view max) {
  std::string out;
  for (std::string item : split(text, ',')) {
    // '-' between numbers and names are cron's, not ours.
    if (item.empty() || item.find_first_not_of("0123456789*./") != std::string::npos)
      return std::nullopt;
    const auto range = item.find("..");
    if (range != std::string::npos) item.replace(range, 2, "-");
    const auto slash = item.find('/');
    if (slash != std::string::npos && slash > 0 && item[0] != '*' && range == std::string::npos)
      item.insert(slash, "-" + std::string(max));
    out += (out.empty() ? "" : ",") + item;
  }
  return out;
}

// "mon", "monday": 0 for Monday.
std::optional<unsigned> parse_weekday(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kNames = {
      "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
  for (unsigned i = 0; i < kNames.size(); ++i)
    if (text == kNames[i] || text == kNames[i].substr(0, 3)) return i;
  return std::nullopt;
}

// The bits of "mon,wed..fri" or "fri..mon" as CronSchedule has them; nothing for what is none.
std::optional<std::uint32_t> parse_weekdays(std::string_view text) {
  std::uint32_t bits = 0;
  for (const std::string& item : split(text, ',')) {
    const auto dots = item.find("..");
    const auto from = parse_weekday(std::string_view(item).substr(0, dots));
    const auto to =
        dots == std::string::npos ? from : parse_weekday(std::string_view(item).substr(dots + 2));
    if (!from || !to) return std::nullopt;
    for (unsigned day = *from;; day = (day + 1) % 7) {
      bits |= 1U << (day + 1) % 7;
      if (day == *to) break;
    }
  }
  return bits;
}

struct Fields {
  std::string minute = "0", hour = "0", day = "*", month = "*";
  std::optional<std::uint32_t> weekdays;
  bool any = false;
};

bool read_date(std::string_view text, Fields& fields) {
  auto parts = split(text, '-');
  if (parts.size() == 3 && parts[0] == "*") parts.erase(parts.begin());
  if (parts.size() != 2) return false;
  const auto month = to_cron_field(parts[0], "12"), day = to_cron_field(parts[1], "31");
  if (!month || !day) return false;
  fields.month = *month;
  fields.day = *day;
  return true;
}

bool read_time(std::string_view text, Fields& fields) {
  const auto parts = split(text, ':');
  if (parts.size() == 3 && parts[2] != "00" && parts[2] != "0") return false;
  if (parts.size() != 2 && parts.size() != 3) return false;
  const auto hour = to_cron_field(parts[0], "23"), minute = to_cron_field(parts[1], "59");
  if (!hour || !minute) return false;
  fields.hour = *hour;
  fields.minute = *minute;
  return true;
}

// `parts` in their order: weekdays, date, time; each at most once.
bool read_fields(const std::vector<std::string>& parts, Fields& fields) {
  std::size_t at = 0;
  const auto next_is = [&](char c) {
    return at < parts.size() && parts[at].find(c) != std::string::npos;
  };
  if (at < parts.size() && (fields.weekdays = parse_weekdays(lower(parts[at])))) ++at;
  if (next_is('-')) {
    if (!read_date(parts[at], fields)) return false;
    ++at;
  }
  if (next_is(':')) {
    if (!read_time(parts[at], fields)) return false;
    ++at;
  }
  return at == parts.size() && at > 0;
}

// Words and dates have a digit, a star or a weekday at the beginning; zones have not.
bool is_zone(std::string_view part) {
  return !part.empty() && !is_digit(part[0]) && part[0] != '*' && !parse_weekdays(lower(part));
}

bool is_starred(std::string_view cron) {
  return cron.starts_with('*') || split(cron, ' ').at(1).starts_with('*');
}

Result<Calendar> from_cron(std::string_view line, std::string_view text, Zone zone) {
  auto times = parse_cron(line);
  if (!times) return wrong(text, times.error().message());
  times->text = text;
  return Calendar{*std::move(times), std::move(zone), is_starred(line)};
}

}  // namespace

Result<Calendar> parse_calendar(std::string_view text, std::string_view zone_name) {
  std::vector<std::string> parts;
  for (auto& part : split(text, ' '))
    if (!part.empty()) parts.push_back(std::move(part));
  if (parts.empty()) return wrong(text, "it is empty");
  const bool cron = parts.size() == 5;
  std::string named(zone_name);
  if (!cron && parts.size() > 1 && is_zone(parts.back())) {
    named = parts.back();
    parts.pop_back();
  }
  TM_TRY(Zone zone, Zone::find(named));
  if (cron) {
    std::string line;
    for (const auto& part : parts) line += (line.empty() ? "" : " ") + part;
    return from_cron(line, text, std::move(zone));
  }
  const auto word =
      std::ranges::find(kWords, lower(parts[0]), [](const Word& w) { return std::string(w.word); });
  if (word != kWords.end()) {
    if (parts.size() > 1) return wrong(text, "nothing but a zone stands behind a word");
    return from_cron(word->cron, text, std::move(zone));
  }
  Fields fields;
  if (!read_fields(parts, fields)) return wrong(text, "it is neither a cron line nor a calendar");
  // Checked without weekdays, so that the day must exist by its date.
  TM_TRY(Calendar calendar,
         from_cron(fields.minute + " " + fields.hour + " " + fields.day + " " + fields.month + " *",
                   text, std::move(zone)));
  if (fields.weekdays) {
    calendar.times.weekdays = *fields.weekdays;
    calendar.times.any_weekday = false;
    calendar.times.any_day = true;  // a day must match both
  }
  return calendar;
}

Timestamp last_instant(const Calendar& calendar, Timestamp t) {
  return calendar.starred ? last_starred(calendar, t) : last_fixed(calendar, t);
}

Timestamp next_instant(const Calendar& calendar, Timestamp t) {
  return calendar.starred ? next_starred(calendar, t) : next_fixed(calendar, t);
}

}  // namespace tidemark
