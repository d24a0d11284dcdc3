#include "base/queue.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>

#include "base/clock.h"
#include "tests/base/random.h"

namespace tidemark::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

Error boom(const char* text = "boom") { return Error(ErrorCode::corruption, text); }

// Waits until `condition` holds; false after ten seconds.
template <class F>
bool eventually(F condition) {
  const auto until = Clock::system().uptime() + seconds(10);
  while (Clock::system().uptime() < until) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

TEST(Queue, DeliversInOrderAndEndsWhenClosed) {
  BoundedQueue<int> queue(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.push(i));
  queue.close();
  EXPECT_FALSE(queue.push(9));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.pop(), i);
  EXPECT_EQ(queue.pop(), std::nullopt);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(Queue, AbortDropsWhatIsQueued) {
  BoundedQueue<std::shared_ptr<int>> queue(3);
  const auto item = std::make_shared<int>(1);
  EXPECT_TRUE(queue.push(item));
  EXPECT_EQ(item.use_count(), 2);
  queue.abort();
  EXPECT_EQ(item.use_count(), 1);
  EXPECT_EQ(queue.pop(), std::nullopt);
  EXPECT_FALSE(queue.push(item));
}

TEST(Queue, TryPopNeverWaits) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.try_pop(), std::nullopt);
  EXPECT_TRUE(queue.push(1));
  EXPECT_EQ(queue.try_pop(), 1);
  EXPECT_EQ(queue.try_pop(), std::nullopt);
}

TEST(Queue, HoldsMoveOnlyItems) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.push(std::make_unique<int>(7)));
  EXPECT_EQ(**queue.pop(), 7);
}

TEST(Queue, ManyProducersAndConsumersLoseAndRepeatNothing) {
  static constexpr int kProducers = 4, kConsumers = 4, kItems = 5000;
  BoundedQueue<int> queue(7);
  std::atomic<int> live = kProducers;
  std::vector<std::vector<int>> got(kConsumers);
  ThreadGroup group([&] { queue.abort(); });
  for (int p = 0; p < kProducers; ++p) {
    group.start("producer", [&queue, &live, p]() -> Status {
      for (int i = 0; i < kItems; ++i)
        if (!queue.push(p * kItems + i)) return boom("closed early");
      if (--live == 0) queue.close();
      return {};
    });
  }
  for (int c = 0; c < kConsumers; ++c) {
    group.start("consumer", [&queue, &mine = got[static_cast<std::size_t>(c)]]() -> Status {
      while (auto item = queue.pop()) mine.push_back(*item);
      return {};
    });
  }
  ASSERT_TRUE(group.join());
  std::vector<int> all;
  for (const auto& part : got) {
    // Of one producer, one consumer sees the items in order.
    std::array<int, kProducers> last;
    last.fill(-1);
    for (const int item : part) {
      auto& before = last[static_cast<std::size_t>(item / kItems)];
      ASSERT_LT(before, item);
      before = item;
    }
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), static_cast<std::size_t>(kProducers * kItems));
  for (int i = 0; i < kProducers * kItems; ++i) ASSERT_EQ(all[static_cast<std::size_t>(i)], i);
}

TEST(Queue, APushWaitsForRoomAndIsFreedByAbort) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.push(1));
  std::atomic<bool> started = false, done = false, taken = true;
  std::thread blocked([&] {
    started = true;
    taken = queue.push(2);
    done = true;
  });
  ASSERT_TRUE(eventually([&] { return started.load(); }));
  EXPECT_TRUE(sleep_for({}, milliseconds(20)));
  EXPECT_FALSE(done);
  queue.abort();
  blocked.join();
  EXPECT_FALSE(taken);
}

TEST(Queue, APopWaitsForAnItemAndIsFreedByClose) {
  BoundedQueue<int> queue(1);
  std::atomic<int> result = -1;
  std::thread waiting([&] { result = queue.pop().value_or(-2); });
  EXPECT_TRUE(sleep_for({}, milliseconds(20)));
  EXPECT_EQ(result, -1);
  queue.close();
  waiting.join();
  EXPECT_EQ(result, -2);
}

