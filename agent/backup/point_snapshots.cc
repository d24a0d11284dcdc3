#include "agent/backup/point_snapshots.h"

#include <algorithm>

#include "agent/backup/source_snapshots.h"
#include "agent/backup/volume_backup.h"
#include "agent/read/volume_reader.h"
#include "agent/standby/mark.h"
#include "snapshot/rbd/changes.h"

namespace tidemark {

Result<std::optional<PointSnapshot>> newest_point_snapshot(
    const PointSnapshotSearch& search, const CephCluster& cluster, const ImageInfo& info,
    const std::vector<SnapshotInfo>& snapshots) {
  std::vector<std::pair<SnapshotInfo, PointId>> candidates;
  for (const StandbySnapshot& one : standby_snapshots(snapshots))
    candidates.emplace_back(one.info, one.point);
  for (const SourceSnapshot& one : our_snapshots(snapshots, search.store_id))
    if (one.info.user) candidates.emplace_back(one.info, one.point);
  std::ranges::sort(candidates, std::greater(), [](const auto& one) { return one.first.id; });
  for (const auto& [snapshot, point] : candidates) {
    PointQuery query;
    query.id_prefix = point.hex();
    auto row = search.store.find(query);
    if (!row && row.error().code() == ErrorCode::not_found) continue;
    if (!row) return std::move(row).error();
    const PointRecord& record = row->point.record;
    const auto meta = read_volume_meta(record, search.keys);
    if (record.site != search.site || record.asset != search.asset ||
        record.region_bytes != kRegionBytes || !meta)
      continue;
    const bool captured = meta->image.id == info.id && meta->cluster_fsid == cluster.fsid() &&
                          meta->snapshot_id == snapshot.id;
    if (captured || snapshot.name == standby_snapshot_name(point))
      return std::optional(PointSnapshot{snapshot, *std::move(row)});
  }
  return std::optional<PointSnapshot>();
}

Result<std::uint64_t> changed_since(const std::shared_ptr<CephCluster>& cluster, RbdImage& image,
                                    std::uint64_t base, const StoreId& store,
                                    const std::stop_token& stop) {
  TM_TRY(const auto snapshot, TemporarySnapshot::take(image, store));
  TM_TRY(const auto now, RbdImage::open_snapshot(cluster, image.name(), snapshot->id()));
  TM_TRY(const auto then, RbdImage::open_snapshot(cluster, image.name(), base));
  std::uint64_t bytes = 0;
  if (now->size() != then->size()) bytes += 1;
  TM_TRY(const auto stats, list_changes(
                               *now, then.get(), {},
                               [&](const RegionChange& change) -> Status {
                                 for (const ChangedExtent& extent : change.extents)
                                   bytes += extent.size;
                                 return {};
                               },
                               stop));
  static_cast<void>(stats);
  return bytes;
}

}  // namespace tidemark
