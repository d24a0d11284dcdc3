#include "base/clock.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>

namespace tidemark {
namespace {

class SystemClock final : public Clock {
 public:
  Timestamp now() const override {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return {std::chrono::duration_cast<std::chrono::microseconds>(since).count()};
  }
  std::chrono::microseconds uptime() const override {
    return std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::steady_clock::now().time_since_epoch());
  }
};

struct Unit {
  std::string_view name;
  std::int64_t us;
};
constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::array kUnits = {
    Unit{"w", 7 * 86400 * kSecondUs}, Unit{"d", 86400 * kSecondUs}, Unit{"h", 3600 * kSecondUs},
    Unit{"m", 60 * kSecondUs},        Unit{"s", kSecondUs},         Unit{"ms", 1000},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes exactly `digits` digits from the front of `text`.
std::optional<int> take_digits(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    if (!is_digit(text[i])) return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

struct Civil {
  int year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0;
  std::int64_t fraction_us = 0, offset_s = 0;
};

std::optional<std::int64_t> take_fraction(std::string_view& text) {
  std::int64_t us = 0, scale = 100'000;
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  while (!text.empty() && is_digit(text.front())) {
    us += (text.front() - '0') * scale;
    scale /= 10;
    text.remove_prefix(1);
  }
  return us;
}

std::optional<std::int64_t> take_offset(std::string_view& text) {
  if (text.empty() || take(text, 'Z') || take(text, 'z')) return 0;
  const bool west = text.front() == '-';
  if (!take(text, '+') && !take(text, '-')) return std::nullopt;
  const auto hours = take_digits(text, 2);
  take(text, ':');
  const auto minutes = take_digits(text, 2);
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  return (west ? -1 : 1) * (*hours * 3600 + *minutes * 60);
}

bool take_time_of_day(std::string_view& text, Civil& civil) {
  const auto hour = take_digits(text, 2);
  if (!hour || !take(text, ':')) return false;
  const auto minute = take_digits(text, 2);
  if (!minute) return false;
  civil.hour = *hour;
  civil.minute = *minute;
  if (take(text, ':')) {
    const auto second = take_digits(text, 2);
    if (!second) return false;
    civil.second = *second;
    if (take(text, '.')) {
      const auto fraction = take_fraction(text);
      if (!fraction) return false;
      civil.fraction_us = *fraction;
    }
  }
  const auto offset = take_offset(text);
  if (!offset) return false;
  civil.offset_s = *offset;
  return civil.hour <= 23 && civil.minute <= 59 && civil.second <= 59;
}

std::optional<Timestamp> parse_civil(std::string_view text) {
  Civil civil;
  const auto year = take_digits(text, 4);
  if (!year || !take(text, '-')) return std::nullopt;
  const auto month = take_digits(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  const auto day = take_digits(text, 2);
  if (!day) return std::nullopt;
  if (!text.empty()) {
    if (!take(text, 'T') && !take(text, 't') && !take(text, ' ')) return std::nullopt;
    if (!take_time_of_day(text, civil) || !text.empty()) return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t seconds =
      days * 86400 + civil.hour * 3600 + civil.minute * 60 + civil.second - civil.offset_s;
  return Timestamp{seconds * kSecondUs + civil.fraction_us};
}

// Takes a decimal number such as "12" or "1.5".
std::optional<double> take_number(std::string_view& text) {
  std::size_t end = 0;
  while (end < text.size() && (is_digit(text[end]) || text[end] == '.')) ++end;
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + end, value);
  if (end == 0 || error != std::errc() || rest != text.data() + end) return std::nullopt;
  text.remove_prefix(end);
  return value;
}

}  // namespace

Clock& Clock::system() {
  static SystemClock clock;
  return clock;
}

std::string format_time(Timestamp t) {
  std::int64_t seconds = t.us / kSecondUs, fraction = t.us % kSecondUs;
  if (fraction < 0) {
    fraction += kSecondUs;
    --seconds;
  }
  const auto as_time_t = static_cast<std::time_t>(seconds);
  std::tm tm{};
  ::gmtime_r(&as_time_t, &tm);
  std::array<char, 96> date{};
  // strftime's %Y does not pad: a year below 1000 would not be a time that anybody reads back.
  std::snprintf(date.data(), date.size(), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
                tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
  if (fraction == 0) return std::string(date.data()) + "Z";
  std::array<char, 16> decimals{};
  std::snprintf(decimals.data(), decimals.size(), ".%06dZ", static_cast<int>(fraction));
  return std::string(date.data()) + decimals.data();
}

Result<Timestamp> parse_time(std::string_view text, Timestamp now) {
  if (text.starts_with('-')) {
    TM_TRY(const auto ago, parse_duration(text.substr(1)));
    return now + -ago;
  }
  if (const auto t = parse_civil(text)) return *t;
  return Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not a time")
      .with_hint("write 2026-11-22T09:30:00Z, '2026-11-22 09:30' (UTC) or a span ago: -2h");
}

Result<std::chrono::microseconds> parse_duration(std::string_view text) {
  const Error wrong =
      Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not a duration")
          .with_hint("write 30s, 15m, 2h, 7d, 1w or a sum such as 1h30m");
  static constexpr double kMaxUs = 1000.0 * 366 * 86400 * kSecondUs;
  double total = 0;
  if (text.empty()) return wrong;
  while (!text.empty()) {
    const auto value = take_number(text);
    std::size_t end = 0;
    while (end < text.size() && !is_digit(text[end])) ++end;
    const std::string_view name = text.substr(0, end);
    text.remove_prefix(end);
    const Unit* found = nullptr;
    for (const auto& unit : kUnits)
      if (unit.name == name) found = &unit;
    if (!value || found == nullptr) return wrong;
    total += *value * static_cast<double>(found->us);
    if (total > kMaxUs) return wrong;
  }
  return std::chrono::microseconds(std::llround(total));
}

std::string format_duration(std::chrono::microseconds d) {
  if (d == std::chrono::microseconds::min()) d = -std::chrono::microseconds::max();
  if (d.count() < 0) return "-" + format_duration(-d);
  if (d < std::chrono::seconds(10) && d.count() % kSecondUs != 0) {
    std::array<char, 32> text{};
    // Three digits say enough, but never as "1e-05", which is not a duration.
    if (d < std::chrono::milliseconds(1)) {
      std::snprintf(text.data(), text.size(), "0.%06d", static_cast<int>(d.count()));
      const std::string_view digits = text.data();
      return std::string(digits.substr(0, digits.find_last_not_of('0') + 1)) + "s";
    }
    std::snprintf(text.data(), text.size(), "%.3gs", static_cast<double>(d.count()) / kSecondUs);
    return text.data();
  }
  const std::int64_t half_up = d.count() % kSecondUs >= kSecondUs / 2 ? 1 : 0;
  std::int64_t rest = d.count() / kSecondUs + half_up;
  std::string out;
  for (const Unit& unit : kUnits) {
    if (unit.name == "w" || unit.name == "ms") continue;
    const std::int64_t whole = rest / (unit.us / kSecondUs);
    rest %= unit.us / kSecondUs;
    if (whole > 0) out += std::to_string(whole) + std::string(unit.name);
  }
  return out.empty() ? "0s" : out;
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
                kNames[unit]);
  return text.data();
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  const Error wrong =
      Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not a size")
          .with_hint("write 4096, 512KiB, 400MiB or 2GiB");
  // Whole numbers stay whole: a double holds 53 bits of them.
  std::uint64_t whole = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  const bool is_whole =
      error == std::errc() && (end == text.data() + text.size() || *end != '.');
  const auto value = take_number(text);
  if (!value) return wrong;
  while (take(text, ' ')) {
  }
  std::uint64_t scale = 1;
  if (!text.empty() && text != "B") {
    static constexpr std::string_view kPrefixes = "KMGTPE";
    const char prefix = text.front() == 'k' ? 'K' : text.front();
    const auto at = kPrefixes.find(prefix);
    text.remove_prefix(1);
    if (at == std::string_view::npos ||
        (!text.empty() && text != "iB" && text != "B" && text != "i"))
      return wrong;
    for (std::size_t i = 0; i <= at; ++i) scale *= 1024;
  }
  static constexpr double kMax = 9.2e18;
  const double scaled = *value * static_cast<double>(scale);
  if (!(scaled < kMax)) return wrong;
  return is_whole ? whole * scale : static_cast<std::uint64_t>(scaled);
}

}  // namespace tidemark
