// Time as a parameter. Code takes a Clock&; only base/ asks the system what time it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark {

// Microseconds since 1970-01-01T00:00:00Z, leap seconds ignored, as everywhere else.
struct Timestamp {
  std::int64_t us = 0;
  auto operator<=>(const Timestamp&) const = default;
};

inline Timestamp operator+(Timestamp t, std::chrono::microseconds d) { return {t.us + d.count()}; }
inline std::chrono::microseconds operator-(Timestamp a, Timestamp b) {
  return std::chrono::microseconds(a.us - b.us);
}

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time; may jump either way.
  virtual Timestamp now() const = 0;
  // Monotonic time since an arbitrary start.
  virtual std::chrono::microseconds uptime() const = 0;

  static Clock& system();
};

// "2026-11-22T09:30:00Z"; with six decimals where microseconds are not zero.
std::string format_time(Timestamp t);

// What operators write: RFC 3339 ("2026-11-22T09:30:00Z", any offset, fraction), the same with a
// space and without zone or seconds (UTC), a date alone, or a span before now ("-2h", "-90m",
// "-3d").
Result<Timestamp> parse_time(std::string_view text, Timestamp now);

// "90s", "15m", "2h", "7d", "1w", and sums such as "1h30m". Never negative.
Result<std::chrono::microseconds> parse_duration(std::string_view text);
// The shortest such text: "1h30m", "0s", "1.5s" below ten seconds where not whole.
std::string format_duration(std::chrono::microseconds d);

// "1.5 GiB", "512 B".
std::string format_bytes(std::uint64_t bytes);
// "400MiB", "1.5G" (1024-based either way), "4096".
Result<std::uint64_t> parse_bytes(std::string_view text);

}  // namespace tidemark
