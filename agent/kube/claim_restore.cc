#include "agent/kube/claim_restore.h"

#include <fmt/core.h>

#include <algorithm>

#include "agent/kube/claims.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr const char* kPointAnnotation = "tidemark.dev/point";
constexpr const char* kTargetAnnotation = "tidemark.dev/restores";
constexpr const char* kFilledAnnotation = "tidemark.dev/filled";
constexpr const char* kPolicyAnnotation = "tidemark.dev/reclaim-policy";
constexpr const char* kNodeAnnotation = "volume.kubernetes.io/selected-node";
constexpr const char* kRestoreLabel = "tidemark.dev/restore";
constexpr std::chrono::minutes kCallMax{2};
constexpr std::size_t kMarkDigits = 16;

std::string mark_of(const ClaimName& name) {
  return sha256(as_bytes(name.text())).hex().substr(0, kMarkDigits);
}

std::string annotation(const json& object, const char* key) {
  return json_text(object, {"metadata", "annotations", key});
}

std::string phase_of(const json& object) { return json_text(object, {"status", "phase"}); }
std::string name_of(const json& object) { return json_text(object, {"metadata", "name"}); }

// What a user wrote on the claim; not what controllers did.
json kept_annotations(const json& manifest) {
  json out = json::object();
  for (const auto& [key, value] : json_texts(manifest, {"metadata", "annotations"}))
    if (!key.starts_with("pv.kubernetes.io/") && !key.starts_with("volume.") &&
        !key.starts_with("tidemark.dev/restore") && !key.starts_with("tidemark.dev/point") &&
        !key.starts_with("tidemark.dev/filled"))
      out[key] = value;
  return out;
}

}  // namespace

ClaimRestore::ClaimRestore(kube::Client& client, Options options)
    : client_(client),
      options_(std::move(options)),
      filling_name_("tidemark-restore-" + mark_of(options_.target.name)),
      mark_(mark_of(options_.target.name)) {}

kube::Call ClaimRestore::call() const { return {options_.stop, net::uptime() + kCallMax}; }

void ClaimRestore::tell(const std::string& line) const {
  log::info("{}: {}", options_.target.name.text(), line);
  if (options_.tell) options_.tell(line);
}

const json* ClaimRestore::manifest(std::string_view kind) const {
  for (const json& object : options_.manifests)
    if (json_text(object, {"kind"}) == kind) return &object;
  return nullptr;
}

bool ClaimRestore::is_ours(const json& object) const {
  return annotation(object, kTargetAnnotation) == options_.target.name.text();
}

Result<std::optional<json>> ClaimRestore::get(const kube::Resource& resource,
                                              const kube::ObjectRef& ref) {
  auto object = client_.get(resource, ref, call());
  if (object) return std::optional(*std::move(object));
  if (object.error().no_object()) return std::optional<json>();
  return Error(object.error());
}

Result<ClaimRestore::Found> ClaimRestore::look() {
  const ClaimName& name = options_.target.name;
  Found found;
  TM_TRY(found.claim, get(kube::kPersistentVolumeClaims, {name.ns, name.name}));
  TM_TRY(found.filling, get(kube::kPersistentVolumeClaims, {name.ns, filling_name_}));
  kube::ListOptions marked;
  marked.label_selector = std::string(kRestoreLabel) + "=" + mark_;
  TM_TRY(const auto volumes, client_.list(kube::kPersistentVolumes, marked, call()));
  for (const json& volume : volumes.items)
    if (is_ours(volume) && !volume["metadata"].contains("deletionTimestamp")) found.volume = volume;
  return found;
}

template <class Look>
Status ClaimRestore::wait_for(const std::string& what, const Look& look) {
  const auto end = net::uptime() + options_.patience;
  while (true) {
    TM_TRY(const bool there, look());
    if (there) return {};
    if (net::uptime() >= end)
      return Error(ErrorCode::deadline_exceeded,
                   what + ": not within " + format_duration(options_.patience));
    if (!sleep_for(options_.stop, options_.step)) return Error(ErrorCode::cancelled, what);
  }
}

