#include "agent/kube/drill_controller.h"

#include <algorithm>

#include "agent/kube/claim.h"
#include "agent/kube/followed_objects.h"
#include "agent/kube/object_event.h"
#include "base/log.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kCallMax{30};
constexpr std::chrono::minutes kRecoverAgain{1};
constexpr std::chrono::seconds kWriteAgain{10};
constexpr const char* kFinalizer = "tidemark.dev/drill";
// A drill that brings the agent down is not run for ever.
constexpr std::int64_t kAttemptsMax = 3;
constexpr int kTriesMax = 4;

std::string name_of(const json& object) {
  return drill_name_of(json_text(object, {"metadata", "namespace"}),
                       json_text(object, {"metadata", "name"}));
}

std::int64_t number_at(const json& object, std::initializer_list<const char*> path) {
  const json* const found = json_at(object, path);
  return found != nullptr && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

json finalizers_of(const json& object) {
  const json* const found = json_at(object, {"metadata", "finalizers"});
  return found != nullptr && found->is_array() ? *found : json::array();
}

bool has_finalizer(const json& object) {
  return std::ranges::any_of(finalizers_of(object),
                             [](const json& one) { return one == kFinalizer; });
}

// An object that is being deleted is still a plan, by which what its run made is removed.
DrillConfig without_schedule(DrillConfig plan) {
  plan.every.reset();
  plan.cron.reset();
  plan.calendar.reset();
  return plan;
}

bool counts(const json& object, const std::optional<DrillConfig>& plan) {
  return plan && (!is_being_deleted(object) || has_finalizer(object));
}

const char* result_name(DrillResult result) {
  switch (result) {
    case DrillResult::passed:
      return "Passed";
    case DrillResult::interrupted:
      return "Interrupted";
    default:
      return "Failed";
  }
}

std::string problem_of(const DrillReport& report) {
  if (!report.problem.empty()) return report.problem;
  for (const DrillAsset& asset : report.assets) {
    if (asset.result == DrillResult::passed || asset.result == DrillResult::skipped) continue;
    std::string why = asset.problem;
    for (const DrillCheck& check : asset.checks)
      if (why.empty() && check.result == DrillCheck::Result::failed)
        why = "check " + check.name + ": " + check.message;
    if (why.empty() && !asset.left.empty()) why = "what it made is left: " + asset.left.front();
    if (why.empty()) why = "an objective was not met";
    return asset.site + ":" + asset.asset + ": " + why;
  }
  return {};
}

json report_json(const DrillReport& report) {
  const auto passed = std::ranges::count(report.assets, DrillResult::passed, &DrillAsset::result);
  return {{"id", report.id},
          {"startTime", kube_time(report.started)},
          {"completionTime", kube_time(report.ended)},
          {"assets", report.assets.size()},
          {"passed", passed}};
}

}  // namespace

DrillController::DrillController(kube::Client& client, Clock& clock, Options options)
    : client_(client), clock_(clock), options_(std::move(options)) {
  for (const auto& [name, plan] : options_.config()->drills) file_plans_.insert(name);
}

kube::Call DrillController::call() const { return {options_.stop, net::uptime() + kCallMax}; }

void DrillController::run() {
  follow_objects(client_, kube::kDrills,
                 object_namespaces(*options_.config()->kubernetes, options_.own_ns), options_.stop,
                 *this);
}

void DrillController::on_changed(json object) {
  const std::lock_guard lock(mutex_);
  const std::string uid = kube::uid_of(object);
  const auto [at, is_new] = objects_.try_emplace(uid);
  // What we begin is written down before it begins: nobody knows it better than we do.
  if (is_new)
    at->second.run = {json_text(object, {"status", "run", "id"}),
                      number_at(object, {"status", "run", "generation"}),
                      number_at(object, {"status", "run", "attempts"})};
  update(uid, object);
}