TEST(Budgets, NeverExceedTheirCapacityUnderContention) {
  static constexpr std::uint64_t kCapacity = 100;
  Budget budget(kCapacity);
  std::atomic<std::uint64_t> in_use = 0;
  std::atomic<bool> exceeded = false;
  const std::uint64_t seed = Random().u64();
  ThreadGroup group([&] { budget.abort(); });
  for (unsigned t = 0; t < 6; ++t) {
    group.start("spender", [&, t]() -> Status {
      Random random(seed + t);
      for (int i = 0; i < 3000; ++i) {
        const std::uint64_t amount = 1 + random.below(60);
        if (!budget.acquire(amount)) return boom("aborted");
        if ((in_use += amount) > kCapacity) exceeded = true;
        if (random.below(4) == 0) std::this_thread::yield();
        in_use -= amount;
        budget.release(amount);
      }
      return {};
    });
  }
  ASSERT_TRUE(group.join());
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(budget.used(), 0U);
  EXPECT_LE(budget.peak(), kCapacity);
  EXPECT_GE(budget.peak(), 50U);
}

TEST(Budgets, AnAmountAboveTheCapacityWaitsUntilItIsAlone) {
  Budget budget(10);
  ASSERT_TRUE(budget.acquire(1));
  for (const std::uint64_t amount : {std::uint64_t{11}, UINT64_MAX, UINT64_MAX - 5}) {
    std::atomic<bool> got = false;
    std::thread large([&] { got = budget.acquire(amount); });
    EXPECT_TRUE(sleep_for({}, milliseconds(20)));
    EXPECT_FALSE(got) << amount;
    budget.release(1);
    large.join();
    EXPECT_TRUE(got);
    EXPECT_EQ(budget.used(), amount);
    budget.release(amount);
    ASSERT_TRUE(budget.acquire(1));
  }
}

TEST(Budgets, AbortFreesWhoeverWaits) {
  Budget budget(1);
  ASSERT_TRUE(budget.acquire(1));
  std::atomic<int> result = -1;
  std::thread waiting([&] { result = budget.acquire(1) ? 1 : 0; });
  budget.abort();
  waiting.join();
  EXPECT_EQ(result, 0);
  EXPECT_FALSE(budget.acquire(1));
  EXPECT_EQ(budget.used(), 1U);
}

TEST(BudgetsDeathTest, ReleasingMoreThanWasTakenIsAMistake) {
  Budget budget(10);
  EXPECT_DEATH(budget.release(1), "invariant broken");
}

TEST(Threads, TheFirstFailureStopsAllAndIsReported) {
  BoundedQueue<int> queue(1);
  std::atomic<int> stopped = 0, failures = 0;
  ThreadGroup group([&] {
    ++failures;
    queue.abort();
  });
  for (int i = 0; i < 4; ++i) {
    group.start("waiter", [&]() -> Status {
      while (queue.pop()) {
      }
      ++stopped;
      return boom("came second");
    });
  }
  EXPECT_FALSE(group.failed());
  EXPECT_TRUE(group.failure());
  group.start("failer", [] { return Status(boom("came first")); });
  const Status status = group.join();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message(), "came first");
  EXPECT_EQ(stopped, 4);
  EXPECT_EQ(failures, 1);
  EXPECT_TRUE(group.failed());
  EXPECT_EQ(group.failure().error().message(), "came first");
}

TEST(Threads, AFailureFromOutsideCounts) {
  BoundedQueue<int> queue(1);
  ThreadGroup group([&] { queue.abort(); });
  group.start("waiter", [&]() -> Status {
    queue.pop();
    return {};
  });
  group.fail(boom("from outside"));
  EXPECT_EQ(group.join().error().message(), "from outside");
}

TEST(Threads, AGroupThatIsDestroyedStopsItsThreads) {
  BoundedQueue<int> queue(1);
  std::atomic<bool> ended = false;
  {
    ThreadGroup group([&] { queue.abort(); });
    group.start("waiter", [&]() -> Status {
      queue.pop();
      ended = true;
      return {};
    });
  }
  EXPECT_TRUE(ended);
}

