// Calendars in time zones: examples around the days when clocks change, and random lines against a
// clock that is stepped minute by minute, with offsets written down by hand.
#include "config/calendar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using ::testing::ElementsAre;

Timestamp at(std::string_view text) {
  const auto parsed = parse_time(text, {});
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed ? *parsed : Timestamp{};
}

Calendar calendar(std::string_view text, std::string_view zone = "UTC") {
  auto parsed = parse_calendar(text, zone);
  if (parsed) return *std::move(parsed);
  ADD_FAILURE() << text << ": " << parsed.error().describe();
  return {};
}

// The instants in [from, to), by next_instant().
std::vector<std::string> instants(const Calendar& calendar, std::string_view from,
                                  std::string_view to) {
  std::vector<std::string> out;
  for (Timestamp t = next_instant(calendar, at(from) + -microseconds(1)); t < at(to);
       t = next_instant(calendar, t))
    out.push_back(format_time(t));
  return out;
}

// First, so that nothing has been read yet.
TEST(CalendarTest, ZonesAreReadByManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> found = 0;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (const char* zone : {"Asia/Tokyo", "Africa/Cairo", "America/Sao_Paulo"}) {
        const auto line = parse_calendar("30 2 * * *", zone);
        if (line && last_instant(*line, Timestamp{}) < next_instant(*line, Timestamp{})) ++found;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found, 12);
}

// --- clocks that change

TEST(CalendarTest, ASkippedTimeCountsAtTheInstantOfTheChange) {
  // 02:00 to 03:00 does not exist in Berlin on 29 March.
  EXPECT_THAT(instants(calendar("30 2 * * *", "Europe/Berlin"), "2026-03-28", "2026-03-31"),
              ElementsAre("2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"));
  // Several of them count once, also beside the time that the clock shows then.
  EXPECT_THAT(
      instants(calendar("0,20,40 2,3 * * *", "Europe/Berlin"), "2026-03-29", "2026-03-29 02:00"),
      ElementsAre("2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z"));
  // Half an hour in October.
  EXPECT_THAT(
      instants(calendar("15 2 * * *", "Australia/Lord_Howe"), "2026-10-02 12:00", "2026-10-05"),
      ElementsAre("2026-10-02T15:45:00Z", "2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"));
}

TEST(CalendarTest, ATimeThatIsShownTwiceCountsOnce) {
  EXPECT_THAT(instants(calendar("30 2 * * *", "Europe/Berlin"), "2026-10-24", "2026-10-27"),
              ElementsAre("2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"));
  EXPECT_THAT(instants(calendar("30 1 * * *", "America/New_York"), "2026-11-01", "2026-11-03"),
              ElementsAre("2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"));
}

TEST(CalendarTest, AStarredLineComesEveryRealHour) {
  for (const char* text : {"0 * * * *", "hourly"}) {
    EXPECT_THAT(instants(calendar(text, "Europe/Berlin"), "2026-03-28 23:00", "2026-03-29 04:00"),
                ElementsAre("2026-03-28T23:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z",
                            "2026-03-29T02:00:00Z", "2026-03-29T03:00:00Z"));
    EXPECT_THAT(instants(calendar(text, "Europe/Berlin"), "2026-10-24 23:00", "2026-10-25 04:00"),
                ElementsAre("2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z",
                            "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"));
  }
  // It follows the clock on the wall: where that is moved by half an hour, one comes that much
  // later.
  EXPECT_THAT(instants(calendar("0 * * * *", "Australia/Lord_Howe"), "2026-10-03 14:00",
                       "2026-10-03 18:00"),
              ElementsAre("2026-10-03T14:30:00Z", "2026-10-03T16:00:00Z", "2026-10-03T17:00:00Z"));
}

