#include <algorithm>
#include <array>
#include <bitset>

#include "base/text.h"
#include "config/config.h"
#include "config/internal/values.h"

namespace tidemark {
namespace {

constexpr std::array<std::string_view, 7> kWeekdays = {"mon", "tue", "wed", "thu",
                                                       "fri", "sat", "sun"};
constexpr unsigned kMinutesPerDay = 1440;

std::optional<unsigned> parse_weekday(std::string_view text) {
  for (unsigned day = 0; day < kWeekdays.size(); ++day)
    if (kWeekdays[day] == text) return day;
  return std::nullopt;
}

// "mon-fri", "sat,sun", "fri-mon", "daily" as bits, Monday first.
std::optional<std::uint8_t> parse_weekdays(std::string_view text) {
  if (text == "daily") return std::uint8_t{0x7f};
  unsigned bits = 0;
  for (const std::string& item : split(text, ',')) {
    const auto dash = item.find('-');
    const auto from = parse_weekday(std::string_view(item).substr(0, dash));
    const auto to =
        dash == std::string::npos ? from : parse_weekday(std::string_view(item).substr(dash + 1));
    if (!from || !to) return std::nullopt;
    for (unsigned day = *from;; day = (day + 1) % 7) {
      bits |= 1U << day;
      if (day == *to) break;
    }
  }
  return static_cast<std::uint8_t>(bits);
}

// "08:00" as minutes of the day, up to "24:00".
std::optional<std::uint16_t> parse_minute(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  unsigned digits[4];
  for (unsigned i = 0; i < 4; ++i) {
    const char c = text[i < 2 ? i : i + 1];
    if (c < '0' || c > '9') return std::nullopt;
    digits[i] = static_cast<unsigned>(c - '0');
  }
  const unsigned hour = digits[0] * 10 + digits[1], minute = digits[2] * 10 + digits[3];
  if (minute > 59 || hour * 60 + minute > kMinutesPerDay) return std::nullopt;
  return static_cast<std::uint16_t>(hour * 60 + minute);
}

}  // namespace

Result<BandwidthWindow> parse_window(std::string_view text) {
  const Error wrong =
      Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not a part of the week")
          .with_hint("write mon-fri 08:00-19:00, 'sat,sun 00:00-24:00' or daily 22:00-06:00");
  const auto space = text.find(' ');
  if (space == std::string_view::npos) return wrong;
  const auto weekdays = parse_weekdays(text.substr(0, space));
  const std::string_view hours = text.substr(space + 1);
  if (!weekdays || hours.size() != 11 || hours[5] != '-') return wrong;
  const auto from = parse_minute(hours.substr(0, 5)), to = parse_minute(hours.substr(6));
  if (!from || !to || *from == *to || *from == kMinutesPerDay) return wrong;
  return BandwidthWindow{std::string(text), *weekdays, *from, *to, 0};
}

std::optional<std::uint64_t> bandwidth_at(const BandwidthConfig& config, Timestamp now) {
  const std::chrono::sys_time<std::chrono::microseconds> time(std::chrono::microseconds(now.us));
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const auto minute = std::chrono::floor<std::chrono::minutes>(time - day).count();
  const unsigned weekday = std::chrono::weekday(day).iso_encoding() - 1;
  const auto within = [&](const BandwidthWindow& window) {
    const bool today = (window.weekdays >> weekday & 1) != 0;
    if (window.from_minute < window.to_minute)
      return today && minute >= window.from_minute && minute < window.to_minute;
    const bool since_yesterday = (window.weekdays >> (weekday + 6) % 7 & 1) != 0;
    return (today && minute >= window.from_minute) ||
           (since_yesterday && minute < window.to_minute);
  };
  const auto found = std::ranges::find_if(config.windows, within);
  return found == config.windows.end() ? config.bytes_per_second
                                       : std::optional(found->bytes_per_second);
}

namespace config {
namespace {

using Week = std::bitset<7 * kMinutesPerDay>;

Week minutes_of(const BandwidthWindow& window) {
  Week week;
  const unsigned length = window.to_minute > window.from_minute
                              ? window.to_minute - window.from_minute
                              : window.to_minute + kMinutesPerDay - window.from_minute;
  for (unsigned day = 0; day < 7; ++day) {
    if ((window.weekdays >> day & 1) == 0) continue;
    for (unsigned i = 0; i < length; ++i)
      week.set((day * kMinutesPerDay + window.from_minute + i) % week.size());
  }
  return week;
}

// A map of parts of the week to rates.
class Windows final : public Shape<std::vector<BandwidthWindow>> {
 public:
  void decode(const YamlNode& node, const std::string& path, std::vector<BandwidthWindow>& out,
              Context& context) const override {
    if (node.kind != YamlNode::Kind::map)
      return context.mismatch(node, path, "a map of parts of the week to rates");
    Week taken;
    for (const YamlEntry& entry : node.entries) {
      const std::string entry_path = path + "." + entry.key;
      std::uint64_t bytes_per_second = 0;
      rate_->decode(entry.value, entry_path, bytes_per_second, context);
      auto window = parse_window(entry.key);
      if (!window) {
        context.problem(entry.mark, entry_path, window.error().describe());
        continue;
      }
      const Week minutes = minutes_of(*window);
      if ((taken & minutes).any())
        context.problem(entry.mark, entry_path, "overlaps with a window before it");
      taken |= minutes;
      window->bytes_per_second = bytes_per_second;
      out.push_back(*std::move(window));
    }
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.text < b.text; });
  }
  YamlNode show(const std::vector<BandwidthWindow>& value) const override {
    YamlNode node = YamlNode::map();
    for (const auto& window : value)
      node.entries.push_back({window.text, {}, rate_->show(window.bytes_per_second)});
    return node;
  }
  bool empty(const std::vector<BandwidthWindow>& value) const override { return value.empty(); }
  Json schema() const override {
    return {{"type", "object"}, {"additionalProperties", rate_->schema()}};
  }
  std::string label() const override { return "map of parts of the week to rates"; }

 private:
  ShapePtr<std::uint64_t> rate_ = rate();
};

}  // namespace

ShapePtr<std::vector<BandwidthWindow>> windows() { return std::make_shared<Windows>(); }

}  // namespace config
}  // namespace tidemark
