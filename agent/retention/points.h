// Retention of the points of a store: what their labels say, put before agent/retention/keep.h.
#pragma once

#include <vector>

#include "agent/retention/keep.h"
#include "catalog/catalog.h"

namespace tidemark {

// The rule that a point was taken under; nothing where it has none, or one that this version cannot
// read: it is kept for ever then.
std::optional<KeepConfig> rule_of(const PointRecord& record);

struct PlannedPoint {
  PointRow row;
  KeepDecision decision;
};
// What becomes of each point, asset by asset. The rule in force for an asset is the one that its
// newest point was taken under. Deleted points are left out.
std::vector<PlannedPoint> plan_retention(std::vector<PointRow> rows, Timestamp now);

}  // namespace tidemark
