// What an agent does in its Kubernetes cluster besides backing up claims: it carries out the
// objects of tidemark.dev. Needs `kubernetes.custom_resources`.
#pragma once

#include <memory>
#include <stop_token>

#include "agent/kube/drill_controller.h"
#include "agent/kube/policy_controller.h"
#include "agent/kube/recovery_points.h"
#include "agent/kube/restore_controller.h"

namespace tidemark {

class KubeSite {
 public:
  using ConfigSource = PolicyController::ConfigSource;
  // `own_store` is the store that is served here, null where there is none. All must outlive it.
  // Errors of connect_kube().
  static Result<std::unique_ptr<KubeSite>> create(ConfigSource config, const StoreAccess* own_store,
                                                  Clock& clock, std::stop_token stop);

  // Until the stop, on threads of its own.
  void run();
  // The file's configuration with the policies and drills that objects make. One of the same name
  // in the file counts.
  Config with_objects(Config config);
  // Grows when what objects make changes.
  std::uint64_t generation() const { return policies_.generation() + drills_.generation(); }
  // Says when plans of objects are run.
  DrillGuard& drills() { return drills_; }
  // The status of the objects, written a little later on the thread of run().
  void tell(SiteStatus status);

 private:
  KubeSite(std::unique_ptr<kube::Client> client, ConfigSource config, const StoreAccess* own_store,
           Clock& clock, std::stop_token stop);

  const std::unique_ptr<kube::Client> client_;
  const std::stop_token stop_;
  PolicyController policies_;
  DrillController drills_;
  RestoreController restores_;
  RecoveryPoints points_;
  std::mutex mutex_;
  std::optional<SiteStatus> told_;  // guarded by mutex_
};

// Runs `work` while this process holds the lease `kubernetes.lease`, in its own namespace: of
// several replicas one is at work. `work` gets a token that asks it to stop; where it goes on for
// longer than the lease allows, the process ends. Returns what `work` does, or when `stop` is
// requested before the lease was won. A lost lease is `refused`: whoever starts us again waits for
// it anew.
Status run_while_leading(const Config& config, Clock& clock, const std::stop_token& stop,
                         const std::function<Status(std::stop_token)>& work);

}  // namespace tidemark
