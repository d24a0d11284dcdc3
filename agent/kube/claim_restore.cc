#include "agent/kube/claim_restore.h"

#include <algorithm>

#include "base/bytes.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr const char* kPolicyAnnotation = "tidemark.dev/reclaim-policy";
constexpr const char* kNodeAnnotation = "volume.kubernetes.io/selected-node";

}  // namespace

ClaimRestore::ClaimRestore(kube::Client& client, Options options)
    : ClaimSteps(client, kube::kPersistentVolumeClaims, std::move(options)),
      point_bytes_(options.point_bytes),
      rados_namespaces_(std::move(options.rados_namespaces)),
      images_(*options.images) {}

Result<ClaimRestore::Found> ClaimRestore::look() {
  Found found;
  TM_TRY(found.claim, get(kube::kPersistentVolumeClaims, own(target().name)));
  TM_TRY(found.filling, get(kube::kPersistentVolumeClaims, own(filling_name_)));
  kube::ListOptions marked;
  marked.label_selector = std::string(kRestoreLabel) + "=" + mark_;
  TM_TRY(const auto volumes, client_.list(kube::kPersistentVolumes, marked, call()));
  for (const json& volume : volumes.items) {
    if (!is_ours(volume) || is_being_deleted(volume)) continue;
    const bool unfinished = json_text(volume, {"spec", "claimRef", "name"}) == filling_name_ &&
                            annotation_of(volume, kFilledAnnotation).empty();
    (unfinished ? found.abandoned : found.volume) = volume;
  }
  return found;
}

Status ClaimRestore::check_class() {
  TM_TRY(class_, find_storage_class());
  storage_class_ = name_of(class_);
  const std::string provisioner = json_text(class_, {"provisioner"});
  if (is_rbd_driver(provisioner)) return {};
  return Error(ErrorCode::unsupported, "storage class " + storage_class_ + " is of " + provisioner +
                                           ", not of ceph-csi RBD");
}

// That a volume of ours could be made, or was made by a run before.
Status ClaimRestore::check_volume(const Found& found) {
  if (common_.target.volume == ClaimTarget::Volume::dynamic) {
    if (common_.target.adopt)
      return Error(ErrorCode::invalid_argument, "a volume of a storage class gets a new image");
    if (!waits_for_pods() || found.filling || found.volume) return {};
    TM_TRY(const std::string node, node_to_provision_for());
    static_cast<void>(node);
    return {};
  }
  if (found.filling)
    return Error(ErrorCode::refused,
                 "a restore to " + target().text() + " with a volume of its class is under way")
        .with_hint("finish it by giving its command again, or remove claim " + target().ns + "/" +
                   filling_name_);
  if (class_parameter(class_, "pool").empty() || class_parameter(class_, "clusterID").empty())
    return Error(ErrorCode::unsupported,
                 "storage class " + storage_class_ + " names no pool or no clusterID");
  TM_TRY(const OwnVolume own, own_volume_of_target());
  const std::string name = name_of(own.object);
  TM_TRY(const auto there, get(kube::kPersistentVolumes, {"", name}));
  if (found.volume || !there) return {};
  const bool done = found.claim && is_ours(*found.claim) &&
                    json_text(*found.claim, {"spec", "volumeName"}) == name;
  if (done) return {};
  const std::string holder = json_text(*there, {"spec", "claimRef", "namespace"}) + "/" +
                             json_text(*there, {"spec", "claimRef", "name"});
  return Error(ErrorCode::already_exists,
               "volume " + name + " is there" + (holder == "/" ? "" : ", of claim " + holder));
}

