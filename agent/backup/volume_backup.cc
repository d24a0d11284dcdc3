#include "agent/backup/volume_backup.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "agent/backup/manifests.h"
#include "agent/backup/point_snapshots.h"
#include "agent/backup/source_snapshots.h"
#include "agent/read/blob_reader.h"
#include "agent/read/volume_reader.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr std::size_t kCheckedRegionsMax = 64;
// Ceph takes a client for dead after 30 seconds.
constexpr std::chrono::seconds kClaimLimit{45};

// What the new point stands on.
struct Base {
  std::optional<PointRow> parent;        // the newest point of this very image
  std::optional<SnapshotInfo> snapshot;  // its snapshot, where it is still on the image
};

class VolumeBackup {
 public:
  VolumeBackup(std::shared_ptr<CephCluster> cluster, const RbdImageName& name, PointStore& store,
               const StoreKeys& keys, const VolumeBackupOptions& options, Clock& clock)
      : cluster_(std::move(cluster)),
        name_(name),
        asset_(options.asset.empty() ? "rbd/" + name.text() : options.asset),
        store_(store),
        keys_(keys),
        options_(options),
        clock_(clock),
        reader_(store, keys),
        nodes_(reader_) {}

  Result<BackupReport> run();

 private:
  Result<Base> find_base(const StoreId& store);
  Result<Base> find_older_base(const StoreId& store);
  Status make_room(RbdImage& head, const StoreId& store, const Base& base);
  Status create_snapshot(RbdImage& head, SnapshotInfo& snapshot);
  Result<BackupReport> run_with(RbdImage& head, const StoreDescriptor& descriptor,
                                const Base& base);
  Result<BackupReport> capture_and_commit(const StoreDescriptor& descriptor, const Base& base,
                                          const UploadSession& session,
                                          const SnapshotInfo& snapshot);
  Result<CaptureResult> capture(RbdImage& newer, const Base& base, const UploadSession& session);
  Result<std::set<std::uint64_t>> choose_regions(const TreeRoot& root, std::uint64_t regions);
  // Holds a share of the regions, as they read now, against the tree just built. The number of
  // regions compared; `corruption` where one differs.
  Result<std::uint64_t> check_captured(RbdImage& newer, const CaptureResult& captured);

  std::shared_ptr<CephCluster> cluster_;
  const RbdImageName name_;
  const std::string asset_;
  PointStore& store_;
  const StoreKeys& keys_;
  const VolumeBackupOptions& options_;
  Clock& clock_;
  BlobReader reader_;
  TreeNodes nodes_;
  ImageInfo info_;                       // of the head
  std::vector<SnapshotInfo> snapshots_;  // of the image, when the run began
  std::chrono::microseconds started_{};
  bool committing_ = false;  // a commit was sent
};

Result<Base> VolumeBackup::find_base(const StoreId& store) {
  Base base;
  TM_TRY(auto row, find_newest(store_, options_.site, asset_));
  if (!row) return base;
  const auto read = read_volume_meta(row->point.record, keys_);
  if (!read) {
    // Whoever wrote it had no key. It must not keep the asset from being protected.
    log::error("{}: the last point cannot be trusted: {}; a new line begins", asset_,
               read.error().message());
    return base;
  }
  const VolumeMeta& meta = *read;
  // Names are reused: only the image's own id tells that it is still the same.
  if (meta.image.id != info_.id || meta.cluster_fsid != cluster_->fsid()) {
    TM_TRY(base, find_older_base(store));
    if (!base.snapshot)
      log::warn("{}: not the image of the last point any more; a new line begins", asset_);
    return base;
  }
  base.parent = *std::move(row);
  if (base.parent->point.record.region_bytes != kRegionBytes) return base;
  for (const SnapshotInfo& snapshot : snapshots_)
    if (snapshot.id == meta.snapshot_id && snapshot.name == meta.snapshot_name)
      base.snapshot = snapshot;
  if (!base.snapshot)
    log::warn("{}: the base snapshot {} is gone; reading the whole image", asset_,
              meta.snapshot_name);
  return base;
}

