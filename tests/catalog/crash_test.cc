// A process that writes is killed at random moments; what it was told is durable must be there.

#include <signal.h>

#include <thread>

#include "child.h"
#include "support.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kChunksPerPack = 50;

std::uint64_t chunk_of(std::uint64_t pack, std::uint64_t i) {
  return 1'000'000 + pack * kChunksPerPack + i;
}

// In the child: writes until it is killed, and says what was acknowledged.
TEST(CrashTest, DISABLED_Writer) {
  const auto catalog = open_catalog(child_argument(0));
  const auto last = must(catalog->last_point());
  say("open");
  for (std::uint64_t n = last ? last->point.sequence + 1 : 1;; ++n) {
    SessionRow session;
    session.site = "tokyo";
    session.asset = "rbd/rbd/vm";
    session = must(catalog->open_session(session));
    say("fence " + std::to_string(session.fence));
    std::vector<std::uint64_t> chunks;
    for (std::uint64_t i = 0; i < kChunksPerPack; ++i) chunks.push_back(chunk_of(n, i));
    const TestPack pack = make_pack(n, chunks, BlobKind::node);
    must(add(*catalog, pack));
    must(catalog->pin_packs(session.id, std::span(&pack.row.id, 1)));
    const PointRow row = make_point(n, "tokyo", "rbd/rbd/vm", {static_cast<std::int64_t>(n)},
                                    must(catalog->last_point()));
    const ChunkId closed = nth<ChunkId>(chunk_of(n, 0));
    must(catalog->commit_point(row, std::span(&closed, 1), session.id));
    say("commit " + std::to_string(n));
    if (n % 3 == 0) {
      must(catalog->set_pinned(row.point.record.id, true, {5}));
      say("pin " + std::to_string(n));
    }
    if (n % 3 == 1) {
      must(catalog->set_deleted(row.point.record.id, Timestamp{9}, {5}));
      say("delete " + std::to_string(n));
    }
  }
}

struct Acknowledged {
  std::uint64_t fence = 0;
  std::vector<std::uint64_t> points, pinned, deleted;
};

void check_survived(const std::filesystem::path& path, const Acknowledged& acknowledged) {
  const auto catalog = open_catalog(path);
  EXPECT_THAT(must(catalog->check()), ::testing::IsEmpty());
  EXPECT_GE(must(catalog->newest_fence("tokyo", "rbd/rbd/vm")), acknowledged.fence);
  for (const std::uint64_t n : acknowledged.points) {
    const auto row = must(catalog->find_point(nth<PointId>(n)));
    ASSERT_TRUE(row) << n;
    EXPECT_EQ(row->point.sequence, n);
    for (std::uint64_t i = 0; i < kChunksPerPack; i += 7) {
      const auto chunk = find_chunk(*catalog, chunk_of(n, i));
      ASSERT_TRUE(chunk) << n << " " << i;
      EXPECT_EQ(chunk->closed, i == 0);
    }
  }
  for (const std::uint64_t n : acknowledged.pinned)
    EXPECT_TRUE(must(catalog->find_point(nth<PointId>(n)))->pinned);
  for (const std::uint64_t n : acknowledged.deleted)
    EXPECT_TRUE(must(catalog->find_point(nth<PointId>(n)))->deleted);
}

TEST(CrashTest, WhatWasAcknowledgedSurvivesBeingKilled) {
  std::mt19937_64 random(test_seed());
  TempDir directory;
  const std::filesystem::path path = directory.path() / "catalog";
  Acknowledged acknowledged;
  for (int round = 0; round < rounds(15); ++round) {
    Child child("CrashTest.DISABLED_Writer", {path.string()});
    // In some rounds while it still opens, and so perhaps while it replays its log.
    if (round % 4 != 3) {
      EXPECT_EQ(child.read_line(), "open");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 200));
    child.kill();
    EXPECT_EQ(child.wait(), -SIGKILL);
    for (std::string line = child.read_line(); !line.empty(); line = child.read_line()) {
      if (line == "open") continue;
      const std::size_t space = line.find(' ');
      const std::uint64_t n = std::stoull(line.substr(space + 1));
      const std::string what = line.substr(0, space);
      if (what == "fence") acknowledged.fence = n;
      if (what == "commit") acknowledged.points.push_back(n);
      if (what == "pin") acknowledged.pinned.push_back(n);
      if (what == "delete") acknowledged.deleted.push_back(n);
    }
    ASSERT_NO_FATAL_FAILURE(check_survived(path, acknowledged));
  }
  EXPECT_GT(acknowledged.points.size(), static_cast<std::size_t>(rounds(15)));
}

}  // namespace
}  // namespace tidemark
