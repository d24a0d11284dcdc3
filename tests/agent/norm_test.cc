#include "agent/site/norm.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/files.h"
#include "tests/agent/service_support.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

constexpr std::uint64_t kHour = 3600;

PointNorm point(std::uint64_t changed, std::uint64_t shipped, std::uint64_t seconds = kHour) {
  return {1024 * kGiB, changed, shipped, seconds};
}

TEST(Norm, AConstantAssetIsNeverUnusualWhateverItsScale) {
  for (std::uint64_t changed = kKiB; changed <= 512 * kGiB; changed *= 8)
    for (const std::uint64_t tenth : {1U, 5U, 10U}) {
      const std::vector<PointNorm> history(30, point(changed, changed / 10 * tenth));
      EXPECT_EQ(unusual(history, history[0]), "") << changed << " " << tenth;
    }
}

TEST(Norm, WhatVariesAsItDidBeforeIsUsual) {
  Random random;
  for (int round = 0; round < 200; ++round) {
    std::vector<PointNorm> history;
    const std::uint64_t scale = kMiB << random.below(15);
    const auto draw = [&] {
      const std::uint64_t changed = scale / 2 + random.below(scale);
      const std::uint64_t shipped = changed / 4 + random.below(changed / 4);
      return point(changed, shipped, kHour / 2 + random.below(kHour));
    };
    for (int i = 0; i < 30; ++i) history.push_back(draw());
    EXPECT_EQ(unusual(history, draw()), "");
  }
}

TEST(Norm, AChangeOfFarMoreThanUsualIs) {
  const std::vector<PointNorm> history(8, point(kGiB, kGiB / 2));
  EXPECT_NE(unusual(history, point(100 * kGiB, 50 * kGiB)), "");
  EXPECT_EQ(unusual(history, point(9 * kGiB, 4 * kGiB)), "") << "not ten times as much";
  EXPECT_EQ(unusual(history, point(100 * kGiB, 50 * kGiB, 100 * kHour)), "")
      << "after a long outage";
  const std::vector<PointNorm> small(8, point(kMiB, kMiB / 2));
  EXPECT_EQ(unusual(small, point(60 * kMiB, 30 * kMiB)), "") << "not worth an alarm";
  EXPECT_EQ(unusual(small, point(20 * kGiB, 10 * kGiB)), "") << "a fiftieth of the asset";
}

TEST(Norm, WhatCannotBeCompressedAnyMoreIs) {
  const std::vector<PointNorm> history(8, point(kGiB, kGiB / 2));
  EXPECT_NE(unusual(history, point(kGiB, kGiB)), "");
  EXPECT_EQ(unusual(history, point(kGiB, kGiB / 10 * 9)), "");
  EXPECT_EQ(unusual(history, point(60 * kMiB, 60 * kMiB)), "") << "too little to tell";
  const std::vector<PointNorm> media(8, point(kGiB, kGiB));
  EXPECT_EQ(unusual(media, point(kGiB, kGiB)), "") << "such is this asset";
}

TEST(Norm, NothingIsSaidBeforeEightPointsAreKnown) {
  const std::vector<PointNorm> history(7, point(kGiB, kGiB / 2));
  EXPECT_EQ(unusual(history, point(200 * kGiB, 200 * kGiB)), "");
}

TEST(Norm, AnIdleAssetThatChangesAsAWholeIsUnusual) {
  const std::vector<PointNorm> history(30, point(0, 1000));
  EXPECT_NE(unusual(history, point(500 * kGiB, 500 * kGiB)), "");
}

TEST(NormBook, RemembersThirtyPointsOfEachLineOverRestarts) {
  const Scratch scratch;
  const auto file = scratch.path() / "norms.json";
  for (int i = 0; i < 40; ++i) {
    NormBook book(file);
    EXPECT_EQ(must(book.add("rbd/rbd/a", "osaka", point(kGiB, kGiB / 2))), "");
  }
  EXPECT_LT(std::filesystem::file_size(file), 4096U);
  NormBook book(file);
  EXPECT_EQ(must(book.add("rbd/rbd/b", "osaka", point(200 * kGiB, 100 * kGiB))), "");
  EXPECT_EQ(must(book.add("rbd/rbd/a", "kyoto", point(200 * kGiB, 100 * kGiB))), "");
  EXPECT_NE(must(book.add("rbd/rbd/a", "osaka", point(200 * kGiB, 100 * kGiB))), "");
}

TEST(NormBook, AFileThatCannotBeUnderstoodBeginsAnew) {
  for (const std::string text : {"", "{", R"({"version":2,"lines":[]})",
                                 R"({"version":1,"lines":[3,{"asset":"a"},{"asset":"a","to":"b",)"
                                 R"("points":[[1],["x",1,1,1]]}]})"}) {
    const Scratch scratch;
    must(write_file_durably(scratch.path() / "norms.json", as_bytes(text)));
    NormBook book(scratch.path() / "norms.json");
    EXPECT_EQ(must(book.add("a", "b", point(kGiB, kGiB))), "") << text;
  }
}

}  // namespace
}  // namespace tidemark::test
