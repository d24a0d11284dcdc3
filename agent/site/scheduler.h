// Takes the points that policies ask for.
//
// One thread looks: which assets there are, and what their stores hold of them. Of those that are
// due the most urgent go first, each backup on a thread of its own, as many at a time as the
// configuration allows. When an asset is due follows from its newest point (agent/schedule/due.h):
// nothing is remembered over a restart, and after an outage the backlog is one point.
//
// The assets of a policy with `set: true` are taken together as soon as one of them is due, as one
// backup as far as the limits go.
//
// A store that does not answer is asked again after a while; until then nothing is sent there, and
// what goes elsewhere is not held up for longer than one look.
#pragma once

#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>

#include "agent/kube/watched_claims.h"
#include "agent/schedule/due.h"
#include "agent/site/backup_run.h"
#include "agent/site/status.h"

namespace tidemark {

class Scheduler {
 public:
  // `own_store` may be null. It and `clock` must outlive the scheduler.
  Scheduler(std::shared_ptr<const Config> config, Clock& clock, StoreAccess* own_store,
            std::stop_token stop);

  // Called after each point with the time of the one before it, on the backup's thread. To be set
  // before run().
  using OnPoint =
      std::function<void(const BackupJob&, const BackupReport&, std::optional<Timestamp> before)>;
  void on_point(OnPoint call) { on_point_ = std::move(call); }

  // Until `stop` is requested and the last backup has ended: backups under way are cancelled, what
  // they have sent is not sent again by the next.
  void run();
  // Backups under way end as they began. Safe from any thread, as is add_to().
  void configure(std::shared_ptr<const Config> config);
  // Whether a policy sends points of the asset to that store; nothing as long as its policies were
  // not all looked at. Safe from any thread.
  std::optional<bool> wants(const std::string& asset, const std::string& to) const;
  // The assets behind all claims; nothing where that is not known. Safe from any thread, as is
  // claims_generation(), which grows with every change of them, and when the last backup of one
  // that is gone ends.
  std::optional<std::set<std::string>> claimed_assets() const;
  std::uint64_t claims_generation() const;
  // Adds the assets of this site, what waits, and what could not be found out.
  void add_to(SiteStatus& status) const;

 private:
  using Uptime = std::chrono::microseconds;
  using Key = std::pair<std::string, std::string>;  // policy, asset
  struct Entry {
    BackupJob job;
    Schedule schedule;
    std::optional<Duration> rpo;
    std::optional<AssetStatus::Newest> newest;
    std::optional<Uptime> looked;              // when the store was asked
    bool silent = false;                       // it did not answer then
    Uptime not_before{};                       // after a failure
    std::shared_ptr<BackupProgress> progress;  // while a backup runs
    Timestamp since;
    std::string last_error;
    std::optional<Timestamp> failed_at;
    std::uint64_t failures_in_a_row = 0;
    BackupCounters counters;
    bool gone = false;  // here only while its last backup runs
  };
  using Entries = std::map<Key, Entry>;
  struct Plan {
    std::shared_ptr<const Config> config;
    std::shared_ptr<PolicyLimits> limits;
    std::shared_ptr<WatchedClaims> claims;  // null where no policy means any
  };
  struct Thread {
    bool done = false;  // guarded by mutex_
    std::jthread thread;
  };
  using Runner = std::unique_ptr<BackupRunner>;

  static std::shared_ptr<WatchedClaims> claims_for(const Config& config, const Plan& before);
  void adopt_config();
  void discover();
  void merge(const std::string& policy, const std::vector<BackupJob>& jobs);
  void look();
  void look_at(const Key& key, const BackupJob& job);
  void start_due();
  bool has_room(const BackupJob& job) const;
  void start(const Key& key, Entry& entry);
  bool may_start(const Entry& entry) const;
  void collect_states(std::vector<AssetState>& states, std::vector<Entries::iterator>& which);
  bool has_room_for_set(const std::string& policy) const;
  void start_set(const std::string& policy);
  Result<bool> set_is_due(const Plan& plan, const std::string& policy,
                          const std::vector<BackupJob>& jobs);
  void run_backup(const Key& key, const BackupJob& job, BackupRunner& runner,
                  BackupProgress& progress);
  void run_set_backup(const Plan& plan, const std::string& policy,
                      const std::vector<BackupJob>& jobs,
                      const std::vector<std::shared_ptr<BackupProgress>>& progress);
  // What came of a try; nothing where no point was due after all.
  void end_try(const Key& key, const BackupJob& job,
               const std::optional<Result<BackupReport>>& report);
  std::optional<Timestamp> newest_time(const Key& key) const;
  // A runner refers to its plan's configuration.
  Runner make_runner(const Plan& plan) const;
  Runner take_runner(const Plan& plan);
  void join_finished();

  Clock& clock_;
  StoreAccess* const own_store_;
  const std::stop_token stop_;
  OnPoint on_point_;

  mutable std::mutex mutex_;
  Plan next_;                                    // guarded by mutex_
  Entries entries_;                              // guarded by mutex_
  std::map<std::string, std::string> problems_;  // guarded by mutex_; by what they are about
  std::set<std::string> discovered_;             // guarded by mutex_; policies of plan_
  std::uint64_t waiting_ = 0;                    // guarded by mutex_
  std::uint64_t left_ = 0;                       // guarded by mutex_; gone entries that ended
  std::vector<Runner> idle_runners_;             // guarded by mutex_; of next_
  std::list<Thread> threads_;                    // added and removed by run() only

  // Of the thread that looks.
  Plan plan_;
  Runner looker_;
  std::map<std::string, Uptime> next_discovery_;  // by policy
  std::uint64_t claims_seen_ = 0;                 // plan_.claims' generation
  std::map<std::string, Uptime> store_again_;     // when a silent store is asked again
};

}  // namespace tidemark
