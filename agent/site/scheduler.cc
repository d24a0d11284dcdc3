#include "agent/site/scheduler.h"

#include <algorithm>

#include "agent/kube/api_claims.h"
#include "agent/site/set_due.h"
#include "agent/site/set_run.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::chrono::milliseconds kStep{500};
// New assets are found this often, points that others took are seen, and what failed is tried
// again.
constexpr Duration kLookAgain = std::chrono::minutes(1);
// When a store that did not answer is asked again.
constexpr Duration kStoreAgain = std::chrono::seconds(10);
// The longest that stores are asked before what is due is started.
constexpr Duration kLookTimeMax = std::chrono::seconds(5);
// The one who looks waits for no store that is restarting: it comes again soon.
constexpr std::chrono::seconds kLookPatience{2};

// Images of one pool, namespaces included, count together, and so do all buckets.
std::string pool_of(const AssetName& asset) {
  return asset.kind() == AssetName::Kind::rbd ? "rbd/" + asset.rbd().pool : "s3";
}

void log_point(const BackupJob& job, const BackupReport& report) {
  const PointRecord& record = report.point.point.record;
  log::info("point {} of {} to {}: {}, {} changed, {} shipped, {} ms", record.id.hex(),
            record.asset, job.to, report.mode, format_bytes(record.changed_bytes),
            format_bytes(record.shipped_bytes), record.duration_ms);
  if (report.unsettled.count > 0)
    log::warn("point {} of {} is taken in part: {} keys are not in it as the bucket has them",
              record.id.hex(), record.asset, report.unsettled.count);
}

}  // namespace

Scheduler::Scheduler(std::shared_ptr<const Config> config, Clock& clock, StoreAccess* own_store,
                     std::stop_token stop)
    : clock_(clock),
      own_store_(own_store),
      stop_(std::move(stop)),
      next_{config, std::make_shared<PolicyLimits>(*config, clock), claims_for(*config, {})} {}

// What is followed already is followed on.
std::shared_ptr<WatchedClaims> Scheduler::claims_for(const Config& config, const Plan& before) {
  const bool wanted = std::ranges::any_of(
      config.policies, [](const auto& policy) { return policy.second.claims.has_value(); });
  if (!wanted || !config.kubernetes) return nullptr;
  if (before.claims && before.config->kubernetes == config.kubernetes) return before.claims;
  auto client = connect_kube(*config.kubernetes);
  if (client) {
    auto claims = std::make_shared<WatchedClaims>(*std::move(client), *config.kubernetes);
    claims->set_patience(kLookPatience);  // as for stores; a change is seen at once
    return claims;
  }
  // Each look tries, and says so.
  log::error("claims: {}", client.error().describe());
  return nullptr;
}

void Scheduler::configure(std::shared_ptr<const Config> config) {
  auto limits = std::make_shared<PolicyLimits>(*config, clock_);
  Plan before;
  {
    const std::lock_guard lock(mutex_);
    before = next_;
  }
  auto claims = claims_for(*config, before);
  std::vector<Runner> old;  // let go of without the lock
  const std::lock_guard lock(mutex_);
  next_ = {std::move(config), std::move(limits), std::move(claims)};
  old.swap(idle_runners_);
}

Scheduler::Runner Scheduler::make_runner(const Plan& plan) const {
  auto runner = std::make_unique<BackupRunner>(*plan.config, plan.limits, clock_, stop_);
  if (own_store_ != nullptr) runner->use_own_store(own_store_);
  runner->use_claims(plan.claims);
  return runner;
}

// Their connections are kept from one backup to the next.
Scheduler::Runner Scheduler::take_runner(const Plan& plan) {
  {
    const std::lock_guard lock(mutex_);
    if (plan.config == next_.config && !idle_runners_.empty()) {
      Runner runner = std::move(idle_runners_.back());
      idle_runners_.pop_back();
      return runner;
    }
  }
  return make_runner(plan);
}

