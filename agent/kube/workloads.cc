#include "agent/kube/workloads.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include "agent/kube/claims.h"
#include "base/log.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::array<kube::Resource, 6> kOwners{{
    {"apps", "v1", "deployments", "Deployment", true},
    {"apps", "v1", "replicasets", "ReplicaSet", true},
    {"apps", "v1", "statefulsets", "StatefulSet", true},
    {"apps", "v1", "daemonsets", "DaemonSet", true},
    {"batch", "v1", "jobs", "Job", true},
    {"batch", "v1", "cronjobs", "CronJob", true},
}};

// The object that keeps another one; nothing where none does.
struct Owner {
  std::string api_version, kind, name;
  auto operator<=>(const Owner&) const = default;
};

std::optional<Owner> controller_of(const json& object) {
  const json* const owners = json_at(object, {"metadata", "ownerReferences"});
  if (owners == nullptr || !owners->is_array()) return std::nullopt;
  for (const json& one : *owners)
    if (const json* const keeps = json_at(one, {"controller"}); keeps != nullptr && *keeps == true)
      return Owner{json_text(one, {"apiVersion"}), json_text(one, {"kind"}),
                   json_text(one, {"name"})};
  return std::nullopt;
}

json named(const std::string& ns, const Owner& owner) {
  return {{"apiVersion", owner.api_version},
          {"kind", owner.kind},
          {"metadata", {{"namespace", ns}, {"name", owner.name}}}};
}

// The owner itself, or what owns that in turn.
json top_of(kube::Client& client, const std::string& ns, Owner owner, const kube::Call& call) {
  json found = named(ns, owner);
  constexpr int kLevelsMax = 4;
  for (int level = 0; level < kLevelsMax; ++level) {
    const auto resource = std::ranges::find_if(kOwners, [&](const kube::Resource& one) {
      return one.kind == owner.kind && one.api_version() == owner.api_version;
    });
    if (resource == kOwners.end()) break;
    auto object = client.get(*resource, {ns, owner.name}, call);
    if (!object) {
      log::debug("{} {}/{}: {}", owner.kind, ns, owner.name, object.error().message());
      break;
    }
    found = *std::move(object);
    found["apiVersion"] = owner.api_version;
    found["kind"] = owner.kind;
    const auto above = controller_of(found);
    if (!above) break;
    owner = *above;
    found = named(ns, owner);
  }
  return bare_manifest(std::move(found));
}

}  // namespace

Result<std::vector<json>> workloads_of(kube::Client& client, const ClaimName& claim,
                                       const kube::Call& call) {
  std::set<Owner> owners;
  std::map<std::string, json> alone;
  kube::ListOptions options;
  options.ns = claim.ns;
  kube::ListVisitor visitor;
  visitor.item = [&](json pod) -> Status {
    const json* const spec = json_at(pod, {"spec"});
    if (spec == nullptr || !mounts_claim(*spec, claim.name)) return {};
    if (auto owner = controller_of(pod)) {
      owners.insert(*std::move(owner));
    } else {
      pod["apiVersion"] = kube::kPods.api_version();
      pod["kind"] = kube::kPods.kind;
      alone[json_text(pod, {"metadata", "name"})] = bare_manifest(std::move(pod));
    }
    return {};
  };
  visitor.restarted = [&] {
    owners.clear();
    alone.clear();
  };
  if (const auto listed = client.list(kube::kPods, options, visitor, call); !listed)
    return Error(listed.error());
  // Several owners may have one above them.
  std::map<std::pair<std::string, std::string>, json> found;
  for (const Owner& owner : owners) {
    json top = top_of(client, claim.ns, owner, call);
    const std::pair key(json_text(top, {"kind"}), json_text(top, {"metadata", "name"}));
    found.insert_or_assign(key, std::move(top));
  }
  std::vector<json> out;
  for (auto& [key, object] : found) out.push_back(std::move(object));
  for (auto& [name, pod] : alone) out.push_back(std::move(pod));
  return out;
}

}  // namespace tidemark
