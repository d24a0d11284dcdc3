#include "agent/kube/restore_order.h"

namespace tidemark {
namespace {

using nlohmann::json;

std::string or_else(std::string text, const std::string& other) {
  return text.empty() ? other : std::move(text);
}

// The kind of claim that stands there, volumes' where none does.
ClaimName::Kind kind_at(const json& object, std::initializer_list<const char*> path) {
  return json_text(object, path) == "ObjectBucketClaim" ? ClaimName::Kind::bucket
                                                        : ClaimName::Kind::volume;
}

Result<ClaimName> name_of_claim(const json& object, const char* which, ClaimName::Kind kind,
                                const std::string& own_ns) {
  ClaimName name{kind, or_else(json_text(object, {"spec", which, "namespace"}), own_ns),
                 json_text(object, {"spec", which, "name"})};
  return parse_claim_name(name.text());
}

}  // namespace

Result<RestoreOrder> parse_restore_order(const json& object, const std::string& own_ns) {
  RestoreOrder order;
  order.ns = json_text(object, {"metadata", "namespace"});
  order.name = json_text(object, {"metadata", "name"});
  order.uid = json_text(object, {"metadata", "uid"});
  const auto metadata = object.find("metadata");
  if (metadata != object.end() && metadata->contains("generation") &&
      (*metadata)["generation"].is_number_integer())
    order.generation = (*metadata)["generation"];
  order.point = json_text(object, {"spec", "point"});
  order.as_of = json_text(object, {"spec", "asOf"});
  const std::string claim = json_text(object, {"spec", "claim", "name"});
  if (order.point.empty() == claim.empty())
    return Error(ErrorCode::invalid_argument, "spec names either a point or a claim");
  if (!claim.empty()) {
    TM_TRY(order.claim,
           name_of_claim(object, "claim", kind_at(object, {"spec", "claim", "kind"}), order.ns));
  }
  order.kind_given = !json_text(object, {"spec", "target", "kind"}).empty();
  const ClaimName::Kind kind = order.kind_given ? kind_at(object, {"spec", "target", "kind"})
                               : order.claim    ? order.claim->kind
                                                : ClaimName::Kind::volume;
  TM_TRY(order.target.name, name_of_claim(object, "target", kind, order.ns));
  order.target.storage_class = json_text(object, {"spec", "target", "storageClassName"});
  order.target.bucket = json_text(object, {"spec", "target", "bucketName"});
  const std::string size = json_text(object, {"spec", "target", "size"});
  if (!size.empty()) {
    order.target.size_bytes = parse_quantity(size);
    if (!order.target.size_bytes)
      return Error(ErrorCode::invalid_argument, "'" + size + "' is not a size");
  }
  const json spec = object.value("spec", json::object());
  const auto wants = [&](const char* what) {
    const json* const found = json_at(spec, {"target", what});
    return found != nullptr && *found == true;
  };
  if (wants("static") && wants("sameVolume"))
    return Error(ErrorCode::invalid_argument, "target is either static or sameVolume");
  if (wants("static")) order.target.volume = ClaimTarget::Volume::fixed;
  if (wants("sameVolume")) order.target.volume = ClaimTarget::Volume::same;
  order.target.adopt = wants("adopt");
  order.target.force = spec.value("force", json()) == true;
  const bool everywhere = order.ns == own_ns;
  const bool own =
      order.target.name.ns == order.ns && (!order.claim || order.claim->ns == order.ns);
  if (!everywhere && !own)
    return Error(ErrorCode::refused, "a restore reads and makes claims of its own namespace only")
        .with_hint("make it in namespace " + own_ns);
  return order;
}

Result<ClaimTarget> target_of_order(const RestoreOrder& order, ClaimName::Kind kind) {
  const bool bucket = kind == ClaimName::Kind::bucket;
  if (order.kind_given && order.target.name.kind != kind)
    return Error(ErrorCode::invalid_argument,
                 bucket ? "a bucket's point is restored to an ObjectBucketClaim"
                        : "a volume's point is restored to a PersistentVolumeClaim");
  const bool of_volumes = order.target.size_bytes ||
                          order.target.volume != ClaimTarget::Volume::dynamic || order.target.adopt;
  if (bucket && of_volumes)
    return Error(ErrorCode::invalid_argument,
                 "target's size, static, sameVolume and adopt are of volumes");
  if (!bucket && !order.target.bucket.empty())
    return Error(ErrorCode::invalid_argument, "target.bucketName is of bucket claims");
  ClaimTarget target = order.target;
  target.name.kind = kind;
  return target;
}

Status check_point_of_order(const RestoreOrder& order, const ClaimName& claim,
                            const std::string& own_ns) {
  if (order.ns == own_ns || claim.ns == order.ns) return {};
  return Error(ErrorCode::refused, "the point is of " + claim.text() + ", in another namespace");
}

}  // namespace tidemark
