#include "agent/kube/restore_controller.h"

#include <fmt/core.h>

#include <algorithm>

#include "agent/kube/bucket_fill.h"
#include "agent/kube/claim_points.h"
#include "agent/kube/claims.h"
#include "agent/kube/fill.h"
#include "agent/kube/followed_objects.h"
#include "agent/kube/object_event.h"
#include "agent/kube/object_status.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/queue.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::chrono::minutes kCallMax{2};
constexpr std::chrono::seconds kProgressEvery{5};
constexpr std::size_t kNoteBytesMax = 1000;  // the API takes 1 KiB

bool can_be_tried_again(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unavailable:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::cancelled:
    case ErrorCode::permission_denied:  // a right may be given, a key be put in place
      return true;
    default:
      return false;
  }
}

// The store that an agent without one of its own restores from.
Result<std::string> only_peer(const Config& config) {
  const std::vector<std::string> peers = peers_with_url(config);
  if (peers.empty()) return Error(ErrorCode::invalid_argument, "there is no store to restore from");
  if (peers.size() > 1)
    return Error(ErrorCode::invalid_argument, "it is not clear which store is meant");
  return peers.front();
}

}  // namespace

kube::Call RestoreController::call() const { return {options_.stop, net::uptime() + kCallMax}; }

void RestoreController::on_changed(json object) {
  const std::string uid = kube::uid_of(object);
  const std::lock_guard lock(mutex_);
  waiting_[uid] = kube::ref_of(object);
  changed_.notify_all();
}

void RestoreController::on_gone(const std::string& uid, const kube::ObjectRef&, json) {
  const std::lock_guard lock(mutex_);
  waiting_.erase(uid);
  not_before_.erase(uid);
}

void RestoreController::run() {
  const auto namespaces = object_namespaces(*options_.config()->kubernetes, options_.own_ns);
  const std::jthread watching(
      [&] { follow_objects(client_, kube::kRestores, namespaces, options_.stop, *this); });
  while (!options_.stop.stop_requested()) {
    std::optional<std::pair<std::string, kube::ObjectRef>> next;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, options_.stop, std::chrono::seconds(1), [&] {
        const auto now = clock_.uptime();
        const auto due = std::ranges::find_if(waiting_, [&](const auto& entry) {
          const auto not_before = not_before_.find(entry.first);
          return not_before == not_before_.end() || not_before->second <= now;
        });
        if (due == waiting_.end()) return false;
        next = *due;
        waiting_.erase(due);
        return true;
      });
    }
    if (!next || options_.stop.stop_requested()) continue;
    const log::JobScope scope(log::new_job("restore"));
    const Done done = reconcile(next->second);
    const std::lock_guard lock(mutex_);
    not_before_.erase(next->first);
    if (done == Done::ended) continue;
    not_before_[next->first] = clock_.uptime() + options_.again;
    waiting_.emplace(next->first, next->second);
  }
}

Status RestoreController::patch_status(json& object, json status) {
  auto patched = patch_object_status(client_, kube::kRestores, object, std::move(status), call());
  if (!patched) return Error(patched.error());
  object = *std::move(patched);
  return {};
}

Status RestoreController::say(json& object, const std::string& phase, const std::string& ready,
                              const std::string& reason, const std::string& message, json more) {
  const std::int64_t generation = object.at("metadata").value("generation", std::int64_t{0});
  const json before = object.value("status", json::object()).value("conditions", json::array());
  const std::string cut = message.substr(0, kNoteBytesMax);
  // Told once, and not each time that the same is tried again.
  const bool told = std::ranges::any_of(before, [&](const json& one) {
    return json_text(one, {"type"}) == "Ready" && json_text(one, {"status"}) == ready &&
           json_text(one, {"reason"}) == reason && json_text(one, {"message"}) == cut;
  });
  more["phase"] = phase;
  more["observedGeneration"] = generation;
  more["conditions"] =
      with_condition(before, {"Ready", ready, reason, cut}, generation, clock_.now());
  TM_DO(patch_status(object, std::move(more)));
  if (!told)
    record_event(client_, kube::kRestores, object,
                 {.warning = phase == "Failed", .action = "Restore", .reason = reason, .note = cut},
                 options_.config()->site, clock_.now(), call());
  return {};
}

