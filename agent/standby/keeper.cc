#include "agent/standby/keeper.h"

#include <algorithm>
#include <thread>

#include "agent/backup/volume_backup.h"
#include "agent/site/access.h"
#include "agent/standby/failback.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/text.h"

namespace tidemark {
namespace {

// A new point is looked at when it comes; this is for all else, as a changed configuration.
constexpr Duration kLookStep = std::chrono::seconds(1);
// Looking goes over the newest points of all assets. Where many come one after the other it takes a
// tenth of the time at most.
constexpr int kPauseFactor = 9;
constexpr Duration kTryAgain = std::chrono::seconds(10);
constexpr std::size_t kWorkers = 4;

}  // namespace

Result<std::shared_ptr<CephCluster>> StandbyKeeper::cluster() {
  const std::lock_guard lock(cluster_mutex_);
  if (!cluster_) {
    TM_TRY(cluster_, CephCluster::connect(ceph_config(config_()->ceph)));
  }
  return cluster_;
}

void StandbyKeeper::run() {
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < kWorkers; ++i) workers.emplace_back([this] { work(); });
  const std::stop_callback wake(stop_, [this] { changed_.notify_all(); });
  std::uint64_t commits = 0;
  while (!stop_.stop_requested()) {
    const Duration began = clock_.uptime();
    look();
    const Duration pause = std::min<Duration>(kPauseFactor * (clock_.uptime() - began), kLookStep);
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop_, pause, [] { return false; });
    }
    commits = store_.wait_for_commit(commits, kLookStep - pause, stop_);
  }
}

// Which images there are to be.
void StandbyKeeper::look() {
  const auto config = config_();
  if (config->standby.empty() && list().empty()) return;
  std::map<Key, std::pair<RbdImageName, PointRow>> wanted;
  const auto seen = store_.each_latest_point([&](const PointRow& row) -> Status {
    const PointRecord& record = row.point.record;
    const auto asset = AssetName::parse(record.asset);
    if (!asset || asset->kind() != AssetName::Kind::rbd) return {};
    const std::string text = record.site + ":" + record.asset;
    for (const auto& [name, group] : config->standby)
      for (const std::string& glob : group.assets)
        if (glob_match(glob, text))
          wanted.try_emplace({record.site, record.asset},
                             RbdImageName{group.pool, group.ns, asset->rbd().image}, row);
    return {};
  });
  if (!seen) {
    log::error("standby: {}", seen.error().describe());
    return;
  }
  for (auto& [key, what] : wanted)
    if (is_discarded(what.second.point.record)) {
      auto newest = newest_of(key.first, key.second);
      if (newest) what.second = *std::move(newest);
    }
  const std::lock_guard lock(mutex_);
  for (auto& [key, what] : wanted) {
    Member& member = members_[key];
    if (!member.busy && member.name != what.first) {
      member.image.reset();
      member.name = what.first;
      member.status = {};
    }
    member.newest = std::move(what.second);
    member.status.site = key.first;
    member.status.asset = key.second;
    member.status.image = member.name.text();
    member.status.newest_time = member.newest.point.record.time;
    if (member.status.state.empty()) member.status.state = "behind";
  }
  // One that is not to be kept any more stays as it is, and is let go of.
  std::erase_if(members_, [&](const auto& entry) {
    return !wanted.contains(entry.first) && !entry.second.busy;
  });
  if (std::ranges::any_of(members_, [&](const auto& entry) { return is_due(entry.second); }))
    changed_.notify_all();
}

bool StandbyKeeper::is_ours(const AssetRole& role) const {
  return role.holder == config_()->site && role.site != role.holder;
}

bool StandbyKeeper::is_due(const Member& member) const {
  if (member.busy || (member.again && clock_.uptime() < *member.again)) return false;
  if (member.demote) return true;
  const StandbyStatus& status = member.status;
  const auto role = store_.role_of(status.site, status.asset);
  if (role && status.token != role->token) return true;
  if (role && is_ours(*role)) return status.state != "primary";
  if (role && role->holder.empty()) return status.state != "demoted";
  return status.state != "following" || status.point != member.newest.point.record.id;
}

