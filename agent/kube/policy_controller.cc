#include "agent/kube/policy_controller.h"

#include <algorithm>

#include "agent/kube/claim.h"
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
  kube::Watch watch(client_, kube::kProtectionPolicies, {}, *this);
  if (const Status ended = watch.run(stop_); !ended)
    log::error("protection policies: {}", ended.error().describe());
}

void PolicyController::on_changed(json object) {
  last_trouble_.clear();
  Kept kept;
  auto policy = policy_of_object(object, *config_(), own_ns_);
  if (policy) {
    kept.policy = *std::move(policy);
  } else {
    kept.reason = reason_of(policy.error());
    kept.problem = policy.error().message();
    log::warn("{}: {}", name_of(object), policy.error().describe());
  }
  kept.object = std::move(object);
  const std::lock_guard lock(mutex_);
  Kept& known = objects_[kube::uid_of(kept.object)];
  if (known.policy != kept.policy) ++generation_;
  kept.written = std::move(known.written);
  known = std::move(kept);
}

void PolicyController::on_gone(const std::string& uid, const kube::ObjectRef&, json) {
  const std::lock_guard lock(mutex_);
  if (objects_.erase(uid) > 0) ++generation_;
}

void PolicyController::on_trouble(const kube::ApiError& error) {
  if (std::exchange(last_trouble_, error.message()) != error.message())
    log::warn("protection policies: {}", error.describe());
}

std::map<std::string, PolicyConfig> PolicyController::policies() const {
  std::map<std::string, PolicyConfig> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [uid, kept] : objects_)
    if (kept.policy && !kept.object["metadata"].contains("deletionTimestamp"))
      out.emplace(name_of(kept.object), *kept.policy);
  return out;
}

std::uint64_t PolicyController::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

json PolicyController::status_of(const Kept& kept, const SiteStatus& status) const {
  const std::int64_t generation = kept.object["metadata"].value("generation", std::int64_t{0});
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

void PolicyController::report(const SiteStatus& status) {
  std::vector<std::pair<std::string, Kept>> all;
  {
    const std::lock_guard lock(mutex_);
    all.assign(objects_.begin(), objects_.end());
  }
  for (auto& [uid, kept] : all) {
    if (stop_.stop_requested()) return;
    json now = status_of(kept, status);
    // By the merge patch that null is, absent and null are the same.
    if (now == kept.written) continue;
    const auto patched = patch_object_status(client_, kube::kProtectionPolicies, kept.object, now,
                                             {stop_, net::uptime() + kCallMax});
    if (!patched) {
      log::warn("status of {}: {}", name_of(kept.object), patched.error().message());
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (const auto found = objects_.find(uid); found != objects_.end())
      found->second.written = std::move(now);
  }
}

}  // namespace tidemark
