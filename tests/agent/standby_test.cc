// What a standby image says of itself.
#include "agent/standby/mark.h"

#include <gtest/gtest.h>

#include "agent/standby/standby_status.h"

namespace tidemark {
namespace {

StandbyMark sample() {
  StandbyMark mark;
  mark.store.bytes.fill(7);
  mark.site = "tokyo";
  mark.asset = "rbd/rbd/vm-1";
  mark.token = 4;
  return mark;
}

TEST(StandbyMarkTest, ReadsBackAsWritten) {
  StandbyMark mark = sample();
  EXPECT_EQ(decode_standby_mark(encode(mark)), mark);
  mark.primary = true;
  mark.applying = PointId();
  EXPECT_EQ(decode_standby_mark(encode(mark)), mark);
}

// Images carry it for years.
TEST(StandbyMarkTest, Golden) {
  const std::string text =
      R"({"applying":null,"asset":"rbd/rbd/vm-1","role":"standby","site":"tokyo",)"
      R"("store":"07070707070707070707070707070707","token":4,"version":1})";
  EXPECT_EQ(encode(sample()), text);
  EXPECT_EQ(decode_standby_mark(text), sample());
}

TEST(StandbyMarkTest, NonsenseIsRefused) {
  const std::string good = encode(sample());
  const auto with = [&](const std::string& what, const std::string& other) {
    std::string text = good;
    return text.replace(text.find(what), what.size(), other);
  };
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string(R"({"version":1})"), with("0707070707070707", "07"), with("tokyo", ""),
        with("\"standby\"", "\"king\""), with(":4", ":-4"), with("null", "\"x\"")})
    EXPECT_FALSE(decode_standby_mark(text)) << text;
  const auto later = decode_standby_mark(R"({"version":2})");
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code(), ErrorCode::unsupported);
}

TEST(StandbySnapshotTest, OnlyOursInTheOrderInWhichTheyWereTaken) {
  PointId a, b;
  a.bytes.fill(1);
  b.bytes.fill(2);
  const auto snapshot = [](std::uint64_t id, const std::string& name, bool user = true) {
    SnapshotInfo info;
    info.id = id;
    info.name = name;
    info.user = user;
    return info;
  };
  const auto found = standby_snapshots({snapshot(9, standby_snapshot_name(b)),
                                        snapshot(3, standby_snapshot_name(a)),
                                        snapshot(4, "tidemark-standby.zz"), snapshot(5, "csi-1"),
                                        snapshot(6, standby_snapshot_name(a), false)});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].point, a);
  EXPECT_EQ(found[1].point, b);
}

TEST(StandbyStatusTest, TheLagIsWhatTheNewestPointIsAhead) {
  StandbyStatus status;
  EXPECT_EQ(status.lag(), std::chrono::microseconds::zero()) << "nothing is known of any point";
  status.newest_time = Timestamp{5'000'000};
  EXPECT_EQ(status.lag(), std::chrono::microseconds::max());
  status.point_time = Timestamp{2'000'000};
  EXPECT_EQ(status.lag(), std::chrono::seconds(3));
  status.state = "primary";
  EXPECT_EQ(status.lag(), std::chrono::microseconds::zero());
}

}  // namespace
}  // namespace tidemark