void StandbyKeeper::work() {
  while (!stop_.stop_requested()) {
    std::unique_lock lock(mutex_);
    auto due = members_.end();
    changed_.wait(lock, stop_, [&] {
      due = std::ranges::find_if(members_, [&](const auto& m) { return is_due(m.second); });
      return due != members_.end();
    });
    if (due == members_.end() || stop_.stop_requested()) return;
    Member& member = due->second;  // stays while it is busy
    member.busy = true;
    if (member.status.state == "following") member.status.state = "behind";
    if (std::exchange(member.demote, false)) member.status.state = "demoting";
    const PointRow newest = member.newest;
    StandbyStatus status = member.status;
    lock.unlock();
    const log::JobScope scope(log::new_job("standby"));
    const auto done = step(member, newest, status);
    if (!done) {
      log::error("standby of {}:{}: {}", status.site, status.asset, done.error().describe());
      // The next try begins with what the cluster says; one that has fenced us off listens to a new
      // connection only.
      member.image.reset();
      if (done.error().code() == ErrorCode::unavailable) {
        const std::lock_guard cluster_lock(cluster_mutex_);
        cluster_.reset();
      }
    }
    lock.lock();
    status.error = done ? std::string() : done.error().message();
    if (!done) status.state = "problem";
    status.newest_time = member.status.newest_time;
    member.status = std::move(status);
    member.again = done ? std::nullopt : std::optional(clock_.uptime() + kTryAgain);
    member.busy = false;
  }
}

Status StandbyKeeper::open_image(Member& member, const StandbyStatus& status) {
  if (!member.image) {
    StandbyImage::Options options;
    TM_TRY(options.cluster, cluster());
    options.name = member.name;
    options.store = &store_;
    options.keys = &keys_;
    TM_TRY(const StoreDescriptor descriptor, store_.descriptor());
    options.store_id = descriptor.id;
    options.site = status.site;
    options.asset = status.asset;
    options.stop = stop_;
    member.image = std::make_unique<StandbyImage>(std::move(options));
  }
  return member.image->is_open() ? Status() : member.image->open();
}

Status StandbyKeeper::step(Member& member, const PointRow& newest, StandbyStatus& status) {
  TM_TRY(const AssetRole role, store_.settled_role_of(status.site, status.asset));
  const bool ours = is_ours(role);
  TM_DO(open_image(member, status));
  StandbyImage& image = *member.image;
  status.token = role.token;
  if (image.primary()) {
    status.point = role.point;
    if (ours && status.state == "demoting") return hand_over(image, member, role, status);
    if (ours) {
      status.state = "primary";
      return image.release(role.token);
    }
    if (role.holder.empty()) {
      status.state = "demoted";
      return image.hold();
    }
    if (role.holder != role.site || role.token <= image.token())
      return Error(ErrorCode::refused, "split brain: image " + member.name.text() +
                                           " was released here, and site " + role.holder +
                                           " holds the asset");
    TM_DO(image.rejoin(role.token));
  }
  if (role.holder.empty()) {
    status.state = "demoted";
    return {};
  }
  PointRow target = newest;
  if (ours) {
    status.state = "promoting";
    PointQuery query;
    query.id_prefix = role.point.hex();
    TM_TRY(target, store_.find(query));
  }
  return follow(image, target, ours ? std::optional(role.token) : std::nullopt, status);
}

Status StandbyKeeper::follow(StandbyImage& image, const PointRow& target,
                             std::optional<std::uint64_t> release, StandbyStatus& status) {
  TM_TRY(const auto followed, image.follow(target));
  status.point = target.point.record.id;
  status.point_time = target.point.record.time;
  status.mended += followed.mended ? 1 : 0;
  if (followed.mended)
    log::warn("standby image {} had been changed by somebody else; it is as the point again",
              status.image);
  log::info("standby image {} is point {} of {}:{}, {} written", status.image, status.point->hex(),
            status.site, status.asset, format_bytes(followed.written_bytes));
  status.state = "following";
  if (!release) return {};
  TM_DO(image.release(*release));
  status.state = "primary";
  log::warn("standby image {} is released for use as {}:{} (token {})", status.image, status.site,
            status.asset, *release);
  return {};
}

// The last point is of the asset, though another site's image: its line goes on.
Status StandbyKeeper::hand_over(StandbyImage& image, const Member& member, AssetRole role,
                                StandbyStatus& status) {
  TM_DO(image.hold());
  SiteAsset asset;
  asset.site = role.site;
  TM_TRY(asset.asset, AssetName::parse(role.asset));
  TM_TRY(const PointRow before, chosen(asset, {}));
  VolumeBackupOptions options;
  options.site = role.site;
  options.asset = role.asset;
  // The rule by which points of the asset are kept stays in force.
  options.labels = before.point.record.labels;
  options.stop = stop_;
  options.begin = [&](std::string_view text, const PointId& parent) {
    return store_.begin_as(config_()->site, role.site, text, parent);
  };
  TM_TRY(const auto ceph, cluster());
  TM_TRY(const BackupReport last,
         back_up_volume(ceph, member.name, store_, keys_, options, clock_));
  TM_DO(image.captured_as(last.point.point.record.id));
  role.holder.clear();
  role.point = last.point.point.record.id;
  role.since = clock_.now();
  ++role.token;
  TM_DO(store_.set_role(role));
  status.token = role.token;
  status.point = role.point;
  status.point_time = last.point.point.record.time;
  status.state = "demoted";
  log::warn("{}:{} is handed over at point {} (token {})", role.site, role.asset, role.point.hex(),
            role.token);
  return {};
}