void DrillController::on_gone(const std::string& uid, const kube::ObjectRef&, json) {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(uid);
  if (found == objects_.end()) return;
  // Somebody took the finalizer off.
  if (found->second.running) found->second.running->request_stop();
  objects_.erase(found);
  ++generation_;
}

DrillController::Kept* DrillController::find(const std::string& plan) {
  for (auto& [uid, kept] : objects_)
    if (name_of(kept.object) == plan) return &kept;
  return nullptr;
}

void DrillController::update(const std::string& uid, const json& object) {
  const auto found = objects_.find(uid);
  if (found == objects_.end()) return;
  Kept& kept = found->second;
  const bool same = !kept.object.is_null() && generation_of(kept.object) == generation_of(object) &&
                    is_being_deleted(kept.object) == is_being_deleted(object);
  if (counts(kept.object, kept.plan) != counts(object, kept.plan)) ++generation_;
  kept.object = object;
  if (!same) kept.judged = false;
  if (is_being_deleted(object) && kept.running) kept.running->request_stop();
}

void DrillController::settle() {
  const auto config = options_.config();
  const bool all = std::exchange(judged_by_, config) != config;
  const std::lock_guard lock(mutex_);
  for (auto& [uid, kept] : objects_) {
    if (kept.judged && !all) continue;
    const auto before = std::exchange(kept.plan, std::nullopt);
    const std::string said = kept.problem;
    auto plan = drill_of_object(kept.object, *config, options_.own_ns);
    if (file_plans_.contains(name_of(kept.object)))
      plan = Error(ErrorCode::already_exists, "the configuration has a drill of that name");
    Status good = plan ? Status() : plan.error();
    if (plan) kept.plan = is_being_deleted(kept.object) ? without_schedule(*plan) : *plan;
    // Another site's store is asked right before a run.
    if (good && options_.own_store != nullptr && plan->from == config->site)
      good = check_assets(kept.object, *plan);
    kept.reason = good ? std::string() : reason_of(good.error());
    kept.problem = good ? std::string() : good.error().message();
    if (!good && said != kept.problem)
      log::warn("{}: {}", name_of(kept.object), good.error().describe());
    kept.judged = true;
    if (before != kept.plan) ++generation_;
  }
}

void DrillController::add_plans(Config& config) {
  const std::lock_guard lock(mutex_);
  std::set<std::string> file_plans;
  for (const auto& [name, plan] : config.drills) file_plans.insert(name);
  if (std::exchange(file_plans_, std::move(file_plans)) != file_plans_)
    for (auto& [uid, kept] : objects_) kept.judged = false;
  for (const auto& [uid, kept] : objects_)
    if (counts(kept.object, kept.plan)) config.drills.emplace(name_of(kept.object), *kept.plan);
}

std::uint64_t DrillController::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

bool DrillController::wants_run(const Kept& kept) const {
  if (!kept.plan || !kept.judged || kept.running || is_being_deleted(kept.object)) return false;
  if (has_schedule(*kept.plan)) return false;
  if (kept.run.id.empty() || kept.run.generation != generation_of(kept.object)) return true;
  if (kept.run.attempts >= kAttemptsMax) return false;
  if (kept.last && kept.last->id == kept.run.id)
    return kept.last->result == DrillResult::interrupted;
  const auto report = drill_book(*options_.config()).find(kept.run.id);
  return !report || report->report.result == DrillResult::interrupted;
}

std::vector<std::string> DrillController::wanted() {
  std::vector<Kept> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [uid, kept] : objects_) all.push_back(kept);
  }
  std::vector<std::string> out;
  for (const Kept& kept : all)
    if (wants_run(kept)) out.push_back(name_of(kept.object));
  return out;
}