void Scheduler::run() {
  do {
    adopt_config();
    join_finished();
    discover();
    look();
    start_due();
  } while (sleep_for(stop_, kStep));
  threads_.clear();  // waits for them
}

std::optional<std::set<std::string>> Scheduler::claimed_assets() const {
  std::shared_ptr<WatchedClaims> claims;
  {
    const std::lock_guard lock(mutex_);
    claims = next_.claims;
  }
  if (!claims) return std::nullopt;
  const auto list = claims->claims();
  // Of namespaces that may not be read nothing is known.
  if (!list || !list->problems.empty()) return std::nullopt;
  std::set<std::string> out;
  for (const Claim& claim : list->claims)
    if (claim.asset) out.insert(claim.asset->text());
  return out;
}

std::uint64_t Scheduler::claims_generation() const {
  const std::lock_guard lock(mutex_);
  return next_.claims ? next_.claims->generation() + left_ : 0;
}

void Scheduler::adopt_config() {
  const std::lock_guard lock(mutex_);
  if (next_.config == plan_.config) return;
  looker_.reset();  // it refers to the old one
  plan_ = next_;
  looker_ = make_runner(plan_);
  looker_->set_patience(kLookPatience);
  next_discovery_.clear();
  store_again_.clear();
  problems_.clear();
  discovered_.clear();
  std::erase_if(entries_, [&](const auto& entry) {
    return !plan_.config->policies.contains(entry.first.first) && !entry.second.progress;
  });
}

void Scheduler::join_finished() {
  std::list<Thread> finished;
  const std::lock_guard lock(mutex_);
  for (auto it = threads_.begin(); it != threads_.end();) {
    const auto next = std::next(it);
    if (it->done) finished.splice(finished.end(), threads_, it);
    it = next;
  }
}

void Scheduler::discover() {
  const std::uint64_t generation = plan_.claims ? plan_.claims->generation() : 0;
  const bool claims_changed = std::exchange(claims_seen_, generation) != generation;
  for (const auto& [name, policy] : plan_.config->policies) {
    if (stop_.stop_requested()) return;
    Uptime& next = next_discovery_[name];
    const bool changed = claims_changed && policy.claims;
    if (next != Uptime::zero() && clock_.uptime() < next && !changed) continue;
    next = clock_.uptime() + kLookAgain;
    const auto jobs = looker_->jobs_of_policy(name);
    const std::string about = "policy " + name;
    if (jobs) {
      merge(name, *jobs);
      const std::lock_guard lock(mutex_);
      for (const std::string& problem : looker_->claim_problems())
        problems_[about + ": claims"] = problem;
      continue;
    }
    // A list that failed is no empty list: what was found before stays.
    log::error("{}: {}", about, jobs.error().describe());
    const std::lock_guard lock(mutex_);
    problems_[about] = jobs.error().message();
  }
}

void Scheduler::merge(const std::string& policy, const std::vector<BackupJob>& jobs) {
  const PolicyConfig& rules = plan_.config->policies.at(policy);
  const std::lock_guard lock(mutex_);
  problems_.erase("policy " + policy);
  problems_.erase("policy " + policy + ": claims");
  discovered_.insert(policy);
  std::map<Key, Entry> old;
  for (auto it = entries_.lower_bound({policy, ""});
       it != entries_.end() && it->first.first == policy;)
    old.insert(entries_.extract(it++));
  for (const BackupJob& job : jobs) {
    const Key key{policy, job.asset.text()};
    Entry& entry = entries_[key];
    if (const auto before = old.extract(key); before && before.mapped().job.to == job.to)
      entry = std::move(before.mapped());
    entry.gone = false;
    entry.job = job;
    entry.schedule = schedule_of(rules);
    entry.rpo = rules.objective.rpo;
  }
  // An asset that is gone, or goes elsewhere from now on, while a backup of it still runs.
  for (auto& [key, entry] : old) {
    entry.gone = true;
    if (entry.progress) entries_.try_emplace(key, std::move(entry));
  }
}

