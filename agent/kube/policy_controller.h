// ProtectionPolicy objects: which policies they make, and what their status says.
//
// The objects are followed; each that is sound is a policy beside those of the configuration for as
// long as it is there. Deleting one ends its schedule and deletes no point.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "agent/kube/policy_object.h"
#include "agent/site/status.h"
#include "transport/kube/watch.h"

namespace tidemark {

class PolicyController : private kube::WatchHandler {
 public:
  using ConfigSource = std::function<std::shared_ptr<const Config>()>;
  // All must outlive it.
  PolicyController(kube::Client& client, Clock& clock, ConfigSource config, std::string own_ns,
                   std::stop_token stop)
      : client_(client),
        clock_(clock),
        config_(std::move(config)),
        own_ns_(std::move(own_ns)),
        stop_(std::move(stop)),
        known_by_(clock.uptime() + std::chrono::minutes(1)) {}

  // Watches until the stop.
  void run();
  // Judges objects that have changed, and all where the configuration has. To be called often, on
  // one thread with report().
  void settle();
  // By name (policy_name_of()). Safe from any thread, as is the rest.
  std::map<std::string, PolicyConfig> policies() const;
  // Grows when policies() changes.
  std::uint64_t generation() const;
  // Brings the status of each object to what is so; only what differs is written.
  void report(const SiteStatus& status);

 private:
  struct Kept {
    nlohmann::json object;  // as last seen or written
    bool judged = false;
    std::optional<PolicyConfig> policy;
    std::string reason, problem;  // why there is none
  };

  void on_changed(nlohmann::json object) override;
  void on_gone(const std::string& uid, const kube::ObjectRef& ref, nlohmann::json last) override;
  // REQUIRES: the mutex.
  void update(Kept& kept, nlohmann::json object);
  nlohmann::json status_of(const Kept& kept, const SiteStatus& status) const;
  bool is_known(const Kept& kept, const SiteStatus& status) const;
  void tell(const Kept& kept, const nlohmann::json& status);

  kube::Client& client_;
  Clock& clock_;
  const ConfigSource config_;
  const std::string own_ns_;
  const std::stop_token stop_;
  const std::chrono::microseconds known_by_;  // a store that does not answer is not waited for
  mutable std::mutex mutex_;
  std::map<std::string, Kept> objects_;      // by uid; guarded by mutex_
  std::uint64_t generation_ = 0;             // guarded by mutex_
  std::shared_ptr<const Config> judged_by_;  // of settle()
};

}  // namespace tidemark