Status DrillController::check_assets(const json& object, const DrillConfig& plan) {
  const std::string ns = json_text(object, {"metadata", "namespace"});
  if (ns == options_.own_ns) return {};
  const auto config = options_.config();
  if (options_.own_store != nullptr && plan.from == config->site)
    return check_assets_of_namespace(*options_.own_store->store, plan, ns);
  TM_TRY(const StoreAccess access, open_store_named(*config, plan.from, clock_, options_.stop));
  return check_assets_of_namespace(*access.store, plan, ns);
}

// The finalizer first: it stands before there is anything to remove. What was seen last may be old.
Status DrillController::note_run(json object, const Run& run) {
  const std::string uid = kube::uid_of(object);
  auto fresh = client_.get(kube::kDrills, kube::ref_of(object), call());
  if (fresh) {
    if (kube::uid_of(*fresh) != uid || is_being_deleted(*fresh) ||
        generation_of(*fresh) != run.generation)
      return Error(ErrorCode::cancelled, "the object has changed");
    fresh = set_finalizer(*std::move(fresh), true);
  }
  if (fresh) {
    const json status = {
        {"run", {{"id", run.id}, {"generation", run.generation}, {"attempts", run.attempts}}}};
    fresh = patch_object_status(client_, kube::kDrills, *fresh, status, call());
  }
  if (!fresh && fresh.error().no_object()) return Error(ErrorCode::cancelled, "the object is gone");
  if (!fresh) return Error(fresh.error());
  const std::lock_guard lock(mutex_);
  update(uid, *fresh);
  const auto found = objects_.find(uid);
  if (found == objects_.end()) return Error(ErrorCode::cancelled, "the object is gone");
  found->second.run = run;
  return {};
}

Status DrillController::begin(const std::string& plan, const DrillConfig& drill,
                              const std::string& id, std::stop_source end) {
  json object;
  Run run;
  {
    const std::lock_guard freeing(freeing_mutex_);
    const std::lock_guard lock(mutex_);
    if (file_plans_.contains(plan)) return {};
    Kept* const kept = find(plan);
    if (kept == nullptr || is_being_deleted(kept->object))
      return Error(ErrorCode::cancelled, "the object goes");
    if (kept->plan != drill || !kept->judged)
      return Error(ErrorCode::cancelled, "the object has changed");
    object = kept->object;
    run = {id, generation_of(object), 1};
    if (kept->run.generation == run.generation && !has_schedule(drill))
      run.attempts = kept->run.attempts + 1;
    // From now on nobody takes the finalizer off, and a deletion ends the run.
    kept->running = std::move(end);
  }
  const Status may = check_assets(object, drill);
  const Status noted = may ? note_run(std::move(object), run) : may;
  const std::lock_guard lock(mutex_);
  Kept* const kept = find(plan);
  if (kept == nullptr) return Error(ErrorCode::cancelled, "the object is gone");
  if (kept->plan == drill) {
    kept->reason = may ? std::string() : reason_of(may.error());
    kept->problem = may ? std::string() : may.error().message();
  }
  if (!noted) kept->running.reset();
  return noted;
}

void DrillController::end(const std::string& plan) {
  const std::lock_guard lock(mutex_);
  for (auto& [uid, kept] : objects_)
    if (name_of(kept.object) == plan) kept.running.reset();
}

// Only as the object stands: others have finalizers, too.
kube::Outcome<json> DrillController::set_finalizer(json object, bool wanted) {
  const std::string uid = kube::uid_of(object);
  for (int tries = 1;; ++tries) {
    if (has_finalizer(object) == wanted) return object;
    json finalizers = finalizers_of(object);
    if (wanted)
      finalizers.push_back(kFinalizer);
    else
      std::erase_if(finalizers.get_ref<json::array_t&>(),
                    [](const json& one) { return one == kFinalizer; });
    const json patch = {{"metadata",
                         {{"uid", uid},
                          {"resourceVersion", kube::resource_version_of(object)},
                          {"finalizers", std::move(finalizers)}}}};
    auto patched = client_.patch(kube::kDrills, kube::ref_of(object), kube::PatchKind::merge, patch,
                                 {}, call());
    if (patched || !patched.error().conflict() || tries == kTriesMax) return patched;
    TM_TRY(object, client_.get(kube::kDrills, kube::ref_of(object), call()));
    if (kube::uid_of(object) != uid)
      return Error(ErrorCode::not_found, "there is another object of that name");
  }
}

