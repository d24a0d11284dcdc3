// What a policy may send, paced.
#include "agent/backup/rate_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/clock.h"

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

}  // namespace
}  // namespace tidemark::test