TEST(CalendarTest, AYearHasAsManyInstantsAsDaysAndHours) {
  for (const char* zone : {"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}) {
    const Timestamp begin = at("2026-01-03"), end = at("2027-01-03");
    const auto count = [&](std::string_view text) {
      const Calendar line = calendar(text, zone);
      int n = 0;
      for (Timestamp t = next_instant(line, begin); t <= end; t = next_instant(line, t)) ++n;
      return n;
    };
    EXPECT_EQ(count("30 2 * * *"), 365) << zone;
    EXPECT_EQ(count("weekly"), 52) << zone;
    EXPECT_EQ(count("monthly"), 12) << zone;
    // There a 02:00 is skipped in October; of what is shown twice in April nothing is a full hour.
    EXPECT_EQ(count("hourly"), std::string_view(zone) == "Australia/Lord_Howe" ? 8759 : 8760)
        << zone;
  }
}

TEST(CalendarTest, ADayThatWasSkippedAsAWholeCountsWhenItWouldHaveBegun) {
  // Samoa went from the 29th to the 31st of December 2011.
  EXPECT_THAT(instants(calendar("0 12 * * *", "Pacific/Apia"), "2011-12-29", "2012-01-01"),
              ElementsAre("2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z",
                          "2011-12-31T22:00:00Z"));
}

// --- text

TEST(CalendarTest, FormsOfSystemdMeanWhatTheirCronLinesMean) {
  const std::vector<std::pair<const char*, const char*>> same = {
      {"minutely", "* * * * *"},
      {"hourly", "0 * * * *"},
      {"Daily", "0 0 * * *"},
      {"weekly", "0 0 * * mon"},
      {"monthly", "0 0 1 * *"},
      {"quarterly", "0 0 1 1,4,7,10 *"},
      {"semiannually", "0 0 1 1,7 *"},
      {"annually", "0 0 1 1 *"},
      {"mon..fri 08:00", "0 8 * * mon-fri"},
      {"Mon..Friday 8:00:00", "0 8 * * mon-fri"},
      {"fri..mon 20:15", "15 20 * * 5,6,0,1"},
      {"sun", "0 0 * * sun"},
      {"sat,tue 02:00", "0 2 * * tue,sat"},
      {"*-*-01 03:30", "30 3 1 * *"},
      {"*-*-*", "0 0 * * *"},
      {"12-24 18:00", "0 18 24 12 *"},
      {"*-1..6-1,15 00/6:00", "0 0,6,12,18 1,15 1-6 *"},
      {"*:0/15", "*/15 * * * *"},
      {"*:*", "* * * * *"},
      {"9..17/2:30", "30 9-17/2 * * *"},
  };
  for (const auto& [text, line] : same) {
    const Calendar a = calendar(text), b = calendar(line);
    EXPECT_EQ(a.times.text, text);
    EXPECT_EQ(a.times.minutes, b.times.minutes) << text;
    EXPECT_EQ(a.times.hours, b.times.hours) << text;
    EXPECT_EQ(instants(a, "2026-01-01", "2026-01-20"), instants(b, "2026-01-01", "2026-01-20"))
        << text;
    EXPECT_EQ(next_instant(a, at("2026-08-05")), next_instant(b, at("2026-08-05"))) << text;
  }
}

TEST(CalendarTest, OnlyAStarAtTheBeginningOfMinuteOrHourMakesALineStarred) {
  for (const char* text : {"* 2 * * *", "0 * * * *", "*/5 2 * * *", "0 */2 * * *", "*:30"})
    EXPECT_TRUE(calendar(text).starred) << text;
  for (const char* text : {"0 2 * * *", "0 0-23 * * *", "0 2 */2 * *", "0/5:00", "*-*-* 02:00"})
    EXPECT_FALSE(calendar(text).starred) << text;
}

TEST(CalendarTest, WeekdayAndDateMustBothMatchUnlikeInACrontab) {
  EXPECT_THAT(instants(calendar("fri *-*-13 12:00"), "2026-01-01", "2027-01-01"),
              ElementsAre("2026-02-13T12:00:00Z", "2026-03-13T12:00:00Z", "2026-11-13T12:00:00Z"));
  EXPECT_EQ(instants(calendar("0 12 13 * fri"), "2026-02-01", "2026-03-01").size(), 4U);
  // Saturdays that are a 29 February come once in 28 years.
  EXPECT_EQ(format_time(next_instant(calendar("sat *-02-29"), at("2026-01-01"))),
            "2048-02-29T00:00:00Z");
  EXPECT_EQ(format_time(last_instant(calendar("sat *-02-29"), at("2048-02-28"))),
            "2020-02-29T00:00:00Z");
}

TEST(CalendarTest, TheZoneOfTheTextIsBeforeTheOneGiven) {
  EXPECT_EQ(calendar("sat 02:00 Europe/Berlin", "Australia/Lord_Howe").zone.name(),
            "Europe/Berlin");
  EXPECT_EQ(calendar("daily America/New_York").zone.name(), "America/New_York");
  EXPECT_EQ(calendar("03:30 UTC", "Europe/Berlin").zone, Zone());
  EXPECT_EQ(calendar("0 3 * * *", "Europe/Berlin").zone.name(), "Europe/Berlin");
}

TEST(CalendarTest, WhatIsNoCalendarIsRefused) {
  for (const char* text : {"",
                           " ",
                           "dayly",
                           "daily 08:00",
                           "08:00 mon",
                           "mon-fri 08:00",
                           "08",
                           "8:60",
                           "24:00",
                           "08:00:30",
                           "2026-12-24 18:00",
                           "*-02-31",
                           "*-13-01",
                           "*-*-00",
                           "*-*~1",
                           "mon..",
                           "..fri 08:00",
                           "mon,,tue",
                           "1..5..7:00",
                           "5..1:00",
                           "*/0:00",
                           "08:00 08:00",
                           "1-5:00",
                           "*-*-1-2",
                           "08:00 Middle/Earth",
                           "0 0 31 2 *",
                           "0 3 * * * Europe/Berlin",
                           "0 3 * *",
                           "08:00 ../../etc/passwd",
                           ",:,",
                           "*.5:00"}) {
    const auto parsed = parse_calendar(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument) << text;
  }
  for (const char* zone : {"", "Middle/Earth", "europe/berlin", "../UTC", "/etc/localtime"})
    EXPECT_FALSE(parse_calendar("daily", zone).has_value()) << zone;
}

TEST(CalendarTest, RandomTextsAreParsedOrRefused) {
  Random random;
  const std::string_view letters = "0123456789*,./-: monfrisatUTC~";
  int parsed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (auto size = random.below(14); size > 0; --size)
      text += letters[random.below(letters.size())];
    const auto found = parse_calendar(text);
    if (!found) continue;
    ++parsed;
    const Timestamp now = at("2026-06-01"), next = next_instant(*found, now);
    EXPECT_GT(next, now) << text;
    EXPECT_EQ(last_instant(*found, next), next) << text;
  }
  EXPECT_GT(parsed, 0);
}

