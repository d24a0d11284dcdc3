#include "catalog/internal/keys.h"

#include <algorithm>
#include <tuple>

#include "support.h"

namespace tidemark::catalog {
namespace {

TEST(KeysTest, TimeKeysSortAsTheirFieldsDo) {
  std::mt19937_64 random(test_seed());
  const std::vector<std::string> names = {"a", "ab", "a\x01", "a/b", "b", "\xff", "a-", "z\xff"};
  const std::vector<std::int64_t> times = {INT64_MIN, -256, -1, 0, 1, 255, 256, INT64_MAX};
  using Fields = std::tuple<std::string, std::string, std::int64_t, std::uint64_t, PointId>;
  std::vector<std::pair<Fields, std::string>> keys;
  for (int i = 0; i < 2000; ++i) {
    const auto pick = [&](const auto& from) { return from[random() % from.size()]; };
    const Fields f{pick(names), pick(names), pick(times), random() % 3, nth<PointId>(random() % 9)};
    keys.emplace_back(f, time_key(RowKind::live_point, std::get<0>(f), std::get<1>(f),
                                  {std::get<2>(f)}, std::get<3>(f), std::get<4>(f)));
  }
  std::ranges::sort(keys);
  EXPECT_TRUE(std::ranges::is_sorted(keys, {}, [](const auto& entry) { return entry.second; }));
  for (const auto& [fields, key] : keys) {
    const auto parsed = parse_time_key(key);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(Fields(parsed->site, parsed->asset, parsed->time.us, parsed->sequence, parsed->point),
              fields);
  }
}

TEST(KeysTest, TheEndOfAPrefixIsBehindAllKeysThatHaveIt) {
  EXPECT_EQ(prefix_end("ab"), "ac");
  EXPECT_EQ(prefix_end("a\xff\xff"), "b");
  EXPECT_EQ(prefix_end("a\xfe"), "a\xff");
  EXPECT_EQ(prefix_end("\xff"), "");
}

TEST(KeysTest, MalformedKeysAreNotParsed) {
  const std::string time = time_key(RowKind::live_point, "s", "a", {5}, 1, nth<PointId>(1));
  for (std::size_t size = 0; size < time.size(); ++size)
    EXPECT_FALSE(parse_time_key(std::string_view(time).substr(0, size))) << size;
  EXPECT_FALSE(parse_time_key(time + "x"));
  EXPECT_FALSE(parse_sequence_key(time));
  EXPECT_FALSE(parse_pin_key(""));
  EXPECT_FALSE(parse_number_key("j1234567"));
  EXPECT_FALSE(parse_id_key<PointId>(""));
}

TEST(KeysTest, OtherKeysReadBack) {
  const auto sequence = parse_sequence_key(sequence_key(258, nth<PointId>(4)));
  EXPECT_EQ(sequence->sequence, 258U);
  EXPECT_EQ(sequence->point, nth<PointId>(4));
  const auto pin = parse_pin_key(pin_key(nth<SessionId>(1), nth<PackId>(2)));
  EXPECT_EQ(pin->session, nth<SessionId>(1));
  EXPECT_EQ(pin->pack, nth<PackId>(2));
  EXPECT_EQ(parse_number_key(number_key(RowKind::journal, UINT64_MAX - 1)), UINT64_MAX - 1);
  EXPECT_EQ(parse_id_key<PackId>(id_key(RowKind::pack, nth<PackId>(3))), nth<PackId>(3));
}

}  // namespace
}  // namespace tidemark::catalog
