// Runs the drills of a site when they are due, one after the other, and knows how they stand.
//
// A drill is due once for the slot that it is in (agent/schedule/due.h), as backups are: one that
// was missed while no agent ran is made up for once. A plan that was never run waits for its next
// slot.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/drill/drill_status.h"
#include "agent/drill/run.h"

namespace tidemark {

// Who has a say in when plans are run, besides their schedules. Called on the thread that runs
// drills.
class DrillGuard {
 public:
  virtual ~DrillGuard() = default;
  // Plans that are to be run now, whatever their schedules say.
  virtual std::vector<std::string> wanted() = 0;
  // Right before the plan is run as `drill` says, with the id that its report will have; `end` ends
  // the run. An error: it is not run now; where that is `cancelled`, nobody needs to know.
  virtual Status begin(const std::string& plan, const DrillConfig& drill, const std::string& id,
                       std::stop_source end) = 0;
  // What begin() let run has ended: what it made is removed, or named in its note.
  virtual void end(const std::string& plan) = 0;
};

class DrillKeeper {
 public:
  using ConfigSource = std::function<std::shared_ptr<const Config>()>;
  // `own` is the store that is served here, null where there is none. All must outlive it.
  DrillKeeper(ConfigSource config, const StoreAccess* own, Clock& clock, std::stop_token stop);

  // To be called before run(), with what outlives it.
  void set_guard(DrillGuard* guard) { guard_ = guard; }
  // Until the stop: first what drills that were killed have left is removed.
  void run();
  // Those of the configuration, in its order. Safe from any thread.
  std::vector<DrillStatus> list() const;

 private:
  void look();
  DrillOptions options(const Config& config, const std::string& plan) const;
  void run_plan(const Config& config, const std::string& plan, const std::string& trigger);
  Status run_guarded(const Config& config, const std::string& plan, const std::string& trigger);
  // Since when the plan is known; written down when it is first seen.
  Timestamp known_since(const std::filesystem::path& directory, const std::string& plan) const;

  const ConfigSource config_;
  const StoreAccess* const own_;
  Clock& clock_;
  const std::stop_token stop_;
  DrillGuard* guard_ = nullptr;
  std::map<std::string, Duration> not_before_;  // of plans that could not be begun; of run()
  mutable std::mutex mutex_;
  std::map<std::string, DrillStatus> plans_;  // guarded by mutex_
};

}  // namespace tidemark
