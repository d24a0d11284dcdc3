// The part of the conformance suite in which threads and processes meet, and the random one.
#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "tests/store/backend_conformance.h"

namespace tidemark {
namespace {

// Nothing, or the code of the error.
template <class T>
std::optional<ErrorCode> code_of(const Result<T>& result) {
  if (result) return std::nullopt;
  return result.error().code();
}

Result<Bytes> whole(Backend& backend, std::string_view name) {
  return read_blob(backend, name, kGiB);
}

TEST_P(BackendConformance, OfManyConcurrentCreatesExactlyOneWins) {
  constexpr int kThreads = 8, kNames = 12;
  for (int n = 0; n < kNames; ++n) {
    const std::string name = "race/" + std::to_string(n);
    std::atomic<int> ready{0}, won{0}, lost{0};
    std::atomic<int> winner{-1};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        const Bytes mine(1000 + static_cast<std::size_t>(t), static_cast<std::uint8_t>(t));
        for (++ready; ready < kThreads;) std::this_thread::yield();
        const auto status = backend().create(name, mine);
        if (status) {
          ++won;
          winner = t;
        } else if (status.error().code() == ErrorCode::already_exists) {
          ++lost;
        }
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, kThreads - 1);
    const auto bytes = whole(backend(), name);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->size(), 1000U + static_cast<std::size_t>(winner));
    EXPECT_EQ(bytes->front(), winner);
  }
  EXPECT_EQ(names().size(), std::size_t{kNames});
}

TEST_P(BackendConformance, ListingMissesNothingThatStaysWhileOthersComeAndGo) {
  constexpr std::size_t kStay = 200;
  for (std::size_t i = 0; i < kStay; ++i)
    ASSERT_TRUE(backend().create("packs/stay-" + std::to_string(i), {}));
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    for (int i = 0; !stop; ++i) {
      const std::string name = "packs/churn-" + std::to_string(i % 40);
      EXPECT_TRUE(backend().replace(name, as_bytes("x")));
      EXPECT_TRUE(backend().remove(name));
    }
  });
  for (int round = 0; round < 20; ++round) {
    const auto found = names("packs/");
    EXPECT_EQ(std::adjacent_find(found.begin(), found.end()), found.end()) << "listed twice";
    EXPECT_EQ(std::count_if(found.begin(), found.end(),
                            [](const auto& n) { return n.starts_with("packs/stay-"); }),
              static_cast<std::ptrdiff_t>(kStay));
  }
  stop = true;
  churn.join();
}

// Every version is filled with its own number and has its own length: a mix of two cannot look
// right.
TEST_P(BackendConformance, ReadersOfAReplacedBlobSeeOldOrNewNeverAMix) {
  constexpr int kVersions = 120;
  const auto version_bytes = [](int v) {
    return Bytes(4096 + static_cast<std::size_t>(v % 7) * 1000, static_cast<std::uint8_t>(v));
  };
  ASSERT_TRUE(backend().replace("head", version_bytes(0)));
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0}, mixed{0}, failed{0}, backwards{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      for (int last = 0; !stop;) {
        // The first 4096 bytes are there in each version.
        const auto bytes = backend().read("head", 0, 4096);
        if (!bytes) {
          ++failed;
          continue;
        }
        ++reads;
        if (!std::all_of(bytes->begin(), bytes->end(), [&](auto b) { return b == bytes->front(); }))
          ++mixed;
        if (bytes->front() < last) ++backwards;
        last = bytes->front();
      }
    });
  for (int v = 1; v < kVersions; ++v) ASSERT_TRUE(backend().replace("head", version_bytes(v)));
  while (reads < 10) std::this_thread::yield();
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(mixed, 0);
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(backwards, 0);
  EXPECT_EQ(*whole(backend(), "head"), version_bytes(kVersions - 1));
}

TEST_P(BackendConformance, ManyWritersAtOnceKeepTheirBytesApart) {
  constexpr std::uint64_t kThreads = 6, kBlobs = 5;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t b = 0; b < kBlobs; ++b) {
        const Bytes data = patterned_bytes(t * 100 + b, 700000 + t * 1000 + b);
        auto writer = backend().writer("w/" + std::to_string(t) + "-" + std::to_string(b));
        ASSERT_TRUE(writer);
        for (std::size_t at = 0; at < data.size(); at += 50000)
          ASSERT_TRUE((*writer)->append(
              ByteView(data).subspan(at, std::min<std::size_t>(50000, data.size() - at))));
        ASSERT_TRUE((*writer)->commit());
      }
    });
  for (auto& thread : threads) thread.join();
  for (std::uint64_t t = 0; t < kThreads; ++t)
    for (std::uint64_t b = 0; b < kBlobs; ++b)
      EXPECT_EQ(*whole(backend(), "w/" + std::to_string(t) + "-" + std::to_string(b)),
                patterned_bytes(t * 100 + b, 700000 + t * 1000 + b));
}