// From a snapshot that equals an older point of the asset, wherever the newest one was taken.
Result<Base> VolumeBackup::find_older_base(const StoreId& store) {
  const PointSnapshotSearch search{store_, keys_, store, options_.site, asset_};
  TM_TRY(auto found, newest_point_snapshot(search, *cluster_, info_, snapshots_));
  Base base;
  if (!found) return base;
  base.parent = std::move(found->point);
  base.snapshot = std::move(found->info);
  return base;
}

Result<BackupReport> VolumeBackup::run() {
  started_ = clock_.uptime();
  TM_TRY(const StoreDescriptor descriptor, store_.descriptor());
  TM_TRY(const auto head, RbdImage::open_read_write(cluster_, name_));
  TM_TRY(info_, head->info());
  TM_TRY(snapshots_, head->snapshots());
  TM_TRY(Base base, find_base(descriptor.id));
  // What an interrupted run left beside the base is of no use: its point was never committed.
  // Without a base nothing is removed before the commit: who we are may be configured wrongly, and
  // a base lost costs a full reading.
  if (base.snapshot && our_snapshots(snapshots_, descriptor.id).size() > 1)
    remove_our_snapshots(*head, descriptor.id, {base.snapshot->id});
  TM_DO(make_room(*head, descriptor.id, base));
  if (options_.full) base.snapshot.reset();
  auto report = run_with(*head, descriptor, base);
  const bool again = !report && report.error().code() == ErrorCode::corruption && base.snapshot &&
                     options_.member == nullptr;
  if (!again) return report;
  log::error("{}: {}; capturing the whole image", asset_, report.error().message());
  base.snapshot.reset();
  return run_with(*head, descriptor, base);
}

// A snapshot of ours must not be the one that keeps others from taking theirs: an image can have
// 510, and ceph-csi stops before.
Status VolumeBackup::make_room(RbdImage& head, const StoreId& store, const Base& base) {
  TM_TRY(auto all, head.snapshots());
  // Only now, as a base that was not recognised would go with them.
  const bool crowded = count_our_snapshots(all) >= options_.our_snapshots_max;
  if (crowded && !our_snapshots(all, store).empty()) {
    std::vector<std::uint64_t> keep;
    if (base.snapshot) keep.push_back(base.snapshot->id);
    remove_our_snapshots(head, store, keep);
    TM_TRY(all, head.snapshots());
  }
  const std::size_t ours = count_our_snapshots(all);
  if (ours >= options_.our_snapshots_max)
    return Error(ErrorCode::refused, "it has " + std::to_string(ours) +
                                         " snapshots of ours, and one more would be too many")
        .with_hint(
            "raise 'snapshots.per_image' where it has that many stores, or remove those of "
            "stores that are no more (rbd snap ls)");
  if (all.size() >= options_.room)
    return Error(ErrorCode::refused,
                 "it has " + std::to_string(all.size()) + " snapshots, and room is left for others")
        .with_hint("remove some, or raise 'snapshots.room'");
  return {};
}

// The moment that the point is of.
Status VolumeBackup::create_snapshot(RbdImage& head, SnapshotInfo& snapshot) {
  HookedMoment moment(options_.hooks);
  SetMember* const member = options_.member;
  Status ended;
  if (member != nullptr) {
    // Nobody shall wait while Ceph finds out that a lock's owner is dead.
    if (const auto claimed = head.claim(kClaimLimit); !claimed)
      if (claimed.error().code() != ErrorCode::refused) return claimed;
    TM_DO(member->ready());
    const auto taken =
        head.create_snapshot_held(snapshot.name, [member](bool) { return member->held(); });
    if (taken) snapshot.id = taken->id;
    ended = member->taken(taken ? Status() : Status(taken.error()), taken && taken->held);
    if (!taken) return ended;
  } else {
    TM_DO(moment.begin());
    TM_TRY(snapshot.id, head.create_snapshot(snapshot.name));
    ended = moment.end();
  }
  if (!ended) ignore_error(head.remove_snapshot(snapshot.id, snapshot.name), "the next run does");
  return ended;
}