void DrillController::report(const SiteStatus& status) {
  const auto notes = drill_book(*options_.config()).notes();
  if (!notes) return log::warn("drills: {}", notes.error().message());
  std::set<std::string> left;  // plans whose runs left something, or are under way
  for (const DrillNote& note : *notes) left.insert(note.plan);
  std::vector<std::pair<std::string, Kept>> all;
  {
    const std::lock_guard lock(mutex_);
    all.assign(objects_.begin(), objects_.end());
  }
  bool to_recover = false;
  for (auto& [uid, kept] : all) {
    if (options_.stop.stop_requested()) return;
    const std::string name = name_of(kept.object);
    to_recover |= !kept.running && left.contains(name);
    const auto found = std::ranges::find(status.drills, name, &DrillStatus::plan);
    // When it is due next is known once the plan was taken up.
    const bool unknown =
        found == status.drills.end() && kept.plan && !is_being_deleted(kept.object);
    if (unknown) continue;
    report_one(uid, std::move(kept), found == status.drills.end() ? DrillStatus{} : *found, left);
  }
  if (to_recover) recover();
}

std::optional<DrillReport> DrillController::last_report(const Kept& kept,
                                                        const DrillStatus& status) const {
  std::string id = kept.run.id;
  if (kept.plan && has_schedule(*kept.plan) && !status.last.empty()) id = status.last;
  if (id.empty() || kept.running) return kept.last;
  if (kept.last && kept.last->id == id) return kept.last;
  const auto found = drill_book(*options_.config()).find(id);
  if (!found || found->report.id != id) return kept.last;
  // Another object had the name before.
  const auto made = parse_time(json_text(kept.object, {"metadata", "creationTimestamp"}), {});
  if (made && id != kept.run.id && found->report.started < *made) return kept.last;
  return found->report;
}

void DrillController::report_one(const std::string& uid, Kept kept, const DrillStatus& status,
                                 const std::set<std::string>& left) {
  const std::string name = name_of(kept.object);
  if (!kept.judged || clock_.uptime() < kept.not_before) return;
  kept.last = last_report(kept, status);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = objects_.find(uid); found != objects_.end())
      found->second.last = kept.last;
  }
  Status done = write_status(uid, kept, status);
  if (done && !kept.running && !left.contains(name) && has_finalizer(kept.object))
    done = free_object(uid, kept.object);
  // What is gone needs nothing.
  if (done || done.error().code() == ErrorCode::not_found) return;
  log::warn("{}: {}", name, done.error().message());
  const std::lock_guard lock(mutex_);
  if (const auto found = objects_.find(uid); found != objects_.end())
    found->second.not_before = clock_.uptime() + kWriteAgain;
}

Status DrillController::write_status(const std::string& uid, Kept& kept,
                                     const DrillStatus& status) {
  const json now = status_of(kept, status);
  if (status_holds(kept.object, now)) return {};
  TM_TRY(json patched, patch_object_status(client_, kube::kDrills, kept.object, now, call()));
  tell(kept, now);
  kept.object = std::move(patched);
  const std::lock_guard lock(mutex_);
  update(uid, kept.object);
  return {};
}

Status DrillController::free_object(const std::string& uid, const json& object) {
  const std::lock_guard freeing(freeing_mutex_);
  {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(uid);
    if (found == objects_.end() || found->second.running) return {};
  }
  TM_TRY(const json freed, set_finalizer(object, false));
  const std::lock_guard lock(mutex_);
  update(uid, freed);
  return {};
}

