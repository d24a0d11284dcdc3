// Claims of Kubernetes, and what stands behind them: the image of a PersistentVolumeClaim, the
// bucket of an ObjectBucketClaim.
//
// Pure functions of API objects (JSON as the API server sends it). A claim is what it claims only
// when both sides say so: the claim is bound to a volume of that name, and the volume to a claim of
// that uid. Shapes: https://kubernetes.io/docs/reference/kubernetes-api/,
// https://github.com/ceph/ceph-csi (RBD),
// https://github.com/kube-object-storage/lib-bucket-provisioner.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/asset.h"
#include "base/result.h"

namespace tidemark {

// Of one claim, as people write it: "k8s/<namespace>/pvc/<name>", "k8s/<namespace>/obc/<name>".
struct ClaimName {
  enum class Kind : std::uint8_t { volume, bucket } kind = Kind::volume;
  std::string ns, name;
  std::string text() const;
  auto operator<=>(const ClaimName&) const = default;
};
// True for what begins as a claim does.
bool is_claim_name(std::string_view text);
// `invalid_argument` for anything else.
Result<ClaimName> parse_claim_name(std::string_view text);

struct Claim {
  ClaimName name;
  std::string uid;  // a later claim of the same name has another one
  std::map<std::string, std::string> labels;
  std::string policy;  // its annotation tidemark.dev/policy; empty: it has none
  std::string storage_class;
  std::string volume;              // name of the PersistentVolume or ObjectBucket
  std::uint64_t size_bytes = 0;    // capacity, not the request; of buckets 0
  bool block = false;              // volumeMode Block
  bool encrypted = false;          // what is read from the image is ciphertext (ceph-csi, LUKS)
  std::optional<AssetName> asset;  // nothing: it cannot be protected now
  std::string problem;             // why; empty with an asset
};

// Namespaces of RADOS by ceph-csi's clusterID: a volume does not name its own.
using RadosNamespaces = std::map<std::string, std::string>;

// `pv` is null where there is none. Never fails: what stands in the way is the claim's `problem`.
Claim volume_claim(const nlohmann::json& pvc, const nlohmann::json* pv,
                   const RadosNamespaces& namespaces);
Claim bucket_claim(const nlohmann::json& obc);

// What a ceph-csi volumeHandle says: "0001-<length>-<clusterID>-<pool id, 16 hex>-<uuid>".
struct VolumeHandle {
  std::string cluster_id;
  std::uint64_t pool_id = 0;
  std::string uuid;
  std::string text() const;
  bool operator==(const VolumeHandle&) const = default;
};
std::optional<VolumeHandle> parse_volume_handle(std::string_view text);

// True for the driver of Rook, of any operator namespace, and for plain ceph-csi.
bool is_rbd_driver(std::string_view driver);

// "1Gi", "1500M", "1e3", "2.5Gi", in bytes, rounded up; nothing for nonsense, negative ones, and
// more than 2^63. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
std::optional<std::uint64_t> parse_quantity(std::string_view text);
// The shortest exact text with a binary unit: "16Mi", "1500".
std::string quantity_text(std::uint64_t bytes);

// What stands at nested keys; null where nothing does.
const nlohmann::json* json_at(const nlohmann::json& object,
                              std::initializer_list<const char*> path);
// Text at nested keys; empty where it is not there or no text.
std::string json_text(const nlohmann::json& object, std::initializer_list<const char*> path);
std::map<std::string, std::string> json_texts(const nlohmann::json& object,
                                              std::initializer_list<const char*> path);
// Whether the object has a deletionTimestamp: it goes when its finalizers are off.
bool is_being_deleted(const nlohmann::json& object);
// Whether a pod with this spec mounts the volume of the claim of that name.
bool mounts_claim(const nlohmann::json& pod_spec, std::string_view claim);

}  // namespace tidemark