Status ClaimRestore::check_class() {
  const json* const claim = manifest("PersistentVolumeClaim");
  storage_class_ = options_.target.storage_class;
  if (storage_class_.empty() && claim != nullptr)
    storage_class_ = json_text(*claim, {"spec", "storageClassName"});
  if (storage_class_.empty())
    return Error(ErrorCode::invalid_argument, "the point names no storage class")
        .with_hint("name one with --storage-class");
  TM_TRY(const auto found, get(kube::kStorageClasses, {"", storage_class_}));
  if (!found)
    return Error(ErrorCode::not_found, "there is no storage class " + storage_class_)
        .with_hint("name one of this cluster with --storage-class");
  const std::string provisioner = json_text(*found, {"provisioner"});
  if (!is_rbd_driver(provisioner))
    return Error(ErrorCode::unsupported, "storage class " + storage_class_ + " is of " +
                                             provisioner + ", not of ceph-csi RBD");
  class_ = *found;
  return {};
}

// That a volume of ours could be made, or was made by a run before.
Status ClaimRestore::check_volume(const Found& found) {
  if (options_.target.volume == ClaimTarget::Volume::dynamic) {
    if (options_.target.adopt)
      return Error(ErrorCode::invalid_argument, "a volume of a storage class gets a new image");
    if (!waits_for_pods() || found.filling || found.volume) return {};
    TM_TRY(const std::string node, node_to_provision_for());
    static_cast<void>(node);
    return {};
  }
  if (found.filling)
    return Error(ErrorCode::refused, "a restore to " + options_.target.name.text() +
                                         " with a volume of its class is under way")
        .with_hint("finish it by giving its command again, or remove claim " +
                   options_.target.name.ns + "/" + filling_name_);
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

Result<std::string> ClaimRestore::pods_that_use(const std::string& claim) {
  kube::ListOptions options;
  options.ns = options_.target.name.ns;
  std::string names;
  kube::ListVisitor visitor;
  visitor.item = [&](json pod) -> Status {
    const std::string phase = phase_of(pod);
    if (phase == "Succeeded" || phase == "Failed") return {};
    const json spec = pod.value("spec", json::object());
    for (const json& volume : spec.value("volumes", json::array()))
      if (json_text(volume, {"persistentVolumeClaim", "claimName"}) == claim)
        names += (names.empty() ? "" : ", ") + name_of(pod);
    return {};
  };
  visitor.restarted = [&] { names.clear(); };
  const auto listed = client_.list(kube::kPods, options, visitor, call());
  if (!listed) return Error(listed.error());
  return names;
}

Status ClaimRestore::check_in_the_way() {
  const std::string text = options_.target.name.text();
  TM_TRY(const std::string pods, pods_that_use(options_.target.name.name));
  if (!options_.target.force)
    return Error(ErrorCode::already_exists,
                 text + " is there" + (pods.empty() ? "" : ", and pods use it: " + pods))
        .with_hint("restore to another name, or put it aside with --force");
  if (!pods.empty())
    return Error(ErrorCode::refused, text + " is used by pods: " + pods)
        .with_hint("stop them: the claim does not go while they run");
  return {};
}

Status ClaimRestore::check() {
  const ClaimName& name = options_.target.name;
  TM_TRY(const auto ns, get(kube::kNamespaces, {"", name.ns}));
  if (!ns)
    return Error(ErrorCode::not_found, "there is no namespace " + name.ns)
        .with_hint("make it: kubectl create namespace " + name.ns);
  TM_DO(check_class());
  const json* const claim = manifest("PersistentVolumeClaim");
  const auto was =
      claim == nullptr
          ? std::nullopt
          : parse_quantity(json_text(*claim, {"spec", "resources", "requests", "storage"}));
  size_bytes_ =
      options_.target.size_bytes.value_or(std::max(options_.point_bytes, was.value_or(0)));
  if (size_bytes_ < options_.point_bytes)
    return Error(ErrorCode::invalid_argument,
                 "the point has " + format_bytes(options_.point_bytes) + ", and does not fit");
  TM_TRY(const Found found, look());
  for (const auto& object : {found.filling, found.volume})
    if (object && annotation(*object, kPointAnnotation) != options_.point)
      return Error(ErrorCode::refused, "a restore of point " +
                                           annotation(*object, kPointAnnotation).substr(0, 12) +
                                           " to " + name.text() + " is under way")
          .with_hint("finish it by giving its command again, or remove claim " + name.ns + "/" +
                     filling_name_);
  const bool ours = found.claim && is_ours(*found.claim) &&
                    annotation(*found.claim, kPointAnnotation) == options_.point;
  TM_DO(check_volume(found));
  return found.claim && !ours ? check_in_the_way() : Status();
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
  json annotations = {{kPointAnnotation, options_.point},
                      {kTargetAnnotation, options_.target.name.text()}};
  if (waits_for_pods()) {
    TM_TRY(annotations[kNodeAnnotation], node_to_provision_for());
  }
  return json{{"apiVersion", "v1"},
              {"kind", "PersistentVolumeClaim"},
              {"metadata",
               {{"namespace", options_.target.name.ns},
                {"name", filling_name_},
                {"labels", {{"app.kubernetes.io/managed-by", "tidemark"}, {kRestoreLabel, mark_}}},
                {"annotations", std::move(annotations)}}},
              {"spec", spec_of_claim()}};
}

json ClaimRestore::final_claim(const std::string& volume) const {
  json object = {{"apiVersion", "v1"},
                 {"kind", "PersistentVolumeClaim"},
                 {"metadata",
                  {{"namespace", options_.target.name.ns},
                   {"name", options_.target.name.name},
                   {"annotations", json::object()}}},
                 {"spec", spec_of_claim()}};
  if (const json* const claim = manifest("PersistentVolumeClaim")) {
    object["metadata"]["annotations"] = kept_annotations(*claim);
    object["metadata"]["labels"] = json_texts(*claim, {"metadata", "labels"});
  }
  object["metadata"]["annotations"][kPointAnnotation] = options_.point;
  object["metadata"]["annotations"][kTargetAnnotation] = options_.target.name.text();
  object["spec"]["volumeName"] = volume;
  return object;
}

Result<std::string> ClaimRestore::last_event_of(const std::string& claim) {
  kube::ListOptions options;
  options.ns = options_.target.name.ns;
  std::string last;
  kube::ListVisitor visitor;
  visitor.item = [&](json event) -> Status {
    const bool meant = json_text(event, {"regarding", "name"}) == claim &&
                       json_text(event, {"regarding", "kind"}) == "PersistentVolumeClaim" &&
                       json_text(event, {"type"}) == "Warning";
    if (meant) last = json_text(event, {"reason"}) + ": " + json_text(event, {"note"});
    return {};
  };
  const auto listed = client_.list(kube::kEvents, options, visitor, call());
  if (!listed) return Error(listed.error());
  return last;
}

Result<json> ClaimRestore::wait_until_bound(const std::string& name) {
  json claim;
  const Status bound = wait_for("claim " + name + " to be bound", [&]() -> Result<bool> {
    TM_TRY(const auto now, get(kube::kPersistentVolumeClaims, {options_.target.name.ns, name}));
    if (!now) return Error(ErrorCode::not_found, "claim " + name + " is gone");
    if (phase_of(*now) == "Lost") return Error(ErrorCode::not_found, "claim " + name + " is lost");
    claim = *now;
    return phase_of(claim) == "Bound";
  });
  if (bound) return claim;
  if (bound.error().code() != ErrorCode::deadline_exceeded) return bound.error();
  const auto said = last_event_of(name);
  if (!said || said->empty()) return bound.error();
  return Error(ErrorCode::deadline_exceeded, bound.error().message() + "; " + *said);
}

Result<json> ClaimRestore::patch_volume(const std::string& name, kube::PatchKind kind,
                                        const json& patch) {
  auto patched = client_.patch(kube::kPersistentVolumes, {"", name}, kind, patch, {}, call());
  // Whether it was done is seen where the run goes on from: it is given again.
  if (!patched) return Error(patched.error()).context("volume " + name);
  return *std::move(patched);
}

// The bound filling claim's volume with the point's data in it, marked as such.
Result<json> ClaimRestore::fill_volume(const json& filling) {
  const std::string name = json_text(filling, {"spec", "volumeName"});
  TM_TRY(const auto found, get(kube::kPersistentVolumes, {"", name}));
  const Claim claim = volume_claim(filling, found ? &*found : nullptr, options_.rados_namespaces);
  if (!claim.asset) return Error(ErrorCode::unsupported, "the new claim: " + claim.problem);
  if (annotation(*found, kFilledAnnotation) == options_.point) return *found;
  tell("fills image " + claim.asset->rbd().text());
  TM_DO(options_.images->fill(claim.asset->rbd(), claim.size_bytes));
  return patch_volume(
      name, kube::PatchKind::merge,
      {{"metadata",
        {{"labels", {{kRestoreLabel, mark_}}},
         {"annotations",
          {{kPointAnnotation, options_.point},
           {kTargetAnnotation, options_.target.name.text()},
           {kFilledAnnotation, options_.point},
           {kPolicyAnnotation, json_text(*found, {"spec", "persistentVolumeReclaimPolicy"})}}}}}});
}

// Takes the volume from the filling claim, which goes.
Result<json> ClaimRestore::release(const json& filling, json volume) {
  TM_TRY(volume, patch_volume(name_of(volume), kube::PatchKind::merge,
                              {{"spec", {{"persistentVolumeReclaimPolicy", "Retain"}}}}));
  const std::string uid = kube::uid_of(filling);
  kube::RemoveOptions options;
  options.uid = uid;
  const auto removed = client_.remove(kube::kPersistentVolumeClaims,
                                      {options_.target.name.ns, filling_name_}, options, call());
  if (!removed && !removed.error().outcome_unknown) return Error(removed.error());
  TM_DO(wait_until_gone(filling_name_, uid));
  return volume;
}

Status ClaimRestore::wait_until_gone(const std::string& claim, const std::string& uid) {
  return wait_for("claim " + claim + " to go", [&]() -> Result<bool> {
    TM_TRY(const auto now, get(kube::kPersistentVolumeClaims, {options_.target.name.ns, claim}));
    return !now || kube::uid_of(*now) != uid;
  });
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
  kube::RemoveOptions options;
  options.uid = kube::uid_of(claim);
  const auto removed =
      client_.remove(kube::kPersistentVolumeClaims,
                     {options_.target.name.ns, options_.target.name.name}, options, call());
  if (!removed && !removed.error().outcome_unknown) return Error(removed.error());
  return wait_until_gone(options_.target.name.name, kube::uid_of(claim));
}

// Reserves the volume for the claim, makes that, and gives the volume its own reclaim policy again.
Status ClaimRestore::hand_over(const json& volume, ClaimRestored& done) {
  const ClaimName& target = options_.target.name;
  const std::string name = name_of(volume);
  const std::string held_by = json_text(volume, {"spec", "claimRef", "name"});
  if (held_by == filling_name_)
    TM_DO(patch_volume(name, kube::PatchKind::json,
                       json::array({{{"op", "test"},
                                     {"path", "/spec/claimRef/uid"},
                                     {"value", json_text(volume, {"spec", "claimRef", "uid"})}},
                                    {{"op", "replace"},
                                     {"path", "/spec/claimRef"},
                                     {"value",
                                      {{"apiVersion", "v1"},
                                       {"kind", "PersistentVolumeClaim"},
                                       {"namespace", target.ns},
                                       {"name", target.name}}}}})));
  else if (held_by != target.name ||
           json_text(volume, {"spec", "claimRef", "namespace"}) != target.ns)
    return Error(ErrorCode::refused, "volume " + name + " is held by claim " + held_by);
  const auto made = client_.create(kube::kPersistentVolumeClaims, final_claim(name), {}, call());
  if (!made && !made.error().already_exists() && !made.error().outcome_unknown)
    return Error(made.error());
  TM_TRY(const json claim, wait_until_bound(target.name));
  if (json_text(claim, {"spec", "volumeName"}) != name)
    return Error(ErrorCode::refused, target.text() + " was made by somebody else meanwhile")
        .with_hint("volume " + name + " has the restored data");
  const std::string policy = annotation(volume, kPolicyAnnotation);
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
  if (found.filling && found.filling->at("metadata").contains("deletionTimestamp")) {
    TM_DO(wait_until_gone(filling_name_, kube::uid_of(*found.filling)));
    found.filling.reset();
  }
  if (found.volume && !found.filling) return *found.volume;
  if (!found.filling) {
    tell("asks storage class " + storage_class_ + " for a volume");
    TM_TRY(json wanted, filling_claim());
    const auto made = client_.create(kube::kPersistentVolumeClaims, std::move(wanted), {}, call());
    // Whether it is there is seen in a moment.
    if (!made && !made.error().already_exists() && !made.error().outcome_unknown)
      return Error(made.error());
  }
  TM_TRY(const json filling, wait_until_bound(filling_name_));
  TM_TRY(json volume, fill_volume(filling));
  return release(filling, std::move(volume));
}

Result<OwnVolume> ClaimRestore::own_volume_of_target() {
  VolumeMaking making;
  making.claim = options_.target.name;
  making.claim_spec = spec_of_claim();
  making.storage_class = &class_;
  making.was = manifest("PersistentVolume");
  making.rados_namespaces = options_.rados_namespaces;
  if (options_.target.volume == ClaimTarget::Volume::fixed)
    return static_volume(making, "tidemark-" + mark_ + "-" + options_.point.substr(0, 8));
  TM_TRY(const std::int64_t pool, options_.images->pool_id(class_parameter(class_, "pool")));
  return same_volume(making, pool);
}

// A volume of ours around an image of ours, reserved for the claim. The image comes first: a volume
// that is there has its data.
Result<json> ClaimRestore::own_volume(Found& found) {
  if (found.volume) return *found.volume;
  TM_TRY(OwnVolume own, own_volume_of_target());
  const std::string name = name_of(own.object);
  tell((options_.target.adopt ? "takes image " : "makes image ") + own.image.text());
  TM_TRY(const std::string image_id,
         options_.images->make({.image = own.image,
                                .size_bytes = size_bytes_,
                                .data_pool = own.data_pool,
                                .mark = options_.point + " " + options_.target.name.text(),
                                .adopt = options_.target.adopt}));
  if (!own.uuid.empty())
    TM_DO(options_.images->reserve({.uuid = own.uuid,
                                    .volume = name,
                                    .image = own.image,
                                    .owner = options_.target.name.ns,
                                    .kms = own.kms,
                                    .image_id = image_id}));
  json& metadata = own.object["metadata"];
  metadata["labels"][kRestoreLabel] = mark_;
  metadata["annotations"][kPointAnnotation] = options_.point;
  metadata["annotations"][kTargetAnnotation] = options_.target.name.text();
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
  const bool ours = found.claim && is_ours(*found.claim) &&
                    annotation(*found.claim, kPointAnnotation) == options_.point;
  if (ours && !found.volume && !found.filling) {
    done.resumed = true;  // all of it was done
    done.volume = json_text(*found.claim, {"spec", "volumeName"});
  } else {
    const bool dynamic = options_.target.volume == ClaimTarget::Volume::dynamic;
    TM_TRY(const json volume, dynamic ? filled_volume(found) : own_volume(found));
    if (found.claim && !ours) TM_DO(put_aside(*found.claim, done));
    TM_DO(hand_over(volume, done));
  }
  TM_TRY(done.image, image_of_target(done.volume));
  return done;
}

Result<RbdImageName> ClaimRestore::image_of_target(const std::string& volume) {
  const ClaimName& target = options_.target.name;
  TM_TRY(const auto pv, get(kube::kPersistentVolumes, {"", volume}));
  TM_TRY(const auto pvc, get(kube::kPersistentVolumeClaims, {target.ns, target.name}));
  if (!pvc) return Error(ErrorCode::not_found, target.text() + " was removed meanwhile");
  const Claim claim = volume_claim(*pvc, pv ? &*pv : nullptr, options_.rados_namespaces);
  if (!claim.asset) return Error(ErrorCode::unavailable, target.text() + ": " + claim.problem);
  return claim.asset->rbd();
}

}  // namespace tidemark
