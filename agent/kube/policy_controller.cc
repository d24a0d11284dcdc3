#include "agent/kube/policy_controller.h"

#include <algorithm>

#include "agent/kube/claim.h"
#include "agent/kube/followed_objects.h"
#include "agent/kube/object_event.h"
#include "agent/kube/object_status.h"
#include "base/log.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kCallMax{30};

std::string name_of(const json& object) {
  return policy_name_of(json_text(object, {"metadata", "namespace"}),
                        json_text(object, {"metadata", "name"}));
}

}  // namespace

void PolicyController::run() {
  follow_objects(client_, kube::kProtectionPolicies,
                 object_namespaces(*config_()->kubernetes, own_ns_), stop_, *this);
}

void PolicyController::on_changed(json object) {
  const std::lock_guard lock(mutex_);
  Kept& kept = objects_[kube::uid_of(object)];
  update(kept, std::move(object));
}

// What we wrote into its status ourselves comes back, too: that is no reason to judge it anew.
void PolicyController::update(Kept& kept, json object) {
  const bool known = !kept.object.is_null();
  if (!known || generation_of(kept.object) != generation_of(object)) kept.judged = false;
  if (known && is_being_deleted(kept.object) != is_being_deleted(object)) ++generation_;
  kept.object = std::move(object);
}

void PolicyController::settle() {
  const auto config = config_();
  const bool all = std::exchange(judged_by_, config) != config;
  const std::lock_guard lock(mutex_);
  for (auto& [uid, kept] : objects_) {
    if (kept.judged && !all) continue;
    const auto before = std::exchange(kept.policy, std::nullopt);
    const std::string said = std::exchange(kept.problem, std::string());
    kept.reason.clear();
    auto policy = policy_of_object(kept.object, *config, own_ns_);
    if (policy) {
      kept.policy = *std::move(policy);
    } else {
      kept.reason = reason_of(policy.error());
      kept.problem = policy.error().message();
      if (said != kept.problem)
        log::warn("{}: {}", name_of(kept.object), policy.error().describe());
    }
    kept.judged = true;
    if (before != kept.policy) ++generation_;
  }
}

void PolicyController::on_gone(const std::string& uid, const kube::ObjectRef&, json) {
  const std::lock_guard lock(mutex_);
  if (objects_.erase(uid) > 0) ++generation_;
}

std::map<std::string, PolicyConfig> PolicyController::policies() const {
  std::map<std::string, PolicyConfig> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [uid, kept] : objects_)
    if (kept.policy && !is_being_deleted(kept.object))
      out.emplace(name_of(kept.object), *kept.policy);
  return out;
}

std::uint64_t PolicyController::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

json PolicyController::status_of(const Kept& kept, const SiteStatus& status) const {
  const std::int64_t generation = generation_of(kept.object);
  const json before = kept.object.value("status", json::object()).value("conditions", json());
  const std::string name = name_of(kept.object);
  std::int64_t claims = 0, failing = 0;
  std::optional<Timestamp> last, next;
  for (const AssetStatus& asset : status.assets) {
    if (asset.policy != name) continue;
    ++claims;
    failing += asset.failures_in_a_row > 0 ? 1 : 0;
    if (asset.newest) last = std::max(last.value_or(asset.newest->time), asset.newest->time);
    if (asset.next_due) next = std::min(next.value_or(*asset.next_due), *asset.next_due);
  }
  ObjectCondition ready{"Ready", "True", "InForce", std::to_string(claims) + " claims"};
  if (!kept.policy) ready = {"Ready", "False", kept.reason, kept.problem};
  ObjectCondition healthy{"BackupsSucceed", "True", "AsExpected", ""};
  if (failing > 0)
    healthy = {"BackupsSucceed", "False", "BackupsFail",
               std::to_string(failing) + " of " + std::to_string(claims) + " claims fail"};
  json conditions = with_condition(before, ready, generation, clock_.now());
  conditions = with_condition(conditions, healthy, generation, clock_.now());
  return {{"observedGeneration", generation},
          {"conditions", std::move(conditions)},
          {"protectedClaims", claims},
          {"lastPointTime", last ? json(kube_time(*last)) : json()},
          {"nextRunTime", next ? json(kube_time(*next)) : json()}};
}

// After a start it takes a while until its claims and their points were looked at.
bool PolicyController::is_known(const Kept& kept, const SiteStatus& status) const {
  if (!kept.policy || is_being_deleted(kept.object) || clock_.uptime() > known_by_) return true;
  const std::string name = name_of(kept.object);
  bool any = std::ranges::find(status.idle_policies, name) != status.idle_policies.end();
  for (const AssetStatus& asset : status.assets) {
    if (asset.policy != name) continue;
    if (!asset.known) return false;
    any = true;
  }
  return any;
}

void PolicyController::report(const SiteStatus& status) {
  std::vector<std::pair<std::string, Kept>> all;
  {
    const std::lock_guard lock(mutex_);
    all.assign(objects_.begin(), objects_.end());
  }
  for (auto& [uid, kept] : all) {
    if (stop_.stop_requested()) return;
    if (!kept.judged || !is_known(kept, status)) continue;
    const json now = status_of(kept, status);
    if (status_holds(kept.object, now)) continue;
    auto patched = patch_object_status(client_, kube::kProtectionPolicies, kept.object, now,
                                       {stop_, net::uptime() + kCallMax});
    if (!patched) {
      log::warn("status of {}: {}", name_of(kept.object), patched.error().message());
      continue;
    }
    tell(kept, now);
    const std::lock_guard lock(mutex_);
    if (const auto found = objects_.find(uid); found != objects_.end())
      update(found->second, *std::move(patched));
  }
}

// What is new since the status that the object has.
void PolicyController::tell(const Kept& kept, const json& status) {
  for (const json& condition : status.at("conditions")) {
    const bool good = json_text(condition, {"status"}) == "True";
    // The numbers in messages change with the claims; that it got better or worse is told.
    const json* const before = json_at(kept.object, {"status", "conditions"});
    const bool same = before != nullptr && std::ranges::any_of(*before, [&](const json& one) {
                        return json_text(one, {"type"}) == json_text(condition, {"type"}) &&
                               json_text(one, {"reason"}) == json_text(condition, {"reason"});
                      });
    if (same || (good && before == nullptr && json_text(condition, {"type"}) != "Ready")) continue;
    record_event(
        client_, kube::kProtectionPolicies, kept.object,
        {!good, "Protect", json_text(condition, {"reason"}), json_text(condition, {"message"})},
        config_()->site, clock_.now(), {stop_, net::uptime() + kCallMax});
  }
}

}  // namespace tidemark
