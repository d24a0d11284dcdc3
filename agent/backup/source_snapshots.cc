#include "agent/backup/source_snapshots.h"

#include <algorithm>

#include "base/crypto.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr std::string_view kPrefix = "tidemark.";
constexpr std::size_t kStoreDigits = 16;

std::string prefix_of(const StoreId& store) {
  return std::string(kPrefix) + store.hex().substr(0, kStoreDigits) + ".";
}

// One whose removal was cut short is still ours to remove.
const std::string& name_of(const SnapshotInfo& info) {
  return info.user ? info.name : info.trashed_name;
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
    const std::string& name = name_of(info);
    if (!name.starts_with(prefix)) continue;
    const auto point = PointId::from_hex(name.substr(prefix.size()));
    if (point) ours.push_back({info, *point});
  }
  return ours;
}

std::size_t count_our_snapshots(const std::vector<SnapshotInfo>& snapshots) {
  return static_cast<std::size_t>(std::ranges::count_if(snapshots, [](const SnapshotInfo& info) {
    const std::string_view name = name_of(info);
    const std::size_t point = kPrefix.size() + kStoreDigits + 1;
    return name.starts_with(kPrefix) && name.size() > point && name[point - 1] == '.' &&
           PointId::from_hex(name.substr(point)).has_value();
  }));
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

Result<std::unique_ptr<TemporarySnapshot>> TemporarySnapshot::take(RbdImage& image,
                                                                   const StoreId& store) {
  std::unique_ptr<TemporarySnapshot> taken(new TemporarySnapshot(image));
  taken->name_ = source_snapshot_name(store, random_id<PointId>());
  TM_TRY(taken->id_, image.create_snapshot(taken->name_));
  return taken;
}

TemporarySnapshot::~TemporarySnapshot() {
  if (id_ == 0) return;
  const auto removed = image_.remove_snapshot(id_, name_);
  if (!removed) log::warn("{}@{}: {}", image_.name().text(), name_, removed.error().message());
}

}  // namespace tidemark
