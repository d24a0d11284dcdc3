// What a policy has done around the moment that a point is of: freezing a file system, flushing a
// database.
#pragma once

#include <functional>

#include "base/result.h"

namespace tidemark {

// Either may be empty. An error ends the backup.
struct PointHooks {
  std::function<Status()> before, after;
};

// Sees to it that `after` is run once, however the moment ends, where `before` was tried: what was
// half frozen must thaw.
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
  bool open_ = false;
};

}  // namespace tidemark
