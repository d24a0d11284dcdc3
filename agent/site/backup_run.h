// Backups of the assets that policies name, as the daemon and the command line run them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/backup/bucket_backup.h"
#include "agent/backup/volume_backup.h"
#include "agent/kube/claims.h"
#include "agent/site/access.h"
#include "agent/site/source_book.h"

namespace tidemark {

// Where a site remembers which images it keeps snapshots on (agent/site/source_book.h).
inline std::filesystem::path source_book_file(const Config& config) {
  return config.state / "sources.json";
}

struct BackupJob {
  AssetName asset;
  std::string policy;  // empty: asked for by hand
  std::string to;      // peer, or this site
  double check_unchanged = 0.001;
  std::map<std::string, std::string> labels = {};  // besides the policy's
  // Of a point of what is about to be rolled over (agent/standby/failback.h): the role's token.
  std::optional<std::uint64_t> discarded = {};
  std::optional<Claim> claim = {};  // that the asset is behind, where it was found by that
};

struct BackupOutcome {
  BackupJob job;
  Result<BackupReport> result;
};

// How fast each policy may send, whichever runner does it.
class PolicyLimits {
 public:
  // `clock` must outlive it.
  PolicyLimits(const Config& config, Clock& clock);
  // Null where nothing limits it.
  RateLimiter* of(const std::string& policy) const;

 private:
  std::map<std::string, std::unique_ptr<RateLimiter>> limiters_;
};

// A site's connections, opened when first needed and kept. Used by one thread.
class BackupRunner {
 public:
  BackupRunner(const Config& config, Clock& clock, std::stop_token stop)
      : BackupRunner(config, std::make_shared<PolicyLimits>(config, clock), clock,
                     std::move(stop)) {}
  // With limits that are shared with other runners of the same configuration.
  BackupRunner(const Config& config, std::shared_ptr<PolicyLimits> limits, Clock& clock,
               std::stop_token stop)
      : config_(config),
        limits_(std::move(limits)),
        clock_(clock),
        stop_(std::move(stop)),
        book_(source_book_file(config)) {}
  // All backups from here on are this member's of a set, whose hooks run elsewhere.
  void join(SetMember& member) { member_ = &member; }
  // A store that is open already in this process is used instead of a connection to ourselves.
  void use_own_store(StoreAccess* own) { own_ = own; }
  // Where claims of Kubernetes are looked up, instead of a connection of its own; may be null.
  void use_claims(std::shared_ptr<ClaimSource> claims) { claims_ = std::move(claims); }
  // How long a peer may be away before a call fails; to be set before the first call.
  void set_patience(std::chrono::seconds patience) { patience_ = patience; }

  // The assets that a policy covers now, in order. Patterns are matched against the images and the
  // buckets of our user that exist; what cannot be listed is an error.
  Result<std::vector<BackupJob>> jobs_of_policy(const std::string& policy);
  // One asset by name, with the policy that covers it (the first, in order of names).
  Result<BackupJob> job_of_asset(const AssetName& asset);
  // The same of a claim: `not_found` where it is not there, `refused` where it cannot be protected.
  Result<BackupJob> job_of_claim(const ClaimName& name);
  // The newest point of the asset in the job's store; nothing where it has none.
  Result<std::optional<PointRow>> newest(const BackupJob& job);
  // True where the schedule of the job's policy wants a point of the asset now
  // (agent/schedule/due.h).
  Result<bool> is_due(const BackupJob& job);
  // What the policy has done around a moment; the runner outlives the hooks. `asset` is what they
  // are told.
  PointHooks hooks_of(const std::string& policy, const std::string& asset,
                      const std::vector<ClaimName>& claims);
  // One backup at a time of an asset at this site: `refused` while another process is at it.
  Result<BackupReport> run(const BackupJob& job, BackupProgress* progress, bool full);

  // What backups go through: this site's cluster, and the store that a policy's `to` names.
  Result<std::shared_ptr<CephCluster>> cluster();
  Result<StoreAccess*> store(const std::string& name);
  Result<ClaimSource*> claims();
  // What kept jobs_of_policy() from seeing claims that its policy may mean.
  const std::vector<std::string>& claim_problems() const { return claim_problems_; }

 private:
  BackupJob job_of(const std::string& policy, AssetName asset) const;
  PointHooks configured_hooks(const std::string& policy, const std::string& asset) const;
  static std::vector<ClaimName> claims_of(const BackupJob& job);
  Status add_claims(const std::string& policy, std::map<AssetName, Claim>& found);
  std::string manifests_of(const BackupJob& job, const StoreKeys& keys);
  Result<const s3::Client*> gateway();
  Status add_images(const PolicyConfig& policy, const std::pair<std::string, std::string>& place,
                    std::set<AssetName>& assets);
  Status add_buckets(const PolicyConfig& policy, std::set<AssetName>& assets);
  std::map<std::string, std::string> labels_of(const BackupJob& job) const;
  // Drops those that do not have the policy's labels.
  Status keep_labelled(const PolicyConfig& policy, std::set<AssetName>& assets);
  Result<bool> has_labels(const PolicyConfig& policy, const AssetName& asset);
  Result<BackupReport> run_volume(const BackupJob& job, BackupProgress* progress, bool full);
  Result<BackupReport> run_bucket(const BackupJob& job, BackupProgress* progress, bool full);

  const Config& config_;
  const std::shared_ptr<PolicyLimits> limits_;
  Clock& clock_;
  std::stop_token stop_;
  StoreAccess* own_ = nullptr;
  SetMember* member_ = nullptr;
  std::shared_ptr<ClaimSource> claims_;
  std::vector<std::string> claim_problems_;
  std::set<std::string> skipped_claims_;  // of which it was said why
  std::chrono::seconds patience_ = kPeerPatience;
  SourceBook book_;
  std::set<std::pair<AssetName, std::string>> noted_;  // in the book, by this runner
  std::set<std::string> idle_policies_;                // match nothing, which was said
  std::shared_ptr<CephCluster> cluster_;
  std::unique_ptr<s3::Client> gateway_;
  std::map<std::string, StoreAccess> stores_;
};

}  // namespace tidemark
