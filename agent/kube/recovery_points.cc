#include "agent/kube/recovery_points.h"

#include <algorithm>
#include <thread>

#include "agent/kube/claims.h"
#include "agent/kube/followed_objects.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/queue.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kCallMax{30};
constexpr std::chrono::seconds kStep{1};
constexpr Duration kLookStep = std::chrono::seconds(2);
// A busy store is read for a tenth of the time at most.
constexpr int kPauseFactor = 9;
constexpr Duration kPeerStep = std::chrono::seconds(15), kPeerAgain = std::chrono::minutes(1);
constexpr std::chrono::seconds kPeerPatienceHere{10};
// A journal that begins anew can come to the same number: a peer is read anew now and then.
constexpr Duration kReread = std::chrono::minutes(10);
constexpr Duration kPauseFirst = std::chrono::seconds(30), kPauseMax = std::chrono::hours(1);
constexpr Duration kAwayFirst = std::chrono::seconds(2), kAwayMax = std::chrono::minutes(2);
// So many times the points that are wanted are held while a store is read.
constexpr std::size_t kHeldFactor = 4;

json at_or_empty(const json& object, std::initializer_list<const char*> path) {
  const json* const found = json_at(object, path);
  return found != nullptr && found->is_object() ? *found : json::object();
}

// The same later is no better for the others.
bool is_about_the_server(const kube::ApiError& error) {
  if (error.no_such_api()) return true;
  switch (error.code()) {
    case ErrorCode::unavailable:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::cancelled:
    case ErrorCode::internal:
      return true;
    default:
      return error.status == 401;
  }
}

}  // namespace

class RecoveryPoints::Followed : public kube::WatchHandler {
 public:
  Followed(RecoveryPoints& owner, std::string ns) : owner_(owner), ns_(std::move(ns)) {}

  void run() {
    kube::WatchOptions options;
    options.ns = ns_;
    options.label_selector = shown_points_selector(owner_.options_.config()->site);
    kube::Watch watch(owner_.client_, kube::kRecoveryPoints, options, *this);
    if (const Status ended = watch.run(owner_.options_.stop); !ended)
      log::error("recovery points: {}", ended.error().describe());
  }

  // REQUIRES for the rest: the owner's mutex is held.
  const std::string& ns() const { return ns_; }
  bool forbidden() const { return forbidden_; }
  bool settled() const { return listed_ || (forbidden_ && !ns_.empty()); }

  void on_changed(json object) override { owner_.keep(object); }
  void on_gone(const std::string& uid, const kube::ObjectRef&, json) override {
    owner_.forget(uid);
  }
  void on_listed(std::size_t) override {
    const std::lock_guard lock(owner_.mutex_);
    listed_ = true;
    forbidden_ = false;
    trouble_.clear();
    owner_.stirred_ = true;
  }
  void on_trouble(const kube::ApiError& error) override {
    const std::lock_guard lock(owner_.mutex_);
    forbidden_ = error.code() == ErrorCode::permission_denied;
    if (std::exchange(trouble_, error.message()) != error.message())
      log::warn("recovery points: {}", error.describe());
  }

 private:
  RecoveryPoints& owner_;
  const std::string ns_;
  bool listed_ = false, forbidden_ = false;
  std::string trouble_;
};

RecoveryPoints::RecoveryPoints(kube::Client& client, Clock& clock, Options options)
    : client_(client), clock_(clock), options_(std::move(options)) {
  for (const std::string& ns : object_namespaces(*options_.config()->kubernetes, options_.own_ns))
    followed_.emplace_back(*this, ns);
}

RecoveryPoints::~RecoveryPoints() = default;

void RecoveryPoints::keep(const json& object) {
  Known now;
  now.ref = kube::ref_of(object);
  now.labels = at_or_empty(object, {"metadata", "labels"});
  now.spec = at_or_empty(object, {"spec"});
  now.status = at_or_empty(object, {"status"});
  now.generation = generation_of(object);
  now.leaving = is_being_deleted(object);
  const std::lock_guard lock(mutex_);
  Known& known = known_[kube::uid_of(object)];
  if (known == now) return;
  known = std::move(now);
  stirred_ = true;
}

void RecoveryPoints::forget(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  if (known_.erase(uid) == 0) return;
  stirred_ = true;
}

bool RecoveryPoints::settled() {
  const std::lock_guard lock(mutex_);
  return std::ranges::all_of(followed_, &Followed::settled);
}

