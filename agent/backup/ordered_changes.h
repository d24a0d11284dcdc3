// Puts changes to a tree, which are found in any order, back into the order of their keys.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/queue.h"
#include "base/result.h"
#include "store/tree.h"

namespace tidemark {

// Each piece of work has a number from 0 on, and makes any number of changes. Safe from any thread;
// next() is for one.
class OrderedChanges {
 public:
  // `budget` gets back the cost of a piece when its changes are taken; may be null.
  explicit OrderedChanges(Budget* budget = nullptr) : budget_(budget) {}

  // Keys ascend, also from one number to the next.
  void put(std::uint64_t sequence, std::vector<TreeChange> changes, std::uint64_t cost = 0) {
    {
      std::lock_guard lock(mutex_);
      waiting_.emplace(sequence, Piece{std::move(changes), cost});
    }
    ready_.notify_one();
  }
  // After this many numbers the stream ends.
  void end(std::uint64_t count) {
    {
      std::lock_guard lock(mutex_);
      count_ = count;
    }
    ready_.notify_one();
  }
  void abort() {
    {
      std::lock_guard lock(mutex_);
      aborted_ = true;
    }
    ready_.notify_one();
  }
  Result<std::optional<TreeChange>> next() {
    while (at_ == current_.changes.size()) {
      if (budget_ != nullptr && current_.cost > 0) budget_->release(current_.cost);
      current_ = {};
      at_ = 0;
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&] { return aborted_ || next_ == count_ || waiting_.contains(next_); });
      if (aborted_) return Error(ErrorCode::cancelled, "capture stopped");
      if (next_ == count_) return std::optional<TreeChange>();
      current_ = std::move(waiting_.extract(next_++).mapped());
    }
    return std::optional(std::move(current_.changes[at_++]));
  }

 private:
  struct Piece {
    std::vector<TreeChange> changes;
    std::uint64_t cost = 0;
  };
  Budget* const budget_;
  Piece current_;       // of next()
  std::size_t at_ = 0;  // of next()
  std::mutex mutex_;
  std::condition_variable ready_;
  std::map<std::uint64_t, Piece> waiting_;  // guarded by mutex_
  std::uint64_t next_ = 0;                  // guarded by mutex_
  std::uint64_t count_ = ~0ULL;             // guarded by mutex_
  bool aborted_ = false;                    // guarded by mutex_
};

}  // namespace tidemark
