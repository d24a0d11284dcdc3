// When the assets of a `set: true` policy are due: together, as soon as one of them is.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"

namespace tidemark {

// What jitter is computed of. Slots of their own would make the set due in each of them.
inline std::string set_slot_name(const std::string& policy) { return "set " + policy; }

// The set counts as old as the oldest of its members' newest points, and as one without a point
// where a member has none. So after a set that is incomplete a whole new one is due.
inline std::optional<Timestamp> oldest_of(std::span<const std::optional<Timestamp>> newest) {
  const auto oldest = std::ranges::min_element(newest);  // nothing comes before any time
  return oldest == newest.end() ? std::nullopt : *oldest;
}

}  // namespace tidemark
