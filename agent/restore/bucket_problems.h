// What a restore of a bucket counts, and what of it did not come back.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"

namespace tidemark {

// Safe to read from any thread while it counts. Of a plan: what would be.
struct BucketCounts {
  std::atomic<std::uint64_t> objects{0}, bytes{0};  // looked at so far
  std::atomic<std::uint64_t> written{0}, written_bytes{0};
  std::atomic<std::uint64_t> overwritten{0}, overwritten_bytes{0};  // of the written: replaced
  std::atomic<std::uint64_t> deleted{0}, deleted_bytes{0};
  std::atomic<std::uint64_t> skipped{0}, skipped_bytes{0};  // found to be right already
  std::atomic<std::uint64_t> compared{0};                   // read back to tell
  std::atomic<std::uint64_t> markers{0};                    // delete markers written
  std::atomic<std::uint64_t> extra{0};                      // not in the point, and left there
};

struct RestoreProblem {
  std::string key;   // empty: of the bucket itself
  std::string what;  // "object", "acl", "lock", "policy", ...
  std::string message;
};

// Safe from any thread. All are counted, the first kProblemsKept kept.
class ProblemList {
 public:
  static constexpr std::size_t kProblemsKept = 1000;
  void add(std::string key, std::string what, const Error& error);
  std::vector<RestoreProblem> list() const;
  std::uint64_t count() const;
  // True where one of them is that the store's own bytes are damaged.
  bool damage() const { return damage_; }
  void add_damage(std::string key, const Error& error);

 private:
  mutable std::mutex mutex_;
  std::vector<RestoreProblem> problems_;  // guarded by mutex_
  std::uint64_t count_ = 0;               // guarded by mutex_
  std::atomic<bool> damage_{false};
};

}  // namespace tidemark
