#include "agent/backup/source_snapshots.h"

#include <algorithm>

#include "base/log.h"

namespace tidemark {
namespace {

std::string prefix_of(const StoreId& store) {
  return "tidemark." + store.hex().substr(0, 16) + ".";
}

}  // namespace

std::string source_snapshot_name(const StoreId& store, const PointId& point) {
  return prefix_of(store) + point.hex();
}

std::vector<SourceSnapshot> our_snapshots(const std::vector<SnapshotInfo>& snapshots,
                                          const StoreId& store) {
  const std::string prefix = prefix_of(store);
  std::vector<SourceSnapshot> ours;
  for (const SnapshotInfo& info : snapshots) {
    // One whose removal was cut short is still ours to remove.
    const std::string& name = info.user ? info.name : info.trashed_name;
    if (!name.starts_with(prefix)) continue;
    const auto point = PointId::from_hex(name.substr(prefix.size()));
    if (point) ours.push_back({info, *point});
  }
  return ours;
}

void remove_our_snapshots(RbdImage& image, const StoreId& store,
                          const std::vector<std::uint64_t>& keep) {
  const auto all = image.snapshots();
  if (!all) {
    log::warn("{}: cannot list snapshots: {}", image.name().text(), all.error().message());
    return;
  }
  for (const SourceSnapshot& snapshot : our_snapshots(*all, store)) {
    if (std::find(keep.begin(), keep.end(), snapshot.info.id) != keep.end()) continue;
    const auto removed = image.remove_snapshot(snapshot.info.id, snapshot.info.name);
    if (!removed)
      log::warn("{}@{}: not removed: {}", image.name().text(), snapshot.info.name,
                removed.error().message());
  }
}

}  // namespace tidemark
