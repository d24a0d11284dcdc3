#include "agent/kube/claims.h"

#include <algorithm>

#include "base/text.h"
#include "config/label_selector.h"

namespace tidemark {
namespace {

using nlohmann::json;

bool any_matches(const std::vector<std::string>& globs, const std::string& text) {
  return globs.empty() || std::ranges::any_of(globs, [&](const std::string& glob) {
           return glob_match(glob, text);
         });
}

}  // namespace

bool selects(const std::string& policy, const ClaimsConfig& rules, const Claim& claim) {
  const bool volume = claim.name.kind == ClaimName::Kind::volume;
  if (volume ? !rules.volumes : !rules.buckets) return false;
  // A claim that names its policy is in no other one.
  if (claim.policy.empty() ? rules.annotated : claim.policy != policy) return false;
  const auto selector = LabelSelector::parse(rules.labels);
  return any_matches(rules.namespaces, claim.name.ns) &&
         any_matches(rules.storage_classes, claim.storage_class) && selector &&
         selector->matches(claim.labels);
}

std::string policy_of_claim(const Config& config, const Claim& claim) {
  for (const auto& [name, policy] : config.policies)
    if (policy.claims && selects(name, *policy.claims, claim)) return name;
  for (const auto& [name, policy] : config.policies)
    if (claim.asset && policy.covers(*claim.asset)) return name;
  return {};
}

std::map<std::string, std::string> labels_of(const Claim& claim) {
  return {{std::string(kClaimLabel), claim.name.text()}, {std::string(kClaimUidLabel), claim.uid}};
}

json bare_manifest(json object) {
  if (!object.is_object()) return object;
  object.erase("status");
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return object;
  for (const char* const key :
       {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
        "deletionGracePeriodSeconds", "managedFields", "finalizers", "selfLink"})
    metadata->erase(key);
  const auto annotations = metadata->find("annotations");
  if (annotations == metadata->end() || !annotations->is_object()) return object;
  for (const char* const key :
       {"pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
        "volume.kubernetes.io/selected-node", "deployment.kubernetes.io/revision",
        "kubectl.kubernetes.io/last-applied-configuration"})
    annotations->erase(key);
  if (annotations->empty()) metadata->erase("annotations");
  return object;
}

}  // namespace tidemark
