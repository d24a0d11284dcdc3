// Limits by the time of the week.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "config/config.h"

namespace tidemark::test {
namespace {

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
