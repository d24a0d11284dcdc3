#include "base/queue.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>

#include "base/assert.h"

namespace tidemark {

bool Budget::acquire(std::uint64_t amount) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return aborted_ || used_ == 0 || used_ + amount <= capacity_; });
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
  threads_.emplace_back([this, body = std::move(body)] {
    auto status = body();
    if (!status) fail(std::move(status).error());
  });
  ::pthread_setname_np(threads_.back().native_handle(), name);
}

void ThreadGroup::fail(Error error) {
  {
    std::lock_guard lock(mutex_);
    if (first_error_) return;
    first_error_ = std::move(error);
  }
  on_failure_();
}

bool ThreadGroup::failed() const {
  std::lock_guard lock(mutex_);
  return first_error_.has_value();
}

Status ThreadGroup::join() {
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  std::lock_guard lock(mutex_);
  if (first_error_) return *first_error_;
  return {};
}

bool sleep_for(std::stop_token stop, std::chrono::microseconds duration) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

Status parallel_for(std::size_t count, std::size_t threads,
                    const std::function<Status(std::size_t)>& body) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  ThreadGroup group([&] { stop = true; });
  const std::size_t started = std::min(count, threads);
  for (std::size_t t = 0; t < started; ++t) {
    group.start("tm-parallel", [&]() -> Status {
      for (std::size_t i = next++; i < count && !stop; i = next++) TM_DO(body(i));
      return {};
    });
  }
  return group.join();
}

}  // namespace tidemark