Status ClaimRestore::check() {
  TM_DO(check_namespace());
  TM_DO(check_class());
  const json* const claim = manifest("PersistentVolumeClaim");
  const auto was =
      claim == nullptr
          ? std::nullopt
          : parse_quantity(json_text(*claim, {"spec", "resources", "requests", "storage"}));
  size_bytes_ = common_.target.size_bytes.value_or(std::max(point_bytes_, was.value_or(0)));
  if (size_bytes_ < point_bytes_)
    return Error(ErrorCode::invalid_argument,
                 "the point has " + format_bytes(point_bytes_) + ", and does not fit");
  TM_TRY(const Found found, look());
  TM_DO(check_under_way(found.filling));
  TM_DO(check_under_way(found.volume));
  TM_DO(check_volume(found));
  if (!found.claim || is_restored(found.claim)) return {};
  return check_in_the_way([&](const json& spec) { return mounts_claim(spec, target().name); });
}

// What the claim asks for, whichever name it has.
json ClaimRestore::spec_of_claim() const {
  json spec = {{"accessModes", json::array({"ReadWriteOnce"})}, {"volumeMode", "Filesystem"}};
  if (const json* const claim = manifest("PersistentVolumeClaim")) {
    const json was = claim->value("spec", json::object());
    for (const char* const key : {"accessModes", "volumeMode"})
      if (was.contains(key)) spec[key] = was[key];
  }
  spec["storageClassName"] = storage_class_;
  spec["resources"] = {{"requests", {{"storage", quantity_text(size_bytes_)}}}};
  return spec;
}

bool ClaimRestore::waits_for_pods() const {
  return json_text(class_, {"volumeBindingMode"}) == "WaitForFirstConsumer";
}

// A class that waits for a pod makes a volume for the node that the scheduler has chosen for it:
// where there is no pod yet, any that takes pods will do.
Result<std::string> ClaimRestore::node_to_provision_for() {
  TM_TRY(const auto nodes, client_.list(kube::kNodes, {}, call()));
  for (const json& node : nodes.items) {
    const json* const taints = json_at(node, {"spec", "taints"});
    const bool ready = std::ranges::any_of(
        node.value("status", json::object()).value("conditions", json::array()),
        [](const json& one) {
          return json_text(one, {"type"}) == "Ready" && json_text(one, {"status"}) == "True";
        });
    if (ready && (taints == nullptr || taints->empty())) return name_of(node);
  }
  return Error(ErrorCode::unavailable,
               "storage class " + storage_class_ + " makes volumes for a node, and none is ready")
      .with_hint("name a class with volumeBindingMode Immediate with --storage-class");
}

Result<json> ClaimRestore::filling_claim() {
  json metadata = filling_metadata();
  if (waits_for_pods()) {
    TM_TRY(metadata["annotations"][kNodeAnnotation], node_to_provision_for());
  }
  return json{{"apiVersion", "v1"},
              {"kind", "PersistentVolumeClaim"},
              {"metadata", std::move(metadata)},
              {"spec", spec_of_claim()}};
}

json ClaimRestore::final_claim(const std::string& volume) const {
  json object = {{"apiVersion", "v1"},
                 {"kind", "PersistentVolumeClaim"},
                 {"metadata", final_metadata()},
                 {"spec", spec_of_claim()}};
  object["spec"]["volumeName"] = volume;
  return object;
}

Result<json> ClaimRestore::patch_volume(const std::string& name, kube::PatchKind kind,
                                        const json& patch) {
  auto patched = client_.patch(kube::kPersistentVolumes, {"", name}, kind, patch, {}, call());
  // Whether it was done is seen where the run goes on from: it is given again.
  if (!patched) return Error(patched.error()).context("volume " + name);
  return *std::move(patched);
}

// Whether the claim is there, is not being deleted, and has the volume.
Result<bool> ClaimRestore::is_held_by(const json& volume, const json& claim) {
  TM_TRY(const auto now, get(claims_, own(name_of(claim))));
  return now && kube::uid_of(*now) == kube::uid_of(claim) && !is_being_deleted(*now) &&
         json_text(volume, {"spec", "claimRef", "uid"}) == kube::uid_of(claim);
}

