#include "agent/kube/own_volume.h"

#include <array>
#include <utility>

namespace tidemark {
namespace {

using nlohmann::json;

constexpr const char* kDeletionSecret = "volume.kubernetes.io/provisioner-deletion-secret-";

// Names of secrets may be written with these in a storage class.
std::string filled_in(std::string text, const ClaimName& claim, const std::string& volume) {
  const std::array<std::pair<std::string, std::string>, 3> names = {
      {{"${pvc.namespace}", claim.ns}, {"${pvc.name}", claim.name}, {"${pv.name}", volume}}};
  for (const auto& [written, meant] : names)
    for (auto at = text.find(written); at != std::string::npos; at = text.find(written))
      text.replace(at, written.size(), meant);
  return text;
}

std::string secret_part(const VolumeMaking& making, const std::string& which,
                        const std::string& volume) {
  const std::string name = "csi.storage.k8s.io/" + which;
  return filled_in(class_parameter(*making.storage_class, name.c_str()), making.claim, volume);
}

// The volume without what tells whose image it is.
json frame(const VolumeMaking& making, const std::string& name) {
  const json& storage_class = *making.storage_class;
  json csi = {{"driver", json_text(storage_class, {"provisioner"})}};
  for (const auto& [key, secret] :
       {std::pair("nodeStageSecretRef", "node-stage-secret"),
        std::pair("controllerExpandSecretRef", "controller-expand-secret")}) {
    const std::string part = secret;
    if (const std::string found = secret_part(making, part + "-name", name); !found.empty())
      csi[key] = {{"name", found}, {"namespace", secret_part(making, part + "-namespace", name)}};
  }
  const json& claim = making.claim_spec;
  if (json_text(claim, {"volumeMode"}) != "Block") {
    std::string type = class_parameter(storage_class, "csi.storage.k8s.io/fstype");
    if (making.was != nullptr) {
      const std::string used = json_text(*making.was, {"spec", "csi", "fsType"});
      if (!used.empty()) type = used;  // the data has it
    }
    csi["fsType"] = type.empty() ? "ext4" : type;
  }
  json spec = {{"accessModes", claim.at("accessModes")},
               {"capacity", claim.at("resources").at("requests")},
               {"claimRef",
                {{"apiVersion", "v1"},
                 {"kind", "PersistentVolumeClaim"},
                 {"namespace", making.claim.ns},
                 {"name", making.claim.name}}},
               {"csi", std::move(csi)},
               {"persistentVolumeReclaimPolicy", "Retain"},
               {"storageClassName", json_text(claim, {"storageClassName"})},
               {"volumeMode", json_text(claim, {"volumeMode"})}};
  if (const json* const options = json_at(storage_class, {"mountOptions"}); options != nullptr)
    spec["mountOptions"] = *options;
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolume"},
          {"metadata", {{"name", name}, {"annotations", json::object()}}},
          {"spec", std::move(spec)}};
}

RbdImageName image_of_class(const VolumeMaking& making, const std::string& image) {
  const json& storage_class = *making.storage_class;
  RbdImageName name;
  name.pool = class_parameter(storage_class, "pool");
  const auto ns = making.rados_namespaces.find(class_parameter(storage_class, "clusterID"));
  if (ns != making.rados_namespaces.end()) name.ns = ns->second;
  name.image = image;
  return name;
}

std::string attribute_of(const json& volume, const char* name) {
  return json_text(volume, {"spec", "csi", "volumeAttributes", name});
}

}  // namespace

std::string class_parameter(const json& storage_class, const char* name) {
  return json_text(storage_class, {"parameters", name});
}

OwnVolume static_volume(const VolumeMaking& making, const std::string& name) {
  const json& storage_class = *making.storage_class;
  OwnVolume out;
  out.object = frame(making, name);
  out.image = image_of_class(making, name);
  out.data_pool = class_parameter(storage_class, "dataPool");
  const std::string features = class_parameter(storage_class, "imageFeatures");
  json attributes = {{"clusterID", class_parameter(storage_class, "clusterID")},
                     {"pool", out.image.pool},
                     {"staticVolume", "true"},
                     {"imageFeatures", features.empty() ? "layering" : features}};
  if (const std::string mounter = class_parameter(storage_class, "mounter"); !mounter.empty())
    attributes["mounter"] = mounter;
  if (making.was != nullptr)
    for (const char* const key : {"encrypted", "encryptionKMSID", "encryptionType"})
      if (const std::string value = attribute_of(*making.was, key); !value.empty())
        attributes[key] = value;
  out.object["spec"]["csi"]["volumeHandle"] = name;
  out.object["spec"]["csi"]["volumeAttributes"] = std::move(attributes);
  return out;
}

Result<OwnVolume> same_volume(const VolumeMaking& making, std::int64_t pool_id) {
  if (making.was == nullptr)
    return Error(ErrorCode::unsupported, "the point does not say which volume it was taken of");
  const json& was = *making.was;
  auto handle = parse_volume_handle(json_text(was, {"spec", "csi", "volumeHandle"}));
  if (!is_rbd_driver(json_text(was, {"spec", "csi", "driver"})) || !handle ||
      attribute_of(was, "staticVolume") == "true")
    return Error(ErrorCode::unsupported, "the volume was not one that ceph-csi made")
        .with_hint("restore it with --static, or to a new one of a storage class");
  const json& storage_class = *making.storage_class;
  const std::string name = json_text(was, {"metadata", "name"});
  OwnVolume out;
  out.object = frame(making, name);
  const std::string named = attribute_of(was, "imageName");
  out.image = image_of_class(making, named.empty() ? "csi-vol-" + handle->uuid : named);
  out.data_pool = class_parameter(storage_class, "dataPool");
  handle->cluster_id = class_parameter(storage_class, "clusterID");
  handle->pool_id = static_cast<std::uint64_t>(pool_id);
  out.uuid = handle->uuid;
  json attributes = json_texts(was, {"spec", "csi", "volumeAttributes"});
  attributes["clusterID"] = handle->cluster_id;
  attributes["pool"] = out.image.pool;
  attributes["journalPool"] = out.image.pool;
  attributes.erase("dataPool");
  if (!out.data_pool.empty()) attributes["dataPool"] = out.data_pool;
  attributes.erase("radosNamespace");
  if (!out.image.ns.empty()) attributes["radosNamespace"] = out.image.ns;
  if (attribute_of(was, "encrypted") == "true") out.kms = attribute_of(was, "encryptionKMSID");
  out.object["spec"]["csi"]["volumeHandle"] = handle->text();
  out.object["spec"]["csi"]["volumeAttributes"] = std::move(attributes);
  json& annotations = out.object["metadata"]["annotations"];
  annotations["pv.kubernetes.io/provisioned-by"] = json_text(storage_class, {"provisioner"});
  for (const char* const part : {"name", "namespace"})
    if (const auto secret = secret_part(making, std::string("provisioner-secret-") + part, name);
        !secret.empty())
      annotations[std::string(kDeletionSecret) + part] = secret;
  const std::string policy = json_text(was, {"spec", "persistentVolumeReclaimPolicy"});
  if (!policy.empty()) out.reclaim_policy = policy;
  return out;
}

}  // namespace tidemark
