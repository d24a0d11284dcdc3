// A ProtectionPolicy object (tidemark.dev/v1alpha1) as a policy of the configuration. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "config/config.h"

namespace tidemark {

// "k8s.<namespace>.<name>": what its points and the status call it. No policy of a file is called
// so where the names of files' policies keep to words.
std::string policy_name_of(const std::string& ns, const std::string& name);

// Checked as if it stood in the configuration, whose peers it may name. `own_ns` is the agent's
// namespace: policies there may select in every namespace, others in their own only (`refused`).
Result<PolicyConfig> policy_of_object(const nlohmann::json& object, const Config& config,
                                      const std::string& own_ns);

}  // namespace tidemark