void RecoveryPoints::run() {
  const log::JobScope lines("recovery points");
  std::list<std::jthread> watching;
  for (Followed& one : followed_) watching.emplace_back([&one] { one.run(); });
  while (sleep_for(options_.stop, kStep)) {
    if (!settled()) continue;
    look();
    const Uptime now = clock_.uptime();
    if (now < away_.until) continue;
    bool stirred = again_ != Uptime{} && now >= again_;
    {
      const std::lock_guard lock(mutex_);
      stirred |= std::exchange(stirred_, false);
    }
    if (stirred) carry_out();
  }
}

void RecoveryPoints::carry_out() {
  again_ = {};
  for (Step& step : plan()) {
    if (options_.stop.stop_requested() || !take(step)) return;
    sleep_for(options_.stop, options_.between);
  }
  for (const auto* const put_off : {&failed_, &elsewhere_})
    for (const auto& [name, later] : *put_off)
      if (clock_.uptime() < later.until && (again_ == Uptime{} || later.until < again_))
        again_ = later.until;
}

void RecoveryPoints::look() {
  const auto config = options_.config();
  const std::vector<std::string> sites = options_.own_store != nullptr
                                             ? std::vector<std::string>{config->site}
                                             : peers_with_url(*config);
  const std::size_t before = sources_.size();
  std::erase_if(sources_, [&](const auto& entry) {
    return std::ranges::find(sites, entry.first) == sites.end();
  });
  bool stirred = sources_.size() != before;
  for (const std::string& site : sites) {
    Source& source = sources_[site];
    const RecoveryPointsConfig bound = config->kubernetes->recovery_points;
    const auto seen = source.version;
    const bool was_read = source.read, same_bound = source.bound == bound;
    if (clock_.uptime() < source.next && (same_bound || !was_read)) continue;
    look_at(*config, site, source);
    stirred |= source.read && (!was_read || !same_bound || source.version != seen);
  }
  if (!stirred) return;
  const std::lock_guard lock(mutex_);
  stirred_ = true;
}

void RecoveryPoints::look_at(const Config& config, const std::string& name, Source& source) {
  const Uptime began = clock_.uptime();
  const auto looked = [&]() -> Status {
    const bool own = options_.own_store != nullptr;
    if (!own && !source.opened.store) {
      TM_TRY(source.opened,
             open_store_named(config, name, clock_, options_.stop, kPeerPatienceHere));
    }
    PointStore& store = own ? *options_.own_store->store : *source.opened.store;
    TM_TRY(const CatalogStats stats, store.stats());
    const std::pair version(stats.journal, stats.points);
    const RecoveryPointsConfig bound = config.kubernetes->recovery_points;
    const bool old = !own && began >= source.reread;
    if (source.read && source.version == version && source.bound == bound && !old) return {};
    source.bound = bound;
    TM_DO(read(config, store, source, name));
    // Read before the points: what came in between is read again.
    source.version = version;
    source.read = true;
    source.reread = began + kReread;
    return {};
  }();
  const Duration took = clock_.uptime() - began;
  const bool own = options_.own_store != nullptr;
  source.next = clock_.uptime() + std::max(own ? kLookStep : kPeerStep, kPauseFactor * took);
  const std::string trouble = looked ? std::string() : looked.error().message();
  if (std::exchange(source.trouble, trouble) != trouble && !trouble.empty())
    log::warn("recovery points of the store of {}: {}", name, trouble);
  if (looked) return;
  source.opened = {};
  source.next = clock_.uptime() + kPeerAgain;
}