ObjectCondition DrillController::passed(const Kept& kept, const DrillStatus& status) const {
  if (kept.running) return {"Passed", "Unknown", "Running", "drill " + kept.run.id};
  if (!status.error.empty()) return {"Passed", "False", "DrillNotRun", status.error};
  if (!kept.last && kept.run.attempts >= kAttemptsMax)
    return {"Passed", "False", "DrillNotRun", "given up: no run came to its end"};
  if (!kept.last) return {"Passed", "Unknown", "NotRunYet", ""};
  const DrillReport& report = *kept.last;
  const std::string said = summary(report);
  if (report.result == DrillResult::passed) return {"Passed", "True", "DrillPassed", said};
  const std::string why = said + "; " + problem_of(report);
  if (report.result == DrillResult::interrupted)
    return {"Passed", "Unknown", "DrillInterrupted", why};
  return {"Passed", "False", "DrillFailed", why};
}

json DrillController::status_of(const Kept& kept, const DrillStatus& status) const {
  const std::int64_t generation = generation_of(kept.object);
  const json before = kept.object.value("status", json::object()).value("conditions", json());
  ObjectCondition ready{"Ready", "True", "InForce", "run once for each change of it"};
  if (!kept.problem.empty())
    ready = {"Ready", "False", kept.reason, kept.problem};
  else if (kept.plan && has_schedule(*kept.plan))
    ready.message = "run by its schedule";
  if (is_being_deleted(kept.object))
    ready = {"Ready", "False", "Deleted", "goes when all is removed"};
  json conditions = with_condition(before, ready, generation, clock_.now());
  conditions = with_condition(conditions, passed(kept, status), generation, clock_.now());
  json out = {{"observedGeneration", generation}, {"conditions", std::move(conditions)}};
  const bool due = status.next_due && kept.plan && has_schedule(*kept.plan);
  out["nextRunTime"] = due ? json(kube_time(*status.next_due)) : json();
  out["lastReport"] = kept.last ? report_json(*kept.last) : json();
  out["result"] = kept.last ? json(result_name(kept.last->result)) : json();
  return out;
}

// What is new since the status that the object has.
void DrillController::tell(const Kept& kept, const json& status) {
  const auto event = [&](bool warning, const std::string& reason, const std::string& note) {
    record_event(client_, kube::kDrills, kept.object, {warning, "Drill", reason, note},
                 options_.config()->site, clock_.now(), call());
  };
  for (const json& condition : status.at("conditions")) {
    const std::string type = json_text(condition, {"type"});
    const std::string reason = json_text(condition, {"reason"});
    const std::string message = json_text(condition, {"message"});
    if (is_told(kept.object, condition)) continue;
    if (type == "Ready" && !kept.problem.empty() && !is_being_deleted(kept.object))
      event(true, "DrillNotRun", message);
    if (type == "Passed" && reason == "DrillNotRun" && kept.problem.empty())
      event(true, reason, message);
  }
  if (!kept.last || kept.last->id == json_text(kept.object, {"status", "lastReport", "id"})) return;
  const DrillReport& report = *kept.last;
  std::string note = "drill " + report.id + ": " + summary(report);
  if (report.result == DrillResult::passed) return event(false, "DrillPassed", note);
  note += "; " + problem_of(report);
  event(true, report.result == DrillResult::interrupted ? "DrillNotRun" : "DrillFailed", note);
}

void DrillController::recover() {
  if (recovering_ || clock_.uptime() < recover_again_) return;
  recover_again_ = clock_.uptime() + kRecoverAgain;
  recovering_ = true;
  recoverer_ = std::jthread([this] {
    const auto config = options_.config();
    DrillOptions how;
    how.stop = options_.stop;
    how.store = options_.own_store;
    if (const auto found = recover_drills(*config, clock_, how); !found)
      log::warn("drills: {}", found.error().message());
    recovering_ = false;
  });
}

}  // namespace tidemark