void Scheduler::look() {
  struct Candidate {
    std::optional<Uptime> looked;
    Key key;
    BackupJob job;
  };
  std::vector<Candidate> candidates;
  const Uptime begin = clock_.uptime();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : entries_)
      if (!entry.progress && (!entry.looked || entry.silent || begin - *entry.looked >= kLookAgain))
        candidates.push_back({entry.looked, key, entry.job});
  }
  std::ranges::sort(candidates, {}, [](const Candidate& c) { return std::tie(c.looked, c.key); });
  for (const Candidate& candidate : candidates) {
    if (stop_.stop_requested() || clock_.uptime() - begin > kLookTimeMax) return;
    const auto again = store_again_.find(candidate.job.to);
    if (again != store_again_.end() && clock_.uptime() < again->second) continue;
    look_at(candidate.key, candidate.job);
  }
}

void Scheduler::look_at(const Key& key, const BackupJob& job) {
  const auto row = looker_->newest(job);
  const std::string about = "store " + job.to;
  const std::lock_guard lock(mutex_);
  if (row) {
    store_again_.erase(job.to);
    problems_.erase(about);
  } else {
    log::error("{}: {}", about, row.error().describe());
    store_again_[job.to] = clock_.uptime() + kStoreAgain;
    problems_[about] = row.error().message();
  }
  for (auto& [other, entry] : entries_)
    if (entry.job.to == job.to) entry.silent = !row;
  const auto it = entries_.find(key);
  if (it == entries_.end() || !row) return;
  it->second.looked = clock_.uptime();
  it->second.newest.reset();
  if (*row) it->second.newest = newest_of(**row);
}

// Idle, known, and not waiting after a failure; a set only where all of it is.
bool Scheduler::may_start(const Entry& entry) const {
  const bool idle = !entry.progress && entry.looked && !entry.silent;
  return idle && clock_.uptime() >= entry.not_before;
}

// One for each asset, and one for each set, whose members come one after the other.
void Scheduler::collect_states(std::vector<AssetState>& states,
                               std::vector<Entries::iterator>& which) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto policy = plan_.config->policies.find(it->first.first);
    const bool set = policy != plan_.config->policies.end() && policy->second.set;
    const auto first = it++;
    while (set && it != entries_.end() && it->first.first == first->first.first) ++it;
    if (policy == plan_.config->policies.end()) continue;
    const auto members = std::ranges::subrange(first, it);
    if (!std::ranges::all_of(members, [&](const auto& e) { return may_start(e.second); })) continue;
    std::vector<std::optional<Timestamp>> newest;
    for (const auto& [key, entry] : members)
      newest.push_back(entry.newest ? std::optional(entry.newest->time) : std::nullopt);
    AssetState state;
    state.asset = set ? set_slot_name(first->first.first) : first->first.second;
    state.schedule = &first->second.schedule;
    state.newest = oldest_of(newest);
    state.rpo = first->second.rpo;
    states.push_back(std::move(state));
    which.push_back(first);
  }
}

void Scheduler::start_due() {
  const std::lock_guard lock(mutex_);
  std::vector<AssetState> states;
  std::vector<Entries::iterator> which;
  collect_states(states, which);
  waiting_ = 0;
  if (stop_.stop_requested()) return;
  for (const DueAsset& due : due_assets(states, clock_.now())) {
    auto& [key, entry] = *which[due.index];
    const bool set = plan_.config->policies.at(key.first).set;
    if (set ? !has_room_for_set(key.first) : !has_room(entry.job))
      ++waiting_;
    else if (set)
      start_set(key.first);
    else
      start(key, entry);
  }
}

// The set counts as one, but none of its members may be under way for another policy.
bool Scheduler::has_room_for_set(const std::string& policy) const {
  for (auto it = entries_.lower_bound({policy, ""});
       it != entries_.end() && it->first.first == policy; ++it)
    if (!has_room(it->second.job)) return false;
  return true;
}

