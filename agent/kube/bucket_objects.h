// The API objects of a bucket claim: what an application finds its bucket by, and what Rook's
// provisioner keeps of it. Pure.
//
//   ObjectBucketClaim shop/photos --objectBucketName--> ObjectBucket obc-shop-photos
//      ^ owner            ^ owner      <--claimRef---
//   ConfigMap          Secret
//   shop/photos        shop/photos
//
// The provisioner finds the ObjectBucket of a claim by its name alone; see
// https://github.com/kube-object-storage/lib-bucket-provisioner.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agent/kube/claim.h"
#include "transport/s3/signature.h"

namespace tidemark {

// Holds what the provisioner made until it has cleaned up behind it.
inline constexpr const char* kBucketFinalizer = "objectbucket.io/finalizer";

// Whether the class is of Rook's bucket provisioner, of any operator namespace.
bool is_bucket_provisioner(std::string_view provisioner);

// "obc-shop-photos"
std::string object_bucket_name(const std::string& ns, const std::string& claim);
// Whether the ObjectBucket is of the claim of that name.
bool is_bucket_of(const nlohmann::json& object_bucket, const std::string& ns,
                  const std::string& claim);

// What an application needs to reach its bucket.
struct BucketLogin {
  std::string host, port;  // as seen within the cluster
  bool tls = false;
  std::string region;  // may be empty
  std::string bucket;
  s3::Credentials keys;

  // "http://rook-ceph-rgw-store.rook-ceph.svc:80"
  std::string endpoint() const;
};

// Nothing where the Secret has none.
std::optional<s3::Credentials> keys_of_secret(const nlohmann::json& secret);
// `corruption` where something of it is missing.
Result<BucketLogin> bucket_login(const nlohmann::json& config_map, const nlohmann::json& secret);

// Whether the pod (its spec) takes anything from the ConfigMap and the Secret of that name: as
// environment or as files.
bool uses_connection(const nlohmann::json& pod_spec, const std::string& name);

// Whether the object is owned by the object with that uid.
bool is_owned_by(const nlohmann::json& object, const std::string& uid);

// The ConfigMap or Secret of the claim, made of that of the filling claim.
nlohmann::json connection_of_claim(const nlohmann::json& of_filling, const nlohmann::json& claim);
// A Secret with other keys in it.
nlohmann::json with_keys(nlohmann::json secret, const s3::Credentials& keys);
// The ObjectBucket of the claim, made of that of the filling claim.
nlohmann::json object_bucket_of_claim(const nlohmann::json& of_filling,
                                      const nlohmann::json& claim);

}  // namespace tidemark