Result<BackupReport> VolumeBackup::run_with(RbdImage& head, const StoreDescriptor& descriptor,
                                            const Base& base) {
  const PointId parent = base.parent ? base.parent->point.record.id : PointId{};
  TM_TRY(const UploadSession session, options_.begin ? options_.begin(asset_, parent)
                                                     : store_.begin(options_.site, asset_, parent));
  SnapshotInfo snapshot;
  snapshot.name = source_snapshot_name(descriptor.id, session.point);
  const auto created = create_snapshot(head, snapshot);
  if (!created) {
    ignore_error(store_.abandon(session), "it ends by itself");
    return created.error();
  }
  auto report = capture_and_commit(descriptor, base, session, snapshot);
  // The moment of a set does not come back: its snapshot is captured as a whole.
  if (!report && report.error().code() == ErrorCode::corruption && base.snapshot &&
      options_.member != nullptr) {
    log::error("{}: {}; capturing the whole image", asset_, report.error().message());
    Base whole = base;
    whole.snapshot.reset();
    report = capture_and_commit(descriptor, whole, session, snapshot);
  }
  if (report) {
    remove_our_snapshots(head, descriptor.id, {snapshot.id});
    return report;
  }
  // Where the commit's answer was lost the point may exist all the same, and needs its snapshot: it
  // is left to the next run, which knows.
  const bool unknown =
      report.error().retryable() || (committing_ && report.error().code() == ErrorCode::cancelled);
  if (!unknown) {
    const auto removed = head.remove_snapshot(snapshot.id, snapshot.name);
    if (!removed)
      log::warn("{}@{}: not removed: {}", name_.text(), snapshot.name, removed.error().message());
    ignore_error(store_.abandon(session), "it ends by itself");
  }
  return report;
}

Result<CaptureResult> VolumeBackup::capture(RbdImage& newer, const Base& base,
                                            const UploadSession& session) {
  BackupProgress own_progress;
  CaptureInput input;
  std::unique_ptr<RbdImage> base_image;
  input.newer = &newer;
  if (base.snapshot) {
    TM_TRY(base_image, RbdImage::open_snapshot(cluster_, name_, base.snapshot->id));
    input.base = base_image.get();
    input.base_root = base.parent->point.record.root;
    input.base_size_bytes = base.parent->point.record.size_bytes;
  }
  input.zstd_level = options_.zstd_level;
  input.progress = options_.progress != nullptr ? options_.progress : &own_progress;
  input.limiter = options_.limiter;
  input.stop = options_.stop;
  return capture_volume(input, store_, session, keys_, nodes_);
}

Result<BackupReport> VolumeBackup::capture_and_commit(const StoreDescriptor& descriptor,
                                                      const Base& base,
                                                      const UploadSession& session,
                                                      const SnapshotInfo& snapshot) {
  committing_ = false;
  const Timestamp taken = options_.member ? options_.member->set().time() : clock_.now();
  TM_TRY(const auto newer, RbdImage::open_snapshot(cluster_, name_, snapshot.id));
  TM_TRY(const CaptureResult captured, capture(*newer, base, session));
  BackupReport report;
  if (base.snapshot) {
    TM_TRY(report.regions_checked, check_captured(*newer, captured));
  }
  report.read_bytes = captured.read_bytes;
  report.mode = base.snapshot ? "incremental" : base.parent ? "full" : "first";

  VolumeMeta meta;
  meta.cluster_fsid = cluster_->fsid();
  meta.image = info_;
  meta.snapshot_id = snapshot.id;
  meta.snapshot_name = snapshot.name;
  PointRecord record;
  record.id = session.point;
  record.store = descriptor.id;
  record.site = options_.site;
  record.asset = asset_;
  if (base.parent) record.parent = base.parent->point.record.id;
  record.labels = options_.labels;
  if (options_.member != nullptr) {
    record.set = options_.member->set().id();
    record.labels.merge(options_.member->set().labels());
  }
  record.time = taken;
  record.root = captured.root;
  record.size_bytes = newer->size();
  record.region_bytes = kRegionBytes;
  record.changed_bytes = captured.changed_bytes;
  record.shipped_bytes = captured.sent_bytes;
  record.duration_ms =
      static_cast<std::uint64_t>((clock_.uptime() - started_) / std::chrono::milliseconds(1));
  record.sealed_meta =
      seal_meta(with_manifests(format_volume_meta(meta), options_.manifests), record.id, keys_);
  committing_ = true;
  TM_TRY(report.point, store_.commit(session, encode(record, keys_)));
  return report;
}

