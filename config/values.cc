#include "config/internal/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "base/clock.h"
#include "base/text.h"

namespace tidemark::config {
namespace {

constexpr std::size_t kGlobBytesMax = 1024;

Json text_schema() { return {{"type", "string"}, {"minLength", 1}}; }
Json pattern_schema(std::string pattern) {
  return {{"type", "string"}, {"pattern", std::move(pattern)}};
}

bool is_empty_text(const std::string& text) { return text.empty(); }
std::string same(const std::string& text) { return text; }

// The value, or nothing with the error's message in `why`.
template <class T>
std::optional<T> or_why(Result<T> result, std::string& why) {
  if (result) return *std::move(result);
  why = result.error().describe();
  return std::nullopt;
}

ShapePtr<std::string> text_shape(std::string label, std::string expected, Json schema,
                                 Status (*check)(std::string_view)) {
  ScalarSpec<std::string> spec;
  spec.label = std::move(label);
  spec.expected = std::move(expected);
  spec.schema = std::move(schema);
  spec.read = [check](const std::string& text, const Context&,
                      std::string& why) -> std::optional<std::string> {
    const Status checked = check(text);
    if (checked) return text;
    why = checked.error().describe();
    return std::nullopt;
  };
  spec.write = same;
  spec.empty = is_empty_text;
  return std::make_shared<Scalar<std::string>>(std::move(spec));
}

Error wrong(std::string message) { return Error(ErrorCode::invalid_argument, std::move(message)); }

Status check_asset_glob(std::string_view glob) {
  if (glob.size() > kGlobBytesMax) return wrong("longer than 1024 bytes");
  const auto parts = split(glob, '/');
  for (const std::string& part : parts)
    if (!check_name(part, "part")) return wrong("a part between slashes is not a usable name");
  const bool rbd = parts.front() == "rbd" && (parts.size() == 3 || parts.size() == 4);
  const bool s3 = parts.front() == "s3" && parts.size() == 2;
  if (rbd || s3) return {};
  if (parts.front() != "rbd" && parts.front() != "s3") return wrong("it begins with rbd/ or s3/");
  return wrong("'*' stands for one part, never for '/'");
}

Status check_site_asset_glob(std::string_view glob) {
  const auto colon = glob.find(':');
  if (colon == std::string_view::npos || colon > glob.find('/'))
    return wrong("the site is missing");
  TM_DO(check_site_name(glob.substr(0, colon)));
  return check_asset_glob(glob.substr(colon + 1));
}

}  // namespace

ShapePtr<std::string> site_name() {
  return text_shape("name", "the name of a site", text_schema(), check_site_name);
}

ShapePtr<std::string> plain_name(std::string what) {
  return text_shape("name", "the name of a " + what, text_schema(),
                    [](std::string_view text) { return check_name(text, "thing in Ceph"); });
}

ShapePtr<std::filesystem::path> path_of(std::string what) {
  ScalarSpec<std::filesystem::path> spec;
  spec.label = "path";
  spec.expected = "the path of " + what;
  spec.schema = text_schema();
  spec.read = [](const std::string& text, const Context& context,
                 std::string& why) -> std::optional<std::filesystem::path> {
    if (text.empty()) return std::nullopt;
    if (text.front() == '~') {
      why = "'~' is not expanded";
      return std::nullopt;
    }
    auto path = (context.base_dir / text).lexically_normal();
    return path.has_filename() || path == path.root_path() ? path : path.parent_path();
  };
  spec.write = [](const std::filesystem::path& path) { return path.string(); };
  spec.empty = [](const std::filesystem::path& path) { return path.empty(); };
  return std::make_shared<Scalar<std::filesystem::path>>(std::move(spec));
}

ShapePtr<ListenAddress> listen_address() {
  ScalarSpec<ListenAddress> spec;
  spec.label = "address";
  spec.expected = "an address such as 0.0.0.0:7443 or [::]:7443";
  spec.schema = pattern_schema("^.+:[0-9]{1,5}$");
  spec.read = [](const std::string& text, const Context&, std::string& why) {
    return or_why(parse_listen(text), why);
  };
  spec.write = [](const ListenAddress& address) { return address.text(); };
  return std::make_shared<Scalar<ListenAddress>>(std::move(spec));
}

ShapePtr<Duration> duration(const std::string& min, const std::string& max) {
  const Duration shortest = *parse_duration(min), longest = *parse_duration(max);
  ScalarSpec<Duration> spec;
  spec.label = "duration, " + min + " to " + max;
  spec.expected =
      "a duration in whole seconds from " + min + " to " + max + ", such as 15m, 2h or 7d";
  spec.schema = pattern_schema(R"(^([0-9]+(\.[0-9]+)?(w|d|h|m|s|ms))+$)");
  spec.read = [shortest, longest](const std::string& text, const Context&,
                                  std::string& why) -> std::optional<Duration> {
    const auto value = parse_duration(text);
    if (!value) return std::nullopt;
    if (*value % std::chrono::seconds(1) != Duration(0)) return std::nullopt;
    if (*value >= shortest && *value <= longest) return *value;
    why = *value < shortest ? "it is too short" : "it is too long";
    return std::nullopt;
  };
  spec.write = [](const Duration& value) { return format_duration(value); };
  return std::make_shared<Scalar<Duration>>(std::move(spec));
}

std::string format_bytes_exactly(std::uint64_t bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes % 1024 == 0 && bytes > 0) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + kUnits[unit];
}

