// Retention of the points of a store: what their labels say, put before agent/retention/keep.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/retention/keep.h"
#include "catalog/catalog.h"
#include "store/role.h"

namespace tidemark {

// What a store holds a site to, whatever the site's own records say.
struct SiteRule {
  // Nobody deletes a point of the site before it has been here for so long.
  std::optional<std::chrono::microseconds> locked_for;
  // How much its points, and what it is sending, may take.
  std::optional<std::uint64_t> quota_bytes;
  bool operator==(const SiteRule&) const = default;
};
// By the name of the site; sites that are not named are held to nothing.
using StoreRules = std::map<std::string, SiteRule, std::less<>>;
// Those of the configuration's peers.
StoreRules store_rules(const Config& config);

// When the store's own lock of a point ends; nothing where it has none.
std::optional<Timestamp> store_lock_of(const StoreRules& rules, const CommittedPoint& point);

// The rule that a point was taken under; nothing where it has none, or one that this version cannot
// read: it is kept for ever then.
std::optional<KeepConfig> rule_of(const PointRecord& record);

// Of what a site had when its asset came back: there to be read, but nobody's newest point.
bool is_discarded(const PointRecord& record);

struct PlannedPoint {
  PointRow row;
  KeepDecision decision;
};
// Tells where an asset is in use; `unsupported` where nobody knows of such things.
using RoleSource =
    std::function<Result<AssetRole>(const std::string& site, const std::string& asset)>;
// True where a point is still needed for what is in use at another site: to finish a failover, and
// to find the way back.
bool is_needed_by(const AssetRole& role, const PointId& point);

// What becomes of each point, asset by asset. The rule in force for an asset is the one that its
// newest point was taken under. Deleted points are left out, and those that were discarded take no
// place from the others. What a role needs is kept, and everything where the role cannot be read.
// `rules`: those of the store; an empty `role_of`: every asset is in use at its own site.
std::vector<PlannedPoint> plan_retention(std::vector<PointRow> rows, const StoreRules& rules,
                                         Timestamp now, const RoleSource& role_of = {});

}  // namespace tidemark
