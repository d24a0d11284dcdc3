// What a policy may send, paced.
#include "agent/backup/rate_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "config/config.h"

namespace tidemark::test {
namespace {

using std::chrono::milliseconds;

std::chrono::microseconds uptime() { return Clock::system().uptime(); }

TEST(RateLimiterTest, WhatIsLetGoKeepsToTheLimit) {
  RateLimiter limiter([](Timestamp) { return std::optional<std::uint64_t>(1'000'000); },
                      Clock::system());
  const auto begin = uptime();
  for (int i = 0; i < 21; ++i) ASSERT_TRUE(limiter.wait(10'000, {}));
  // The first goes at once, the others a hundredth of a second apart.
  EXPECT_GE(uptime() - begin, milliseconds(200));
}

TEST(RateLimiterTest, WhatWasNotUsedIsLost) {
  RateLimiter limiter([](Timestamp) { return std::optional<std::uint64_t>(1'000'000); },
                      Clock::system());
  ASSERT_TRUE(limiter.wait(1000, {}));
  std::this_thread::sleep_for(milliseconds(100));
  const auto begin = uptime();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(limiter.wait(10'000, {}));
  EXPECT_GE(uptime() - begin, milliseconds(50));
}

TEST(RateLimiterTest, ALimitThatEndsLetsGo) {
  // An hour's worth of waiting, but for a window that ends while somebody waits.
  std::atomic<int> asked{0};
  RateLimiter limiter(
      [&](Timestamp) { return ++asked < 3 ? std::optional<std::uint64_t>(1000) : std::nullopt; },
      Clock::system());
  ASSERT_TRUE(limiter.wait(3'600'000, {}));
  ASSERT_TRUE(limiter.wait(1, {}));
  ASSERT_TRUE(limiter.wait(1ULL << 40, {}));
  EXPECT_EQ(asked, 4);
}

TEST(RateLimiterTest, AStopEndsTheWaitingOfAll) {
  RateLimiter limiter([](Timestamp) { return std::optional<std::uint64_t>(1); }, Clock::system());
  ASSERT_TRUE(limiter.wait(1'000'000, {}));
  std::stop_source stop;
  std::atomic<int> cancelled{0};
  {
    std::vector<std::jthread> waiting;
    for (int i = 0; i < 3; ++i)
      waiting.emplace_back([&] {
        const Status waited = limiter.wait(1, stop.get_token());
        if (!waited && waited.error().code() == ErrorCode::cancelled) ++cancelled;
      });
    stop.request_stop();
  }
  EXPECT_EQ(cancelled, 3);
}

TEST(BandwidthTest, TheWindowThatATimeLiesInCounts) {
  BandwidthConfig config;
  config.bytes_per_second = 400;
  for (const auto& [text, limit] : std::vector<std::pair<const char*, std::uint64_t>>{
           {"mon-fri 08:00-19:00", 50}, {"sat 22:00-06:00", 7}}) {
    auto window = parse_window(text);
    ASSERT_TRUE(window.has_value());
    window->bytes_per_second = limit;
    config.windows.push_back(*window);
  }
  const auto at = [&](const char* text) { return *bandwidth_at(config, *parse_time(text, {})); };
  EXPECT_EQ(at("2026-11-23T07:59:59Z"), 400U);  // a Monday
  EXPECT_EQ(at("2026-11-23T08:00:00Z"), 50U);
  EXPECT_EQ(at("2026-11-23T18:59:59Z"), 50U);
  EXPECT_EQ(at("2026-11-23T19:00:00Z"), 400U);
  EXPECT_EQ(at("2026-11-28T12:00:00Z"), 400U);
  EXPECT_EQ(at("2026-11-28T22:00:00Z"), 7U);
  EXPECT_EQ(at("2026-11-29T05:59:59Z"), 7U);  // until Sunday's morning
  EXPECT_EQ(at("2026-11-29T06:00:00Z"), 400U);
  EXPECT_EQ(at("1969-12-29T08:00:00Z"), 50U);  // a Monday, before the epoch
  config.bytes_per_second.reset();
  EXPECT_FALSE(bandwidth_at(config, *parse_time("2026-11-29T06:00:00Z", {})));
}

}  // namespace
}  // namespace tidemark::test
