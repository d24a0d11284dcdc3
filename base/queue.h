// Threads that work on a stream: a bounded queue, a budget of bytes, and a group of threads that
// stops as one when any of them fails.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tidemark {

// A FIFO of at most `capacity` items between threads. Safe for any number of producers and
// consumers.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Waits for room. False where the queue was closed: the item was not taken.
  bool push(T item) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    lock.unlock();
    ready_.notify_one();
    return true;
  }

  // Waits for an item. Nothing where the queue is closed and drained, or was aborted.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    room_.notify_one();
    return item;
  }

  // An item if one is queued at this moment.
  std::optional<T> try_pop() {
    std::unique_lock lock(mutex_);
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    room_.notify_one();
    return item;
  }

  // No more items will come; what is queued is still delivered.
  void close() { shut(false); }
  // As close(), and what is queued is dropped.
  void abort() { shut(true); }

 private:
  void shut(bool drop) {
    std::deque<T> dropped;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      if (drop) dropped.swap(items_);
    }
    ready_.notify_all();
    room_.notify_all();
  }

  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable ready_, room_;
  std::deque<T> items_;  // guarded by mutex_
  bool closed_ = false;  // guarded by mutex_
};

// A number of bytes (or of anything) that may be in use at once.
class Budget {
 public:
  explicit Budget(std::uint64_t capacity) : capacity_(capacity) {}

  // Waits until `amount` fits. An amount above the capacity waits until it is alone. False where
  // the budget was aborted: nothing was taken.
  bool acquire(std::uint64_t amount);
  void release(std::uint64_t amount);
  void abort();
  std::uint64_t used() const;
  // The most that was in use at once.
  std::uint64_t peak() const;

 private:
  const std::uint64_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::uint64_t used_ = 0, peak_ = 0;  // guarded by mutex_
  bool aborted_ = false;               // guarded by mutex_
};

// Threads with one common fate: the first error is kept, and `on_failure` is run once so that it
// can abort the queues the others wait on. Used by one thread.
class ThreadGroup {
 public:
  explicit ThreadGroup(std::function<void()> on_failure) : on_failure_(std::move(on_failure)) {}
  ~ThreadGroup();
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;

  // Starts a thread named `name` (15 characters are shown by the system).
  void start(const char* name, std::function<Status()> body);
  // Reports a failure from outside the group's threads. Safe from any thread.
  void fail(Error error);
  bool failed() const;
  // The first failure so far, if any. Safe from any thread.
  Status failure() const;
  // Waits for all threads; the first failure, if any.
  Status join();

 private:
  std::function<void()> on_failure_;
  mutable std::mutex mutex_;
  std::optional<Error> first_error_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

// Counts operations whose ends come by callback, so that an owner can wait for the last of them
// before it goes away. Safe from any thread.
class InFlight {
 public:
  void begin();
  void end();
  void wait_for_none();

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  std::uint64_t count_ = 0;  // guarded by mutex_
};

// Sleeps unless or until `stop` is requested. False where it was.
bool sleep_for(std::stop_token stop, std::chrono::microseconds duration);

// Runs body(i) for 0 <= i < count on up to `threads` threads; stops at the first failure.
Status parallel_for(std::size_t count, std::size_t threads,
                    const std::function<Status(std::size_t)>& body);

}  // namespace tidemark
