// What a Restore object (tidemark.dev/v1alpha1) asks for. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agent/kube/claim_steps.h"

namespace tidemark {

struct RestoreOrder {
  std::string ns, name, uid;  // of the object
  std::int64_t generation = 0;
  std::string point;               // an id or how one begins; empty: by the claim
  std::optional<ClaimName> claim;  // whose points are meant
  std::string as_of;               // empty: the newest
  ClaimTarget target;              // whose kind is that of the point where none was asked for
  bool kind_given = false;
};

// `invalid_argument` for an object that does not say what is wanted, `unsupported` for what this
// version does not do. `own_ns` is the agent's namespace: an order from there may read and make
// claims of every namespace, another one of its own only (`refused`).
Result<RestoreOrder> parse_restore_order(const nlohmann::json& object, const std::string& own_ns);

// What is made of a point of that kind. `invalid_argument` where the order asks for the other one,
// or for what that kind does not have.
Result<ClaimTarget> target_of_order(const RestoreOrder& order, ClaimName::Kind kind);

// Whether the order may have the point, which was taken of that claim.
Status check_point_of_order(const RestoreOrder& order, const ClaimName& claim,
                            const std::string& own_ns);

}  // namespace tidemark
