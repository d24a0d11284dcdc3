#include "agent/standby/failback.h"

#include "agent/backup/point_snapshots.h"
#include "agent/site/asset_lock.h"
#include "agent/standby/mark.h"
#include "base/log.h"

namespace tidemark {
namespace {

std::string token_text(const AssetRole& role) { return std::to_string(role.token); }

}  // namespace

Status Failback::find_common(FailbackPlan& plan, RbdImage& image) {
  TM_TRY(StoreAccess* const access, store());
  TM_TRY(const auto cluster, runner_.cluster());
  TM_TRY(const StoreKeys* const keys, access->need_keys());
  TM_TRY(const auto all, image.snapshots());
  TM_TRY(const ImageInfo info, image.info());
  const std::string asset = job_.asset.text();
  const PointSnapshotSearch search{*access->store, *keys, access->descriptor.id, config_.site,
                                   asset};
  TM_TRY(const auto common, newest_point_snapshot(search, *cluster, info, all));
  plan.changed_here_bytes = image.size();
  if (!common) return {};
  plan.common = common->point.point.record.id;
  TM_TRY(plan.changed_here_bytes,
         changed_since(cluster, image, common->info.id, access->descriptor.id, stop_));
  return {};
}

Result<FailbackPlan> Failback::plan() {
  TM_TRY(StoreAccess* const access, store());
  TM_TRY(const StoreKeys* const keys, access->need_keys());
  const std::string asset = job_.asset.text();
  FailbackPlan plan;
  TM_TRY(plan.role, access->store->role_of(config_.site, asset));
  if (plan.role.token == 0)
    return Error(ErrorCode::refused, asset + " was never in use at another site");
  if (plan.role.holder == config_.site) return plan;
  if (!plan.role.holder.empty())
    return Error(ErrorCode::refused, asset + " is in use at site " + plan.role.holder + " since " +
                                         format_time(plan.role.since))
        .with_hint("'tidemark standby demote " + config_.site + ":" + asset +
                   "' there takes a last point and hands it over");
  TM_TRY(const auto rows, access->store->points(config_.site, asset));
  for (const PointRow& row : rows)
    if (const auto label = row.point.record.labels.find(std::string(kDiscardedLabel));
        label != row.point.record.labels.end() && label->second == token_text(plan.role))
      plan.discarded = row.point.record.id;
  TM_TRY(const auto cluster, runner_.cluster());
  auto image = RbdImage::open_read_write(cluster, job_.asset.rbd());
  if (!image && image.error().code() == ErrorCode::not_found) return plan;
  if (!image) return std::move(image).error();
  plan.image_here = true;
  TM_DO(find_common(plan, **image));
  PointQuery query;
  query.id_prefix = plan.role.point.hex();
  TM_TRY(const PointRow target, access->store->find(query));
  TM_TRY(const auto restore, VolumeRestore::open(*access->store, *keys, target, stop_));
  TM_TRY(const RestoreEstimate estimate, restore->estimate_in_place(cluster, job_.asset.rbd()));
  plan.changed_there_bytes = estimate.write_bytes + estimate.zero_bytes;
  return plan;
}

Result<RestoreReport> Failback::roll(const PointRow& target, bool image_here) {
  TM_TRY(StoreAccess* const access, store());
  TM_TRY(const StoreKeys* const keys, access->need_keys());
  TM_TRY(const auto cluster, runner_.cluster());
  TM_TRY(const Fd lock, lock_asset(config_, job_.asset, job_.to));
  TM_TRY(const auto restore, VolumeRestore::open(*access->store, *keys, target, stop_));
  const RbdImageName& name = job_.asset.rbd();
  return image_here ? restore->in_place(cluster, name, false)
                    : restore->to_new_image(cluster, name, false);
}

Status Failback::mark_equal(const PointId& point) {
  TM_TRY(const auto cluster, runner_.cluster());
  TM_TRY(const auto image, RbdImage::open_read_write(cluster, job_.asset.rbd()));
  TM_TRY(const auto all, image->snapshots());
  // One of an interrupted run is of before this roll.
  for (const StandbySnapshot& old : standby_snapshots(all))
    TM_DO(image->remove_snapshot(old.info.id, old.info.name));
  TM_TRY(const std::uint64_t id, image->create_snapshot(standby_snapshot_name(point)));
  static_cast<void>(id);
  return {};
}

void Failback::remove_marks() {
  const auto remove = [&]() -> Status {
    TM_TRY(const auto cluster, runner_.cluster());
    TM_TRY(const auto image, RbdImage::open_read_write(cluster, job_.asset.rbd()));
    TM_TRY(const auto all, image->snapshots());
    for (const StandbySnapshot& mark : standby_snapshots(all))
      TM_DO(image->remove_snapshot(mark.info.id, mark.info.name));
    return {};
  };
  ignore_error(remove(), "a snapshot too many costs space");
}

Result<FailbackReport> Failback::run() {
  FailbackReport report;
  TM_TRY(report.plan, plan());
  const FailbackPlan& plan = report.plan;
  if (plan.role.holder.empty()) {
    TM_TRY(const auto cluster, runner_.cluster());
    if (plan.image_here) {
      TM_TRY(const auto image, RbdImage::open_read_only(cluster, job_.asset.rbd()));
      TM_TRY(const bool in_use, image->watched_by_others());
      if (in_use)
        return Error(ErrorCode::refused,
                     "image " + job_.asset.rbd().text() + " is in use by another client")
            .with_hint("stop what uses it first: what it wrote since the failover is rolled back");
    }
    if (plan.image_here && !plan.discarded && (!plan.common || plan.changed_here_bytes > 0)) {
      BackupJob job = job_;
      job.discarded = plan.role.token;
      job.labels[std::string(kDiscardedLabel)] = token_text(plan.role);
      TM_TRY(const BackupReport kept, runner_.run(job, nullptr, false));
      report.discarded = kept.point;
      log::warn("what {} had of its own is kept as point {}", job_.asset.text(),
                kept.point.point.record.id.hex());
    }
    TM_TRY(StoreAccess* const access, store());
    PointQuery query;
    query.id_prefix = plan.role.point.hex();
    TM_TRY(const PointRow target, access->store->find(query));
    TM_TRY(const RestoreReport rolled, roll(target, plan.image_here));
    report.written_bytes = rolled.written_bytes + rolled.zeroed_bytes;
    report.fetched_bytes = rolled.fetched_bytes;
    TM_DO(mark_equal(plan.role.point));
    TM_DO(access->store->take_back(config_.site, job_.asset.text()));
  }
  TM_TRY(const BackupReport first, runner_.run(job_, nullptr, false));
  report.first = first.point;
  remove_marks();
  return report;
}

}  // namespace tidemark