bool Scheduler::has_room(const BackupJob& job) const {
  std::uint32_t all = 0, pool = 0, peer = 0;
  for (const auto& [key, entry] : entries_) {
    if (!entry.progress) continue;
    // Two policies may cover an asset: one at a time.
    if (entry.job.asset == job.asset && entry.job.to == job.to) return false;
    ++all;
    if (pool_of(entry.job.asset) == pool_of(job.asset)) ++pool;
    if (entry.job.to == job.to) ++peer;
  }
  const ConcurrencyConfig& limits = plan_.config->concurrency;
  return all < limits.total && pool < limits.per_pool && peer < limits.per_peer;
}

void Scheduler::start(const Key& key, Entry& entry) {
  entry.progress = std::make_shared<BackupProgress>();
  entry.since = clock_.now();
  Thread& slot = threads_.emplace_back();
  slot.thread =
      std::jthread([this, key, job = entry.job, progress = entry.progress, plan = plan_, &slot] {
        Runner runner = take_runner(plan);
        run_backup(key, job, *runner, *progress);
        const std::lock_guard lock(mutex_);
        if (plan.config == next_.config) idle_runners_.push_back(std::move(runner));
        slot.done = true;
      });
}

void Scheduler::start_set(const std::string& policy) {
  std::vector<BackupJob> jobs;
  std::vector<std::shared_ptr<BackupProgress>> progress;
  for (auto it = entries_.lower_bound({policy, ""});
       it != entries_.end() && it->first.first == policy; ++it) {
    it->second.progress = std::make_shared<BackupProgress>();
    it->second.since = clock_.now();
    jobs.push_back(it->second.job);
    progress.push_back(it->second.progress);
  }
  Thread& slot = threads_.emplace_back();
  slot.thread = std::jthread([this, policy, jobs, progress, plan = plan_, &slot] {
    run_set_backup(plan, policy, jobs, progress);
    const std::lock_guard lock(mutex_);
    slot.done = true;
  });
}

Result<bool> Scheduler::set_is_due(const Plan& plan, const std::string& policy,
                                   const std::vector<BackupJob>& jobs) {
  const Runner runner = make_runner(plan);
  std::vector<std::optional<Timestamp>> newest;
  for (const BackupJob& job : jobs) {
    TM_TRY(const auto row, runner->newest(job));
    newest.push_back(row ? std::optional(row->point.record.time) : std::nullopt);
  }
  const auto due = next_due(schedule_of(plan.config->policies.at(policy)), set_slot_name(policy),
                            oldest_of(newest), clock_.now());
  return due && due->now();
}

void Scheduler::run_set_backup(const Plan& plan, const std::string& policy,
                               const std::vector<BackupJob>& jobs,
                               const std::vector<std::shared_ptr<BackupProgress>>& progress) {
  const log::JobScope scope(log::new_job("set"));
  // What is due may have been taken by hand since the last look.
  const auto due = set_is_due(plan, policy, jobs);
  if (!due || !*due) {
    std::optional<Result<BackupReport>> none;
    if (!due) none = due.error();
    for (const BackupJob& job : jobs) end_try({policy, job.asset.text()}, job, none);
    return;
  }
  const SetPlan set{policy, policy, jobs, false};
  const auto reports = run_set(*plan.config, plan.limits, clock_, own_store_, set, progress, stop_);
  for (std::size_t i = 0; i < jobs.size(); ++i)
    end_try({policy, jobs[i].asset.text()}, jobs[i], reports[std::min(i, reports.size() - 1)]);
}

void Scheduler::run_backup(const Key& key, const BackupJob& job, BackupRunner& runner,
                           BackupProgress& progress) {
  const log::JobScope scope(log::new_job("backup"));
  // What is due may have been taken by hand since the last look.
  const auto due = runner.is_due(job);
  std::optional<Result<BackupReport>> report;
  if (!due)
    report = due.error();
  else if (*due)
    report = runner.run(job, &progress, false);
  end_try(key, job, report);
}