// --- a clock that is stepped

// What the clocks of 2026 are ahead of UTC, by the laws and not by the database.
struct Wall {
  const char* zone;
  minutes winter, summer;
  const char* begin;  // of summer time, or of its end in the south
  const char* end;
  minutes ahead(Timestamp t) const { return t >= from && t < to ? summer : winter; }
  Timestamp from = at(begin), to = at(end);
};
std::vector<Wall> walls() {
  const auto m = [](int n) { return minutes(n); };
  return {{"UTC", m(0), m(0), "2026-03-01", "2026-09-01"},
          {"Europe/Berlin", m(60), m(120), "2026-03-29 01:00", "2026-10-25 01:00"},
          {"America/New_York", m(-300), m(-240), "2026-03-08 07:00", "2026-11-01 06:00"},
          {"Australia/Lord_Howe", m(660), m(630), "2026-04-04 15:00", "2026-10-03 15:30"}};
}

bool names(const CronSchedule& times, Timestamp local) {
  const std::int64_t minute = local.us / 60'000'000;
  const std::chrono::sys_days day(std::chrono::days(minute / 1440));
  const std::chrono::year_month_day date(day);
  const auto has = [](std::uint64_t bits, std::int64_t n) { return (bits >> n & 1) != 0; };
  const bool by_day = has(times.days, static_cast<unsigned>(date.day()));
  const bool by_weekday = has(times.weekdays, (minute / 1440 + 4) % 7);
  const bool either = !times.any_day && !times.any_weekday;
  return has(times.minutes, minute % 60) && has(times.hours, minute / 60 % 24) &&
         has(times.months, static_cast<unsigned>(date.month())) &&
         (either ? by_day || by_weekday : by_day && by_weekday);
}

