// What a Restore object (tidemark.dev/v1alpha1) asks for. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agent/kube/claim_restore.h"
#include "base/clock.h"

namespace tidemark {

struct RestoreOrder {
  std::string ns, name, uid;  // of the object
  std::int64_t generation = 0;
  std::string point;               // an id or how one begins; empty: by the claim
  std::optional<ClaimName> claim;  // whose points are meant
  std::string as_of;               // empty: the newest
  ClaimTarget target;
};

// `invalid_argument` for an object that does not say what is wanted, `unsupported` for what this
// version does not do. `own_ns` is the agent's namespace: an order from there may read and make
// claims of every namespace, another one of its own only (`refused`).
Result<RestoreOrder> parse_restore_order(const nlohmann::json& object, const std::string& own_ns);

// Whether the order may have the point, which was taken of that claim.
Status check_point_of_order(const RestoreOrder& order, const ClaimName& claim,
                            const std::string& own_ns);

// An entry of status.conditions. `before` is what stands there now: its time stays where the status
// is the same.
struct ObjectCondition {
  std::string type, status, reason, message;
};
nlohmann::json with_condition(const nlohmann::json& before, const ObjectCondition& condition,
                              std::int64_t generation, Timestamp now);

// metav1.Time: whole seconds.
std::string kube_time(Timestamp time);
// "NotFound", "StorageClassMissing": a reason for programs.
std::string reason_of(const Error& error);

}  // namespace tidemark