// Lets the volume be what it would be without us: of a claim that is gone.
Status ClaimRestore::abandon(const json& volume) {
  const std::string policy = annotation_of(volume, kPolicyAnnotation);
  const auto patched = patch_volume(
      name_of(volume), kube::PatchKind::merge,
      {{"metadata",
        {{"labels", {{kRestoreLabel, nullptr}}},
         {"annotations",
          {{kPointAnnotation, nullptr},
           {kTargetAnnotation, nullptr},
           {kPolicyAnnotation, nullptr}}}}},
       {"spec", {{"persistentVolumeReclaimPolicy", policy.empty() ? "Delete" : policy}}}});
  return patched ? Status() : Status(patched.error());
}

// Retains the volume, and says of it that it is filled if the filling claim still has it then.
Result<json> ClaimRestore::keep_volume(const json& filling, const json& volume) {
  const std::string before = annotation_of(volume, kPolicyAnnotation);
  const std::string policy =
      before.empty() ? json_text(volume, {"spec", "persistentVolumeReclaimPolicy"}) : before;
  TM_TRY(const json kept, patch_volume(name_of(volume), kube::PatchKind::merge,
                                       {{"metadata",
                                         {{"labels", {{kRestoreLabel, mark_}}},
                                          {"annotations",
                                           {{kPointAnnotation, common_.point},
                                            {kTargetAnnotation, target().text()},
                                            {kPolicyAnnotation, policy}}}}},
                                        {"spec", {{"persistentVolumeReclaimPolicy", "Retain"}}}}));
  TM_TRY(const bool held, is_held_by(kept, filling));
  if (!held) {
    TM_DO(abandon(kept));
    return Error(ErrorCode::not_found,
                 "claim " + filling_name_ + " was removed while it was filled");
  }
  return patch_volume(name_of(volume), kube::PatchKind::merge,
                      {{"metadata", {{"annotations", {{kFilledAnnotation, common_.point}}}}}});
}

// The bound filling claim's volume with the point's data in it, marked as such.
Result<json> ClaimRestore::fill_volume(const json& filling) {
  const std::string name = json_text(filling, {"spec", "volumeName"});
  std::optional<json> found;
  const auto filled = [&]() -> Result<bool> {
    TM_TRY(found, get(kube::kPersistentVolumes, {"", name}));
    return found && annotation_of(*found, kFilledAnnotation) == common_.point;
  };
  TM_TRY(const bool already, filled());
  if (already) return *found;
  const Claim claim = volume_claim(filling, found ? &*found : nullptr, rados_namespaces_);
  if (!claim.asset) return Error(ErrorCode::unsupported, "the new claim: " + claim.problem);
  tell("fills image " + claim.asset->rbd().text());
  // Another run to the same claim may have filled it meanwhile, and given it to its pods.
  bool wanted = false;
  const auto ask = [&]() -> Result<bool> {
    TM_TRY(const bool done, filled());
    TM_TRY(wanted, found && !done ? is_held_by(*found, filling) : Result<bool>(false));
    return wanted;
  };
  Result<json> kept = Error(ErrorCode::not_found, "claim " + filling_name_ + " is gone");
  const Status written = images_.fill(claim.asset->rbd(), claim.size_bytes, ask);
  if (written && wanted) kept = keep_volume(filling, *found);
  images_.let_go();
  TM_DO(written);
  if (wanted) return kept;
  if (found && annotation_of(*found, kFilledAnnotation) == common_.point) return *found;
  return kept;
}

// Takes the volume from the filling claim, which goes.
Result<json> ClaimRestore::release(const json& filling, json volume) {
  TM_DO(remove(claims_, filling));
  TM_DO(wait_until_gone(claims_, filling));
  return volume;
}

