// What is told in the status of an object of tidemark.dev.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "transport/kube/client.h"

namespace tidemark {

// An entry of status.conditions. `before` is what stands there now: its time stays where the status
// is the same.
struct ObjectCondition {
  std::string type, status, reason, message;
};
nlohmann::json with_condition(const nlohmann::json& before, const ObjectCondition& condition,
                              std::int64_t generation, Timestamp now);

// metadata.generation; 0 where there is none.
std::int64_t generation_of(const nlohmann::json& object);

// Whether all that `wanted` names stands in the object's status; null: that nothing does.
bool status_holds(const nlohmann::json& object, const nlohmann::json& wanted);
// Whether the object's status says the same of this condition, whenever it began.
bool is_told(const nlohmann::json& object, const nlohmann::json& condition);

// metav1.Time: whole seconds.
std::string kube_time(Timestamp time);
// "NotFound", "StorageClassMissing": a reason for programs.
std::string reason_of(const Error& error);

// Merges `status` into that of this very object, and not of a later one of its name; the object as
// it is then.
kube::Outcome<nlohmann::json> patch_object_status(kube::Client& client,
                                                  const kube::Resource& resource,
                                                  const nlohmann::json& object,
                                                  nlohmann::json status, const kube::Call& call);

}  // namespace tidemark
