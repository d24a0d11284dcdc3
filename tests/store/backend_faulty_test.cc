// The fake that fails: what other tests rely on when they use it.
#include <gtest/gtest.h>

#include <thread>

#include "tests/fakes/faulty_backend.h"
#include "tests/fakes/memory_backend.h"
#include "tests/store/backend_conformance.h"

namespace tidemark {
namespace {

class FaultyMedium final : public TestMedium {
 public:
  std::unique_ptr<Backend> open() override {
    return std::make_unique<FaultyBackend>(std::make_unique<MemoryBackend>(medium_));
  }

 private:
  const std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
};

// Told nothing, it does nothing.
INSTANTIATE_TEST_SUITE_P(Fakes, BackendConformance,
                         ::testing::Values(ConformanceCase{
                             .name = "Faulty",
                             .make_medium = [] { return std::make_unique<FaultyMedium>(); }}),
                         [](const auto& c) { return c.param.name; });

Status nothing(const BlobInfo&) { return {}; }

TEST(FaultyBackend, FailsTheNthCallOnce) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  faulty.fail(BackendOp::create, 3, Error(ErrorCode::deadline_exceeded, "slow"));
  EXPECT_TRUE(faulty.create("1", {}));
  EXPECT_TRUE(faulty.create("2", {}));
  const auto third = faulty.create("3", {});
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code(), ErrorCode::deadline_exceeded);
  EXPECT_FALSE(memory.size("3"));
  EXPECT_TRUE(faulty.create("3", {}));
  EXPECT_EQ(faulty.calls(BackendOp::create), 4U);
  ASSERT_EQ(faulty.log().size(), 1U);
  EXPECT_EQ(faulty.log()[0].name, "3");
  EXPECT_EQ(faulty.log()[0].op, BackendOp::create);
}

TEST(FaultyBackend, FailsWhatThePredicateNames) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  Fault fault;
  fault.op = BackendOp::replace;
  fault.calls = kEvery;
  fault.when = [](std::string_view name) { return name.starts_with("points/"); };
  faulty.add(fault);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(faulty.replace("points/1", {}));
  EXPECT_TRUE(faulty.replace("packs/1", {}));
  faulty.clear();
  EXPECT_TRUE(faulty.replace("points/1", {}));
  EXPECT_EQ(faulty.log().size(), 3U);
}

TEST(FaultyBackend, DamagesWhatIsRead) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  ASSERT_TRUE(memory.create("b", as_bytes("0123456789")));
  Fault fault;
  fault.kind = FaultKind::flip;
  faulty.add(fault);
  const auto flipped = faulty.read("b", 0, 10);
  ASSERT_TRUE(flipped);
  EXPECT_EQ(flipped->size(), 10U);
  EXPECT_NE(as_text(*flipped), "0123456789");
  fault.kind = FaultKind::short_read;
  faulty.add(fault);
  EXPECT_EQ(faulty.read("b", 0, 10)->size(), 9U);
  EXPECT_EQ(as_text(*faulty.read("b", 0, 10)), "0123456789");
}

TEST(FaultyBackend, LosesTheAnswerOfWhatHappened) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  for (const auto op : {BackendOp::create, BackendOp::commit, BackendOp::remove}) {
    Fault fault;
    fault.op = op;
    fault.kind = FaultKind::lost_answer;
    faulty.add(fault);
  }
  EXPECT_FALSE(faulty.create("a", as_bytes("x")));
  EXPECT_TRUE(memory.size("a"));
  auto writer = faulty.writer("b");
  ASSERT_TRUE(writer && (*writer)->append(as_bytes("y")));
  EXPECT_FALSE((*writer)->commit());
  EXPECT_TRUE(memory.size("b"));
  EXPECT_FALSE(faulty.remove("a"));
  EXPECT_FALSE(memory.size("a"));
}

TEST(FaultyBackend, BreaksOffOrCutsAListing) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(memory.create("l/" + std::to_string(i), {}));
  faulty.fail(BackendOp::list_item, 6, Error(ErrorCode::unavailable, "page 2"));
  int seen = 0;
  const auto count = [&](const BlobInfo&) -> Status { return ++seen, Status(); };
  EXPECT_FALSE(faulty.list("l/", count));
  EXPECT_EQ(seen, 5);
  Fault fault;
  fault.op = BackendOp::list_item;
  fault.after = 9;
  fault.kind = FaultKind::hide;
  faulty.add(fault);
  seen = 0;
  EXPECT_TRUE(faulty.list("l/", count));
  EXPECT_EQ(seen, 9);
  faulty.fail(BackendOp::list, 1, Error(ErrorCode::unavailable, "page 1"));
  EXPECT_FALSE(faulty.list("l/", nothing));
}

TEST(FaultyBackend, RunsOutOfSpace) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  faulty.set_space_left(10);
  EXPECT_TRUE(faulty.create("a", as_bytes("123456")));
  const auto full = faulty.create("b", as_bytes("12345"));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::resource_exhausted);
  auto writer = faulty.writer("c");
  ASSERT_TRUE(writer && (*writer)->append(as_bytes("123")));
  EXPECT_FALSE((*writer)->append(as_bytes("45")));
  EXPECT_FALSE((*writer)->commit()) << "a blob with a hole in it";
  EXPECT_FALSE(memory.size("c"));
}

TEST(FaultyBackend, LosesLocks) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  auto lock = faulty.lock_writer("me");
  ASSERT_TRUE(lock && (*lock)->held());
  faulty.lose_locks();
  EXPECT_FALSE((*lock)->held());
  lock->reset();
  EXPECT_TRUE((*faulty.lock_writer("me"))->held());
}

TEST(FaultyBackend, DelaysAndLetsTestsLookOn) {
  MemoryBackend memory;
  FaultyBackend faulty(memory);
  std::vector<std::string> seen;
  faulty.set_observer([&](BackendOp op, std::string_view name) {
    seen.push_back(std::string(to_string(op)) + " " + std::string(name));
  });
  Fault fault;
  fault.op = BackendOp::create;
  fault.kind = FaultKind::delay;
  fault.delay = std::chrono::milliseconds(30);
  faulty.add(fault);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(faulty.create("a", {}));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(30));
  EXPECT_EQ(seen, std::vector<std::string>{"create a"});
}

}  // namespace
}  // namespace tidemark
