#include "agent/kube/claim.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::string_view kPrefix = "k8s/";
constexpr const char* kPolicyAnnotation = "tidemark.dev/policy";
constexpr std::size_t kNameBytesMax = 253;

// A name of an object: lower case letters, digits, '-' and '.', as a DNS subdomain.
bool is_object_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax &&
         std::ranges::all_of(text, [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
         });
}

Claim named(const json& object, ClaimName::Kind kind) {
  Claim claim;
  claim.name = {kind, json_text(object, {"metadata", "namespace"}),
                json_text(object, {"metadata", "name"})};
  claim.uid = json_text(object, {"metadata", "uid"});
  claim.labels = json_texts(object, {"metadata", "labels"});
  claim.policy = json_text(object, {"metadata", "annotations", kPolicyAnnotation});
  claim.storage_class = json_text(object, {"spec", "storageClassName"});
  return claim;
}

// What keeps the two from being one volume; empty where they are.
std::string binding_problem(const json& pvc, const json* pv) {
  const std::string phase = json_text(pvc, {"status", "phase"});
  if (is_being_deleted(pvc)) return "the claim is being deleted";
  if (phase == "Lost") return "its volume is lost";
  if (phase != "Bound") return "the claim is not bound";
  const std::string volume = json_text(pvc, {"spec", "volumeName"});
  if (pv == nullptr) return "its volume " + volume + " is not there";
  if (json_text(*pv, {"metadata", "name"}) != volume ||
      json_text(*pv, {"spec", "claimRef", "uid"}) != json_text(pvc, {"metadata", "uid"}))
    return "its volume " + volume + " is another claim's";
  return {};
}

// The image behind a volume of ceph-csi.
Result<RbdImageName> image_of(const json& pv, const RadosNamespaces& namespaces) {
  const std::string driver = json_text(pv, {"spec", "csi", "driver"});
  if (driver.empty()) return Error(ErrorCode::unsupported, "its volume is not one of a CSI driver");
  if (!is_rbd_driver(driver))
    return Error(ErrorCode::unsupported, "its volume is of the driver " + driver);
  const auto attribute = [&](const char* name) {
    return json_text(pv, {"spec", "csi", "volumeAttributes", name});
  };
  const std::string handle = json_text(pv, {"spec", "csi", "volumeHandle"});
  RbdImageName name;
  name.pool = attribute("pool");
  name.ns = attribute("radosNamespace");
  if (name.ns.empty()) {
    const auto found = namespaces.find(attribute("clusterID"));
    if (found != namespaces.end()) name.ns = found->second;
  }
  const auto parsed = parse_volume_handle(handle);
  if (attribute("staticVolume") == "true")
    name.image = handle;
  else if (const std::string image = attribute("imageName"); !image.empty())
    name.image = image;
  else if (parsed)
    name.image = "csi-vol-" + parsed->uuid;
  if (name.pool.empty() || name.image.empty())
    return Error(ErrorCode::corruption, "its volume names no image");
  return name;
}

}  // namespace

const json* json_at(const json& object, std::initializer_list<const char*> path) {
  const json* found = &object;
  for (const char* const key : path) {
    if (!found->is_object()) return nullptr;
    const auto next = found->find(key);
    if (next == found->end()) return nullptr;
    found = &*next;
  }
  return found;
}