// Random operations, held against a map.
TEST_P(BackendConformance, AgreesWithAModelOverRandomOperations) {
  std::mt19937_64 random(test_seed());
  std::map<std::string, Bytes> model;
  const auto below = [&](std::uint64_t n) { return random() % n; };
  for (int i = 0; i < 800; ++i) {
    const std::string name = (below(2) ? "m/" : "n/o/") + std::to_string(below(25));
    const Bytes data = patterned_bytes(random(), below(5) == 0 ? 0 : below(9000));
    const bool there = model.contains(name);
    switch (below(6)) {
      case 0:
        EXPECT_EQ(code_of(backend().create(name, data)),
                  there ? std::optional(ErrorCode::already_exists) : std::nullopt);
        model.try_emplace(name, data);
        break;
      case 1:
        EXPECT_TRUE(backend().replace(name, data));
        model[name] = data;
        break;
      case 2: {
        auto writer = backend().writer(name);
        ASSERT_TRUE(writer);
        ASSERT_TRUE((*writer)->append(data));
        if (below(3) == 0) break;
        EXPECT_TRUE((*writer)->commit());
        model.try_emplace(name, data);
        break;
      }
      case 3:
        EXPECT_TRUE(backend().remove(name));
        model.erase(name);
        break;
      case 4: {
        const auto bytes = whole(backend(), name);
        ASSERT_EQ(bytes.has_value(), there);
        if (there) {
          EXPECT_EQ(*bytes, model[name]);
        }
        break;
      }
      default: {
        std::vector<std::string> expected;
        for (const auto& [key, value] : model) expected.push_back(key);
        EXPECT_EQ(names(), expected);
      }
    }
    ASSERT_FALSE(HasFailure()) << "at operation " << i;
  }
}

TEST_P(BackendConformance, OneHandleHoldsTheWriterLock) {
  const auto other = medium().open();
  auto lock = backend().lock_writer("osaka-1 pid 17");
  ASSERT_TRUE(lock) << lock.error().describe();
  EXPECT_TRUE((*lock)->held());
  const auto refused = other->lock_writer("osaka-2");
  ASSERT_EQ(code_of(refused), ErrorCode::refused);
  EXPECT_NE(refused.error().message().find("osaka-1 pid 17"), std::string::npos)
      << refused.error().message();
  EXPECT_EQ(code_of(backend().lock_writer("again")), ErrorCode::refused);
  EXPECT_TRUE((*lock)->held());
  lock->reset();
  auto next = other->lock_writer("osaka-2\nforged");
  ASSERT_TRUE(next);
  EXPECT_TRUE((*next)->held());
  const auto again = backend().lock_writer("osaka-1");
  ASSERT_EQ(code_of(again), ErrorCode::refused);
  EXPECT_NE(again.error().message().find("osaka-2"), std::string::npos);
  EXPECT_TRUE(names().empty()) << "a lock is not a blob";
}

TEST_P(BackendConformance, AnotherProcessIsKeptOutUntilTheHolderLetsGo) {
  auto arguments = medium().tool_arguments();
  if (arguments.empty()) GTEST_SKIP() << "no other process can open it";
  arguments.insert(arguments.begin(), {"lock", "the child"});
  {
    auto lock = backend().lock_writer("the parent");
    ASSERT_TRUE(lock);
    ToolProcess child(arguments);
    const auto answer = child.read_line();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->starts_with("refused")) << *answer;
    EXPECT_NE(answer->find("the parent"), std::string::npos) << *answer;
  }
  ToolProcess child(arguments);
  EXPECT_EQ(child.read_line(), "held");
  const auto refused = backend().lock_writer("the parent");
  ASSERT_EQ(code_of(refused), ErrorCode::refused);
  EXPECT_NE(refused.error().message().find("the child"), std::string::npos);
  child.close_input();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(backend().lock_writer("the parent"));
}

TEST_P(BackendConformance, DeathOfTheHolderReleasesTheLock) {
  auto arguments = medium().tool_arguments();
  if (arguments.empty()) GTEST_SKIP() << "no other process can open it";
  arguments.insert(arguments.begin(), {"lock", "the child"});
  ToolProcess child(arguments);
  ASSERT_EQ(child.read_line(), "held");
  ASSERT_EQ(code_of(backend().lock_writer("the parent")), ErrorCode::refused);
  child.kill();
  child.wait();
  const auto until = std::chrono::steady_clock::now() + GetParam().lock_release;
  for (;;) {
    const auto lock = backend().lock_writer("the parent");
    if (lock) break;
    ASSERT_EQ(lock.error().code(), ErrorCode::refused);
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "the lock of a dead process stays";
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace
}  // namespace tidemark
