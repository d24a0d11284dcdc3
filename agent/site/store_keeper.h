// Keeps the store that a site serves, beside the backups that come in: retention, garbage
// collection, scrubbing, and what is known of its space.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "agent/service/scrub.h"
#include "agent/service/store_service.h"
#include "agent/site/access.h"
#include "agent/site/status.h"
#include "agent/site/usage.h"
#include "base/clock.h"
#include "config/config.h"

namespace tidemark {

class StoreKeeper {
 public:
  // The configuration in use, which has a store; called on the keeper's threads.
  using ConfigSource = std::function<std::shared_ptr<const Config>()>;

  // Opens the store for writing, as its only owner. `clock` must outlive the keeper.
  static Result<std::unique_ptr<StoreKeeper>> open(ConfigSource config, Clock& clock,
                                                   std::stop_token stop);

  // Safe from any thread.
  StoreService& service() { return *service_; }
  StoreAccess& access() { return access_; }
  // Takes up the rules that a changed configuration has for peers.
  void configure(const Config& config);
  // Adds to a collection when packs are written anew, and the key for it.
  void add_repacking(const CollectConfig& gc, CollectRequest& request) const;
  // What of the status is the store's. Waits for no backend.
  void add_to(SiteStatus& status);

  // Each runs until the stop, on a thread of its own.
  //
  // Retention and garbage collection. The first collection comes a while after the start: an agent
  // that is started again and again would do nothing else.
  void keep();
  void scrub();

 private:
  // What the status tells, as it was found last.
  struct Findings {
    std::optional<BackendSpace> space;
    std::optional<Timestamp> full_at;
    std::uint64_t logical_bytes = 0;
    std::optional<Timestamp> collected_at;
    CollectReport collected;
    std::uint64_t repacked_packs = 0;  // since the start
    std::string collect_error, clock_error;
  };

  StoreKeeper(ConfigSource config, Clock& clock, std::stop_token stop)
      : config_(std::move(config)),
        clock_(clock),
        stop_(std::move(stop)),
        usage_(config_()->state / "usage.json") {}
  Status open_store(const Config& config);
  // What is whole in a damaged pack need not be sent again, where we can read it.
  void save_from(const PackId& id, const Bytes& pack);
  void measure_space();
  Status apply_retention();
  void collect(const CollectConfig& gc);

  const ConfigSource config_;
  Clock& clock_;
  const std::stop_token stop_;
  StoreAccess access_;
  StoreService* service_ = nullptr;        // access_.store
  std::shared_ptr<const StoreKeys> keys_;  // null: not at hand
  std::unique_ptr<Scrubber> scrubber_;
  UsageHistory usage_;  // of keep()
  mutable std::mutex mutex_;
  Findings found_;  // guarded by mutex_
};

}  // namespace tidemark