Result<PointRow> RestoreController::choose_point(const RestoreOrder& order,
                                                 const StoreAccess& access) {
  PointStore& store = *access.store;
  PointQuery query;
  if (!order.point.empty()) {
    query.id_prefix = order.point;
    return store.find(query);
  }
  std::optional<Timestamp> as_of;
  if (!order.as_of.empty()) {
    TM_TRY(as_of, parse_time(order.as_of, clock_.now()));
  }
  TM_TRY(const SiteAsset asset, asset_of_claim(store, {"", *order.claim, ""}, as_of));
  query.site = asset.site;
  query.asset = asset.asset.text();
  query.newest = !as_of;
  query.as_of = as_of.value_or(Timestamp{});
  return store.find(query);
}

std::shared_ptr<void> RestoreController::show_progress(const json& object,
                                                       std::uint64_t total_bytes,
                                                       std::function<std::uint64_t()> done_bytes) {
  return std::make_shared<std::jthread>(
      [this, &object, total_bytes,
       done_bytes = std::move(done_bytes)](const std::stop_token& over) {
        while (sleep_for(over, kProgressEvery)) {
          const std::uint64_t done = std::min(done_bytes(), total_bytes);
          json progress = {{"bytesDone", done},
                           {"bytesTotal", total_bytes},
                           {"percent", total_bytes == 0 ? 0 : 100 * done / total_bytes}};
          json copy = object;
          ignore_error(patch_status(copy, {{"progress", std::move(progress)}}), "it comes again");
        }
      });
}

Result<RestoreController::Restored> RestoreController::restore_volume(const Work& work,
                                                                      json& object) {
  TM_TRY(auto options,
         claim_restore_of(work.point, work.keys, *work.config->kubernetes, work.target));
  options.stop = options_.stop;
  TM_TRY(const auto restore,
         VolumeRestore::open(*work.access.store, work.keys, work.point, options_.stop));
  RestoredImages images(
      *restore, [&] { return CephCluster::connect(ceph_config(work.config->ceph)); },
      [&] {
        return show_progress(object, work.point.point.record.size_bytes,
                             [&] { return restore->progress().position_bytes.load(); });
      });
  options.images = &images;
  ClaimRestore run(client_, std::move(options));
  TM_DO(run.check());
  TM_TRY(const ClaimRestored done, run.run());
  log::info("restored {}: volume {}, image {}", work.target.name.text(), done.volume,
            done.image.text());
  return Restored{"bound to volume " + done.volume, {{"volumeName", done.volume}}};
}

Result<RestoreController::Restored> RestoreController::restore_bucket(const Work& work,
                                                                      json& object) {
  TM_TRY(auto options, restore_options_of(work.point, work.keys, work.target));
  options.stop = options_.stop;
  TM_TRY(const auto point, BucketPoint::open(*work.access.store, work.keys, work.point));
  BucketFill fill(*point, options.manifests, work.config->s3, clock_, options_.stop);
  BucketWork steps = fill.work();
  steps.fill = [&, inner = steps.fill](const BucketLogin& login, const std::string& user) {
    const auto shown = show_progress(object, work.point.point.record.size_bytes,
                                     [&] { return fill.progress().done_bytes; });
    return inner(login, user);
  };
  BucketClaimRestore run(client_, std::move(options), std::move(steps));
  TM_DO(run.check());
  TM_TRY(const BucketClaimRestored done, run.run());
  log::info("restored {}: bucket {}", work.target.name.text(), done.bucket);
  std::string message = "bound to bucket " + done.bucket +
                        (done.old_keys ? ", with the keys that it had" : ", with new keys");
  if (!done.put_aside.empty()) message += "; bucket " + done.put_aside + " is kept";
  const auto problems = fill.problems();
  for (const RestoreProblem& problem : problems)
    log::warn("not restored: {} of {}: {}", problem.what, work.target.name.text(), problem.message);
  if (!problems.empty())
    message += fmt::format("; {} settings were not restored, the first: {}: {}", problems.size(),
                           problems.front().what, problems.front().message);
  return Restored{std::move(message), {{"bucketName", done.bucket}}};
}

