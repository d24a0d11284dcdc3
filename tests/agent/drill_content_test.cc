// Whether a difference between a disk and a point is found, wherever it is.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "agent/drill/content.h"
#include "agent/drill/disk.h"
#include "base/files.h"
#include "tests/agent/volume_maker.h"

namespace tidemark::test {
namespace {

using ::testing::HasSubstr;

class DrillContentTest : public ::testing::Test {
 protected:
  DrillContentTest() {
    scribble(volume_, rng_, 40);
    volume_.write(9 * kMiB, rng_.bytes(5000));  // there is data, and a hole behind it
    volume_.clear(10 * kMiB, 512 * kKiB);
    point_ = store_.add_point("tokyo", "rbd/rbd/vm-1", volume_.content());
    point_.point.record.size_bytes = volume_.bytes.size();
  }
  // The disk as a sparse file with these bytes.
  std::unique_ptr<BlockView> disk_of(const Bytes& bytes) {
    const auto path = scratch_.path() / std::to_string(disks_++);
    const Fd fd = must(open_file(path, O_RDWR | O_CREAT | O_EXCL));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes.size())), 0);
    for (std::size_t at = 0; at < bytes.size(); at += 4096) {
      const ByteView part =
          ByteView(bytes).subspan(at, std::min<std::size_t>(4096, bytes.size() - at));
      if (std::ranges::any_of(part, [](auto byte) { return byte != 0; }))
        must(write_at(fd.get(), part, at));
    }
    return must(open_file_disk(path));
  }
  ContentReport compare(const Bytes& bytes) {
    const auto disk = disk_of(bytes);
    return must(compare_content(store_.service(), store_.keys(), point_.point.record, *disk, {}));
  }

  Rng rng_;
  Scratch scratch_;
  TestService store_;
  VolumeMaker volume_{store_.keys(), 40 * kMiB + 12345};
  PointRow point_;
  int disks_ = 0;
};

TEST_F(DrillContentTest, WhatIsEqualIsReadAndNothingIsFound) {
  const ContentReport report = compare(volume_.bytes);
  EXPECT_EQ(report.difference, "");
  EXPECT_GT(report.bytes, 5000U);
}

TEST_F(DrillContentTest, OneByteThatDiffersIsFoundInDataAndInHoles) {
  for (int round = 0; round < 8; ++round) {
    Bytes bytes = volume_.bytes;
    const std::uint64_t at = rng_.below(bytes.size());
    bytes[at] ^= static_cast<std::uint8_t>(rng_.between(1, 255));
    EXPECT_EQ(compare(bytes).difference,
              "byte " + std::to_string(at) + " is not that of the point");
  }
  Bytes bytes = volume_.bytes;
  bytes.at(bytes.size() - 1) ^= 1;
  EXPECT_THAT(compare(bytes).difference, HasSubstr(std::to_string(bytes.size() - 1)));
}

TEST_F(DrillContentTest, AnotherSizeIsADifference) {
  Bytes bytes(volume_.bytes.begin(), volume_.bytes.end() - 1);
  EXPECT_THAT(compare(bytes).difference, HasSubstr("bytes, and the point"));
}

TEST_F(DrillContentTest, AStoreThatCannotTellIsAnErrorAndNoDifference) {
  const auto disk = disk_of(volume_.bytes);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(code_of(compare_content(store_.service(), store_.keys(), point_.point.record, *disk,
                                    stop.get_token())),
            ErrorCode::cancelled);
  VolumeMaker lost(store_.keys(), volume_.bytes.size());
  lost.write(0, rng_.bytes(100));
  lost.lose(lost.chunk_at(0));
  PointRecord record = point_.point.record;
  record.root = lost.content().root;
  EXPECT_NE(code_of(compare_content(store_.service(), store_.keys(), record, *disk, {})),
            std::nullopt);
}

TEST_F(DrillContentTest, ReadsPastTheEndAreRefused) {
  Bytes zeros(100);
  std::ranges::fill(zeros, std::uint8_t{0});
  const auto disk = disk_of(zeros);
  Bytes into(50);
  EXPECT_EQ(code_of(disk->read(60, into)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(disk->read(~0ULL, into)), ErrorCode::invalid_argument);
  EXPECT_EQ(must(disk->runs(0, 100, 8)), (std::vector<BlockRun>{{100, false}}));
}

}  // namespace
}  // namespace tidemark::test
