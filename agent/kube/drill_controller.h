// Drill objects: which plans they make, when those are run, and what their status says.
//
//   without a schedule, for each generation of the spec:
//
//     wanted --finalizer, status.run--> running --report--> done --finalizer off--> idle
//        ^                                 |
//        +------ interrupted, at most ---- +
//                three times in all
//
// Each sound object is a plan beside those of the configuration. With a schedule it follows it;
// without one it is run once for each generation. `status.run` names the report of a run before it
// begins, so that whoever comes after a kill finds out by the report whether it ended. A finalizer
// stands on the object from before a run until what it made is removed: an object that is deleted
// meanwhile has its run ended and goes then. What a killed run left is removed first
// (agent/drill/run.h).
//
// Plans of other namespaces than the agent's may bring back what is behind their own claims only:
// that is looked up in the store before each run.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "agent/drill/keeper.h"
#include "agent/kube/drill_object.h"
#include "agent/kube/object_status.h"
#include "agent/site/status.h"
#include "transport/kube/watch.h"

namespace tidemark {

class DrillController : public DrillGuard, private kube::WatchHandler {
 public:
  struct Options {
    std::function<std::shared_ptr<const Config>()> config;
    // The store that is served here; null where there is none.
    const StoreAccess* own_store = nullptr;
    std::string own_ns;
    std::stop_token stop;
  };
  // All must outlive it.
  DrillController(kube::Client& client, Clock& clock, Options options);

  // Watches until the stop.
  void run();
  // Judges objects that have changed, and all where the configuration has. To be called often, on
  // one thread with report().
  void settle();
  // Brings the status and the finalizer of each object to what is so; only what differs is written.
  void report(const SiteStatus& status);

  // Safe from any thread, as is the rest. `config` is that of the file, whose plans count where an
  // object has the name of one.
  void add_plans(Config& config);
  // Grows when what add_plans() adds changes.
  std::uint64_t generation() const;

  std::vector<std::string> wanted() override;
  Status begin(const std::string& plan, const DrillConfig& drill, const std::string& id,
               std::stop_source end) override;
  void end(const std::string& plan) override;

 private:
  using Json = nlohmann::json;
  // The last run that was begun, as `status.run` has it.
  struct Run {
    std::string id;  // of its report
    std::int64_t generation = 0, attempts = 0;
  };
  struct Kept {
    Json object;  // as last seen or written
    bool judged = false;
    std::optional<DrillConfig> plan;
    std::string reason, problem;  // why there is none, or why it may not be run
    Run run;                      // by what we wrote ourselves, once we did
    std::optional<std::stop_source> running;
    std::optional<DrillReport> last;         // as read from the book
    std::chrono::microseconds not_before{};  // after a write that failed
  };

  void on_changed(Json object) override;
  void on_gone(const std::string& uid, const kube::ObjectRef& ref, Json last) override;

  // REQUIRES for these: the mutex.
  Kept* find(const std::string& plan);
  void update(const std::string& uid, const Json& object);

  // REQUIRES: nothing is locked.
  bool wants_run(const Kept& kept) const;
  Status check_assets(const Json& object, const DrillConfig& plan);
  Status note_run(Json object, const Run& run);
  kube::Outcome<Json> set_finalizer(Json object, bool wanted);
  void report_one(const std::string& uid, Kept kept, const DrillStatus& status,
                  const std::set<std::string>& left);
  Status write_status(const std::string& uid, Kept& kept, const DrillStatus& status);
  Status free_object(const std::string& uid, const Json& object);
  std::optional<DrillReport> last_report(const Kept& kept, const DrillStatus& status) const;
  Json status_of(const Kept& kept, const DrillStatus& status) const;
  ObjectCondition passed(const Kept& kept, const DrillStatus& status) const;
  void tell(const Kept& kept, const Json& status);
  // Removes what killed runs left, on a thread of its own: that can take a minute.
  void recover();
  kube::Call call() const;

  kube::Client& client_;
  Clock& clock_;
  const Options options_;
  std::mutex freeing_mutex_;  // while a finalizer is taken off no run begins; taken before mutex_
  mutable std::mutex mutex_;
  std::map<std::string, Kept> objects_;        // by uid; guarded by mutex_
  std::set<std::string> file_plans_;           // of the configuration's file; guarded by mutex_
  std::uint64_t generation_ = 0;               // guarded by mutex_
  std::shared_ptr<const Config> judged_by_;    // of settle()
  std::chrono::microseconds recover_again_{};  // of report(), as is the rest
  std::atomic<bool> recovering_{false};
  std::jthread recoverer_;  // last: it uses the rest
};

}  // namespace tidemark
