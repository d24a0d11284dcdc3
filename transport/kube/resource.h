// The resources of the Kubernetes API that we use, and the paths under which they are found.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tidemark::kube {

// A kind of object as the API addresses it. The texts are not copied: they must outlive it, as
// literals do.
struct Resource {
  std::string_view group;  // empty: the core group
  std::string_view version;
  std::string_view plural;  // "persistentvolumeclaims"
  std::string_view kind;    // "PersistentVolumeClaim"
  bool namespaced = true;

  // "v1", "storage.k8s.io/v1"
  std::string api_version() const;
};

// One object. REQUIRES: `ns` is empty where, and only where, the resource is not namespaced.
struct ObjectRef {
  std::string ns;
  std::string name;
  bool operator==(const ObjectRef&) const = default;
};
// "shop/orders-db", or the name alone; for messages.
std::string to_string(const ObjectRef& ref);

using Query = std::vector<std::pair<std::string, std::string>>;

// "/api/v1/namespaces/shop/persistentvolumeclaims", percent-encoded. An empty `ns` of a namespaced
// resource: those of all namespaces. `invalid_argument` for names that no object can have, and for
// a namespace of a resource without.
Result<std::string> collection_path(const Resource& resource, std::string_view ns);
// ".../orders-db", or ".../orders-db/status" with a subresource.
Result<std::string> object_path(const Resource& resource, const ObjectRef& ref,
                                std::string_view subresource = {});
// "path?a=b&c=d", percent-encoded; the order and repeated names are kept.
std::string target_of(std::string_view path, const Query& query);

inline constexpr Resource kPersistentVolumeClaims{"", "v1", "persistentvolumeclaims",
                                                  "PersistentVolumeClaim", true};
inline constexpr Resource kPersistentVolumes{"", "v1", "persistentvolumes", "PersistentVolume",
                                             false};
inline constexpr Resource kPods{"", "v1", "pods", "Pod", true};
inline constexpr Resource kSecrets{"", "v1", "secrets", "Secret", true};
inline constexpr Resource kConfigMaps{"", "v1", "configmaps", "ConfigMap", true};
inline constexpr Resource kNamespaces{"", "v1", "namespaces", "Namespace", false};
inline constexpr Resource kNodes{"", "v1", "nodes", "Node", false};
inline constexpr Resource kEvents{"events.k8s.io", "v1", "events", "Event", true};
inline constexpr Resource kStorageClasses{"storage.k8s.io", "v1", "storageclasses", "StorageClass",
                                          false};
inline constexpr Resource kLeases{"coordination.k8s.io", "v1", "leases", "Lease", true};
inline constexpr Resource kObjectBucketClaims{"objectbucket.io", "v1alpha1", "objectbucketclaims",
                                              "ObjectBucketClaim", true};
inline constexpr Resource kObjectBuckets{"objectbucket.io", "v1alpha1", "objectbuckets",
                                         "ObjectBucket", false};
inline constexpr Resource kProtectionPolicies{"tidemark.dev", "v1alpha1", "protectionpolicies",
                                              "ProtectionPolicy", true};
inline constexpr Resource kRecoveryPoints{"tidemark.dev", "v1alpha1", "recoverypoints",
                                          "RecoveryPoint", true};
inline constexpr Resource kRestores{"tidemark.dev", "v1alpha1", "restores", "Restore", true};
inline constexpr Resource kDrills{"tidemark.dev", "v1alpha1", "drills", "Drill", true};

}  // namespace tidemark::kube
