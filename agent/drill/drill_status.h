// How the drills of a site stand.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/drill/report.h"

namespace tidemark {

struct DrillAssetStatus {
  std::string site, asset;
  std::optional<Timestamp> passed;  // when the last drill began in which it did
  std::optional<Duration> rto;      // measured then
  bool operator==(const DrillAssetStatus&) const = default;
};

// Of one plan.
struct DrillStatus {
  std::string plan;
  std::optional<Timestamp> running;   // since when, where the agent runs it
  std::optional<Timestamp> next_due;  // nothing: by hand only
  std::string last;                   // id of the last drill; empty: there was none
  std::optional<Timestamp> last_started;
  std::optional<DrillResult> last_result;
  std::string error;  // why it could not be run; empty where it could
  std::vector<DrillAssetStatus>
      assets;             // of the last drill that had any, in the order of (site, asset)
  Timestamp known_since;  // since when there is the plan, as far as is known
  Duration overdue_after{};
  // Assets without a success for so long; the plan itself ("") where it never had an asset.
  std::vector<std::string> overdue(Timestamp now) const;
};

// What reports (oldest first) say of a plan. Pure.
DrillStatus drill_status_of(const std::string& plan, std::span<const DrillReport> reports);

nlohmann::json drill_status_json(const DrillStatus& status, Timestamp now);

}  // namespace tidemark