Result<RestoreController::Restored> RestoreController::carry_out(const RestoreOrder& order,
                                                                 json& object) {
  const auto config = options_.config();
  StoreAccess opened;
  const StoreAccess* access = options_.own_store;
  if (access == nullptr) {
    TM_TRY(const std::string peer, only_peer(*config));
    TM_TRY(opened, open_store_named(*config, peer, clock_, options_.stop));
    access = &opened;
  }
  TM_TRY(const StoreKeys* const keys, access->need_keys());
  // Chosen once: a restore that goes on after a restart is of the same point.
  RestoreOrder settled = order;
  const std::string chosen = json_text(object, {"status", "pointID"});
  if (!chosen.empty()) settled.point = chosen;
  TM_TRY(PointRow point, choose_point(settled, *access));
  const PointRecord record = point.point.record;
  const auto label = record.labels.find(std::string(kClaimLabel));
  if (label == record.labels.end())
    return Error(ErrorCode::refused, "point " + record.id.hex() + " was not taken of a claim")
        .with_hint("restore it with 'tidemark restore --to-pvc' or '--to-obc'");
  TM_TRY(const ClaimName claim, parse_claim_name(label->second));
  TM_DO(check_point_of_order(order, claim, options_.own_ns));
  const bool of_bucket = record.kind == PointKind::bucket;
  TM_TRY(ClaimTarget target,
         target_of_order(order, of_bucket ? ClaimName::Kind::bucket : ClaimName::Kind::volume));
  TM_DO(say(object, "Running", "False", "Restoring",
            "point " + record.id.hex() + " of " + claim.text(),
            {{"pointID", record.id.hex()},
             {"startTime", json_text(object, {"status", "startTime"}).empty()
                               ? kube_time(clock_.now())
                               : json_text(object, {"status", "startTime"})}}));
  const Work work{config, *access, *keys, std::move(point), std::move(target)};
  return of_bucket ? restore_bucket(work, object) : restore_volume(work, object);
}

RestoreController::Done RestoreController::reconcile(const kube::ObjectRef& ref) {
  auto object = client_.get(kube::kRestores, ref, call());
  if (!object) return object.error().code() == ErrorCode::not_found ? Done::ended : Done::again;
  const std::string phase = json_text(*object, {"status", "phase"});
  if (phase == "Succeeded" || phase == "Failed") return Done::ended;
  if (object->at("metadata").contains("deletionTimestamp")) return Done::ended;
  const std::string text = kube::to_string(ref);
  const auto order = parse_restore_order(*object, options_.own_ns);
  auto done = order ? carry_out(*order, *object) : Result<Restored>(Error(order.error()));
  if (options_.stop.stop_requested() && !done) return Done::again;
  Status told;
  Done next = Done::ended;
  if (done) {
    log::info("restore {}: {}", text, done->message);
    json status = std::move(done->status);
    status["progress"] = {{"percent", 100}};
    status["completionTime"] = kube_time(clock_.now());
    told = say(*object, "Succeeded", "True", "Restored", done->message, std::move(status));
  } else if (can_be_tried_again(done.error())) {
    log::warn("restore {}: {}", text, done.error().describe());
    told = say(*object, phase.empty() ? "Pending" : phase, "False", reason_of(done.error()),
               done.error().message());
    next = Done::again;
  } else {
    log::error("restore {}: {}", text, done.error().describe());
    told = say(*object, "Failed", "False", reason_of(done.error()), done.error().message(),
               {{"completionTime", kube_time(clock_.now())}});
  }
  if (!told) log::warn("restore {}: its status: {}", text, told.error().message());
  return told ? next : Done::again;
}

}  // namespace tidemark