TEST(Threads, SucceedTogetherAndCanBeUsedAgain) {
  std::atomic<int> runs = 0;
  ThreadGroup group(nullptr);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 3; ++i)
      group.start("worker", [&]() -> Status {
        ++runs;
        return {};
      });
    EXPECT_TRUE(group.join());
  }
  EXPECT_EQ(runs, 6);
  group.start("worker", [] { return Status(boom()); });
  EXPECT_FALSE(group.join());
}

TEST(Threads, CarryTheirNameCutToWhatTheSystemShows) {
  std::array<char, 32> name{};
  std::atomic<bool> named = false;
  ThreadGroup group(nullptr);
  group.start("tidemark-with-a-long-name", [&]() -> Status {
    // The name is given by the starter, at about the same time.
    named = eventually([&] {
      ::pthread_getname_np(::pthread_self(), name.data(), name.size());
      return std::string_view(name.data()) == "tidemark-with-a";
    });
    return {};
  });
  EXPECT_TRUE(group.join());
  EXPECT_TRUE(named) << name.data();
}

TEST(InFlights, WaitForTheLastEnd) {
  InFlight in_flight;
  in_flight.wait_for_none();
  in_flight.begin();
  in_flight.begin();
  std::atomic<bool> over = false;
  std::thread waiting([&] {
    in_flight.wait_for_none();
    over = true;
  });
  in_flight.end();
  EXPECT_TRUE(sleep_for({}, milliseconds(20)));
  EXPECT_FALSE(over);
  in_flight.end();
  waiting.join();
  EXPECT_TRUE(over);
}

TEST(Sleep, LastsUntilItsTime) {
  const auto start = Clock::system().uptime();
  EXPECT_TRUE(sleep_for({}, milliseconds(30)));
  EXPECT_GE(Clock::system().uptime() - start, milliseconds(30));
  EXPECT_TRUE(sleep_for({}, microseconds(-5)));
}

TEST(Sleep, EndsWhenStopIsRequested) {
  for (const microseconds length : {microseconds(seconds(60)), microseconds::max()}) {
    std::stop_source stop;
    std::atomic<int> result = -1;
    const auto start = Clock::system().uptime();
    std::thread sleeper([&] { result = sleep_for(stop.get_token(), length) ? 1 : 0; });
    EXPECT_TRUE(sleep_for({}, milliseconds(20)));
    EXPECT_EQ(result, -1);
    stop.request_stop();
    sleeper.join();
    EXPECT_EQ(result, 0);
    EXPECT_LT(Clock::system().uptime() - start, seconds(30));
    EXPECT_FALSE(sleep_for(stop.get_token(), length));
  }
}

TEST(ParallelFor, RunsEveryIndexOnce) {
  for (const std::size_t threads : {0U, 1U, 2U, 7U, 100U}) {
    for (const std::size_t count : {0U, 1U, 2U, 50U, 1000U}) {
      std::vector<std::atomic<int>> runs(count);
      EXPECT_TRUE(parallel_for(count, threads, [&](std::size_t i) -> Status {
        ++runs[i];
        return {};
      }));
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(runs[i], 1) << i << " " << threads;
    }
  }
}

TEST(ParallelFor, StopsAtTheFirstFailureAndReportsIt) {
  std::atomic<std::size_t> runs = 0;
  const Status status = parallel_for(1'000'000, 4, [&](std::size_t i) -> Status {
    ++runs;
    if (i == 100) return boom("at 100");
    return {};
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message(), "at 100");
  EXPECT_LT(runs, 1'000'000U);
}

TEST(ParallelFor, UsesNoMoreThreadsThanAsked) {
  std::atomic<int> running = 0, most = 0;
  EXPECT_TRUE(parallel_for(300, 3, [&](std::size_t) -> Status {
    const int now = ++running;
    int seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --running;
    return {};
  }));
  EXPECT_LE(most, 3);
}

}  // namespace
}  // namespace tidemark::test
