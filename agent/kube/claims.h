// The claims of this site's cluster, and which of them a policy means.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/backup/hooks.h"
#include "agent/kube/claim.h"
#include "config/config.h"

namespace tidemark {

struct ClaimList {
  std::vector<Claim> claims;          // in the order of their names
  std::vector<std::string> problems;  // namespaces that may not be read: their claims are missing
};

// Where claims are looked up. Safe from any thread.
class ClaimSource {
 public:
  virtual ~ClaimSource() = default;
  // All of them; what cannot be protected has a problem. Errors are those of the API server.
  virtual Result<ClaimList> claims() = 0;
  // The API objects that give the claim its meaning, as they stand now: a JSON array, the claim
  // first, each without what belongs to its cluster alone. Secrets, and what runs with a volume
  // (agent/kube/workloads.h), only with `secrets`. `not_found`
  // where the claim is gone, or is a later one of the same name.
  virtual Result<std::string> manifests(const Claim& claim, bool secrets) = 0;
  // What is run in the pods that use the claims (agent/kube/pod_hooks.h). This outlives them.
  virtual PointHooks hooks(std::vector<ClaimName> claims, std::optional<PodHooksConfig> rules,
                           std::filesystem::path notes, std::stop_token stop) = 0;
};

// Reads the claims of a cluster each time it is asked.
Result<std::unique_ptr<ClaimSource>> connect_claims(const KubernetesConfig& config,
                                                    std::stop_token stop);

// Whether the policy means the claim, whatever is behind it.
bool selects(const std::string& policy, const ClaimsConfig& rules, const Claim& claim);

// The first policy, in order of names, that means the claim, else the first whose assets cover what
// is behind it; empty: none does.
std::string policy_of_claim(const Config& config, const Claim& claim);

// What a point's labels say of the claim that it was taken of.
inline constexpr std::string_view kClaimLabel = "kubernetes.claim";  // "k8s/shop/pvc/orders-db"
inline constexpr std::string_view kClaimUidLabel = "kubernetes.uid";
std::map<std::string, std::string> labels_of(const Claim& claim);

// An object without what its cluster adds to it: status, uid, resourceVersion, managedFields,
// finalizers, and annotations that bind it to another object.
nlohmann::json bare_manifest(nlohmann::json object);

}  // namespace tidemark
