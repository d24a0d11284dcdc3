// Keeps the standby images of a site: which there are to be, who follows what, and releases.
//
// What an image is to be follows from three things that outlive the agent: the configuration, the
// role of its asset in the store (store/role.h), and the image's own mark. So a release that was
// asked for is finished by whichever agent runs next.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/service/store_service.h"
#include "agent/standby/standby_image.h"
#include "agent/standby/standby_status.h"
#include "base/clock.h"
#include "config/config.h"

namespace tidemark {

class StandbyKeeper {
 public:
  using ConfigSource = std::function<std::shared_ptr<const Config>()>;
  // All must outlive it.
  StandbyKeeper(ConfigSource config, StoreService& store, const StoreKeys& keys, Clock& clock,
                std::stop_token stop)
      : config_(std::move(config)),
        store_(store),
        keys_(keys),
        clock_(clock),
        stop_(std::move(stop)) {}

  // Until the stop. Several images at a time, on threads of its own.
  void run();

  // Safe from any thread.
  std::vector<StandbyStatus> list() const;
  // From now on the asset is in use here, and its site sends no more points of it: that is durable
  // when this returns. Then the image is made equal to the point (an id or how one begins; empty:
  // the newest) and released, which list() tells. Repeated, it changes nothing. `not_found` where
  // no standby of the asset is kept, `refused` where it was promoted at another point.
  Status promote(const SiteAsset& asset, const std::string& point);
  // Takes a last point of an image that was released, and hands its asset over: from then on nobody
  // holds it, until its own site takes it back (agent/standby/failback.h). `refused` where the
  // asset is not in use here. Only begun when this returns, and not remembered over a restart:
  // list() tells, and it can be repeated.
  Status demote(const SiteAsset& asset);
  // The same for an image that cannot be read any more: no last point is taken, and the asset is
  // handed over at its newest one. What was written here since is given up: an image that is there
  // after all becomes a standby again once its own site has taken the asset back. Durable when this
  // returns.
  Status demote_lost(const SiteAsset& asset);

 private:
  using Key = std::pair<std::string, std::string>;  // site, asset
  struct Member {
    RbdImageName name;  // not changed while it is busy
    PointRow newest;
    std::unique_ptr<StandbyImage> image;  // used by who has set `busy`
    bool busy = false;
    bool demote = false;  // it was asked for
    StandbyStatus status;
    std::optional<Duration> again;  // not before, by uptime
  };

  void look();
  // Has the member's next step taken at once.
  void wake(const SiteAsset& asset);
  bool is_due(const Member& member) const;
  // Whether the asset of another site is in use here.
  bool is_ours(const AssetRole& role) const;
  Status open_image(Member& member, const StandbyStatus& status);
  Status follow(StandbyImage& image, const PointRow& target, std::optional<std::uint64_t> release,
                StandbyStatus& status);
  Status hand_over(StandbyImage& image, const Member& member, AssetRole role,
                   StandbyStatus& status);
  void work();
  // What is to be done for a member, without the mutex.
  Status step(Member& member, const PointRow& newest, StandbyStatus& status);
  Result<std::shared_ptr<CephCluster>> cluster();
  Result<PointRow> newest_of(const std::string& site, const std::string& asset);
  Result<PointRow> chosen(const SiteAsset& asset, const std::string& point);

  const ConfigSource config_;
  StoreService& store_;
  const StoreKeys& keys_;
  Clock& clock_;
  const std::stop_token stop_;
  std::mutex cluster_mutex_;
  std::shared_ptr<CephCluster> cluster_;  // guarded by cluster_mutex_
  std::mutex promote_mutex_;              // one at a time
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<Key, Member> members_;  // guarded by mutex_
};

}  // namespace tidemark
