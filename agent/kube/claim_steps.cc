#include "agent/kube/claim_steps.h"

#include "agent/kube/claims.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::chrono::minutes kCallMax{2};
constexpr std::size_t kMarkDigits = 16;

std::string mark_of(const ClaimName& name) {
  return sha256(as_bytes(name.text())).hex().substr(0, kMarkDigits);
}

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

std::string annotation_of(const json& object, const char* key) {
  return json_text(object, {"metadata", "annotations", key});
}
std::string phase_of(const json& object) { return json_text(object, {"status", "phase"}); }
std::string name_of(const json& object) { return json_text(object, {"metadata", "name"}); }
bool is_running(const json& pod) {
  const std::string phase = phase_of(pod);
  return phase != "Succeeded" && phase != "Failed";
}

ClaimSteps::ClaimSteps(kube::Client& client, const kube::Resource& claims,
                       ClaimRestoreOptions options)
    : client_(client),
      claims_(claims),
      common_(std::move(options)),
      mark_(mark_of(common_.target.name)),
      filling_name_("tidemark-restore-" + mark_) {}

kube::Call ClaimSteps::call() const { return {common_.stop, net::uptime() + kCallMax}; }

void ClaimSteps::tell(const std::string& line) const {
  log::info("{}: {}", target().text(), line);
  if (common_.tell) common_.tell(line);
}

const json* ClaimSteps::manifest(std::string_view kind) const {
  for (const json& object : common_.manifests)
    if (json_text(object, {"kind"}) == kind) return &object;
  return nullptr;
}

bool ClaimSteps::is_ours(const json& object) const {
  return annotation_of(object, kTargetAnnotation) == target().text();
}

bool ClaimSteps::is_restored(const std::optional<json>& claim) const {
  return claim && is_ours(*claim) && annotation_of(*claim, kPointAnnotation) == common_.point;
}

Result<std::optional<json>> ClaimSteps::get(const kube::Resource& resource,
                                            const kube::ObjectRef& ref) {
  auto object = client_.get(resource, ref, call());
  if (object) return std::optional(*std::move(object));
  if (object.error().no_object()) return std::optional<json>();
  return Error(object.error());
}

Status ClaimSteps::create(const kube::Resource& resource, const json& object) {
  const auto made = client_.create(resource, object, {}, call());
  if (made || made.error().already_exists() || made.error().outcome_unknown) return {};
  return Error(made.error());
}

Status ClaimSteps::remove(const kube::Resource& resource, const json& object) {
  kube::RemoveOptions options;
  options.uid = kube::uid_of(object);
  const auto removed = client_.remove(resource, kube::ref_of(object), options, call());
  if (removed || removed.error().outcome_unknown) return {};
  return Error(removed.error());
}

Status ClaimSteps::wait_until_gone(const kube::Resource& resource, const json& object) {
  const kube::ObjectRef ref = kube::ref_of(object);
  const std::string what = std::string(resource.kind) + " " + kube::to_string(ref) + " to go";
  return wait_for(what, [&]() -> Result<bool> {
    TM_TRY(const auto now, get(resource, ref));
    return !now || kube::uid_of(*now) != kube::uid_of(object);
  });
}

Status ClaimSteps::wait_for(const std::string& what, const std::function<Result<bool>()>& look) {
  const auto end = net::uptime() + common_.patience;
  while (true) {
    TM_TRY(const bool there, look());
    if (there) return {};
    if (net::uptime() >= end)
      return Error(ErrorCode::deadline_exceeded,
                   what + ": not within " + format_duration(common_.patience));
    if (!sleep_for(common_.stop, common_.step)) return Error(ErrorCode::cancelled, what);
  }
}

