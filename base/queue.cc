#include "base/queue.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <system_error>

#include "base/assert.h"
#include "base/log_context.h"

namespace tidemark {

bool Budget::acquire(std::uint64_t amount) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] {
    const bool fits = amount <= capacity_ && used_ <= capacity_ - amount;
    return aborted_ || used_ == 0 || fits;
  });
  if (aborted_) return false;
  used_ += amount;
  peak_ = std::max(peak_, used_);
  return true;
}

void Budget::release(std::uint64_t amount) {
  {
    std::lock_guard lock(mutex_);
    TM_CHECK(amount <= used_);
    used_ -= amount;
  }
  room_.notify_all();
}

void Budget::abort() {
  {
    std::lock_guard lock(mutex_);
    aborted_ = true;
  }
  room_.notify_all();
}

std::uint64_t Budget::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

std::uint64_t Budget::peak() const {
  std::lock_guard lock(mutex_);
  return peak_;
}

ThreadGroup::~ThreadGroup() {
  if (threads_.empty()) return;
  fail(Error(ErrorCode::cancelled, "stopped"));
  ignore_error(join(), "the owner did not ask");
}

void ThreadGroup::start(const char* name, std::function<Status()> body) {
  try {
    threads_.emplace_back([this, body = std::move(body), job = std::string(log::current_job())] {
      const log::JobScope scope(job);
      auto status = body();
      if (!status) fail(std::move(status).error());
    });
  } catch (const std::system_error& error) {
    fail(Error(ErrorCode::resource_exhausted,
               std::string("start thread ") + name + ": " + error.what()));
    return;
  }
  // The system refuses longer names instead of cutting them.
  static constexpr std::size_t kNameMax = 15;
  const std::string shown = std::string(name).substr(0, kNameMax);
  ::pthread_setname_np(threads_.back().native_handle(), shown.c_str());
}

void ThreadGroup::fail(Error error) {
  {
    std::lock_guard lock(mutex_);
    if (first_error_) return;
    first_error_ = std::move(error);
  }
  if (on_failure_) on_failure_();
}

bool ThreadGroup::failed() const {
  std::lock_guard lock(mutex_);
  return first_error_.has_value();
}

Status ThreadGroup::failure() const {
  std::lock_guard lock(mutex_);
  if (first_error_) return *first_error_;
  return {};
}

Status ThreadGroup::join() {
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  return failure();
}

void InFlight::begin() {
  std::lock_guard lock(mutex_);
  ++count_;
}

// Notifies under the lock: the waiter may destroy this object as soon as it has it.
void InFlight::end() {
  std::lock_guard lock(mutex_);
  TM_CHECK(count_ > 0);
  if (--count_ == 0) none_.notify_all();
}

void InFlight::wait_for_none() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [&] { return count_ == 0; });
}

bool sleep_for(std::stop_token stop, std::chrono::microseconds duration) {
  // Added to the time that it is now, a longer one would overflow.
  static constexpr std::chrono::microseconds kLongest = std::chrono::hours(24 * 366 * 10);
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, std::min(duration, kLongest), [] { return false; });
  return !stop.stop_requested();
}

Status parallel_for(std::size_t count, std::size_t threads,
                    const std::function<Status(std::size_t)>& body) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  ThreadGroup group([&] { stop = true; });
  const std::size_t started = std::min(count, std::max<std::size_t>(threads, 1));
  for (std::size_t t = 0; t < started; ++t) {
    group.start("tm-parallel", [&]() -> Status {
      for (std::size_t i = next++; i < count && !stop; i = next++) TM_DO(body(i));
      return {};
    });
  }
  return group.join();
}

}  // namespace tidemark
