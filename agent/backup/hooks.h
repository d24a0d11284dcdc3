// What a policy has done around the moment that a point is of: freezing a file system, flushing a
// database.
#pragma once

#include <functional>
#include <mutex>

#include "base/result.h"

namespace tidemark {

// Either may be empty. An error ends the backup.
struct PointHooks {
  std::function<Status()> before, after;
};

// Sees to it that `after` is run once, however the moment ends, where `before` was tried: what was
// half frozen must thaw. Safe from any thread; one hook runs at a time, so end() waits for begin().
class HookedMoment {
 public:
  // `hooks` must outlive it.
  explicit HookedMoment(const PointHooks& hooks) : hooks_(hooks) {}
  ~HookedMoment();
  HookedMoment(const HookedMoment&) = delete;
  HookedMoment& operator=(const HookedMoment&) = delete;

  Status begin();
  Status end();

 private:
  const PointHooks& hooks_;
  std::mutex mutex_;
  bool open_ = false;  // guarded by mutex_
};

}  // namespace tidemark