// What a cron that looks at the clock once a minute does from `from` to `to`.
std::vector<Timestamp> stepped(const Calendar& line, const Wall& wall, Timestamp from,
                               Timestamp to) {
  std::vector<Timestamp> fired;
  Timestamp highest = from + wall.ahead(from) + -minutes(1);
  for (Timestamp t = from; t < to; t = t + minutes(1)) {
    const Timestamp local = t + wall.ahead(t);
    bool fires = line.starred && names(line.times, local);
    if (!line.starred)
      for (Timestamp skipped = highest + minutes(1); skipped <= local;
           skipped = skipped + minutes(1))
        fires = fires || names(line.times, skipped);
    highest = std::max(highest, local);
    if (fires) fired.push_back(t);
  }
  return fired;
}

class SteppedClockTest : public ::testing::Test {
 protected:
  std::string field(int from, int to) {
    const auto number = [&] {
      return std::to_string(
          from + static_cast<int>(random_.below(static_cast<std::uint64_t>(to - from + 1))));
    };
    switch (random_.below(4)) {
      case 0:
        return "*";
      case 1:
        return "*/" + std::to_string(1 + random_.below(9));
      case 2:
        return number() + "," + number();
      default:
        return number();
    }
  }
  std::string line() {
    // Most hours are those in which clocks are changed.
    const std::string hour = random_.below(2) == 0 ? field(0, 23) : field(1, 3);
    const bool every_day = random_.below(2) == 0;
    return field(0, 59) + " " + hour + " " + (every_day ? "*" : field(1, 28)) + " * " +
           (every_day ? "*" : field(0, 6));
  }
  // Anywhere in [from, to), often close to when the clocks change.
  Timestamp any_time(const Wall& wall, Timestamp from, Timestamp to) {
    const auto near = [&](Timestamp t) {
      return t + -hours(4) + microseconds(random_.below(8 * 3600ULL * 1'000'000));
    };
    Timestamp t;
    switch (random_.below(3)) {
      case 0:
        t = near(wall.from);
        break;
      case 1:
        t = near(wall.to);
        break;
      default:
        t = from + microseconds(random_.below(static_cast<std::uint64_t>((to - from).count())));
    }
    // Half of them exactly at a minute, where the edges are.
    return random_.below(2) == 0 ? t : Timestamp{t.us / 60'000'000 * 60'000'000};
  }
  Random random_;
};

TEST_F(SteppedClockTest, BothSearchesAgreeWithIt) {
  const Timestamp from = at("2026-02-01"), to = at("2026-12-01");
  for (const Wall& wall : walls()) {
    for (int round = 0; round < 25; ++round) {
      const std::string text = line();
      const Calendar line = calendar(text, wall.zone);
      const auto fired = stepped(line, wall, from, to);
      for (int i = 0; i < 300; ++i) {
        const Timestamp t = any_time(wall, from, to);
        const auto after = std::ranges::upper_bound(fired, t);
        if (after != fired.end()) {
          ASSERT_EQ(format_time(next_instant(line, t)), format_time(*after))
              << text << " in " << wall.zone << " after " << format_time(t);
        }
        if (after != fired.begin()) {
          ASSERT_EQ(format_time(last_instant(line, t)), format_time(after[-1]))
              << text << " in " << wall.zone << " at " << format_time(t);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tidemark::test
