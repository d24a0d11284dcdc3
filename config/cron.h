// Lines of a crontab.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace tidemark {

// A crontab line of five fields. Bit n of each mask stands for the value n; weekday 0 is
// Sunday. As in cron, where both day fields are restricted a day needs to match only one of them.
struct CronSchedule {
  std::string text;
  std::uint64_t minutes = 0;
  std::uint32_t hours = 0, days = 0, months = 0, weekdays = 0;
  bool any_day = true, any_weekday = true;  // begins with '*'
  bool operator==(const CronSchedule&) const = default;
};
// Names of months and weekdays, lists, ranges and steps are understood; a line that can never come
// true ("0 0 31 2 *") is refused.
Result<CronSchedule> parse_cron(std::string_view text);
// The last time that the schedule names, at or before `now`; all times are taken as UTC.
Timestamp last_time(const CronSchedule& cron, Timestamp now);

}  // namespace tidemark