std::string format_rate(std::uint64_t bytes_per_second) {
  return format_bytes_exactly(bytes_per_second) + "/s";
}

ShapePtr<std::uint64_t> byte_count() {
  static constexpr std::uint64_t kMin = kMiB, kMax = (std::uint64_t{1} << 20U) * kGiB * 1024;
  ScalarSpec<std::uint64_t> spec;
  spec.label = "size, 1MiB to 1048576TiB";
  spec.expected = "bytes from 1MiB on, such as 20TiB";
  spec.schema = pattern_schema(R"(^[0-9]+(\.[0-9]+)? ?([kKMGT](i?B|i)?|B)?$)");
  spec.read = [](const std::string& text, const Context&,
                 std::string&) -> std::optional<std::uint64_t> {
    const auto value = parse_bytes(text);
    if (value && *value >= kMin && *value <= kMax) return *value;
    return std::nullopt;
  };
  spec.write = format_bytes_exactly;
  return std::make_shared<Scalar<std::uint64_t>>(std::move(spec));
}

ShapePtr<std::uint64_t> rate() {
  static constexpr std::uint64_t kMin = kKiB, kMax = 1024 * kGiB;
  ScalarSpec<std::uint64_t> spec;
  spec.label = "rate, 1KiB/s to 1024GiB/s";
  spec.expected = "bytes per second from 1KiB/s to 1024GiB/s, such as 400MiB/s";
  spec.schema = pattern_schema(R"(^[0-9]+(\.[0-9]+)? ?([kKMGT](i?B|i)?|B)?/s$)");
  spec.read = [](const std::string& text, const Context&,
                 std::string& why) -> std::optional<std::uint64_t> {
    if (!text.ends_with("/s")) {
      why = "it ends in '/s'";
      return std::nullopt;
    }
    const auto value = parse_bytes(std::string_view(text).substr(0, text.size() - 2));
    if (value && *value >= kMin && *value <= kMax) return *value;
    return std::nullopt;
  };
  spec.write = format_rate;
  return std::make_shared<Scalar<std::uint64_t>>(std::move(spec));
}

ShapePtr<bool> boolean() {
  ScalarSpec<bool> spec;
  spec.label = "true or false";
  spec.expected = "true or false";
  spec.schema = Json{{"type", "boolean"}};
  spec.read = [](const std::string& text, const Context&, std::string&) -> std::optional<bool> {
    if (text == "true" || text == "false") return text == "true";
    return std::nullopt;
  };
  spec.write = [](const bool& value) { return std::string(value ? "true" : "false"); };
  return std::make_shared<Scalar<bool>>(std::move(spec));
}

ShapePtr<double> percent() {
  ScalarSpec<double> spec;
  spec.label = "percentage, 0% to 100%";
  spec.expected = "a percentage from 0% to 100%, such as 0.1%";
  spec.schema = pattern_schema(R"(^[0-9]+(\.[0-9]+)?%$)");
  spec.read = [](const std::string& text, const Context&, std::string&) -> std::optional<double> {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
    const bool percentage = error == std::errc() && end - rest == 1 && *rest == '%';
    if (!percentage || !(value >= 0 && value <= 100) || text.front() == '-') return std::nullopt;
    return value / 100;
  };
  spec.write = [](const double& value) {
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%.12g%%", value * 100);
    if (std::string_view(text.data()).find('e') != std::string_view::npos)
      std::snprintf(text.data(), text.size(), "%.15f%%", value * 100);
    return std::string(text.data());
  };
  return std::make_shared<Scalar<double>>(std::move(spec));
}

