// RecoveryPoint objects: a mirror of the catalog, bounded, for people who look with kubectl.
//
// Shown are the points of claims in the store that is served here; where none is, those of this
// site at its peers. An object lies in its claim's namespace where that is here and may be written,
// else in the agent's own. The catalog is the original: an object whose point is gone, or past the
// bound, is removed, and one that somebody removes or changes is put right. Of objects that do not
// carry our labels none is touched.
//
// What stands in the API server is listed once and watched; the store is asked for the number of
// its journal's last entry. So nothing is sent while nothing changes, and a restart finds
// everything as it is. A peer that does not answer leaves the objects of its points as they are.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "agent/kube/recovery_point_object.h"
#include "agent/site/access.h"
#include "transport/kube/watch.h"

namespace tidemark {

class RecoveryPoints {
 public:
  struct Options {
    std::function<std::shared_ptr<const Config>()> config;
    // The store that is served here; null: the peers'.
    const StoreAccess* own_store = nullptr;
    std::string own_ns;
    // Between two writes: the API server has others to serve.
    std::chrono::milliseconds between = std::chrono::milliseconds(100);
    std::stop_token stop;
  };
  // All must outlive it.
  RecoveryPoints(kube::Client& client, Clock& clock, Options options);
  ~RecoveryPoints();

  // Until the stop, on this thread and one for each watch.
  void run();

 private:
  using Json = nlohmann::json;
  using Uptime = std::chrono::microseconds;
  // The objects of one namespace, or of all.
  class Followed;
  // An object as it stands.
  struct Known {
    kube::ObjectRef ref;
    Json labels, spec, status;
    std::int64_t generation = 0;
    bool leaving = false;  // being deleted
    bool operator==(const Known&) const = default;
  };
  // What failed is left alone until then, longer each time.
  struct Later {
    Uptime until{}, pause{};
  };
  // Whose points are shown.
  struct Source {
    StoreAccess opened;                               // of a peer; open or not
    std::pair<std::uint64_t, std::uint64_t> version;  // the journal's last entry, and the points
    std::optional<RecoveryPointsConfig> bound;        // by which `points` were chosen
    std::set<std::pair<std::string, std::string>> assets;  // that had points of claims
    std::vector<ShownPoint> points;
    Uptime next{}, reread{};
    bool read = false;  // false: `points` say nothing
    std::string trouble;
  };
  struct Step {
    enum class What : std::uint8_t { create, mend, tell, remove } what = What::create;
    ShownPoint point;    // not of `remove`
    std::string ns;      // of `create`
    bool moves = false;  // likewise: it is shown elsewhere
    std::string uid;     // of the others
    Known found;         // likewise
  };

  bool settled();
  // Reads what changed in the stores.
  void look();
  void look_at(const Config& config, const std::string& name, Source& source);
  Status read(const Config& config, PointStore& store, Source& source, const std::string& name);
  void carry_out();
  // What is to be done: removals first, then the newest points.
  std::vector<Step> plan();
  // REQUIRES: the mutex. `here`: the objects of the point, by namespace.
  void plan_point(const ShownPoint& point, const std::map<std::string, std::string>& here,
                  const std::set<std::string>& in_use, std::vector<Step>& steps);
  bool may_lie_in(const std::string& ns);
  // False where the API server is away: the rest is for later.
  bool take(Step& step);
  kube::Outcome<Json> write(Step& step);
  kube::Outcome<Json> create(Step& step);
  void keep(const Json& object);
  void forget(const std::string& uid);
  bool waits(const std::map<std::string, Later>& later, const std::string& key) const;
  void put_off(std::map<std::string, Later>& later, const std::string& key);
  static Json status_of(const ShownPoint& point, const Known& found, Timestamp now);

  kube::Client& client_;
  Clock& clock_;
  const Options options_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;  // by uid; guarded by mutex_
  bool stirred_ = true;                 // known_ or a source has changed; guarded by mutex_
  std::list<Followed> followed_;        // their contents are guarded by mutex_

  // Of run().
  std::map<std::string, Source> sources_;   // by site
  std::map<std::string, Later> elsewhere_;  // namespaces that take no objects
  std::map<std::string, Later> failed_;     // names of objects
  Later away_;                              // the API server
  Uptime again_{};                          // what was put off is looked at then
};

}  // namespace tidemark
