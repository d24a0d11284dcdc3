#include "agent/kube/bucket_objects.h"

#include <algorithm>
#include <array>

#include "transport/base64.h"
#include "transport/kube/client.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr const char* kAccessKey = "AWS_ACCESS_KEY_ID";
constexpr const char* kSecretKey = "AWS_SECRET_ACCESS_KEY";

// A value of a Secret, decoded; empty where it has none.
std::string value_of_secret(const json& secret, const char* key) {
  const auto bytes = net::from_base64(json_text(secret, {"data", key}));
  return bytes ? std::string(as_text(*bytes)) : std::string();
}

// True where `each` is for one of the array at `path`.
template <class Each>
bool any_of(const json& object, std::initializer_list<const char*> path, const Each& each) {
  const json* const found = json_at(object, path);
  return found != nullptr && found->is_array() && std::ranges::any_of(*found, each);
}

bool container_uses(const json& container, const std::string& name) {
  const auto from = [&](const json& source) {
    return json_text(source, {"secretRef", "name"}) == name ||
           json_text(source, {"configMapRef", "name"}) == name;
  };
  const auto variable = [&](const json& one) {
    return json_text(one, {"valueFrom", "secretKeyRef", "name"}) == name ||
           json_text(one, {"valueFrom", "configMapKeyRef", "name"}) == name;
  };
  return any_of(container, {"envFrom"}, from) || any_of(container, {"env"}, variable);
}

bool volume_uses(const json& volume, const std::string& name) {
  const auto source = [&](const json& one) {
    return json_text(one, {"secret", "name"}) == name ||
           json_text(one, {"configMap", "name"}) == name;
  };
  return json_text(volume, {"secret", "secretName"}) == name ||
         json_text(volume, {"configMap", "name"}) == name ||
         any_of(volume, {"projected", "sources"}, source);
}

json reference_to(const json& claim) {
  return {{"apiVersion", kube::kObjectBucketClaims.api_version()},
          {"kind", std::string(kube::kObjectBucketClaims.kind)},
          {"name", json_text(claim, {"metadata", "name"})},
          {"uid", kube::uid_of(claim)}};
}

}  // namespace

bool is_bucket_provisioner(std::string_view provisioner) {
  constexpr std::string_view kRook = "ceph.rook.io/bucket";
  return provisioner == kRook || provisioner.ends_with(".ceph.rook.io/bucket");
}

std::string object_bucket_name(const std::string& ns, const std::string& claim) {
  return "obc-" + ns + "-" + claim;
}

bool is_bucket_of(const json& object_bucket, const std::string& ns, const std::string& claim) {
  return json_text(object_bucket, {"spec", "claimRef", "namespace"}) == ns &&
         json_text(object_bucket, {"spec", "claimRef", "name"}) == claim;
}

std::string BucketLogin::endpoint() const {
  return (tls ? "https://" : "http://") + host + (port.empty() ? "" : ":" + port);
}

std::optional<s3::Credentials> keys_of_secret(const json& secret) {
  s3::Credentials keys;
  keys.access_key = value_of_secret(secret, kAccessKey);
  keys.secret_key = value_of_secret(secret, kSecretKey);
  if (keys.access_key.empty() || keys.secret_key.empty()) return std::nullopt;
  return keys;
}

Result<BucketLogin> bucket_login(const json& config_map, const json& secret) {
  const auto value = [&](const char* key) { return json_text(config_map, {"data", key}); };
  BucketLogin login;
  login.host = value("BUCKET_HOST");
  login.port = value("BUCKET_PORT");
  const std::string ssl = value("BUCKET_SSL");  // newer releases write it
  login.tls = ssl.empty() ? login.port == "443" : ssl == "true";
  login.region = value("BUCKET_REGION");
  login.bucket = value("BUCKET_NAME");
  const auto keys = keys_of_secret(secret);
  if (login.bucket.empty() || !keys)
    return Error(ErrorCode::corruption, "ConfigMap and Secret " +
                                            json_text(config_map, {"metadata", "name"}) +
                                            " name no bucket, or no keys");
  login.keys = *keys;
  return login;
}

bool uses_connection(const json& pod_spec, const std::string& name) {
  const auto container = [&](const json& one) { return container_uses(one, name); };
  const auto volume = [&](const json& one) { return volume_uses(one, name); };
  return any_of(pod_spec, {"containers"}, container) ||
         any_of(pod_spec, {"initContainers"}, container) ||
         any_of(pod_spec, {"ephemeralContainers"}, container) ||
         any_of(pod_spec, {"volumes"}, volume);
}

bool is_owned_by(const json& object, const std::string& uid) {
  return !uid.empty() && any_of(object, {"metadata", "ownerReferences"},
                                [&](const json& one) { return json_text(one, {"uid"}) == uid; });
}

json connection_of_claim(const json& of_filling, const json& claim) {
  json owner = reference_to(claim);
  owner["controller"] = owner["blockOwnerDeletion"] = true;
  json out = {{"apiVersion", "v1"},
              {"kind", json_text(of_filling, {"kind"})},
              {"metadata",
               {{"namespace", json_text(claim, {"metadata", "namespace"})},
                {"name", json_text(claim, {"metadata", "name"})},
                {"labels", json_texts(of_filling, {"metadata", "labels"})},
                {"finalizers", json::array({kBucketFinalizer})},
                {"ownerReferences", json::array({std::move(owner)})}}},
              {"data", json_texts(of_filling, {"data"})}};
  if (const std::string type = json_text(of_filling, {"type"}); !type.empty()) out["type"] = type;
  return out;
}

json with_keys(json secret, const s3::Credentials& keys) {
  secret["data"][kAccessKey] = net::to_base64(as_bytes(keys.access_key));
  secret["data"][kSecretKey] = net::to_base64(as_bytes(keys.secret_key));
  return secret;
}

json object_bucket_of_claim(const json& of_filling, const json& claim) {
  const std::string ns = json_text(claim, {"metadata", "namespace"});
  const std::string name = json_text(claim, {"metadata", "name"});
  json reference = reference_to(claim);
  reference["namespace"] = ns;
  json out = {{"apiVersion", kube::kObjectBuckets.api_version()},
              {"kind", std::string(kube::kObjectBuckets.kind)},
              {"metadata",
               {{"name", object_bucket_name(ns, name)},
                {"labels", json_texts(of_filling, {"metadata", "labels"})},
                {"finalizers", json::array({kBucketFinalizer})}}},
              {"spec", of_filling.value("spec", json::object())}};
  out["spec"]["claimRef"] = std::move(reference);
  return out;
}

}  // namespace tidemark
