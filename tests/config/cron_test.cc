#include "tests/base/random.h"
#include "tests/config/support.h"

namespace tidemark::test {
namespace {

CronSchedule cron(std::string_view text) {
  auto parsed = parse_cron(text);
  if (parsed) return *std::move(parsed);
  ADD_FAILURE() << text << ": " << parsed.error().describe();
  return {};
}

std::uint64_t bits(std::initializer_list<unsigned> values) {
  std::uint64_t out = 0;
  for (const unsigned v : values) out |= std::uint64_t{1} << v;
  return out;
}
constexpr std::uint64_t run(unsigned from, unsigned to) {
  return ((std::uint64_t{2} << to) - 1) & ~((std::uint64_t{1} << from) - 1);
}

TEST(Cron, StarsMeanEveryValue) {
  const CronSchedule every = cron("* * * * *");
  EXPECT_EQ(every.minutes, run(0, 59));
  EXPECT_EQ(every.hours, run(0, 23));
  EXPECT_EQ(every.days, run(1, 31));
  EXPECT_EQ(every.months, run(1, 12));
  EXPECT_EQ(every.weekdays, run(0, 6));
  EXPECT_TRUE(every.any_day && every.any_weekday);
  EXPECT_EQ(every.text, "* * * * *");
}

TEST(Cron, ListsRangesAndSteps) {
  EXPECT_EQ(cron("0,30 * * * *").minutes, bits({0, 30}));
  EXPECT_EQ(cron("5-8 * * * *").minutes, bits({5, 6, 7, 8}));
  EXPECT_EQ(cron("*/15 * * * *").minutes, bits({0, 15, 30, 45}));
  EXPECT_EQ(cron("10-30/10,59 * * * *").minutes, bits({10, 20, 30, 59}));
  EXPECT_EQ(cron("0 */99 * * *").hours, bits({0}));
  EXPECT_EQ(cron("0 0 1 1 *").days, bits({1}));
}

TEST(Cron, NamesOfMonthsAndWeekdays) {
  EXPECT_EQ(cron("0 0 * jan,dec *").months, bits({1, 12}));
  EXPECT_EQ(cron("0 0 * * mon-fri").weekdays, run(1, 5));
  EXPECT_EQ(cron("0 0 * * sat").weekdays, bits({6}));
}

TEST(Cron, SundayIsBothZeroAndSeven) {
  EXPECT_EQ(cron("0 0 * * 7").weekdays, bits({0}));
  EXPECT_EQ(cron("0 0 * * 0").weekdays, bits({0}));
  EXPECT_EQ(cron("0 0 * * 5-7").weekdays, bits({5, 6, 0}));
}

TEST(Cron, KnowsWhichDayFieldsAreRestricted) {
  const CronSchedule both = cron("0 0 1 * mon");
  EXPECT_FALSE(both.any_day || both.any_weekday);
  EXPECT_TRUE(cron("0 0 * * mon").any_day);
  EXPECT_TRUE(cron("0 0 1 * *").any_weekday);
}

TEST(Cron, SeveralSpacesSeparateFieldsToo) { EXPECT_EQ(cron("  0   2 * * *  ").hours, bits({2})); }

TEST(Cron, RefusesWhatIsNoSchedule) {
  for (const char* text : {"",
                           " ",
                           "0",
                           "* * * *",
                           "* * * * * *",
                           "@daily",
                           "60 * * * *",
                           "-1 * * * *",
                           "* 24 * * *",
                           "* * 0 * *",
                           "* * 32 * *",
                           "* * * 0 *",
                           "* * * 13 *",
                           "* * * * 8",
                           "5-1 * * * *",
                           "1- * * * *",
                           "-5 * * * *",
                           "1,,2 * * * *",
                           ",1 * * * *",
                           "*/0 * * * *",
                           "*/ * * * *",
                           "/5 * * * *",
                           "5/10 * * * *",
                           "1-5/x * * * *",
                           "** * * * *",
                           "a * * * *",
                           "* * * janu *",
                           "* * * * monday",
                           "* * * Jan *",
                           "001 * * * *",
                           "1.5 * * * *",
                           "0 0 * * fri-mon"})
    EXPECT_FALSE(parse_cron(text)) << text;
}

TEST(Cron, RefusesDaysThatNeverCome) {
  EXPECT_FALSE(parse_cron("0 0 30 2 *"));
  EXPECT_FALSE(parse_cron("0 0 31 feb,apr,jun,sep,nov *"));
  EXPECT_TRUE(parse_cron("0 0 29 2 *"));
  EXPECT_TRUE(parse_cron("0 0 31 2,3 *"));
  // Either day field is enough where both are restricted.
  EXPECT_TRUE(parse_cron("0 0 31 2 mon"));
}

// The last minute that a schedule names, found by looking at each.
TEST(CronTest, TheLastTimeIsTheLastMinuteThatTheLineNames) {
  const auto names = [](const CronSchedule& line, Timestamp t) {
    const std::time_t seconds = t.us / 1'000'000;
    std::tm tm{};
    ::gmtime_r(&seconds, &tm);
    const bool day = (line.days >> tm.tm_mday & 1) != 0,
               weekday = (line.weekdays >> tm.tm_wday & 1) != 0;
    const bool any = line.any_day || line.any_weekday;
    return (line.minutes >> tm.tm_min & 1) != 0 && (line.hours >> tm.tm_hour & 1) != 0 &&
           (line.months >> (tm.tm_mon + 1) & 1) != 0 && (any ? day && weekday : day || weekday);
  };
  test::Random random;
  constexpr std::int64_t kMinute = 60'000'000;
  for (const char* text : {"* * * * *", "0 * * * *", "*/7 3-5 * * *", "30 2 * * mon", "0 0 1 * *",
                           "15 6 13 * fri", "59 23 31 12 *", "0 12 * 2 sun", "1 1 */10 * 2"}) {
    const CronSchedule line = cron(text);
    for (int i = 0; i < 5; ++i) {
      const Timestamp now{1'790'000'000'000'000 +
                          static_cast<std::int64_t>(random.below(400ULL * 24 * 3600)) * 1'000'000};
      Timestamp expected{now.us - now.us % kMinute};
      while (!names(line, expected)) expected.us -= kMinute;
      EXPECT_EQ(format_time(last_time(line, now)), format_time(expected))
          << text << " at " << now.us;
    }
  }
  EXPECT_EQ(format_time(last_time(cron("0 0 29 2 *"), *parse_time("2103-06-01", {}))),
            "2096-02-29T00:00:00Z");
  EXPECT_EQ(format_time(last_time(cron("* * * * *"), {0})), "1970-01-01T00:00:00Z");
}

}  // namespace
}  // namespace tidemark::test
