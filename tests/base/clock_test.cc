#include "base/clock.h"

#include <gtest/gtest.h>

#include <ctime>

#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Timestamp kNow{1'795'340'000'000'000};

std::int64_t us(std::string_view text) {
  const auto t = parse_time(text, kNow);
  EXPECT_TRUE(t) << text;
  return t ? t->us : -1;
}
constexpr std::int64_t kS = 1'000'000;

TEST(ParseTime, KnownInstants) {
  EXPECT_EQ(us("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(us("2000-03-01T00:00:00Z"), 951'868'800 * kS);
  EXPECT_EQ(us("2026-11-22T09:30:00Z"), 1'795'339'800 * kS);
  EXPECT_EQ(us("1969-12-31T23:59:59Z"), -kS);
  EXPECT_EQ(us("0001-01-01T00:00:00Z"), -62'135'596'800 * kS);
  EXPECT_EQ(us("9999-12-31T23:59:59Z"), 253'402'300'799 * kS);
}

TEST(ParseTime, FormsThatOperatorsWrite) {
  const std::int64_t expected = us("2026-11-22T09:30:00Z");
  for (const char* text :
       {"2026-11-22t09:30:00z", "2026-11-22 09:30", "2026-11-22 09:30:00", "2026-11-22T09:30",
        "2026-11-22 09:30Z", "2026-11-22T18:30:00+09:00", "2026-11-22T18:30:00+0900",
        "2026-11-22T04:00:00-05:30", "2026-11-23T08:30:00+23:00", "2026-11-22T09:30:00-00:00",
        "2026-11-22T09:30:00.000Z"})
    EXPECT_EQ(us(text), expected) << text;
  EXPECT_EQ(us("2026-11-22"), us("2026-11-22T00:00:00Z"));
}

TEST(ParseTime, Fractions) {
  EXPECT_EQ(us("1970-01-01T00:00:00.5Z"), 500'000);
  EXPECT_EQ(us("1970-01-01T00:00:00.000001Z"), 1);
  EXPECT_EQ(us("1970-01-01T00:00:00.1234567899999Z"), 123'456);
  EXPECT_EQ(us("1969-12-31T23:59:59.999999Z"), -1);
}

TEST(ParseTime, SpansBeforeNow) {
  EXPECT_EQ(us("-2h"), kNow.us - 7200 * kS);
  EXPECT_EQ(us("-90m"), kNow.us - 5400 * kS);
  EXPECT_EQ(us("-3d"), kNow.us - 3 * 86400 * kS);
  EXPECT_EQ(us("-1h30m"), kNow.us - 5400 * kS);
}

TEST(ParseTime, LeapYears) {
  for (const char* day : {"2024-02-29", "2000-02-29", "2400-02-29"})
    EXPECT_TRUE(parse_time(day, kNow)) << day;
  for (const char* day : {"2023-02-29", "1900-02-29", "2100-02-29", "2024-02-30", "2024-04-31"})
    EXPECT_FALSE(parse_time(day, kNow)) << day;
  EXPECT_EQ(us("2024-03-01") - us("2024-02-28"), 2 * 86400 * kS);
  EXPECT_EQ(us("2023-03-01") - us("2023-02-28"), 86400 * kS);
}

TEST(ParseTime, RefusesWhatIsNoTime) {
  for (const char* text : {"",
                           "-",
                           "now",
                           "2026",
                           "2026-11",
                           "2026-13-01",
                           "2026-00-01",
                           "2026-01-00",
                           "2026-01-32",
                           "2026-1-1",
                           "26-01-01",
                           "2026-11-22T",
                           "2026-11-22T9:30",
                           "2026-11-22T24:00",
                           "2026-11-22T09:60",
                           "2026-11-22T09:30:60",
                           "2026-11-22T09:30:00.",
                           "2026-11-22T09:30:00.Z",
                           "2026-11-22T09:30:00+9",
                           "2026-11-22T09:30:00+24:00",
                           "2026-11-22T09:30:00+01:60",
                           "2026-11-22T09:30:00ZZ",
                           "2026-11-22T09:30:00 Z",
                           " 2026-11-22",
                           "2026-11-22 ",
                           "2026/11/22",
                           "20261122",
                           "-2026-11-22",
                           "+2h",
                           "--2h",
                           "-2",
                           "-2y",
                           "2026-11-22T0a:00",
                           "99999-01-01"})
    EXPECT_FALSE(parse_time(text, kNow)) << text;
}

TEST(FormatTime, IsRfc3339InUtc) {
  EXPECT_EQ(format_time({0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time({1'795'339'800 * kS}), "2026-11-22T09:30:00Z");
  EXPECT_EQ(format_time({1}), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(format_time({-1}), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(format_time({-62'135'596'800 * kS}), "0001-01-01T00:00:00Z");
}

TEST(FormatTime, ReadsBackForEveryYearOfFourDigits) {
  Random random;
  const std::int64_t from = us("0000-01-01"), to = us("9999-12-31T23:59:59.999999Z");
  for (int i = 0; i < 200'000; ++i) {
    const auto span = static_cast<std::uint64_t>(to - from) + 1;
    Timestamp t{from + static_cast<std::int64_t>(random.below(span))};
    if (random.below(2) == 0) t.us -= ((t.us % kS) + kS) % kS;
    const auto back = parse_time(format_time(t), kNow);
    ASSERT_TRUE(back) << format_time(t);
    ASSERT_EQ(back->us, t.us) << format_time(t);
  }
}

TEST(FormatTime, AgreesWithTheSystemsCalendar) {
  Random random;
  for (int i = 0; i < 20'000; ++i) {
    const auto t = static_cast<std::time_t>(random.below(250'000'000'000));
    std::tm tm{};
    ::gmtime_r(&t, &tm);
    char text[40];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    ASSERT_EQ(format_time({t * kS}), text);
    ASSERT_EQ(us(text), t * kS);
  }
}

TEST(FormatTime, SurvivesEveryTimestamp) {
  for (const std::int64_t extreme : {INT64_MIN, INT64_MIN + 1, INT64_MAX})
    EXPECT_TRUE(format_time({extreme}).ends_with("Z"));
}

microseconds duration(std::string_view text) {
  const auto d = parse_duration(text);
  EXPECT_TRUE(d) << text;
  return d.value_or(microseconds(-1));
}

TEST(Duration, Parses) {
  EXPECT_EQ(duration("90s"), seconds(90));
  EXPECT_EQ(duration("15m"), minutes(15));
  EXPECT_EQ(duration("2h"), hours(2));
  EXPECT_EQ(duration("7d"), hours(168));
  EXPECT_EQ(duration("1w"), hours(168));
  EXPECT_EQ(duration("1h30m"), minutes(90));
  EXPECT_EQ(duration("1w2d3h4m5s6ms"), hours(219) + minutes(4) + seconds(5) + milliseconds(6));
  EXPECT_EQ(duration("1.5h"), minutes(90));
  EXPECT_EQ(duration("0s"), microseconds(0));
  EXPECT_EQ(duration("0.000001s"), microseconds(1));
}

TEST(Duration, RefusesAnythingElse) {
  for (const char* text : {"",
                           "1",
                           "h",
                           "-1h",
                           "+1h",
                           "1 h",
                           " 1h",
                           "1h ",
                           "1y",
                           "1H",
                           "1.h.",
                           "1..5h",
                           "1.5.5h",
                           "1e3s",
                           "0x1s",
                           "infs",
                           "nans",
                           "1h30",
                           "1001w1000w60000w",
                           "99999999999999999999999999d",
                           "1hh",
                           "."})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Duration, FormatsInTheShortestWay) {
  EXPECT_EQ(format_duration(seconds(0)), "0s");
  EXPECT_EQ(format_duration(minutes(90)), "1h30m");
  EXPECT_EQ(format_duration(milliseconds(1500)), "1.5s");
  EXPECT_EQ(format_duration(milliseconds(250)), "0.25s");
  EXPECT_EQ(format_duration(hours(24 * 7)), "7d");
  EXPECT_EQ(format_duration(hours(25) + seconds(1)), "1d1h1s");
  EXPECT_EQ(format_duration(milliseconds(10'400)), "10s");
  EXPECT_EQ(format_duration(milliseconds(10'500)), "11s");
  EXPECT_EQ(format_duration(milliseconds(9'999)), "10s");
  EXPECT_EQ(format_duration(microseconds(1)), "0.000001s");
  EXPECT_EQ(format_duration(microseconds(50)), "0.00005s");
  EXPECT_EQ(format_duration(microseconds(120)), "0.00012s");
  EXPECT_EQ(format_duration(-minutes(5)), "-5m");
}

TEST(Duration, WholeSecondsReadBackExactlyAndOthersNearly) {
  Random random;
  for (int i = 0; i < 100'000; ++i) {
    const seconds whole(static_cast<std::int64_t>(random.any_size() % 3'000'000'000));
    ASSERT_EQ(duration(format_duration(whole)), whole) << format_duration(whole);
    const microseconds any(static_cast<std::int64_t>(random.any_size() % 100'000'000'000));
    const auto back = duration(format_duration(any));
    const auto off = back > any ? back - any : any - back;
    // Three digits below ten seconds, whole seconds above.
    const microseconds near = any < seconds(10) ? any / 100 : microseconds(milliseconds(500));
    ASSERT_LE(off, near) << format_duration(any);
  }
}

TEST(Duration, FormatSurvivesTheExtremes) {
  EXPECT_FALSE(format_duration(microseconds::max()).empty());
  EXPECT_TRUE(format_duration(microseconds::min()).starts_with("-"));
}

TEST(ByteSizes, Format) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(3 * kGiB / 2), "1.5 GiB");
  EXPECT_EQ(format_bytes(200 * kMiB), "200 MiB");
  EXPECT_EQ(format_bytes(UINT64_MAX), "16.0 EiB");
}

std::uint64_t parsed_size(std::string_view text) {
  const auto bytes = parse_bytes(text);
  EXPECT_TRUE(bytes) << text;
  return bytes.value_or(~std::uint64_t{0});
}

TEST(ByteSizes, Parse) {
  EXPECT_EQ(parsed_size("4096"), 4096U);
  EXPECT_EQ(parsed_size("0"), 0U);
  EXPECT_EQ(parsed_size("4096B"), 4096U);
  EXPECT_EQ(parsed_size("400MiB"), 400 * kMiB);
  EXPECT_EQ(parsed_size("1.5G"), 3 * kGiB / 2);
  EXPECT_EQ(parsed_size("1.5 GiB"), 3 * kGiB / 2);
  EXPECT_EQ(parsed_size("2k"), 2 * kKiB);
  EXPECT_EQ(parsed_size("3GB"), 3 * kGiB);
  EXPECT_EQ(parsed_size("1Ti"), 1024 * kGiB);
  EXPECT_EQ(parsed_size("1PiB"), 1024 * 1024 * kGiB);
  EXPECT_EQ(parsed_size("2EiB"), std::uint64_t{2} << 60);
}

TEST(ByteSizes, WholeNumbersAreExact) {
  EXPECT_EQ(parsed_size("9007199254740993"), 9'007'199'254'740'993U);
  Random random;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t v = random.any_size() % 9'200'000'000'000'000'000U;
    if (static_cast<double>(v) >= 9.2e18) continue;
    ASSERT_EQ(parsed_size(std::to_string(v)), v);
  }
}

TEST(ByteSizes, RefuseAnythingElse) {
  for (const char* text : {"",
                           "B",
                           "M",
                           "-1",
                           "+1",
                           " 1",
                           "1 X",
                           "1MM",
                           "1Mb",
                           "1MiBs",
                           "1iB",
                           "0x10",
                           "1e3",
                           "1.2.3",
                           "nan",
                           "inf",
                           "18446744073709551616",
                           "9300000000000000000",
                           "16EiB",
                           "10000000000000000000000000000000",
                           "1,5G",
                           "1m5"})
    EXPECT_FALSE(parse_bytes(text)) << text;
}

TEST(ByteSizes, FormattedOnesReadBackWithinTheirPrecision) {
  Random random;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t v = random.any_size() >> 2;
    const auto back = static_cast<double>(parsed_size(format_bytes(v)));
    ASSERT_NEAR(back, static_cast<double>(v), 0.06 * static_cast<double>(v)) << format_bytes(v);
  }
}

TEST(Clocks, SystemTimeIsNowAndUptimeNeverRunsBack) {
  Clock& clock = Clock::system();
  EXPECT_LT(std::abs(clock.now().us / kS - static_cast<std::int64_t>(std::time(nullptr))), 5);
  auto last = clock.uptime();
  for (int i = 0; i < 1000; ++i) {
    const auto next = clock.uptime();
    ASSERT_GE(next, last);
    last = next;
  }
}

TEST(Timestamps, AddAndSubtract) {
  const Timestamp t{100};
  EXPECT_EQ((t + microseconds(5)).us, 105);
  EXPECT_EQ((t + microseconds(5)) - t, microseconds(5));
  EXPECT_LT(t, t + microseconds(1));
}

}  // namespace
}  // namespace tidemark::test
