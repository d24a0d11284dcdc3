#include "agent/site/backup_run.h"

#include <algorithm>

#include "agent/kube/frozen.h"
#include "agent/retention/keep.h"
#include "agent/schedule/due.h"
#include "agent/site/asset_lock.h"
#include "agent/site/hook_run.h"
#include "agent/site/s3_access.h"
#include "base/log.h"
#include "base/text.h"

namespace tidemark {
namespace {

bool has_wildcard(std::string_view text) { return text.find_first_of("*?") != std::string::npos; }

// The pool and namespace of an rbd pattern. They are written out: listing every pool of a cluster
// would need more rights than a backup user has.
Result<std::pair<std::string, std::string>> place_of(const std::string& pattern) {
  const auto parts = split(pattern, '/');
  const bool plain = parts.size() >= 3 && parts.size() <= 4 && !has_wildcard(parts[1]) &&
                     (parts.size() == 3 || !has_wildcard(parts[2]));
  if (!plain)
    return Error(ErrorCode::invalid_argument,
                 "'" + pattern + "': only an image's name may be a pattern")
        .with_hint("write rbd/<pool>[/<namespace>]/<pattern>");
  return std::pair(parts[1], parts.size() == 4 ? parts[2] : std::string());
}

}  // namespace

PolicyLimits::PolicyLimits(const Config& config, Clock& clock) {
  for (const auto& [name, policy] : config.policies) {
    if (!policy.bandwidth) continue;
    auto limit = [bandwidth = *policy.bandwidth](Timestamp now) {
      return bandwidth_at(bandwidth, now);
    };
    limiters_.emplace(name, std::make_unique<RateLimiter>(std::move(limit), clock));
  }
}

RateLimiter* PolicyLimits::of(const std::string& policy) const {
  const auto it = limiters_.find(policy);
  return it == limiters_.end() ? nullptr : it->second.get();
}

Result<std::shared_ptr<CephCluster>> BackupRunner::cluster() {
  if (!cluster_) {
    TM_TRY(cluster_, CephCluster::connect(ceph_config(config_.ceph)));
  }
  return cluster_;
}

Result<StoreAccess*> BackupRunner::store(const std::string& name) {
  if (name == config_.site && own_ != nullptr) return own_;
  const auto it = stores_.find(name);
  if (it != stores_.end()) return &it->second;
  TM_TRY(StoreAccess access, open_store_named(config_, name, clock_, stop_, patience_));
  return &stores_.emplace(name, std::move(access)).first->second;
}

Result<const s3::Client*> BackupRunner::gateway() {
  if (!gateway_) {
    if (!config_.s3)
      return Error(ErrorCode::invalid_argument,
                   config_.name + ": 's3' is needed to protect buckets");
    TM_TRY(gateway_, connect_s3(*config_.s3));
  }
  return gateway_.get();
}

Status BackupRunner::add_images(const PolicyConfig& policy,
                                const std::pair<std::string, std::string>& place,
                                std::set<AssetName>& assets) {
  TM_TRY(const auto ceph, cluster());
  TM_TRY(const auto images, ceph->list_images(place.first, place.second));
  for (const std::string& image : images) {
    if (image.ends_with(".tidemark-restoring")) continue;
    const auto asset =
        AssetName::parse("rbd/" + RbdImageName{place.first, place.second, image}.text());
    if (asset && policy.covers(*asset)) assets.insert(*asset);
  }
  return {};
}

Status BackupRunner::add_buckets(const PolicyConfig& policy, std::set<AssetName>& assets) {
  TM_TRY(const s3::Client* const client, gateway());
  s3::Call call;
  call.stop = stop_;
  TM_TRY(const auto buckets, client->list_buckets(call));
  for (const s3::Bucket& bucket : buckets)
    if (const auto asset = AssetName::parse("s3/" + bucket.name); asset && policy.covers(*asset))
      assets.insert(*asset);
  // Buckets of others are named in full.
  for (const std::string& pattern : policy.assets)
    if (pattern.starts_with("s3/") && !has_wildcard(pattern))
      if (const auto asset = AssetName::parse(pattern); asset) assets.insert(*asset);
  return {};
}

Result<ClaimSource*> BackupRunner::claims() {
  if (!claims_) {
    if (!config_.kubernetes)
      return Error(ErrorCode::invalid_argument,
                   config_.name + ": 'kubernetes' is needed for claims");
    TM_TRY(claims_, connect_claims(*config_.kubernetes, stop_));
  }
  return claims_.get();
}

Status BackupRunner::add_claims(const std::string& name, std::map<AssetName, Claim>& found) {
  const PolicyConfig& policy = config_.policies.at(name);
  if (!policy.claims) return {};
  TM_TRY(ClaimSource* const source, claims());
  TM_TRY(const ClaimList all, source->claims());
  claim_problems_ = all.problems;
  for (const Claim& claim : all.claims) {
    if (!selects(name, *policy.claims, claim)) continue;
    if (claim.asset)
      found.emplace(*claim.asset, claim);
    else if (skipped_claims_.insert(claim.name.text() + " " + claim.problem).second)
      log::warn("policy {}: {} is not protected: {}", name, claim.name.text(), claim.problem);
  }
  return {};
}

BackupJob BackupRunner::job_of(const std::string& policy, AssetName asset) const {
  const PolicyConfig& rules = config_.policies.at(policy);
  return {std::move(asset), policy, rules.to, rules.check_unchanged};
}

Result<BackupJob> BackupRunner::job_of_claim(const ClaimName& wanted) {
  TM_TRY(ClaimSource* const source, claims());
  TM_TRY(const ClaimList all, source->claims());
  const auto found = std::ranges::find(all.claims, wanted, &Claim::name);
  if (found == all.claims.end())
    return Error(ErrorCode::not_found, "there is no claim " + wanted.text());
  if (!found->asset) return Error(ErrorCode::refused, wanted.text() + ": " + found->problem);
  const std::string policy = policy_of_claim(config_, *found);
  if (!policy.empty()) {
    BackupJob job = job_of(policy, *found->asset);
    job.claim = *found;
    return job;
  }
  return Error(ErrorCode::not_found, "no policy means " + wanted.text())
      .with_hint("a policy's 'claims' says which it means");
}

Result<std::vector<BackupJob>> BackupRunner::jobs_of_policy(const std::string& name) {
  const auto it = config_.policies.find(name);
  if (it == config_.policies.end())
    return Error(ErrorCode::not_found, "there is no policy '" + name + "'");
  const PolicyConfig& policy = it->second;
  claim_problems_.clear();
  std::set<AssetName> assets;
  bool buckets = false;
  std::set<std::pair<std::string, std::string>> listed;
  for (const std::string& pattern : policy.assets) {
    Status added;
    if (pattern.starts_with("s3/")) {
      if (!std::exchange(buckets, true)) added = add_buckets(policy, assets);
    } else {
      TM_TRY(const auto place, place_of(pattern));
      if (listed.insert(place).second) added = add_images(policy, place, assets);
    }
    if (!added) return std::move(added).error().context("policy " + name);
  }
  if (auto kept = keep_labelled(policy, assets); !kept)
    return std::move(kept).error().context("policy " + name);
  std::map<AssetName, Claim> claims;
  if (auto added = add_claims(name, claims); !added)
    return std::move(added).error().context("policy " + name);
  for (const auto& [asset, claim] : claims) assets.insert(asset);
  std::vector<BackupJob> jobs;
  for (const AssetName& asset : assets) {
    jobs.push_back(job_of(name, asset));
    if (const auto claim = claims.find(asset); claim != claims.end())
      jobs.back().claim = claim->second;
  }
  if (!jobs.empty())
    idle_policies_.erase(name);
  else if (idle_policies_.insert(name).second)
    log::warn("policy {} matches nothing", name);
  return jobs;
}

Result<bool> BackupRunner::has_labels(const PolicyConfig& policy, const AssetName& asset) {
  if (policy.labels.empty()) return true;
  if (asset.kind() == AssetName::Kind::rbd) {
    TM_TRY(const auto ceph, cluster());
    TM_TRY(const auto image, RbdImage::open_read_only(ceph, asset.rbd()));
    return image->has_labels(policy.labels);
  }
  TM_TRY(const s3::Client* const client, gateway());
  s3::Call call;
  call.stop = stop_;
  TM_TRY(const s3::Tags tags, client->bucket_tags(asset.bucket(), call));
  return std::ranges::all_of(policy.labels, [&](const auto& wanted) {
    const auto tag = tags.find(wanted.first);
    return tag != tags.end() && glob_match(wanted.second, tag->second);
  });
}

Status BackupRunner::keep_labelled(const PolicyConfig& policy, std::set<AssetName>& assets) {
  if (policy.labels.empty()) return {};
  for (auto it = assets.begin(); it != assets.end();) {
    const auto has = has_labels(policy, *it);
    // It went after it was listed.
    const bool gone = !has && has.error().code() == ErrorCode::not_found;
    if (!has && !gone) return has.error().context("labels of " + it->text());
    it = gone || !*has ? assets.erase(it) : std::next(it);
  }
  return {};
}

Result<BackupJob> BackupRunner::job_of_asset(const AssetName& asset) {
  for (const auto& [name, policy] : config_.policies) {
    if (!policy.covers(asset)) continue;
    TM_TRY(const bool has, has_labels(policy, asset));
    if (has) return job_of(name, asset);
  }
  for (const auto& [name, policy] : config_.policies) {
    std::map<AssetName, Claim> found;
    TM_DO(add_claims(name, found));
    if (const auto claim = found.find(asset); claim != found.end()) {
      BackupJob job = job_of(name, asset);
      job.claim = claim->second;
      return job;
    }
  }
  return Error(ErrorCode::not_found, "no policy covers " + asset.text())
      .with_hint("name it under a policy's 'assets', which says where its points go");
}

Result<std::optional<PointRow>> BackupRunner::newest(const BackupJob& job) {
  TM_TRY(StoreAccess* const access, store(job.to));
  return find_newest(*access->store, config_.site, job.asset.text());
}

Result<bool> BackupRunner::is_due(const BackupJob& job) {
  TM_TRY(const auto row, newest(job));
  std::optional<Timestamp> time;
  if (row) time = row->point.record.time;
  const auto due =
      next_due(schedule_of(config_.policies.at(job.policy)), job.asset.text(), time, clock_.now());
  if (due && due->why == Due::Why::clock_set_back)
    log::warn("{}: the newest point is ahead of the clock; one is taken now", job.asset.text());
  return due && due->now();
}

Result<BackupReport> BackupRunner::run(const BackupJob& job, BackupProgress* progress, bool full) {
  TM_TRY(const Fd lock, lock_asset(config_, job.asset, job.to));
  return job.asset.kind() == AssetName::Kind::rbd ? run_volume(job, progress, full)
                                                  : run_bucket(job, progress, full);
}

// By these the store knows what to keep: it has no other word of our policies.
std::map<std::string, std::string> BackupRunner::labels_of(const BackupJob& job) const {
  std::map<std::string, std::string> labels = job.labels;
  if (job.claim) labels.merge(tidemark::labels_of(*job.claim));
  const auto policy = config_.policies.find(job.policy);
  if (policy == config_.policies.end()) return labels;
  labels.emplace(kPolicyLabel, job.policy);
  if (policy->second.keep) labels.emplace(kKeepLabel, keep_text(*policy->second.keep));
  return labels;
}

// What is nearer to the data freezes last and thaws first.
PointHooks BackupRunner::hooks_of(const std::string& policy, const std::string& asset,
                                  const std::vector<ClaimName>& claims) {
  PointHooks outer = configured_hooks(policy, asset);
  if (claims.empty()) return outer;
  const auto rules = config_.policies.find(policy);
  const auto source = this->claims();
  if (!source) {
    log::warn("{}: no command is run in pods: {}", asset, source.error().describe());
    return outer;
  }
  PointHooks pods = (*source)->hooks(
      claims, rules == config_.policies.end() ? std::nullopt : rules->second.hooks.pods,
      frozen_directory(config_), stop_);
  return {[outer, pods]() -> Status {
            if (outer.before) TM_DO(outer.before());
            return pods.before();
          },
          [outer, pods]() -> Status {
            const Status thawed = pods.after();
            if (outer.after) TM_DO(outer.after());
            return thawed;
          }};
}

PointHooks BackupRunner::configured_hooks(const std::string& policy,
                                          const std::string& asset) const {
  PointHooks hooks;
  const auto rules = config_.policies.find(policy);
  if (rules == config_.policies.end()) return hooks;
  const HooksConfig& configured = rules->second.hooks;
  const HookContext context{config_.site, policy, asset, {}};
  const auto call = [context](const HookConfig& hook, std::string phase, std::stop_token stop) {
    HookContext now = context;
    now.phase = std::move(phase);
    return run_hook(hook, now, std::move(stop));
  };
  if (configured.before)
    hooks.before = [this, call, &configured] { return call(*configured.before, "before", stop_); };
  // What is frozen must thaw, though somebody wants us to stop.
  if (configured.after)
    hooks.after = [call, &configured] { return call(*configured.after, "after", {}); };
  return hooks;
}

std::vector<ClaimName> BackupRunner::claims_of(const BackupJob& job) {
  return job.claim ? std::vector{job.claim->name} : std::vector<ClaimName>();
}

// A claim whose manifests cannot be had is backed up all the same: its data matters more.
std::string BackupRunner::manifests_of(const BackupJob& job, const StoreKeys& keys) {
  if (!job.claim) return {};
  const auto read = [&]() -> Result<std::string> {
    TM_TRY(ClaimSource* const source, claims());
    return source->manifests(*job.claim, keys.encrypted());
  };
  auto text = read();
  if (text) return *std::move(text);
  log::warn("{}: the point goes without the manifests of {}: {}", job.asset.text(),
            job.claim->name.text(), text.error().describe());
  return {};
}

Result<BackupReport> BackupRunner::run_volume(const BackupJob& job, BackupProgress* progress,
                                              bool full) {
  TM_TRY(const auto ceph, cluster());
  TM_TRY(StoreAccess* const access, store(job.to));
  TM_TRY(const StoreKeys* const keys, access->need_keys());
  // Before there is a snapshot: whoever tidies up later has to know of it.
  if (noted_.insert({job.asset, job.to}).second)
    if (const auto noted =
            book_.note(job.asset.text(), access->descriptor.id, job.to, job.claim.has_value());
        !noted)
      return std::move(noted).error().context("note where snapshots are kept");
  VolumeBackupOptions options;
  options.our_snapshots_max = config_.snapshots.per_image;
  options.room = config_.snapshots.room;
  options.site = config_.site;
  options.check_unchanged = job.check_unchanged;
  options.labels = labels_of(job);
  options.manifests = manifests_of(job, *keys);
  options.full = full;
  options.progress = progress;
  options.limiter = limits_->of(job.policy);
  options.member = member_;
  if (member_ == nullptr) options.hooks = hooks_of(job.policy, job.asset.text(), claims_of(job));
  options.stop = stop_;
  if (job.discarded)
    options.begin = [&](std::string_view asset, const PointId& parent) {
      return access->store->begin_discarded(config_.site, asset, parent, *job.discarded);
    };
  return back_up_volume(ceph, job.asset.rbd(), *access->store, *keys, options, clock_);
}

Result<BackupReport> BackupRunner::run_bucket(const BackupJob& job, BackupProgress* progress,
                                              bool full) {
  TM_TRY(const s3::Client* const client, gateway());
  TM_TRY(StoreAccess* const access, store(job.to));
  TM_TRY(const StoreKeys* const keys, access->need_keys());
  BucketBackupOptions options;
  options.site = config_.site;
  options.labels = labels_of(job);
  options.manifests = manifests_of(job, *keys);
  options.full = full;
  options.list_every = config_.s3->list_every;  // gateway() needs s3
  options.progress = progress;
  options.limiter = limits_->of(job.policy);
  options.member = member_;
  if (member_ == nullptr) options.hooks = hooks_of(job.policy, job.asset.text(), claims_of(job));
  options.stop = stop_;
  return back_up_bucket(*client, job.asset.bucket(), *access->store, *keys, options, clock_);
}

}  // namespace tidemark
