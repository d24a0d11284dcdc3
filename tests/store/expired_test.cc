// The note of dropped points.
#include "store/expired.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::check_golden;

// A chain: each point carries the hash of the one before.
Digest hash_of(std::uint64_t sequence) {
  return sequence == 0 ? Digest{} : sha256(as_bytes("record " + std::to_string(sequence)));
}
Status add(ExpiredPoints& points, std::uint64_t sequence) {
  return points.add(sequence, hash_of(sequence - 1), hash_of(sequence));
}

TEST(ExpiredTest, NeighboursBecomeOneRangeInWhateverOrderTheyCome) {
  std::vector<std::uint64_t> order(100);
  std::iota(order.begin(), order.end(), 1);
  std::mt19937_64 random(7);
  for (int round = 0; round < 50; ++round) {
    std::ranges::shuffle(order, random);
    const std::size_t dropped = random() % order.size();
    ExpiredPoints points;
    for (std::size_t i = 0; i < dropped; ++i) ASSERT_TRUE(add(points, order[i]));
    for (std::size_t i = 0; i < dropped; ++i) ASSERT_TRUE(add(points, order[i]));  // again
    for (std::size_t i = 0; i < order.size(); ++i)
      EXPECT_EQ(points.contains(order[i]), i < dropped);
    std::uint64_t before = 0;
    for (const ExpiredRange& range : points.ranges()) {
      EXPECT_GT(range.first, before == 0 ? 0 : before + 1);
      EXPECT_EQ(range.previous, hash_of(range.first - 1));
      EXPECT_EQ(range.hash, hash_of(range.last));
      EXPECT_EQ(points.starting_at(range.first), &range);
      before = range.last;
    }
    const auto decoded = decode_expired_points(encode(points));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(decoded->ranges(), points.ranges());
  }
}

TEST(ExpiredTest, WhatDoesNotLinkIsRefused) {
  ExpiredPoints points;
  ASSERT_TRUE(add(points, 5));
  EXPECT_EQ(points.add(6, hash_of(1), hash_of(6)).error().code(), ErrorCode::corruption);
  EXPECT_EQ(points.add(4, hash_of(3), hash_of(1)).error().code(), ErrorCode::corruption);
  EXPECT_EQ(points.ranges().size(), 1U);
}

TEST(ExpiredTest, AnyFlippedBitShows) {
  ExpiredPoints points;
  for (const std::uint64_t sequence : {1U, 2U, 3U, 7U, 9U}) ASSERT_TRUE(add(points, sequence));
  const Bytes good = encode(points);
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = copy_of(good);
    bad[i] ^= 1;
    EXPECT_FALSE(decode_expired_points(bad).has_value()) << i;
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(decode_expired_points(ByteView(good).first(size)).has_value()) << size;
}

TEST(ExpiredTest, Golden) {
  ExpiredPoints points;
  for (const std::uint64_t sequence : {1U, 2U, 3U, 7U}) ASSERT_TRUE(add(points, sequence));
  check_golden("expired", encode(points));
  Bytes newer = encode(points);
  newer[8] = 2;
  EXPECT_EQ(decode_expired_points(newer).error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace tidemark