std::string json_text(const json& object, std::initializer_list<const char*> path) {
  const json* const found = json_at(object, path);
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_being_deleted(const json& object) {
  return json_at(object, {"metadata", "deletionTimestamp"}) != nullptr;
}

bool mounts_claim(const json& pod_spec, std::string_view claim) {
  const json* const volumes = json_at(pod_spec, {"volumes"});
  return volumes != nullptr && volumes->is_array() &&
         std::ranges::any_of(*volumes, [&](const json& volume) {
           return json_text(volume, {"persistentVolumeClaim", "claimName"}) == claim;
         });
}

std::map<std::string, std::string> json_texts(const json& object,
                                              std::initializer_list<const char*> path) {
  std::map<std::string, std::string> out;
  const json* const found = json_at(object, path);
  if (found == nullptr || !found->is_object()) return out;
  for (const auto& [key, value] : found->items())
    if (value.is_string()) out.emplace(key, value.get<std::string>());
  return out;
}

std::string ClaimName::text() const {
  return fmt::format("{}{}/{}/{}", kPrefix, ns, kind == Kind::volume ? "pvc" : "obc", name);
}

bool is_claim_name(std::string_view text) { return text.starts_with(kPrefix); }

Result<ClaimName> parse_claim_name(std::string_view text) {
  const auto parts = split(text, '/');
  const bool good = parts.size() == 4 && is_claim_name(text) && is_object_name(parts[1]) &&
                    (parts[2] == "pvc" || parts[2] == "obc") && is_object_name(parts[3]);
  if (!good)
    return Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is not a claim")
        .with_hint("k8s/<namespace>/pvc/<name> or k8s/<namespace>/obc/<name>");
  return ClaimName{parts[2] == "pvc" ? ClaimName::Kind::volume : ClaimName::Kind::bucket, parts[1],
                   parts[3]};
}

Claim volume_claim(const json& pvc, const json* pv, const RadosNamespaces& namespaces) {
  Claim claim = named(pvc, ClaimName::Kind::volume);
  claim.volume = json_text(pvc, {"spec", "volumeName"});
  claim.size_bytes = parse_quantity(json_text(pvc, {"status", "capacity", "storage"})).value_or(0);
  claim.block = json_text(pvc, {"spec", "volumeMode"}) == "Block";
  claim.problem = binding_problem(pvc, pv);
  if (!claim.problem.empty()) return claim;
  claim.encrypted = json_text(*pv, {"spec", "csi", "volumeAttributes", "encrypted"}) == "true";
  const auto image = image_of(*pv, namespaces);
  if (!image) {
    claim.problem = image.error().message();
    return claim;
  }
  auto asset = AssetName::parse("rbd/" + image->text());
  if (asset)
    claim.asset = *std::move(asset);
  else
    claim.problem = asset.error().message();
  return claim;
}

Claim bucket_claim(const json& obc) {
  Claim claim = named(obc, ClaimName::Kind::bucket);
  // Releases of Rook before the bucket library settled wrote it with a capital letter.
  claim.volume = json_text(obc, {"spec", "objectBucketName"});
  if (claim.volume.empty()) claim.volume = json_text(obc, {"spec", "ObjectBucketName"});
  // The phase stays Bound while a claim goes, and a bucket may be named before there is one.
  if (is_being_deleted(obc))
    claim.problem = "the claim is being deleted";
  else if (json_text(obc, {"status", "phase"}) != "Bound")
    claim.problem = "the claim is not bound";
  if (!claim.problem.empty()) return claim;
  auto asset = AssetName::parse("s3/" + json_text(obc, {"spec", "bucketName"}));
  if (asset)
    claim.asset = *std::move(asset);
  else
    claim.problem = asset.error().message();
  return claim;
}

bool is_rbd_driver(std::string_view driver) {
  constexpr std::string_view kDriver = "rbd.csi.ceph.com";
  return driver == kDriver || (driver.size() > kDriver.size() + 1 && driver.ends_with(kDriver) &&
                               driver[driver.size() - kDriver.size() - 1] == '.');
}

std::string VolumeHandle::text() const {
  return fmt::format("0001-{:04x}-{}-{:016x}-{}", cluster_id.size(), cluster_id, pool_id, uuid);
}

std::optional<VolumeHandle> parse_volume_handle(std::string_view text) {
  constexpr std::size_t kUuid = 36, kPool = 16, kLength = 4;
  const auto hex = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  constexpr std::string_view kVersion = "0001-";
  if (!text.starts_with(kVersion) || text.size() < kVersion.size() + kLength + 1)
    return std::nullopt;
  const auto length = hex(text.substr(kVersion.size(), kLength));
  const std::string_view rest = text.substr(kVersion.size() + kLength);
  // A clusterID may hold dashes: only its length says where it ends.
  if (!length || rest.size() != 1 + *length + 1 + kPool + 1 + kUuid) return std::nullopt;
  if (rest[0] != '-' || rest[1 + *length] != '-' || rest[1 + *length + 1 + kPool] != '-')
    return std::nullopt;
  const auto pool = hex(rest.substr(1 + *length + 1, kPool));
  if (!pool) return std::nullopt;
  return VolumeHandle{std::string(rest.substr(1, *length)), *pool,
                      std::string(rest.substr(rest.size() - kUuid))};
}

std::string quantity_text(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGTPE";
  std::size_t unit = 0;
  while (bytes > 0 && bytes % 1024 == 0 && unit < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? std::to_string(bytes) : fmt::format("{}{}i", bytes, kUnits[unit - 1]);
}

std::optional<std::uint64_t> parse_quantity(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::string_view kUnits = "KMGTPE";
  double factor = 1;
  if (unit == "m") {
    factor = 1e-3;
  } else if (unit == "k") {
    factor = 1e3;
  } else if (!unit.empty()) {
    const auto power = kUnits.find(unit[0]);
    const bool binary = unit.size() == 2 && unit[1] == 'i';
    if (power == std::string_view::npos || (unit.size() != 1 && !binary) || unit == "K")
      return std::nullopt;
    factor = std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  const double bytes = std::ceil(number * factor);
  if (bytes >= 9.2e18) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace tidemark
