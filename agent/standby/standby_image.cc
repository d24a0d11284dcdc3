#include "agent/standby/standby_image.h"

#include "agent/backup/source_snapshots.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kFeatureExclusiveLock = 4, kFeatureJournaling = 64;

// Nobody can be kept from an image without exclusive-lock; a journal would write everything twice.
void adjust(CreateImage& what, const StandbyMark& mark) {
  if (what.features) what.features = (*what.features | kFeatureExclusiveLock) & ~kFeatureJournaling;
  what.metadata[StandbyMark::kKey] = encode(mark);
}

}  // namespace

void StandbyImage::close() {
  opened_ = untouched_ = false;
  image_.reset();
  mark_.reset();
  at_.reset();
}

Status StandbyImage::open() {
  close();
  auto image = RbdImage::open_read_write(options_.cluster, options_.name);
  if (!image && image.error().code() == ErrorCode::not_found) {
    opened_ = true;
    return {};
  }
  if (!image) return std::move(image).error();
  TM_TRY(const auto text, (*image)->metadata(StandbyMark::kKey));
  const std::string name = options_.name.text();
  if (!text)
    return Error(ErrorCode::refused, "image " + name + " is there and is no standby of ours")
        .with_hint("rename it, or keep the standby in another pool or namespace");
  TM_TRY(const StandbyMark mark, decode_standby_mark(*text));
  if (mark.store != options_.store_id || mark.site != options_.site || mark.asset != options_.asset)
    return Error(ErrorCode::refused,
                 "image " + name + " is the standby of " + mark.site + ":" + mark.asset)
        .with_hint("keep the two in different pools or namespaces");
  mark_ = mark;
  if (!mark.primary) {
    TM_DO((*image)->hold_lock());
    image_ = *std::move(image);
  }
  opened_ = true;
  return {};
}

Status StandbyImage::set_mark(StandbyMark mark) {
  TM_DO(image_->set_metadata(StandbyMark::kKey, encode(mark)));
  mark_ = std::move(mark);
  return {};
}

Result<StandbyImage::Followed> StandbyImage::follow(const PointRow& point) {
  if (primary())
    return Error(ErrorCode::refused, "image " + options_.name.text() + " was released for use");
  if (image_ && untouched_ && at_ == point.point.record.id) return Followed();
  auto followed = image_ ? apply(point) : create(point);
  if (!followed) close();
  return followed;
}

Result<StandbyImage::Followed> StandbyImage::create(const PointRow& point) {
  TM_TRY(const auto restore,
         VolumeRestore::open(*options_.store, *options_.keys, point, options_.stop));
  StandbyMark mark;
  mark.store = options_.store_id;
  mark.site = options_.site;
  mark.asset = options_.asset;
  VolumeRestore::NewImage as;
  as.adjust = [&](CreateImage& what) { adjust(what, mark); };
  as.complete = [&](RbdImage& image) { return take_snapshot(image, point.point.record.id); };
  TM_TRY(const RestoreReport report, restore->to_new_image(options_.cluster, options_.name, as));
  TM_DO(open());
  // Until its lock was taken just now anybody could write to it.
  TM_TRY(Followed followed, apply(point));
  followed.written_bytes += report.written_bytes;
  followed.fetched_bytes += report.fetched_bytes;
  return followed;
}

Result<std::optional<PointSnapshot>> StandbyImage::find_base() {
  TM_TRY(const auto all, image_->snapshots());
  TM_TRY(const ImageInfo info, image_->info());
  const PointSnapshotSearch search{*options_.store, *options_.keys, options_.store_id,
                                   options_.site, options_.asset};
  return newest_point_snapshot(search, *options_.cluster, info, all);
}

Result<StandbyImage::Followed> StandbyImage::apply(const PointRow& point) {
  const PointId& id = point.point.record.id;
  const bool interrupted = mark_->applying.has_value();
  const bool untouched = untouched_;
  TM_TRY(const auto restore,
         VolumeRestore::open(*options_.store, *options_.keys, point, options_.stop));
  TM_TRY(const auto base, find_base());
  StandbyMark mark = *mark_;
  mark.applying = id;
  TM_DO(set_mark(mark));
  untouched_ = false;
  Followed followed;
  RestoreReport report;
  if (base) {
    const bool equal = untouched && at_ == base->point.point.record.id;
    TM_TRY(const auto advanced,
           restore->advance(options_.cluster, image_, base->point, base->info.id, equal));
    report = advanced.restored;
    followed.mended = advanced.changes_undone && !interrupted;
  } else {
    TM_TRY(report, restore->bring_by_comparing(options_.cluster, image_));
    followed.mended = !interrupted;
  }
  followed.written_bytes = report.written_bytes + report.zeroed_bytes;
  followed.fetched_bytes = report.fetched_bytes;
  TM_DO(take_snapshot(*image_, id));
  mark.applying.reset();
  TM_DO(set_mark(mark));
  at_ = id;
  untouched_ = true;
  remove_old_snapshots();
  return followed;
}

Status StandbyImage::take_snapshot(RbdImage& image, const PointId& point) {
  TM_TRY(const auto all, image.snapshots());
  for (const StandbySnapshot& snapshot : standby_snapshots(all))
    if (snapshot.point == point) return {};
  TM_TRY(const std::uint64_t id, image.create_snapshot(standby_snapshot_name(point)));
  static_cast<void>(id);
  return {};
}

// Best effort: a snapshot too many costs space.
void StandbyImage::remove_old_snapshots() {
  const auto all = image_->snapshots();
  if (!all) return;
  const auto ours = standby_snapshots(*all);
  std::size_t left = ours.size();
  for (const StandbySnapshot& snapshot : ours) {
    if (left <= options_.keep) return;
    --left;
    if (snapshot.point == *at_) continue;
    const auto removed = image_->remove_snapshot(snapshot.info.id, snapshot.info.name);
    if (!removed)
      log::warn("{}@{}: {}", options_.name.text(), snapshot.info.name, removed.error().message());
  }
}

Status StandbyImage::hold() {
  if (image_) return {};
  TM_TRY(auto image, RbdImage::open_read_write(options_.cluster, options_.name));
  TM_TRY(const bool in_use, image->watched_by_others());
  if (in_use)
    return Error(ErrorCode::refused,
                 "image " + options_.name.text() + " is in use by another client")
        .with_hint("stop what uses it first");
  TM_DO(image->hold_lock());
  image_ = std::move(image);
  return {};
}

Status StandbyImage::captured_as(const PointId& point) {
  TM_DO(take_snapshot(*image_, point));
  remove_our_snapshots(*image_, options_.store_id, {});
  return {};
}

Status StandbyImage::rejoin(std::uint64_t token) {
  TM_DO(hold());
  // Of a hand-over that was cut short, or a policy's for an image that is none of its own any more.
  remove_our_snapshots(*image_, options_.store_id, {});
  StandbyMark mark = *mark_;
  mark.primary = false;
  mark.token = token;
  // What was written while it was in use is nobody's meddling.
  mark.applying = PointId();
  at_.reset();
  untouched_ = false;
  return set_mark(mark);
}

Status StandbyImage::release(std::uint64_t token) {
  if (!primary() || mark_->token < token) {
    TM_DO(hold());
    StandbyMark mark = *mark_;
    mark.primary = true;
    mark.token = token;
    TM_DO(set_mark(mark));
  }
  image_.reset();
  return {};
}

}  // namespace tidemark
