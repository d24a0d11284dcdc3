#include "agent/backup/hooks.h"

#include <utility>

namespace tidemark {

HookedMoment::~HookedMoment() { ignore_error(end(), "the backup has failed already"); }

Status HookedMoment::begin() {
  const std::lock_guard lock(mutex_);
  open_ = true;
  return hooks_.before ? hooks_.before() : Status();
}

Status HookedMoment::end() {
  const std::lock_guard lock(mutex_);
  return std::exchange(open_, false) && hooks_.after ? hooks_.after() : Status();
}

}  // namespace tidemark
