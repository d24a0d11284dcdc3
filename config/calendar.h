// Times that a calendar names, in a time zone: cron lines and the form of systemd's OnCalendar.
//
// Where the wall clock is changed, lines do as those of Debian's cron:
//
//   with a fixed hour and minute   a time that is skipped counts at the instant of the change, once
//                                  however many are skipped; one that is shown twice counts when
//                                  it is shown first
//   minute or hour begin with '*'  counts whenever the clock shows such a time: one that is skipped
//                                  does not count, one that is shown twice counts twice, so that an
//                                  hourly line comes every real hour where clocks change by hours
//
// All functions are pure and safe from any thread. Instants are expected between 1900 and 2200.
#pragma once

#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "config/cron.h"
#include "config/zone.h"

namespace tidemark {

struct Calendar {
  CronSchedule times;  // read by the clock on the wall of `zone`
  Zone zone;
  bool starred = false;  // minute or hour begin with '*'
  bool operator==(const Calendar&) const = default;
};

// A crontab line of five fields, or what systemd would accept, of this:
//
//   minutely, hourly, daily, weekly (Monday), monthly, quarterly, semiannually, yearly, annually
//   [WEEKDAYS] [*-MONTHS-DAYS | MONTHS-DAYS] [HOURS:MINUTES[:00]] [ZONE]
//
// where at least one of weekdays, date and time is there, and the time is 00:00 where it is not.
// Parts are "*", numbers, ranges "1..5", steps "*/2", "5/7" or "1..9/2", and lists of these;
// weekdays are names, "mon,wed..fri". A day must match both weekday and date, unlike in a crontab.
// Years, seconds and "~" are not understood. `zone` is used where the text names none.
// `invalid_argument` for all else, for a day that never comes and for an unknown zone.
Result<Calendar> parse_calendar(std::string_view text, std::string_view zone = "UTC");

// The last instant that the calendar names, at or before `t`.
Timestamp last_instant(const Calendar& calendar, Timestamp t);
// The first one after `t`.
Timestamp next_instant(const Calendar& calendar, Timestamp t);

}  // namespace tidemark
