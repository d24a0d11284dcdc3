#include "agent/kube/watched_claims.h"

#include <algorithm>

#include "base/log.h"

namespace tidemark {

using nlohmann::json;

namespace {

constexpr std::chrono::minutes kAbsentAgain{5};

}  // namespace

class WatchedClaims::Followed : public kube::WatchHandler {
 public:
  Followed(WatchedClaims& owner, const kube::Resource& resource, std::string ns)
      : owner_(owner), resource_(resource), ns_(std::move(ns)) {}

  void run() {
    kube::WatchOptions options;
    options.ns = ns_;
    // Many clusters have no such resource: it is asked for now and then.
    if (resource_.plural == kube::kObjectBucketClaims.plural) options.backoff_max = kAbsentAgain;
    kube::Watch watch(*owner_.client_, resource_, options, *this);
    if (const Status ended = watch.run(owner_.stop_.get_token()); !ended)
      log::error("claims: {}: {}", resource_.plural, ended.error().describe());
  }

  const kube::Resource& resource() const { return resource_; }
  const std::string& ns() const { return ns_; }
  // REQUIRES for the rest: the owner's mutex is held.
  bool settled() const { return listed_ || absent_ || (forbidden_ && !ns_.empty()); }
  bool forbidden() const { return forbidden_; }
  const std::string& trouble() const { return trouble_; }
  const std::map<std::string, json>& objects() const { return objects_; }

  void on_changed(json object) override {
    const std::string uid = kube::uid_of(object);
    json kept = resource_.plural == kube::kPersistentVolumes.plural ? essence_of_volume(object)
                                                                    : essence_of_claim(object);
    const std::lock_guard lock(owner_.mutex_);
    trouble_.clear();
    forbidden_ = absent_ = false;
    json& known = objects_[uid];
    if (known == kept) return;  // nothing that matters to us
    known = std::move(kept);
    if (listed_) told();
  }
  void on_gone(const std::string& uid, const kube::ObjectRef&, json) override {
    const std::lock_guard lock(owner_.mutex_);
    if (objects_.erase(uid) > 0) told();
  }
  void on_listed(std::size_t) override {
    const std::lock_guard lock(owner_.mutex_);
    listed_ = true;
    trouble_.clear();
    forbidden_ = absent_ = false;
    told();
  }
  void on_trouble(const kube::ApiError& error) override {
    const std::lock_guard lock(owner_.mutex_);
    trouble_ = error.message();
    absent_ = error.no_such_api();
    forbidden_ = error.code() == ErrorCode::permission_denied;
    told();
  }

 private:
  void told() {
    ++owner_.generation_;
    owner_.changed_.notify_all();
  }

  WatchedClaims& owner_;
  const kube::Resource resource_;
  const std::string ns_;
  bool listed_ = false, forbidden_ = false;
  bool absent_ = false;  // the server does not have the resource
  std::string trouble_;
  std::map<std::string, json> objects_;  // by uid
};

WatchedClaims::WatchedClaims(std::unique_ptr<kube::Client> client, const KubernetesConfig& config)
    : ClientClaims(std::move(client), config) {
  std::vector<std::string> namespaces = config.namespaces;
  if (namespaces.empty()) namespaces.emplace_back();  // all of them
  followed_.emplace_back(*this, kube::kPersistentVolumes, "");
  for (const std::string& ns : namespaces) {
    followed_.emplace_back(*this, kube::kPersistentVolumeClaims, ns);
    followed_.emplace_back(*this, kube::kObjectBucketClaims, ns);
  }
  for (Followed& one : followed_) threads_.emplace_back([&one] { one.run(); });
}

WatchedClaims::~WatchedClaims() {
  stop_.request_stop();
  threads_.clear();
}

std::uint64_t WatchedClaims::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

Result<ClaimList> WatchedClaims::claims() {
  std::unique_lock lock(mutex_);
  const auto all_settled = [&] { return std::ranges::all_of(followed_, &Followed::settled); };
  if (!changed_.wait_for(lock, patience_, all_settled)) {
    std::string why = "the API server has not answered yet";
    for (const Followed& one : followed_)
      if (!one.settled() && !one.trouble().empty()) why = one.trouble();
    return Error(ErrorCode::unavailable, "claims: " + why);
  }
  ClaimList out;
  std::map<std::string, const json*> volumes;
  for (const Followed& one : followed_)
    if (one.resource().plural == kube::kPersistentVolumes.plural)
      for (const auto& [uid, volume] : one.objects())
        volumes.insert_or_assign(json_text(volume, {"metadata", "name"}), &volume);
  for (const Followed& one : followed_) {
    if (one.forbidden() && !one.ns().empty())
      out.problems.push_back("namespace " + one.ns() + ": " + one.trouble());
    if (one.resource().plural == kube::kPersistentVolumes.plural) continue;
    for (const auto& [uid, object] : one.objects()) {
      if (one.resource().plural == kube::kObjectBucketClaims.plural) {
        out.claims.push_back(bucket_claim(object));
        continue;
      }
      const auto volume = volumes.find(json_text(object, {"spec", "volumeName"}));
      out.claims.push_back(volume_claim(object, volume == volumes.end() ? nullptr : volume->second,
                                        config_.rados_namespaces));
    }
  }
  std::ranges::sort(out.claims, {}, &Claim::name);
  return out;
}

}  // namespace tidemark