Result<json> ClaimSteps::wait_until_bound(const std::string& name) {
  json claim;
  const Status bound = wait_for("claim " + name + " to be bound", [&]() -> Result<bool> {
    TM_TRY(const auto now, get(claims_, own(name)));
    if (!now) return Error(ErrorCode::not_found, "claim " + name + " is gone");
    if (is_being_deleted(*now))
      return Error(ErrorCode::not_found, "claim " + name + " is being deleted");
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

Result<std::string> ClaimSteps::last_event_of(const std::string& claim) {
  kube::ListOptions options;
  options.ns = target().ns;
  std::string last;
  kube::ListVisitor visitor;
  visitor.item = [&](json event) -> Status {
    const bool meant = json_text(event, {"regarding", "name"}) == claim &&
                       json_text(event, {"regarding", "kind"}) == claims_.kind &&
                       json_text(event, {"type"}) == "Warning";
    if (meant) last = json_text(event, {"reason"}) + ": " + json_text(event, {"note"});
    return {};
  };
  const auto listed = client_.list(kube::kEvents, options, visitor, call());
  if (!listed) return Error(listed.error());
  return last;
}

Result<std::string> ClaimSteps::pods_that_use(const std::function<bool(const json&)>& uses) {
  kube::ListOptions options;
  options.ns = target().ns;
  std::string names;
  kube::ListVisitor visitor;
  visitor.item = [&](json pod) -> Status {
    if (is_running(pod) && uses(pod.value("spec", json::object())))
      names += (names.empty() ? "" : ", ") + name_of(pod);
    return {};
  };
  visitor.restarted = [&] { names.clear(); };
  const auto listed = client_.list(kube::kPods, options, visitor, call());
  if (!listed) return Error(listed.error());
  return names;
}

Status ClaimSteps::check_namespace() {
  TM_TRY(const auto found, get(kube::kNamespaces, {"", target().ns}));
  if (found) return {};
  return Error(ErrorCode::not_found, "there is no namespace " + target().ns)
      .with_hint("make it: kubectl create namespace " + target().ns);
}

Result<json> ClaimSteps::find_storage_class() {
  std::string name = common_.target.storage_class;
  const json* const claim = manifest(claims_.kind);
  if (name.empty() && claim != nullptr) {
    name = json_text(*claim, {"spec", "storageClassName"});
    if (const auto here = common_.target.classes.find(name); here != common_.target.classes.end())
      name = here->second;
  }
  if (name.empty())
    return Error(ErrorCode::invalid_argument, "the point names no storage class")
        .with_hint("name one with --storage-class");
  TM_TRY(auto found, get(kube::kStorageClasses, {"", name}));
  if (!found)
    return Error(ErrorCode::not_found, "there is no storage class " + name)
        .with_hint("name one of this cluster with --storage-class");
  return *std::move(found);
}

Status ClaimSteps::check_under_way(const std::optional<json>& object) const {
  if (!object || annotation_of(*object, kPointAnnotation) == common_.point) return {};
  return Error(ErrorCode::refused, "a restore of point " +
                                       annotation_of(*object, kPointAnnotation).substr(0, 12) +
                                       " to " + target().text() + " is under way")
      .with_hint("finish it by giving its command again, or remove claim " + target().ns + "/" +
                 filling_name_);
}

Status ClaimSteps::check_in_the_way(const std::function<bool(const json&)>& uses) {
  TM_TRY(const std::string pods, pods_that_use(uses));
  if (!common_.target.force)
    return Error(ErrorCode::already_exists,
                 target().text() + " is there" + (pods.empty() ? "" : ", and pods use it: " + pods))
        .with_hint("restore to another name, or put it aside with --force");
  if (!pods.empty())
    return Error(ErrorCode::refused, target().text() + " is used by pods: " + pods)
        .with_hint("stop them: a claim that is in use is not put aside");
  return {};
}

json ClaimSteps::filling_metadata() const {
  return {
      {"namespace", target().ns},
      {"name", filling_name_},
      {"labels", {{"app.kubernetes.io/managed-by", "tidemark"}, {kRestoreLabel, mark_}}},
      {"annotations", {{kPointAnnotation, common_.point}, {kTargetAnnotation, target().text()}}}};
}

json ClaimSteps::final_metadata() const {
  json out = {{"namespace", target().ns}, {"name", target().name}, {"annotations", json::object()}};
  if (const json* const claim = manifest(claims_.kind)) {
    out["annotations"] = kept_annotations(*claim);
    out["labels"] = json_texts(*claim, {"metadata", "labels"});
  }
  out["annotations"][kPointAnnotation] = common_.point;
  out["annotations"][kTargetAnnotation] = target().text();
  return out;
}

}  // namespace tidemark