ShapePtr<std::uint32_t> count(std::uint32_t min, std::uint32_t max) {
  ScalarSpec<std::uint32_t> spec;
  const std::string bounds = std::to_string(min) + " to " + std::to_string(max);
  spec.label = "number, " + bounds;
  spec.expected = "a whole number from " + bounds;
  spec.schema = Json{{"type", "integer"}, {"minimum", min}, {"maximum", max}};
  spec.read = [min, max](const std::string& text, const Context&,
                         std::string&) -> std::optional<std::uint32_t> {
    std::uint32_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || rest != end || value < min || value > max) return std::nullopt;
    return value;
  };
  spec.write = [](const std::uint32_t& value) { return std::to_string(value); };
  spec.empty = [](const std::uint32_t& value) { return value == 0; };
  return std::make_shared<Scalar<std::uint32_t>>(std::move(spec));
}

ShapePtr<Calendar> cron_line() {
  ScalarSpec<Calendar> spec;
  spec.label = "cron line";
  spec.expected = "a cron line of five fields (minute hour day month weekday)";
  spec.schema = pattern_schema(R"(^\S+ +\S+ +\S+ +\S+ +\S+$)");
  spec.read = [](const std::string& text, const Context&, std::string& why) {
    if (!or_why(parse_cron(text), why)) return std::optional<Calendar>();
    return or_why(parse_calendar(text), why);
  };
  spec.write = [](const Calendar& calendar) { return calendar.times.text; };
  return std::make_shared<Scalar<Calendar>>(std::move(spec));
}

ShapePtr<Calendar> calendar() {
  ScalarSpec<Calendar> spec;
  spec.label = "calendar";
  spec.expected = "a calendar such as daily, 'mon..fri 08:00' or '*-*-01 03:30 Europe/Berlin'";
  spec.schema = pattern_schema(R"(^\S.*$)");
  spec.read = [](const std::string& text, const Context&, std::string& why) {
    return or_why(parse_calendar(text), why);
  };
  spec.write = [](const Calendar& calendar) { return calendar.times.text; };
  return std::make_shared<Scalar<Calendar>>(std::move(spec));
}

ShapePtr<Zone> zone() {
  ScalarSpec<Zone> spec;
  spec.label = "time zone";
  spec.expected = "a time zone that this machine knows, such as UTC or Europe/Berlin";
  spec.schema = pattern_schema(R"(^[A-Za-z][A-Za-z0-9_+/-]*$)");
  spec.read = [](const std::string& text, const Context&, std::string& why) {
    return or_why(Zone::find(text), why);
  };
  spec.write = [](const Zone& zone) { return zone.name(); };
  return std::make_shared<Scalar<Zone>>(std::move(spec));
}

ShapePtr<std::string> argument() {
  return text_shape("text", "a text", text_schema(), [](std::string_view text) -> Status {
    if (text.find('\0') == std::string_view::npos) return {};
    return Error(ErrorCode::invalid_argument, "it holds a zero byte");
  });
}

ShapePtr<std::string> asset_glob() {
  return text_shape("asset glob",
                    "assets such as rbd/<pool>/<image>, rbd/<pool>/vm-* or s3/<bucket>",
                    pattern_schema("^(rbd/[^/]+/[^/]+(/[^/]+)?|s3/[^/]+)$"), check_asset_glob);
}

ShapePtr<std::string> point_rule() {
  return text_shape("newest, random, or a time", "newest, random, a time or a span such as -7d",
                    text_schema(), [](std::string_view text) -> Status {
                      if (text == "newest" || text == "random") return {};
                      TM_TRY([[maybe_unused]] const Timestamp time,
                             parse_time(text, Clock::system().now()));
                      return {};
                    });
}

ShapePtr<std::string> site_asset_glob() {
  return text_shape("site:asset glob", "assets of a site such as <site>:rbd/<pool>/vm-*",
                    pattern_schema("^[^:/]+:(rbd/[^/]+/[^/]+(/[^/]+)?|s3/[^/]+)$"),
                    check_site_asset_glob);
}

}  // namespace tidemark::config
