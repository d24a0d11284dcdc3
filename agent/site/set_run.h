// Several assets at one instant, as one set (agent/backup/set_moment.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/site/backup_run.h"

namespace tidemark {

struct SetPlan {
  std::string name;             // a policy's, or what the operator calls it
  std::string policy;           // whose hooks run; empty: none
  std::vector<BackupJob> jobs;  // the members, each once
  bool full = false;
};

// What of a set lies in a store. A set is complete where all its members do.
struct SetView {
  std::string id;
  std::string guarantee;  // "frozen", "quiesced", "together"
  std::uint64_t members = 0, points = 0;
  Timestamp time;
  bool complete() const { return members > 0 && points == members; }
};

// Backs up all members, each on a thread and with connections of its own; the moments of two sets
// of one process come one after the other. The reports are in the order of the jobs; `progress` has
// one for each. Before the instant all fail together; where all were ready and images could not be
// held in time, the set is begun anew, hooks and all, twice at most. `invalid_argument` for no
// members, for more than 64, and for members that go to different stores.
std::vector<Result<BackupReport>> run_set(
    const Config& config, const std::shared_ptr<PolicyLimits>& limits, Clock& clock,
    StoreAccess* own_store, const SetPlan& plan,
    const std::vector<std::shared_ptr<BackupProgress>>& progress, std::stop_token stop);

// The sets among `points`, newest first.
std::vector<SetView> sets_of(const std::vector<PointRow>& points);
// The set that `name` means, of those with a point that is `ours`: by its id, by how one begins,
// or "latest", the newest that is complete. One that is not complete is taken only by its name, and
// told in the log. Nothing where there is none; `invalid_argument` where several are meant.
Result<std::optional<SetView>> choose_set(const std::vector<PointRow>& points,
                                          const std::string& name,
                                          const std::function<bool(const PointRow&)>& ours);

}  // namespace tidemark
