// Commands in the pods that use a claim, around the moment that a point is of: freezing a file
// system, flushing a database. A pod says by annotations what is to be run in it, or the policy
// does:
//
//   tidemark.dev/before: '["fsfreeze", "-f", "/data"]'     a program and its arguments; no shell
//   tidemark.dev/after: '["fsfreeze", "-u", "/data"]'
//   tidemark.dev/container: db                             default: the pod's first
//   tidemark.dev/hook-timeout: 30s
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/backup/hooks.h"
#include "agent/kube/claim.h"
#include "config/config.h"
#include "transport/kube/client.h"

namespace tidemark {

struct PodHook {
  kube::ObjectRef pod;
  std::string container;
  std::vector<std::string> before, after;
  Duration timeout{};
  bool operator==(const PodHook&) const = default;
};

// Whether the pod runs and mounts the claim.
bool uses_claim(const nlohmann::json& pod, const std::string& claim);
// What is run in the pod; nothing where neither it nor the rules say so. `invalid_argument` for
// annotations that cannot be understood.
Result<std::optional<PodHook>> hook_of_pod(const nlohmann::json& pod,
                                           const std::optional<PodHooksConfig>& rules);

// Around a moment of all these claims. `before` finds the pods; where one of their commands fails,
// the rules say whether the backup ends. `after` runs in every pod in which `before` was tried,
// also when somebody wants us to stop: what is frozen must thaw. Until then a note of
// it lies in `notes` (agent/kube/frozen.h). `client` must outlive them.
PointHooks hooks_in_pods(kube::Client& client, std::vector<ClaimName> claims,
                         std::optional<PodHooksConfig> rules, std::filesystem::path notes,
                         std::stop_token stop);

}  // namespace tidemark
