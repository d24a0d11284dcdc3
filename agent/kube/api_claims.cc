#include "agent/kube/api_claims.h"

#include <algorithm>
#include <unordered_map>

#include "agent/backup/manifests.h"
#include "agent/kube/pod_hooks.h"
#include "agent/kube/workloads.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

// Of one list or object: a server that is gone for longer is told, and asked again later.
constexpr std::chrono::minutes kCallMax{2};

std::string text_of(const json& objects) {
  return objects.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<std::unique_ptr<kube::Client>> connect_kube(const KubernetesConfig& config) {
  kube::ClientOptions options;
  if (config.kubeconfig.empty()) {
    TM_TRY(options.access, kube::access_in_cluster());
  } else {
    TM_TRY(options.access, kube::access_from_kubeconfig(config.kubeconfig, config.context));
  }
  return kube::Client::create(std::move(options));
}

Result<std::unique_ptr<ClaimSource>> connect_claims(const KubernetesConfig& config,
                                                    std::stop_token stop) {
  TM_TRY(auto client, connect_kube(config));
  return std::make_unique<ApiClaims>(std::move(client), config, std::move(stop));
}

json essence_of_volume(const json& pv) {
  json out = {{"metadata", {{"name", json_text(pv, {"metadata", "name"})}}},
              {"spec", {{"claimRef", {{"uid", json_text(pv, {"spec", "claimRef", "uid"})}}}}}};
  const std::string driver = json_text(pv, {"spec", "csi", "driver"});
  if (driver.empty()) return out;
  json& csi = out["spec"]["csi"];
  csi = {{"driver", driver}, {"volumeHandle", json_text(pv, {"spec", "csi", "volumeHandle"})}};
  for (const auto& [key, value] : json_texts(pv, {"spec", "csi", "volumeAttributes"}))
    for (const char* const wanted :
         {"clusterID", "pool", "radosNamespace", "imageName", "staticVolume", "encrypted"})
      if (key == wanted) csi["volumeAttributes"][key] = value;
  return out;
}

json essence_of_claim(const json& object) {
  json out;
  for (const char* const key : {"namespace", "name", "uid", "deletionTimestamp"})
    if (const std::string text = json_text(object, {"metadata", key}); !text.empty())
      out["metadata"][key] = text;
  out["metadata"]["labels"] = json_texts(object, {"metadata", "labels"});
  for (const auto& [key, value] : json_texts(object, {"metadata", "annotations"}))
    if (key.starts_with("tidemark.dev/")) out["metadata"]["annotations"][key] = value;
  for (const char* const key : {"storageClassName", "volumeName", "volumeMode", "bucketName",
                                "objectBucketName", "ObjectBucketName"})
    if (const std::string text = json_text(object, {"spec", key}); !text.empty())
      out["spec"][key] = text;
  out["status"] = {
      {"phase", json_text(object, {"status", "phase"})},
      {"capacity", {{"storage", json_text(object, {"status", "capacity", "storage"})}}}};
  return out;
}

kube::Call ApiClaims::call() const { return {stop_, net::uptime() + kCallMax}; }

Status ApiClaims::each_claim(const kube::Resource& resource, ClaimList& out,
                             const std::function<void(const json&)>& each) {
  std::vector<std::string> namespaces = config_.namespaces;
  if (namespaces.empty()) namespaces.emplace_back();  // all of them
  for (const std::string& ns : namespaces) {
    kube::ListOptions options;
    options.ns = ns;
    kube::ListVisitor visitor;
    const std::size_t before = out.claims.size();
    visitor.item = [&](json object) -> Status {
      each(object);
      return {};
    };
    visitor.restarted = [&] { out.claims.resize(before); };
    const auto listed = client_->list(resource, options, visitor, call());
    if (listed) continue;
    out.claims.resize(before);
    if (listed.error().no_such_api()) return {};  // no object buckets in this cluster
    const bool forbidden = listed.error().code() == ErrorCode::permission_denied;
    if (!forbidden || ns.empty()) return Error(listed.error());
    out.problems.push_back("namespace " + ns + ": " + listed.error().message());
  }
  return {};
}

Status ApiClaims::add_volumes(ClaimList& out) {
  // Volumes first: a claim that is bound in between is seen as not bound, and next time as it is.
  std::unordered_map<std::string, json> volumes;
  kube::ListVisitor visitor;
  visitor.item = [&](json object) -> Status {
    json kept = essence_of_volume(object);
    volumes.insert_or_assign(json_text(object, {"metadata", "name"}), std::move(kept));
    return {};
  };
  visitor.restarted = [&] { volumes.clear(); };
  if (const auto listed = client_->list(kube::kPersistentVolumes, {}, visitor, call()); !listed)
    return Error(listed.error());
  return each_claim(kube::kPersistentVolumeClaims, out, [&](const json& pvc) {
    const auto volume = volumes.find(json_text(pvc, {"spec", "volumeName"}));
    out.claims.push_back(volume_claim(pvc, volume == volumes.end() ? nullptr : &volume->second,
                                      config_.rados_namespaces));
  });
}

Status ApiClaims::add_buckets(ClaimList& out) {
  return each_claim(kube::kObjectBucketClaims, out,
                    [&](const json& obc) { out.claims.push_back(bucket_claim(obc)); });
}

Result<ClaimList> ApiClaims::claims() {
  ClaimList out;
  TM_DO(add_volumes(out));
  TM_DO(add_buckets(out));
  std::ranges::sort(out.claims, {}, &Claim::name);
  return out;
}

PointHooks ClientClaims::hooks(std::vector<ClaimName> claims, std::optional<PodHooksConfig> rules,
                               std::filesystem::path notes, std::stop_token stop) {
  return hooks_in_pods(*client_, std::move(claims), std::move(rules), std::move(notes),
                       std::move(stop));
}

Result<std::string> ClientClaims::manifests(const Claim& claim, bool secrets) {
  json objects = json::array();
  const auto add = [&](const kube::Resource& resource, const kube::ObjectRef& ref) -> Status {
    const auto object = client_->get(resource, ref, call());
    // What is not there, or is none of ours to read, is left out; but not the claim itself.
    if (!object && !objects.empty() &&
        (object.error().code() == ErrorCode::not_found ||
         object.error().code() == ErrorCode::permission_denied)) {
      log::warn("{}: {} goes without: {}", claim.name.text(), kube::to_string(ref),
                object.error().message());
      return {};
    }
    if (!object) return Error(object.error());
    if (objects.empty() && kube::uid_of(*object) != claim.uid)
      return Error(ErrorCode::not_found, claim.name.text() + " is a later claim of that name");
    json bare = bare_manifest(*object);
    bare["apiVersion"] = resource.api_version();
    bare["kind"] = resource.kind;
    objects.push_back(std::move(bare));
    return {};
  };
  const kube::ObjectRef own{claim.name.ns, claim.name.name};
  if (claim.name.kind == ClaimName::Kind::volume) {
    TM_DO(add(kube::kPersistentVolumeClaims, own));
    if (!claim.volume.empty()) TM_DO(add(kube::kPersistentVolumes, {"", claim.volume}));
  } else {
    TM_DO(add(kube::kObjectBucketClaims, own));
    if (!claim.volume.empty()) TM_DO(add(kube::kObjectBuckets, {"", claim.volume}));
    TM_DO(add(kube::kConfigMaps, own));
    if (secrets) TM_DO(add(kube::kSecrets, own));
  }
  if (!claim.storage_class.empty()) TM_DO(add(kube::kStorageClasses, {"", claim.storage_class}));
  TM_DO(add(kube::kNamespaces, {"", claim.name.ns}));
  std::string text = text_of(objects);
  // What runs with a volume may have secrets in its environment.
  if (!secrets || claim.name.kind != ClaimName::Kind::volume) return text;
  const auto workloads = workloads_of(*client_, claim.name, call());
  if (!workloads) {
    log::warn("{}: what runs with it goes without: {}", claim.name.text(),
              workloads.error().message());
    return text;
  }
  for (const json& workload : *workloads) {
    objects.push_back(workload);
    std::string longer = text_of(objects);
    if (longer.size() <= kManifestsBytesMax) {
      text = std::move(longer);
      continue;
    }
    objects.erase(objects.size() - 1);
    log::warn("{}: {} goes without: there is no room for it", claim.name.text(),
              json_text(workload, {"metadata", "name"}));
  }
  return text;
}

}  // namespace tidemark