// A claim in the way goes, and its volume stays, under nobody's claim.
Status ClaimRestore::put_aside(const json& claim, ClaimRestored& done) {
  const std::string volume = json_text(claim, {"spec", "volumeName"});
  if (!volume.empty()) {
    TM_DO(patch_volume(volume, kube::PatchKind::merge,
                       {{"spec", {{"persistentVolumeReclaimPolicy", "Retain"}}}}));
    done.put_aside = volume;
  }
  tell("puts aside the claim that is there; its volume " + volume + " is retained");
  TM_DO(remove(claims_, claim));
  return wait_until_gone(claims_, claim);
}

// Whether the claim that is to be made may have the volume: it is reserved for nobody else, and not
// for an earlier claim of that name.
Result<bool> ClaimRestore::is_reserved(const json& volume) {
  if (json_text(volume, {"spec", "claimRef", "name"}) != target().name ||
      json_text(volume, {"spec", "claimRef", "namespace"}) != target().ns)
    return false;
  const std::string uid = json_text(volume, {"spec", "claimRef", "uid"});
  if (uid.empty()) return true;
  TM_TRY(const auto there, get(claims_, own(target().name)));
  return there && kube::uid_of(*there) == uid;
}

Status ClaimRestore::reserve(const json& volume) {
  const std::string name = name_of(volume);
  TM_TRY(const bool reserved, is_reserved(volume));
  if (reserved) return {};
  const std::string held_by = json_text(volume, {"spec", "claimRef", "name"});
  if ((held_by != filling_name_ && held_by != target().name) ||
      json_text(volume, {"spec", "claimRef", "namespace"}) != target().ns)
    return Error(ErrorCode::refused, "volume " + name + " is held by claim " + held_by);
  const auto patched =
      patch_volume(name, kube::PatchKind::json,
                   json::array({{{"op", "test"},
                                 {"path", "/spec/claimRef/uid"},
                                 {"value", json_text(volume, {"spec", "claimRef", "uid"})}},
                                {{"op", "replace"},
                                 {"path", "/spec/claimRef"},
                                 {"value",
                                  {{"apiVersion", "v1"},
                                   {"kind", "PersistentVolumeClaim"},
                                   {"namespace", target().ns},
                                   {"name", target().name}}}}}));
  if (patched) return {};
  // Another run to the same claim may have been there first.
  TM_TRY(const auto now, get(kube::kPersistentVolumes, {"", name}));
  TM_TRY(const bool done, now ? is_reserved(*now) : Result<bool>(false));
  return done ? Status() : Status(patched.error());
}

// Reserves the volume for the claim, makes that, and gives the volume its own reclaim policy again.
Status ClaimRestore::hand_over(const json& volume, ClaimRestored& done) {
  const std::string name = name_of(volume);
  TM_DO(reserve(volume));
  TM_DO(create(claims_, final_claim(name)));
  TM_TRY(const json claim, wait_until_bound(target().name));
  if (json_text(claim, {"spec", "volumeName"}) != name)
    return Error(ErrorCode::refused, target().text() + " was made by somebody else meanwhile")
        .with_hint("volume " + name + " has the restored data");
  const std::string policy = annotation_of(volume, kPolicyAnnotation);
  TM_DO(patch_volume(
      name, kube::PatchKind::merge,
      {{"metadata",
        {{"labels", {{kRestoreLabel, nullptr}}}, {"annotations", {{kPolicyAnnotation, nullptr}}}}},
       {"spec", {{"persistentVolumeReclaimPolicy", policy.empty() ? "Delete" : policy}}}}));
  done.volume = name;
  return {};
}

// The volume with the point's data, which no filling claim holds any more.
Result<json> ClaimRestore::filled_volume(Found& found) {
  if (found.filling && is_being_deleted(*found.filling)) {
    TM_DO(wait_until_gone(claims_, *found.filling));
    found.filling.reset();
  }
  if (found.volume && !found.filling) return *found.volume;
  if (found.abandoned && !found.filling) TM_DO(abandon(*found.abandoned));
  if (!found.filling) {
    tell("asks storage class " + storage_class_ + " for a volume");
    TM_TRY(const json wanted, filling_claim());
    TM_DO(create(claims_, wanted));
  }
  TM_TRY(const json filling, wait_until_bound(filling_name_));
  TM_TRY(json volume, fill_volume(filling));
  return release(filling, std::move(volume));
}

