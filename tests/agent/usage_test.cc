#include "agent/site/usage.h"

#include <gtest/gtest.h>

#include "base/files.h"
#include "tests/agent/service_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;

const Timestamp kBegin{1'700'000'000'000'000};
constexpr std::uint64_t kTotal = 1000 * kGiB;

std::vector<UsageSample> rising(std::size_t hours_long, std::uint64_t begin, std::int64_t step) {
  std::vector<UsageSample> out;
  for (std::size_t i = 0; i < hours_long; ++i)
    out.push_back({kBegin + hours(i), static_cast<std::uint64_t>(
                                          static_cast<std::int64_t>(begin) +
                                          step * static_cast<std::int64_t>(i))});
  return out;
}

TEST(FullAt, AStoreThatGrowsEvenlyIsFullWhenTheLineSaysSo) {
  const auto samples = rising(49, 100 * kGiB, kGiB);  // 148 GiB after 48 hours
  const auto full = full_at(samples, kTotal);
  ASSERT_TRUE(full);
  const Timestamp expected = kBegin + hours(900);
  EXPECT_LT(std::chrono::abs(*full - expected), std::chrono::seconds(1));
}

TEST(FullAt, NoiseMovesItLittle) {
  Random random;
  auto samples = rising(24 * 14, 100 * kGiB, kGiB);
  for (UsageSample& s : samples) s.used_bytes += random.below(4 * kGiB);
  const auto full = full_at(samples, kTotal);
  ASSERT_TRUE(full);
  EXPECT_LT(std::chrono::abs(*full - (kBegin + hours(900))), hours(30));
}

TEST(FullAt, NothingIsSaidOfAStoreThatDoesNotGrow) {
  EXPECT_FALSE(full_at({}, kTotal));
  EXPECT_FALSE(full_at(rising(48, 500 * kGiB, 0), kTotal));
  EXPECT_FALSE(full_at(rising(48, 500 * kGiB, -1), kTotal));
  EXPECT_FALSE(full_at(rising(48, 500 * kGiB, 1), kTotal)) << "in more than ten years";
}

TEST(FullAt, NothingIsSaidBeforeADayWasSeen) {
  EXPECT_FALSE(full_at(rising(24, 100 * kGiB, kGiB), kTotal));  // 23 hours
  EXPECT_TRUE(full_at(rising(25, 100 * kGiB, kGiB), kTotal));
}

TEST(FullAt, AFullStoreIsFullNow) {
  const std::vector<UsageSample> samples{{kBegin, kTotal}};
  EXPECT_EQ(full_at(samples, kTotal), kBegin);
}

TEST(UsageHistory, KeepsASampleAnHourOfTwoWeeksOverRestarts) {
  const Scratch scratch;
  const auto file = scratch.path() / "usage.json";
  std::vector<UsageSample> kept;
  {
    UsageHistory history(file);
    for (int minute = 0; minute < 20 * 24 * 60; minute += 20)
      must(history.add({kBegin + std::chrono::minutes(minute), 1}));
    kept.assign(history.samples().begin(), history.samples().end());
    EXPECT_EQ(kept.size(), 14U * 24);
  }
  UsageHistory history(file);
  const UsageSample next{kept.back().time + std::chrono::minutes(59), 7};
  must(history.add(next));
  EXPECT_EQ(std::vector(history.samples().begin(), history.samples().end()), kept);
  must(history.add({kept.back().time + hours(1), 8}));
  EXPECT_EQ(history.samples().back().used_bytes, 8U);
}

TEST(UsageHistory, ForgetsTheFutureOfAClockThatWasSetBack) {
  const Scratch scratch;
  UsageHistory history(scratch.path() / "usage.json");
  must(history.add({kBegin + hours(100), 1}));
  must(history.add({kBegin, 2}));
  ASSERT_EQ(history.samples().size(), 1U);
  EXPECT_EQ(history.samples()[0].used_bytes, 2U);
}

TEST(UsageHistory, AFileThatCannotBeUnderstoodBeginsAnew) {
  for (const std::string text :
       {"", "{", "[]", R"({"version":2,"samples":[]})", R"({"version":1,"samples":[[1,2],[3]]})"}) {
    const Scratch scratch;
    const auto file = scratch.path() / "usage.json";
    must(write_file_durably(file, as_bytes(text)));
    UsageHistory history(file);
    must(history.add({kBegin, 3}));
    EXPECT_EQ(history.samples().size(), 1U) << text;
  }
}

}  // namespace
}  // namespace tidemark::test
