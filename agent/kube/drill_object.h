// A Drill object (tidemark.dev/v1alpha1) as a plan of the configuration. Pure, but for what asks a
// store.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "agent/service/point_store.h"
#include "config/config.h"

namespace tidemark {

// "k8s.<namespace>.<name>": what reports and the status call it.
std::string drill_name_of(const std::string& ns, const std::string& name);

// Checked as if it stood in the configuration, whose peers it may name. `own_ns` is the agent's
// namespace: plans of other ones may run no programs, write to no directory of their choice, and
// name each asset in full (`refused`).
Result<DrillConfig> drill_of_object(const nlohmann::json& object, const Config& config,
                                    const std::string& own_ns);

// Whether every point of each of the plan's assets was taken of a claim of namespace `ns`;
// `refused` where one was not, and where an asset has none. REQUIRES: the assets are no patterns.
Status check_assets_of_namespace(PointStore& store, const DrillConfig& plan, const std::string& ns);

bool has_schedule(const DrillConfig& plan);

}  // namespace tidemark