std::vector<StandbyStatus> StandbyKeeper::list() const {
  std::vector<StandbyStatus> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, member] : members_) out.push_back(member.status);
  return out;
}

Result<PointRow> StandbyKeeper::newest_of(const std::string& site, const std::string& asset) {
  PointQuery query;
  query.site = site;
  query.asset = asset;
  query.newest = true;
  return store_.find(query);
}

Result<PointRow> StandbyKeeper::chosen(const SiteAsset& asset, const std::string& point) {
  if (point.empty()) return newest_of(asset.site, asset.asset.text());
  PointQuery query;
  query.id_prefix = point;
  TM_TRY(PointRow row, store_.find(query));
  if (row.point.record.site != asset.site || row.point.record.asset != asset.asset.text())
    return Error(ErrorCode::not_found, "point " + point + " is not of " + asset.asset.text());
  return row;
}

Status StandbyKeeper::promote(const SiteAsset& asset, const std::string& point) {
  const std::lock_guard one(promote_mutex_);
  const std::string site = config_()->site, text = asset.asset.text();
  if (asset.site == site)
    return Error(ErrorCode::invalid_argument, text + " is this site's own: there is no standby");
  std::string image;
  {
    const std::lock_guard lock(mutex_);
    const auto found = members_.find({asset.site, text});
    if (found == members_.end())
      return Error(ErrorCode::not_found, "no standby of " + asset.site + ":" + text + " is kept")
          .with_hint("'tidemark standby list' shows what is");
    image = found->second.name.text();
  }
  const auto known = store_.settled_role_of(asset.site, text);
  if (!known && known.error().code() != ErrorCode::corruption) return known.error();
  if (known && is_ours(*known)) {
    if (point.empty()) return {};
    TM_TRY(const PointRow target, chosen(asset, point));
    if (known->point == target.point.record.id) return {};
    return Error(ErrorCode::refused,
                 text + " was promoted at point " + known->point.hex().substr(0, 12) + " already")
        .with_hint("restore the other point with 'tidemark restore --in-place'");
  }
  AssetRole role;
  role.site = asset.site;
  role.asset = text;
  role.holder = site;
  role.image = image;
  role.since = clock_.now();
  // Of one that cannot be read the token is not known: no count of changes comes near the time.
  role.token = 1 + (known ? known->token : static_cast<std::uint64_t>(role.since.us / 1'000'000));
  TM_TRY(role, store_.set_role_at(role, [&] { return chosen(asset, point); }));
  log::warn("{}:{} is in use here from now on, at point {} (token {})", asset.site, text,
            role.point.hex(), role.token);
  wake(asset);
  return {};
}

void StandbyKeeper::wake(const SiteAsset& asset) {
  const std::lock_guard lock(mutex_);
  if (const auto found = members_.find({asset.site, asset.asset.text()}); found != members_.end())
    found->second.again.reset();
  changed_.notify_all();
}

Status StandbyKeeper::demote(const SiteAsset& asset) {
  const std::string text = asset.asset.text();
  TM_TRY(const AssetRole role, store_.settled_role_of(asset.site, text));
  if (role.holder.empty()) return {};  // it was
  if (!is_ours(role))
    return Error(ErrorCode::refused, text + " of site " + asset.site + " is not in use here");
  const std::lock_guard lock(mutex_);
  const auto found = members_.find({asset.site, text});
  if (found == members_.end())
    return Error(ErrorCode::not_found, "no standby of " + asset.site + ":" + text + " is kept");
  Member& member = found->second;
  member.demote = true;
  member.status.state = "demoting";
  member.again.reset();
  changed_.notify_all();
  return {};
}

Status StandbyKeeper::demote_lost(const SiteAsset& asset) {
  const std::lock_guard one(promote_mutex_);
  const std::string text = asset.asset.text();
  TM_TRY(AssetRole role, store_.settled_role_of(asset.site, text));
  if (role.holder.empty()) return {};  // it was
  if (!is_ours(role))
    return Error(ErrorCode::refused, text + " of site " + asset.site + " is not in use here");
  role.holder.clear();
  role.since = clock_.now();
  ++role.token;
  TM_TRY(role, store_.set_role_at(role, [&] { return chosen(asset, {}); }));
  log::warn("{}:{} is handed over at point {} (token {}); what image {} had beyond it is given up",
            asset.site, text, role.point.hex(), role.token, role.image);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = members_.find({asset.site, text}); found != members_.end())
      found->second.status.state = "demoting";  // whatever it was a problem of before
  }
  wake(asset);
  return {};
}

}  // namespace tidemark