Result<OwnVolume> ClaimRestore::own_volume_of_target() {
  VolumeMaking making;
  making.claim = target();
  making.claim_spec = spec_of_claim();
  making.storage_class = &class_;
  making.was = manifest("PersistentVolume");
  making.rados_namespaces = rados_namespaces_;
  if (common_.target.volume == ClaimTarget::Volume::fixed)
    return static_volume(making, "tidemark-" + mark_ + "-" + common_.point.substr(0, 8));
  TM_TRY(const std::int64_t pool, images_.pool_id(class_parameter(class_, "pool")));
  return same_volume(making, pool);
}

// A volume of ours around an image of ours, reserved for the claim. The image comes first: a volume
// that is there has its data.
Result<json> ClaimRestore::own_volume(Found& found) {
  if (found.volume) return *found.volume;
  TM_TRY(OwnVolume own, own_volume_of_target());
  const std::string name = name_of(own.object);
  tell((common_.target.adopt ? "takes image " : "makes image ") + own.image.text());
  TM_TRY(const std::string image_id, images_.make({.image = own.image,
                                                   .size_bytes = size_bytes_,
                                                   .data_pool = own.data_pool,
                                                   .mark = common_.point + " " + target().text(),
                                                   .adopt = common_.target.adopt}));
  if (!own.uuid.empty())
    TM_DO(images_.reserve({.uuid = own.uuid,
                           .volume = name,
                           .image = own.image,
                           .owner = target().ns,
                           .kms = own.kms,
                           .image_id = image_id}));
  json& metadata = own.object["metadata"];
  metadata["labels"][kRestoreLabel] = mark_;
  metadata["annotations"][kPointAnnotation] = common_.point;
  metadata["annotations"][kTargetAnnotation] = target().text();
  metadata["annotations"][kPolicyAnnotation] = own.reclaim_policy;
  const auto made = client_.create(kube::kPersistentVolumes, own.object, {}, call());
  if (made) return *made;
  if (!made.error().already_exists() && !made.error().outcome_unknown) return Error(made.error());
  TM_TRY(const auto there, get(kube::kPersistentVolumes, {"", name}));
  if (there && is_ours(*there)) return *there;
  return Error(made.error());
}

Result<ClaimRestored> ClaimRestore::run() {
  ClaimRestored done;
  TM_TRY(Found found, look());
  done.resumed = found.filling || found.volume;
  const bool ours = is_restored(found.claim);
  if (ours && !found.volume && !found.filling) {
    done.resumed = true;  // all of it was done
    done.volume = json_text(*found.claim, {"spec", "volumeName"});
  } else {
    const bool dynamic = common_.target.volume == ClaimTarget::Volume::dynamic;
    TM_TRY(const json volume, dynamic ? filled_volume(found) : own_volume(found));
    if (found.claim && !ours) TM_DO(put_aside(*found.claim, done));
    TM_DO(hand_over(volume, done));
  }
  TM_TRY(done.image, image_of_target(done.volume));
  return done;
}

Result<RbdImageName> ClaimRestore::image_of_target(const std::string& volume) {
  TM_TRY(const auto pv, get(kube::kPersistentVolumes, {"", volume}));
  TM_TRY(const auto pvc, get(kube::kPersistentVolumeClaims, own(target().name)));
  if (!pvc) return Error(ErrorCode::not_found, target().text() + " was removed meanwhile");
  const Claim claim = volume_claim(*pvc, pv ? &*pv : nullptr, rados_namespaces_);
  if (!claim.asset) return Error(ErrorCode::unavailable, target().text() + ": " + claim.problem);
  return claim.asset->rbd();
}

}  // namespace tidemark
