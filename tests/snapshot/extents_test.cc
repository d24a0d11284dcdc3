#include "snapshot/rbd/extents.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace tidemark {
namespace {

using Extents = std::vector<ChangedExtent>;

TEST(ExtentsTest, SortsAndMergesWhatTouches) {
  EXPECT_EQ(normalized({{8, 4, false}, {0, 4, false}, {4, 4, false}}), (Extents{{0, 12, false}}));
  EXPECT_EQ(normalized({{8, 4, true}, {0, 4, true}}), (Extents{{0, 4, true}, {8, 4, true}}));
}

TEST(ExtentsTest, DataWinsOverZeros) {
  EXPECT_EQ(normalized({{0, 10, true}, {4, 2, false}}),
            (Extents{{0, 4, true}, {4, 2, false}, {6, 4, true}}));
  EXPECT_EQ(normalized({{2, 4, false}, {2, 4, true}}), (Extents{{2, 4, false}}));
}

TEST(ExtentsTest, RandomOverlaysMatchAMapOfBytes) {
  const char* given = std::getenv("TM_SEED");
  const auto seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE(testing::Message() << "TM_SEED=" << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    constexpr std::uint32_t kSize = 64;
    Extents extents;
    std::vector<int> bytes(kSize, 0);  // 0 unchanged, 1 zero, 2 data
    const auto count = random() % 12;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto offset = static_cast<std::uint32_t>(random() % kSize);
      const auto size = static_cast<std::uint32_t>(random() % (kSize - offset) + 1);
      const bool zero = random() % 2 == 0;
      extents.push_back({offset, size, zero});
      for (auto b = offset; b < offset + size; ++b) bytes[b] = std::max(bytes[b], zero ? 1 : 2);
    }
    Extents expected;
    for (std::uint32_t b = 0; b < kSize; ++b) {
      if (bytes[b] == 0) continue;
      const bool zero = bytes[b] == 1;
      const bool joins = !expected.empty() && expected.back().zero == zero &&
                         expected.back().offset + expected.back().size == b;
      if (joins)
        ++expected.back().size;
      else
        expected.push_back({b, 1, zero});
    }
    ASSERT_EQ(normalized(extents), expected) << "round " << round;
  }
}

TEST(ExtentOverlayTest, CollapsesToAllOfTheRegionPastItsLimit) {
  ExtentOverlay overlay(1000, 4);
  for (std::uint32_t i = 0; i < 5; ++i) overlay.add(i * 100, 10, true);
  EXPECT_EQ(overlay.take(), (Extents{{0, 1000, false}}));
  EXPECT_TRUE(overlay.collapsed());
}

TEST(ExtentOverlayTest, CountsWhatIsLeftAfterMergingNotWhatCameIn) {
  ExtentOverlay overlay(100000, 4);
  for (std::uint32_t i = 0; i < 10000; ++i) overlay.add(i, 1, false);
  EXPECT_EQ(overlay.take(), (Extents{{0, 10000, false}}));
}

TEST(ExtentOverlayTest, MemoryStaysBoundedUnderEndlessExtents) {
  ExtentOverlay overlay(4 << 20, 64);
  for (std::uint32_t i = 0; i < 1000000; ++i) overlay.add(i * 4, 2, false);
  EXPECT_TRUE(overlay.collapsed());
}

}  // namespace
}  // namespace tidemark
