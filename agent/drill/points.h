// Which points a drill brings back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/service/point_store.h"
#include "config/config.h"

namespace tidemark {

struct DrillChoice {
  std::string site, asset;
  Timestamp newest;               // the time of its newest point
  std::optional<PointRow> point;  // nothing: the rule finds none
};

struct DrillChoices {
  std::string rule;                 // in words, for the report
  std::vector<DrillChoice> assets;  // in the order of (site, asset)
};

// The points of `plan` in the store, by its rule; "random" draws from `seed`. What a failback
// discarded is never chosen. With `set`, all are of one complete set, of which every member that
// the plan covers is brought back: the newest one, one by chance, or the newest as of the time;
// `not_found` where there is none.
Result<DrillChoices> choose_drill_points(PointStore& store, const DrillConfig& plan, Timestamp now,
                                         std::uint64_t seed);

}  // namespace tidemark