void Scheduler::end_try(const Key& key, const BackupJob& job,
                        const std::optional<Result<BackupReport>>& report) {
  if (report && *report)
    log_point(job, **report);
  else if (report)
    log::error("policy {}: {}", key.first, report->error().describe());
  if (report && *report && on_point_) on_point_(job, **report, newest_time(key));

  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  Entry& entry = it->second;
  if (entry.gone) {
    entries_.erase(it);
    ++left_;  // its snapshot may go now
    return;
  }
  entry.progress.reset();
  if (!report) entry.looked.reset();  // asked at once
  if (!report) return;
  if (!*report) {
    const Error& error = report->error();
    entry.not_before =
        clock_.uptime() + std::min(entry.schedule.every.value_or(kLookAgain), kLookAgain);
    if (error.code() == ErrorCode::cancelled) return;
    ++entry.counters.failures;
    ++entry.failures_in_a_row;
    entry.last_error = error.message();
    entry.failed_at = clock_.now();
    return;
  }
  const PointRecord& record = (*report)->point.point.record;
  entry.newest = newest_of((*report)->point);
  entry.looked = clock_.uptime();
  entry.last_error.clear();
  entry.failed_at.reset();
  entry.failures_in_a_row = 0;
  ++entry.counters.points;
  entry.counters.read_bytes += (*report)->read_bytes;
  entry.counters.changed_bytes += record.changed_bytes;
  entry.counters.shipped_bytes += record.shipped_bytes;
  entry.counters.last_duration_ms = record.duration_ms;
}

std::optional<Timestamp> Scheduler::newest_time(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(key);
  if (it == entries_.end() || !it->second.newest) return std::nullopt;
  return it->second.newest->time;
}

std::optional<bool> Scheduler::wants(const std::string& asset, const std::string& to) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, entry] : entries_)
    if (key.second == asset && entry.job.to == to) return true;
  // One that was just taken up has not been looked at either.
  for (const auto& [name, policy] : next_.config->policies)
    if (policy.to == to && !discovered_.contains(name)) return std::nullopt;
  return false;
}

void Scheduler::add_to(SiteStatus& status) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, entry] : entries_) {
    AssetStatus asset;
    asset.site = status.site;
    asset.asset = key.second;
    asset.policy = key.first;
    asset.to = entry.job.to;
    asset.known = entry.looked.has_value() && !entry.silent;
    asset.newest = entry.newest;
    asset.rpo = entry.rpo;
    std::optional<Timestamp> newest;
    if (entry.newest) newest = entry.newest->time;
    const auto policy = next_.config->policies.find(key.first);
    const bool set = policy != next_.config->policies.end() && policy->second.set;
    const std::string slot = set ? set_slot_name(key.first) : key.second;
    if (const auto due = next_due(entry.schedule, slot, newest, status.time); due)
      asset.next_due = due->at;
    if (entry.progress) {
      const BackupProgress& progress = *entry.progress;
      asset.running = RunningBackup{entry.since, progress.size_bytes, progress.position_bytes,
                                    progress.read_bytes, progress.sent_bytes};
      asset.known = true;
    }
    asset.last_error = entry.last_error;
    asset.failed_at = entry.failed_at;
    asset.failures_in_a_row = entry.failures_in_a_row;
    asset.counters = entry.counters;
    status.assets.push_back(std::move(asset));
  }
  for (const std::string& name : discovered_)
    if (const auto first = entries_.lower_bound({name, ""});
        first == entries_.end() || first->first.first != name)
      status.idle_policies.push_back(name);
  status.waiting += waiting_;
  for (const auto& [about, message] : problems_) status.problems.push_back(about + ": " + message);
}

}  // namespace tidemark
