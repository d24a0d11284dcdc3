// What runs with a claim: the pods that mount it, and what owns them.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "agent/kube/claim.h"
#include "transport/kube/client.h"

namespace tidemark {

// Deployments, StatefulSets, DaemonSets, CronJobs and Jobs whose pods mount the claim, and pods
// that nobody owns: each as bare_manifest() leaves it, once, in the order of their names. One that
// may not be read (the component `workloads`), or is of another kind, has its kind and name only.
// Errors are those of listing pods.
Result<std::vector<nlohmann::json>> workloads_of(kube::Client& client, const ClaimName& claim,
                                                 const kube::Call& call);

}  // namespace tidemark