// Which regions to read again. All of them for a share of 1; below that a bounded number, half of
// it out of what the point holds, so that a sparse image's data gets its part.
Result<std::set<std::uint64_t>> VolumeBackup::choose_regions(const TreeRoot& root,
                                                             std::uint64_t regions) {
  std::set<std::uint64_t> chosen;
  if (options_.check_unchanged >= 1) {
    for (std::uint64_t region = 0; region < regions; ++region) chosen.insert(region);
    return chosen;
  }
  std::array<std::uint8_t, 8> seed{};
  random_bytes(seed);
  std::mt19937_64 random(ByteReader(seed).u64());
  // Rounded up or down by chance, so that small images get their share too.
  const double wanted = options_.check_unchanged * static_cast<double>(root.entries) +
                        std::uniform_real_distribution<double>(0, 1)(random);
  const std::size_t samples = std::min(kCheckedRegionsMax, static_cast<std::size_t>(wanted));
  TreeCursor cursor(nodes_, root);
  for (std::size_t i = 0; i < samples && regions > 0; ++i) {
    std::uint64_t region = std::uniform_int_distribution<std::uint64_t>(0, regions - 1)(random);
    if (i % 2 == 0) {
      TM_DO(cursor.seek(region_key(region)));
      if (!cursor.valid()) continue;
      TM_TRY(region, region_of_key(cursor.entry().key));
    }
    if (region < regions) chosen.insert(region);
  }
  return chosen;
}

Result<std::uint64_t> VolumeBackup::check_captured(RbdImage& newer, const CaptureResult& captured) {
  TM_TRY(const auto chosen, choose_regions(captured.root, captured.changed_regions.size()));
  for (const std::uint64_t region : chosen) {
    if (options_.stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
    TM_TRY(const auto entry, find_entry(nodes_, captured.root, region_key(region)));
    Bytes actual(std::min<std::uint64_t>(kRegionBytes, newer.size() - region * kRegionBytes));
    TM_DO(newer.read_sync(region * kRegionBytes, actual));
    bool same = entry.has_value() || is_all_zero(actual);
    if (entry) {
      TM_TRY(const Bytes expected, read_region(reader_, *entry));
      same = std::equal(actual.begin(), actual.end(), expected.begin());
    }
    if (!same)
      return Error(ErrorCode::corruption,
                   "region " + std::to_string(region) +
                       " is not what the cluster's list of changes makes of it");
  }
  return chosen.size();
}

}  // namespace

Result<BackupReport> back_up_volume(std::shared_ptr<CephCluster> cluster, const RbdImageName& image,
                                    PointStore& store, const StoreKeys& keys,
                                    const VolumeBackupOptions& options, Clock& clock) {
  VolumeBackup backup(std::move(cluster), image, store, keys, options, clock);
  auto report = backup.run();
  if (!report) return std::move(report).error().context("back up rbd/" + image.text());
  return report;
}

}  // namespace tidemark
