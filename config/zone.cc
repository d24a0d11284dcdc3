#include "config/zone.h"

#include <date/tz.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <mutex>

namespace tidemark {
namespace {

// Far from what anybody means, and from where sums overflow.
constexpr Timestamp kBegin{std::numeric_limits<std::int64_t>::min() / 4},
    kEnd{std::numeric_limits<std::int64_t>::max() / 4};

Timestamp to_timestamp(date::sys_seconds t) {
  const std::int64_t seconds = t.time_since_epoch().count();
  return {std::clamp(seconds, kBegin.us / 1'000'000, kEnd.us / 1'000'000) * 1'000'000};
}

date::sys_seconds to_seconds(Timestamp t) {
  return std::chrono::floor<std::chrono::seconds>(
      date::sys_time<std::chrono::microseconds>(std::chrono::microseconds(t.us)));
}

}  // namespace

Result<Zone> Zone::find(std::string_view name) {
  Zone zone;
  if (name == zone.name_) return zone;
  // The library throws for what it does not find or cannot read. It reads a zone when it is first
  // asked about it, so that is done here, one thread at a time: what was read is seen by whoever
  // holds a Zone, without relying on how the library guards it.
  static std::mutex reading;
  const std::lock_guard lock(reading);
  try {
    const date::time_zone* const rules = date::locate_zone(name);
    rules->get_info(date::sys_seconds());
    zone.name_ = name;
    zone.rules_ = rules;
    return zone;
  } catch (const std::exception&) {
    return Error(ErrorCode::invalid_argument, "'" + std::string(name) + "' is no known time zone")
        .with_hint("write UTC or a name like Europe/Berlin; the package tzdata has them");
  }
}

Zone::Span Zone::at(Timestamp t) const {
  if (rules_ == nullptr) return {kBegin, kEnd, {}};
  const auto info = static_cast<const date::time_zone*>(rules_)->get_info(to_seconds(t));
  return {to_timestamp(info.begin), to_timestamp(info.end), info.offset};
}

}  // namespace tidemark
