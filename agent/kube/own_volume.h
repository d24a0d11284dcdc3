// PersistentVolumes of ceph-csi RBD that we make ourselves, around an image. Pure.
//
// Static ones: https://github.com/ceph/ceph-csi, docs/static-pvc.md. Ones of an identity: the
// volume that a point was taken of, with the clusterID and the pool of a class of this cluster.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/kube/claim.h"

namespace tidemark {

// What the volumes are made of.
struct VolumeMaking {
  ClaimName claim;                                // that they are reserved for
  nlohmann::json claim_spec;                      // of that claim: access modes, mode, class, size
  const nlohmann::json* storage_class = nullptr;  // names cluster, pool and secrets
  const nlohmann::json* was = nullptr;  // the volume that the point was taken of; null: not known
  RadosNamespaces rados_namespaces;
};

// A volume and the image that it stands for. It is reserved for the claim, and retained.
struct OwnVolume {
  nlohmann::json object;
  RbdImageName image;
  std::string data_pool;
  std::string uuid, kms;                  // of an identity; empty otherwise
  std::string reclaim_policy = "Retain";  // once it is bound
};

// `name` is the volume's and the image's.
OwnVolume static_volume(const VolumeMaking& making, const std::string& name);
// `pool_id` is that of the class's pool. `unsupported` where the volume that was had no identity:
// where it is not known, was static, or was of another driver.
Result<OwnVolume> same_volume(const VolumeMaking& making, std::int64_t pool_id);

// The parameter of a storage class; empty where it has none of that name.
std::string class_parameter(const nlohmann::json& storage_class, const char* name);

}  // namespace tidemark
