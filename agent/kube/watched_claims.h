// The claims of a cluster, followed as they change: what the daemon asks instead of the API server.
#pragma once

#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "agent/kube/api_claims.h"
#include "transport/kube/watch.h"

namespace tidemark {

// Watches PersistentVolumes, PersistentVolumeClaims and ObjectBucketClaims, each on a thread of its
// own, until it is destroyed. Of an object it keeps what claims are made of. Safe from any thread.
class WatchedClaims : public ClientClaims {
 public:
  WatchedClaims(std::unique_ptr<kube::Client> client, const KubernetesConfig& config);
  ~WatchedClaims() override;

  // As they were a moment ago. Until everything was listed once it waits for that, up to
  // `patience`: then `unavailable`, with what the server said.
  Result<ClaimList> claims() override;
  // Grows with every change that was seen.
  std::uint64_t generation() const;
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }

 private:
  // One resource in one namespace, or in all.
  class Followed;
  kube::Call call() const override { return {stop_.get_token()}; }

  std::chrono::milliseconds patience_ = std::chrono::seconds(20);
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t generation_ = 0;  // guarded by mutex_
  std::stop_source stop_;
  std::list<Followed> followed_;     // their contents are guarded by mutex_
  std::list<std::jthread> threads_;  // last: they use the rest
};

}  // namespace tidemark
