#include "agent/backup/hooks.h"

#include <utility>

namespace tidemark {

HookedMoment::~HookedMoment() { ignore_error(end(), "the backup has failed already"); }

Status HookedMoment::begin() {
  open_ = true;
  return hooks_.before ? hooks_.before() : Status();
}

Status HookedMoment::end() {
  return std::exchange(open_, false) && hooks_.after ? hooks_.after() : Status();
}

}  // namespace tidemark