Status RecoveryPoints::read(const Config& config, PointStore& store, Source& source,
                            const std::string& name) {
  const RecoveryPointsConfig bound = *source.bound;
  std::vector<ShownPoint> found;
  const auto add = [&](const PointRow& row) {
    auto shown = shown_point(row, name, config.site);
    if (!shown) return false;
    found.push_back(*std::move(shown));
    if (found.size() > kHeldFactor * std::max<std::size_t>(bound.total, 1))
      leave_newest(found, bound.per_claim, bound.total);
    return true;
  };
  std::set<std::pair<std::string, std::string>> assets;
  if (options_.own_store == nullptr) {
    TM_TRY(const auto rows, store.points(config.site, ""));
    for (const PointRow& row : rows) add(row);
  } else {
    // Most assets of a store may be of no claim. The first time all points are looked at, later
    // those of assets that have points of a claim, or got one.
    std::vector<std::pair<std::string, std::string>> wanted;
    TM_DO(store.each_latest_point([&](const PointRow& row) -> Status {
      const PointRecord& record = row.point.record;
      std::pair key(record.site, record.asset);
      if (!source.read || source.assets.contains(key) ||
          record.labels.contains(std::string(kClaimLabel)))
        wanted.push_back(std::move(key));
      return {};
    }));
    for (const auto& key : wanted) {
      if (options_.stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
      TM_TRY(const auto rows, store.points(key.first, key.second));
      for (const PointRow& row : rows)
        if (add(row)) assets.insert(key);
    }
  }
  leave_newest(found, bound.per_claim, bound.total);
  source.assets = std::move(assets);
  source.points = std::move(found);
  return {};
}

bool RecoveryPoints::waits(const std::map<std::string, Later>& later,
                           const std::string& key) const {
  const auto found = later.find(key);
  return found != later.end() && clock_.uptime() < found->second.until;
}

void RecoveryPoints::put_off(std::map<std::string, Later>& later, const std::string& key) {
  Later& one = later[key];
  one.pause = one.pause == Duration{} ? kPauseFirst : std::min(2 * one.pause, kPauseMax);
  one.until = clock_.uptime() + one.pause;
}

// REQUIRES: the mutex.
bool RecoveryPoints::may_lie_in(const std::string& ns) {
  if (waits(elsewhere_, ns)) return false;
  return std::ranges::any_of(followed_, [&](const Followed& one) {
    return one.ns().empty() || (one.ns() == ns && !one.forbidden());
  });
}

std::vector<RecoveryPoints::Step> RecoveryPoints::plan() {
  const RecoveryPointsConfig bound = options_.config()->kubernetes->recovery_points;
  std::vector<ShownPoint> wanted;
  for (const auto& [site, source] : sources_)
    if (source.read) wanted.insert(wanted.end(), source.points.begin(), source.points.end());
  leave_newest(wanted, bound.per_claim, bound.total);
  std::set<std::string> names;
  for (const ShownPoint& point : wanted) names.insert(point.name);
  std::erase_if(failed_, [&](const auto& entry) {
    return clock_.uptime() > entry.second.until + 2 * kPauseMax;
  });
  std::vector<Step> steps;
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::map<std::string, std::string>> by_name;
  std::set<std::string> in_use;  // namespaces
  for (const auto& [uid, known] : known_) {
    by_name[known.ref.name][known.ref.ns] = uid;
    in_use.insert(known.ref.ns);
    if (names.contains(known.ref.name) || known.leaving || waits(failed_, known.ref.name) ||
        waits(elsewhere_, known.ref.ns))
      continue;
    // What a store says that was not read yet is not known.
    const auto source = sources_.find(json_text(known.spec, {"storedIn"}));
    if (source != sources_.end() && !source->second.read) continue;
    steps.push_back({Step::What::remove, {}, {}, false, uid, known});
  }
  for (const ShownPoint& point : wanted)
    if (!waits(failed_, point.name)) plan_point(point, by_name[point.name], in_use, steps);
  return steps;
}

void RecoveryPoints::plan_point(const ShownPoint& point,
                                const std::map<std::string, std::string>& here,
                                const std::set<std::string>& in_use, std::vector<Step>& steps) {
  const std::string &own = options_.own_ns, &ns = point.claim.ns;
  auto right = here.find(ns);
  if (right == here.end()) right = here.find(own);
  // Where its namespace takes objects by now, it moves there.
  const bool moves =
      right != here.end() && right->first != ns && in_use.contains(ns) && may_lie_in(ns);
  if (right == here.end() || moves) {
    steps.push_back({Step::What::create, point, may_lie_in(ns) ? ns : own, moves, {}, {}});
    return;
  }
  for (const auto& [elsewhere, uid] : here)
    if (elsewhere != right->first && !known_.at(uid).leaving && !waits(elsewhere_, elsewhere))
      steps.push_back({Step::What::remove, {}, {}, false, uid, known_.at(uid)});
  const Known& found = known_.at(right->second);
  if (found.leaving || waits(elsewhere_, right->first)) return;
  json labels = found.labels;
  labels.update(point.labels);
  if (labels != found.labels || point.spec != found.spec)
    steps.push_back({Step::What::mend, point, {}, false, right->second, found});
  else if (status_of(point, found, clock_.now()) != found.status)
    steps.push_back({Step::What::tell, point, {}, false, right->second, found});
}

json RecoveryPoints::status_of(const ShownPoint& point, const Known& found, Timestamp now) {
  json out = found.status;
  out["observedGeneration"] = found.generation;
  out["conditions"] = with_condition(found.status.value("conditions", json::array()),
                                     point.available, found.generation, now);
  return out;
}

kube::Outcome<json> RecoveryPoints::create(Step& step) {
  const kube::Call call{options_.stop, net::uptime() + kCallMax};
  const auto make = [&](const std::string& ns) {
    return client_.create(
        kube::kRecoveryPoints,
        {{"apiVersion", kube::kRecoveryPoints.api_version()},
         {"kind", kube::kRecoveryPoints.kind},
         {"metadata",
          {{"namespace", ns}, {"name", step.point.name}, {"labels", step.point.labels}}},
         {"spec", step.point.spec}},
        {}, call);
  };
  const std::string& own = options_.own_ns;
  if (waits(elsewhere_, step.ns)) step.ns = own;  // by what came of another one meanwhile
  auto made = make(step.ns);
  if (made) elsewhere_.erase(step.ns);
  if (made || step.ns == own) return made;
  const kube::ApiError& error = made.error();
  if (!error.no_object() && error.status != 403) return made;
  log::debug("recovery points of namespace {} are shown in {}: {}", step.ns, own, error.message());
  put_off(elsewhere_, step.ns);
  if (step.moves) return made;  // it is there
  step.ns = own;
  return make(own);
}

// The object as it is then; null where it is gone.
kube::Outcome<json> RecoveryPoints::write(Step& step) {
  const kube::Call call{options_.stop, net::uptime() + kCallMax};
  switch (step.what) {
    case Step::What::create:
      return create(step);
    case Step::What::mend: {
      json labels = step.found.labels;
      labels.update(step.point.labels);
      const json patch = {
          {"metadata",
           {{"uid", step.uid}, {"labels", merge_patch_between(step.found.labels, labels)}}},
          {"spec", merge_patch_between(step.found.spec, step.point.spec)}};
      return client_.patch(kube::kRecoveryPoints, step.found.ref, kube::PatchKind::merge, patch, {},
                           call);
    }
    case Step::What::tell: {
      const json object = {
          {"metadata",
           {{"namespace", step.found.ref.ns}, {"name", step.found.ref.name}, {"uid", step.uid}}}};
      return patch_object_status(client_, kube::kRecoveryPoints, object,
                                 status_of(step.point, step.found, clock_.now()), call);
    }
    case Step::What::remove:
      break;
  }
  kube::RemoveOptions options;
  options.uid = step.uid;
  auto removed = client_.remove(kube::kRecoveryPoints, step.found.ref, options, call);
  if (!removed) return removed.error();
  return removed->gone ? json() : std::move(removed->answer);
}

bool RecoveryPoints::take(Step& step) {
  if (step.what != Step::What::create && waits(elsewhere_, step.found.ref.ns)) return true;
  const auto done = write(step);
  const std::string& name = step.what == Step::What::create ? step.point.name : step.found.ref.name;
  if (done) {
    away_ = {};
    failed_.erase(name);
    if (done->is_null() || !done->contains("metadata"))
      forget(step.uid);
    else
      keep(*done);
    return true;
  }
  if (options_.stop.stop_requested()) return false;
  const kube::ApiError& error = done.error();
  const bool forbidden = error.status == 403;
  const std::string& ns = step.what == Step::What::create ? step.ns : step.found.ref.ns;
  if (is_about_the_server(error) || (forbidden && ns == options_.own_ns)) {
    if (away_.pause == Duration{}) log::warn("recovery points: {}", error.message());
    away_.pause = std::clamp(2 * away_.pause, forbidden ? kPauseFirst : kAwayFirst,
                             forbidden ? kPauseMax : kAwayMax);
    away_.until = clock_.uptime() + away_.pause;
    again_ = away_.until;
    return false;
  }
  if (forbidden) {
    put_off(elsewhere_, ns);
    return true;
  }
  // The watch tells what became of it.
  if (error.conflict()) {
    again_ = clock_.uptime() + kAwayFirst;
    return true;
  }
  if (error.no_object() && step.what != Step::What::create) {
    forget(step.uid);
    return true;
  }
  if (!failed_.contains(name)) log::warn("recovery point {}: {}", name, error.message());
  put_off(failed_, name);
  return true;
}

}  // namespace tidemark
