// A RecoveryPoint object (tidemark.dev/v1alpha1): a point of a claim as people of Kubernetes see
// it. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/kube/claim.h"
#include "agent/kube/object_status.h"
#include "agent/service/point_store.h"

namespace tidemark {

inline constexpr std::string_view kManagedByLabel = "app.kubernetes.io/managed-by";
inline constexpr std::string_view kAgentLabel = "tidemark.dev/agent";  // whose mirror it is

// What the object of a point says. Its name is the point's id: it is the same wherever it lies.
struct ShownPoint {
  std::string name;
  std::string site;
  ClaimName claim;
  Timestamp time;
  nlohmann::json labels, spec;
  ObjectCondition available;
};

// Nothing for a point that was not taken of a claim. `stored_in` is the site whose store has it,
// `agent` the site whose agent shows it.
std::optional<ShownPoint> shown_point(const PointRow& row, const std::string& stored_in,
                                      const std::string& agent);
// Leaves the newest of each claim, and of these the newest of all, newest first. Claims of one name
// that came after each other count as one. Taking a part of all points, leaving its newest and
// adding the rest gives the same as all of them at once.
void leave_newest(std::vector<ShownPoint>& points, std::size_t per_claim, std::size_t total);

// The labels by which the objects of this agent are found: "a=b,c=d".
std::string shown_points_selector(const std::string& agent);

// A text as the value of a label: as it is where it may be one, else what is like it and tells it
// from others.
std::string label_value(const std::string& text);

// RFC 7386: what makes `wanted` of `found`; an empty object where they are equal.
nlohmann::json merge_patch_between(const nlohmann::json& found, const nlohmann::json& wanted);

}  // namespace tidemark
