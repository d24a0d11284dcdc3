#include "agent/restore/volume_restore.h"

#include <algorithm>

#include "agent/backup/source_snapshots.h"
#include "agent/restore/rbd_diff.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr std::string_view kRestoringSuffix = ".tidemark-restoring";

RegionPlan plan_of(const std::vector<RegionWork>& work) {
  auto next = std::make_shared<std::size_t>(0);
  return [&work, next]() -> Result<std::optional<RegionWork>> {
    if (*next == work.size()) return std::optional<RegionWork>();
    return std::optional<RegionWork>(work[(*next)++]);
  };
}

// Joins works on the same region; sorts by region.
std::vector<RegionWork> joined(std::vector<RegionWork> work) {
  std::stable_sort(work.begin(), work.end(),
                   [](const RegionWork& a, const RegionWork& b) { return a.region < b.region; });
  std::vector<RegionWork> out;
  for (RegionWork& item : work) {
    if (!out.empty() && out.back().region == item.region) {
      out.back().runs = merge_runs(out.back().runs, item.runs);
    } else {
      out.push_back(std::move(item));
    }
  }
  return out;
}

std::uint64_t run_bytes(const RegionWork& work) {
  std::uint64_t sum = 0;
  for (const RegionRun& run : work.runs) sum += run.size;
  return sum;
}

}  // namespace

Result<std::unique_ptr<VolumeRestore>> VolumeRestore::open(PointStore& store, const StoreKeys& keys,
                                                           PointRow point, std::stop_token stop) {
  if (point.point.record.kind != PointKind::volume)
    return Error(ErrorCode::invalid_argument, "the point is not of a volume");
  if (point.point.record.region_bytes != kRegionBytes)
    return Error(ErrorCode::unsupported, "the point's regions are not of 4 MiB");
  std::unique_ptr<VolumeRestore> restore(
      new VolumeRestore(store, keys, std::move(point), std::move(stop)));
  TM_TRY(restore->meta_, read_volume_meta(restore->point_.point.record, keys));
  restore->progress_.total_bytes = restore->size();
  return restore;
}

RestoreReport VolumeRestore::report() const {
  return {progress_.written_bytes, progress_.zeroed_bytes, progress_.skipped_bytes,
          reader_.bytes_read()};
}

Result<RestoreReport> VolumeRestore::write_everything(VolumeTarget& target) {
  TM_DO(write_plan(plan_everything(nodes_, root()), reader_, target, progress_, stop_));
  return report();
}

Result<std::unique_ptr<RbdImage>> VolumeRestore::create_image(
    const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name, const NewImage& as) {
  CreateImage what = image_like(point_.point.record, meta_);
  if (as.adjust) as.adjust(what);
  auto created = RbdImage::create(*cluster, name, what);
  if (!created && created.error().code() == ErrorCode::not_found && !what.data_pool.empty()) {
    log::warn("data pool '{}' is not here; the image is restored without one", what.data_pool);
    what.data_pool.clear();
    created = RbdImage::create(*cluster, name, what);
  }
  TM_DO(std::move(created));
  return RbdImage::open_read_write(cluster, name);
}

// True where an image of that name is there and may go.
Result<bool> VolumeRestore::check_replaceable(const std::shared_ptr<CephCluster>& cluster,
                                              const RbdImageName& name, bool force) {
  auto existing = RbdImage::open_read_only(cluster, name);
  if (!existing && existing.error().code() == ErrorCode::not_found) return false;
  if (!existing) return std::move(existing).error();
  if (!force)
    return Error(ErrorCode::refused, "image " + name.text() + " exists already")
        .with_hint("use another name, roll it back with --in-place, or replace it with --force");
  TM_TRY(const bool in_use, (*existing)->watched_by_others());
  if (in_use)
    return Error(ErrorCode::refused, "image " + name.text() + " is in use by another client")
        .with_hint("stop what uses it first");
  TM_TRY(const auto snapshots, (*existing)->snapshots());
  if (our_snapshots(snapshots, point_.point.record.store).size() != snapshots.size())
    return Error(ErrorCode::refused, "image " + name.text() + " has snapshots that are not ours")
        .with_hint("roll it back with --in-place, or remove them first");
  return true;
}

Status VolumeRestore::remove_replaced(const std::shared_ptr<CephCluster>& cluster,
                                      const RbdImageName& name) {
  {
    TM_TRY(const auto image, RbdImage::open_read_write(cluster, name));
    remove_our_snapshots(*image, point_.point.record.store, {});
  }
  return RbdImage::remove(*cluster, name);
}

RbdImageName restoring_name(RbdImageName name) {
  name.image += kRestoringSuffix;
  return name;
}

Result<RbdImageName> VolumeRestore::write_aside(const std::shared_ptr<CephCluster>& cluster,
                                                const RbdImageName& name, const NewImage& as) {
  const RbdImageName restoring = restoring_name(name);
  auto leftover = RbdImage::remove(*cluster, restoring);
  if (!leftover && leftover.error().code() != ErrorCode::not_found)
    return std::move(leftover).error().context("remove what an earlier restore left");
  TM_TRY(auto image, create_image(cluster, restoring, as));
  RbdTarget target(std::move(image));
  auto written = write_everything(target);
  if (written && as.complete) {
    if (auto completed = as.complete(target.image()); !completed)
      written = std::move(completed).error();
  }
  if (!written) {
    log::warn("the incomplete image stays as {}; the next restore replaces it", restoring.text());
    return std::move(written).error();
  }
  return restoring;
}

Result<RestoreReport> VolumeRestore::to_new_image(std::shared_ptr<CephCluster> cluster,
                                                  const RbdImageName& name, bool force) {
  TM_TRY(const bool replace, check_replaceable(cluster, name, force));
  TM_TRY(const RbdImageName restoring, write_aside(cluster, name, {}));
  if (replace) {
    // It may have come into use meanwhile, or got snapshots.
    TM_TRY(const bool still_there, check_replaceable(cluster, name, force));
    if (still_there) TM_DO(remove_replaced(cluster, name));
  }
  TM_DO(RbdImage::rename(*cluster, restoring, name.image));
  return report();
}

Result<RestoreReport> VolumeRestore::to_new_image(std::shared_ptr<CephCluster> cluster,
                                                  const RbdImageName& name, const NewImage& as) {
  TM_TRY(const bool there, check_replaceable(cluster, name, false));
  static_cast<void>(there);
  TM_TRY(const RbdImageName restoring, write_aside(cluster, name, as));
  TM_DO(RbdImage::rename(*cluster, restoring, name.image));
  return report();
}

Result<RestoreReport> VolumeRestore::to_file(const std::filesystem::path& path, bool force) {
  TM_TRY(const auto target, FileTarget::open(path, size(), force));
  if (!target->needs_zeroes()) return write_everything(*target);
  // A block device holds whatever was there before: what the point does not have becomes zeros.
  std::uint64_t next = 0;
  const std::uint64_t regions = (size() + kRegionBytes - 1) / kRegionBytes;
  const RegionPlan data = plan_everything(nodes_, root());
  TM_TRY(std::optional<RegionWork> pending, data());
  const RegionPlan plan = [&]() -> Result<std::optional<RegionWork>> {
    if (next == regions) return std::optional<RegionWork>();
    RegionWork work;
    work.region = next++;
    if (pending && pending->region == work.region) {
      work.map = std::move(pending->map);
      TM_TRY(pending, data());
    }
    work.runs =
        cut_runs({{0, kRegionBytes}}, static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                          kRegionBytes, size() - work.region * kRegionBytes)));
    return std::optional<RegionWork>(std::move(work));
  };
  TM_DO(write_plan(plan, reader_, *target, progress_, stop_));
  return report();
}

Result<RestoreReport> VolumeRestore::to_raw_stream(int fd) {
  static const Bytes zeros(kMiB, 0);
  std::uint64_t position = 0;
  const auto fill_to = [&](std::uint64_t end) -> Status {
    while (position < end) {
      const std::uint64_t part = std::min<std::uint64_t>(end - position, zeros.size());
      TM_DO(write_all(fd, ByteView(zeros).first(part)));
      position += part;
    }
    return {};
  };
  const auto write_region = [&](const RegionWork& work, const Bytes& region) -> Status {
    const std::uint64_t start = work.region * kRegionBytes;
    TM_DO(fill_to(start));
    const auto part = std::min<std::uint64_t>(kRegionBytes, size() - start);
    TM_DO(write_all(fd, ByteView(region).first(part)));
    position += part;
    progress_.written_bytes += part;
    progress_.position_bytes = position;
    return {};
  };
  TM_DO(stream_plan(plan_everything(nodes_, root()), reader_, write_region, stop_));
  TM_DO(fill_to(size()));
  return report();
}

Result<RestoreReport> VolumeRestore::to_rbd_diff(int fd, const PointRow* from) {
  RbdDiffWriter writer(fd);
  const auto name = [](const PointRow& row) { return "tidemark-" + row.point.record.id.hex(); };
  TM_DO(writer.begin(from != nullptr ? name(*from) : "", name(point_), size()));
  std::vector<RegionWork> difference;
  if (from != nullptr) {
    TM_TRY(difference, plan_difference(nodes_, from->point.record.root, root()));
  }
  const auto write_region = [&](const RegionWork& work, const Bytes& region) -> Status {
    const std::uint64_t start = work.region * kRegionBytes;
    // What a shrunk volume lost is cut by its size already.
    if (start >= size()) return {};
    const auto limit = std::min<std::uint64_t>(kRegionBytes, size() - start);
    for (const RegionRun& run : cut_runs(work.runs, static_cast<std::uint32_t>(limit))) {
      TM_DO(writer.extent(start + run.offset, ByteView(region).subspan(run.offset, run.size)));
      progress_.written_bytes += run.size;
    }
    progress_.position_bytes = start;
    return {};
  };
  TM_DO(stream_plan(from != nullptr ? plan_of(difference) : plan_everything(nodes_, root()),
                    reader_, write_region, stop_));
  TM_DO(writer.end());
  return report();
}

Result<RestoreEstimate> VolumeRestore::estimate_everything() {
  RestoreEstimate estimate;
  const RegionPlan plan = plan_everything(nodes_, root());
  while (true) {
    TM_TRY(const auto work, plan());
    if (!work) return estimate;
    estimate.write_bytes += run_bytes(*work);
    ++estimate.regions;
  }
}

Result<RegionMap> VolumeRestore::target_map(std::uint64_t region) {
  TM_TRY(const auto entry, find_entry(nodes_, root(), region_key(region)));
  return entry ? decode_region(*entry, kRegionBytes) : Result<RegionMap>(RegionMap());
}

Status VolumeRestore::add_changes_since(RbdImage& current, RbdImage& base,
                                        std::vector<RegionWork>& work) {
  ListChanges options;
  options.region_bytes = kRegionBytes;
  options.extents_max = kRegionExtentsMax;
  const std::uint64_t end = std::min(size(), current.size());
  TM_TRY(const auto stats,
         list_changes(
             current, &base, options,
             [&](const RegionChange& change) -> Status {
               const std::uint64_t start = change.region * kRegionBytes;
               if (start >= end) return {};
               RegionWork item;
               item.region = change.region;
               TM_TRY(item.map, target_map(change.region));
               if (change.whole) item.runs = {{0, kRegionBytes}};
               for (const ChangedExtent& extent : change.extents)
                 item.runs = merge_runs(item.runs, {{extent.offset, extent.size}});
               item.runs = cut_runs(item.runs, static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                                   kRegionBytes, end - start)));
               if (!item.runs.empty()) work.push_back(std::move(item));
               return {};
             },
             stop_));
  static_cast<void>(stats);
  return {};
}

// Everything that the point has from `from_byte` on: there the image ends, and grows by zeros.
Status VolumeRestore::add_past_end(std::uint64_t from_byte, std::vector<RegionWork>& work) {
  if (from_byte >= size()) return {};
  const RegionPlan plan = plan_everything(nodes_, root());
  while (true) {
    TM_TRY(auto item, plan());
    if (!item) return {};
    const std::uint64_t start = item->region * kRegionBytes;
    if (start + kRegionBytes <= from_byte) continue;
    if (start < from_byte) {
      const auto cut = static_cast<std::uint32_t>(from_byte - start);
      std::vector<RegionRun> kept;
      for (const RegionRun& run : item->runs)
        if (run.offset + run.size > cut) {
          const std::uint32_t offset = std::max(run.offset, cut);
          kept.push_back({offset, run.offset + run.size - offset});
        }
      item->runs = std::move(kept);
    }
    work.push_back(*std::move(item));
  }
}

Result<std::vector<RegionWork>> VolumeRestore::work_from(const TreeRoot& common,
                                                         std::uint64_t image_bytes) {
  TM_TRY(auto work, plan_difference(nodes_, common, root()));
  const std::uint64_t end = std::min(size(), image_bytes);
  std::erase_if(work, [&](RegionWork& item) {
    const std::uint64_t start = item.region * kRegionBytes;
    if (start >= end) return true;
    item.runs = cut_runs(
        item.runs, static_cast<std::uint32_t>(std::min<std::uint64_t>(kRegionBytes, end - start)));
    return item.runs.empty();
  });
  TM_DO(add_past_end(image_bytes, work));
  return work;
}

Result<VolumeRestore::InPlacePlan> VolumeRestore::plan_in_place(
    std::shared_ptr<CephCluster> cluster, RbdImage& image, std::uint64_t snapshot_id) {
  InPlacePlan plan;
  TM_TRY(const auto current, RbdImage::open_snapshot(cluster, image.name(), snapshot_id));
  TM_TRY(const auto snapshots, image.snapshots());
  TM_TRY(const ImageInfo info, image.info());
  for (const SourceSnapshot& known : our_snapshots(snapshots, point_.point.record.store)) {
    if (known.info.id == snapshot_id) continue;
    PointQuery query;
    query.id_prefix = known.point.hex();
    const auto common = store_.find(query);
    if (!common) continue;
    const auto meta = read_volume_meta(common->point.record, keys_);
    // The snapshot must be the very one that the point was captured from.
    if (!meta || meta->cluster_fsid != cluster->fsid() || meta->image.id != info.id ||
        meta->snapshot_id != known.info.id)
      continue;
    TM_TRY(const auto base, RbdImage::open_snapshot(cluster, image.name(), known.info.id));
    TM_TRY(plan.work, work_from(common->point.record.root, current->size()));
    TM_DO(add_changes_since(*current, *base, plan.work));
    plan.work = joined(std::move(plan.work));
    return plan;
  }
  plan.compare = true;
  TM_TRY(plan.work, regions_to_compare(*current));
  return plan;
}

// Every region in which the image or the point may have data.
Result<std::vector<RegionWork>> VolumeRestore::regions_to_compare(RbdImage& current) {
  std::vector<RegionWork> work;
  ListChanges options;
  options.region_bytes = kRegionBytes;
  TM_TRY(const auto stats, list_changes(
                               current, nullptr, options,
                               [&](const RegionChange& change) -> Status {
                                 if (change.region * kRegionBytes >= size()) return {};
                                 RegionWork item;
                                 item.region = change.region;
                                 TM_TRY(item.map, target_map(change.region));
                                 work.push_back(std::move(item));
                                 return {};
                               },
                               stop_));
  static_cast<void>(stats);
  const RegionPlan plan = plan_everything(nodes_, root());
  while (true) {
    TM_TRY(auto item, plan());
    if (!item) break;
    item->runs.clear();
    work.push_back(*std::move(item));
  }
  return joined(std::move(work));
}

Status VolumeRestore::compare_and_write(const std::vector<RegionWork>& work, RbdTarget& target) {
  const auto compare = [&](const RegionWork& item, const Bytes& region) -> Status {
    const std::uint64_t start = item.region * kRegionBytes;
    const auto limit =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kRegionBytes, size() - start));
    Bytes actual(limit);
    TM_DO(target.image().read_sync(start, actual));
    const auto wanted = std::make_shared<const Bytes>(region);
    for (std::uint32_t at = 0; at < limit; at += kZeroBlockBytes) {
      const std::uint32_t part = std::min(kZeroBlockBytes, limit - at);
      if (std::memcmp(actual.data() + at, wanted->data() + at, part) == 0) {
        progress_.skipped_bytes += part;
        continue;
      }
      TM_DO(target.write(start + at, ByteView(*wanted).subspan(at, part), wanted));
      progress_.written_bytes += part;
    }
    progress_.position_bytes = start;
    return {};
  };
  TM_DO(stream_plan(plan_of(work), reader_, compare, stop_));
  return target.finish();
}

Result<RestoreReport> VolumeRestore::in_place(std::shared_ptr<CephCluster> cluster,
                                              const RbdImageName& name, bool force) {
  TM_TRY(auto image, RbdImage::open_read_write(cluster, name));
  TM_TRY(const bool in_use, image->watched_by_others());
  if (in_use && !force)
    return Error(ErrorCode::refused, "image " + name.text() + " is in use by another client")
        .with_hint("stop what uses it first; --force writes under it all the same");
  RbdTarget target(std::move(image));
  TM_TRY(const auto snapshot, TemporarySnapshot::take(target.image(), point_.point.record.store));
  TM_TRY(const InPlacePlan plan, plan_in_place(cluster, target.image(), snapshot->id()));
  if (target.image().size() != size()) TM_DO(target.image().resize(size()));
  if (plan.compare) {
    TM_DO(compare_and_write(plan.work, target));
    return report();
  }
  std::uint64_t to_write = 0;
  for (const RegionWork& item : plan.work) to_write += run_bytes(item);
  progress_.skipped_bytes = size() - std::min(size(), to_write);
  TM_DO(write_plan(plan_of(plan.work), reader_, target, progress_, stop_));
  return report();
}

Result<VolumeRestore::Advance> VolumeRestore::advance(std::shared_ptr<CephCluster> cluster,
                                                      std::shared_ptr<RbdImage> image,
                                                      const PointRow& base,
                                                      std::uint64_t snapshot_id, bool untouched) {
  Advance done;
  RbdTarget target(image);
  TM_TRY(std::vector<RegionWork> work, work_from(base.point.record.root, image->size()));
  if (!untouched) {
    TM_TRY(const auto now, TemporarySnapshot::take(*image, point_.point.record.store));
    TM_TRY(const auto current, RbdImage::open_snapshot(cluster, image->name(), now->id()));
    TM_TRY(const auto from, RbdImage::open_snapshot(cluster, image->name(), snapshot_id));
    std::vector<RegionWork> undo;
    TM_DO(add_changes_since(*current, *from, undo));
    done.changes_undone = !undo.empty() || current->size() != from->size();
    work.insert(work.end(), std::make_move_iterator(undo.begin()),
                std::make_move_iterator(undo.end()));
  }
  work = joined(std::move(work));
  if (image->size() != size()) TM_DO(image->resize(size()));
  TM_DO(write_plan(plan_of(work), reader_, target, progress_, stop_));
  done.restored = report();
  return done;
}

Result<RestoreReport> VolumeRestore::bring_by_comparing(std::shared_ptr<CephCluster> cluster,
                                                        std::shared_ptr<RbdImage> image) {
  RbdTarget target(image);
  std::vector<RegionWork> work;
  {
    TM_TRY(const auto now, TemporarySnapshot::take(*image, point_.point.record.store));
    TM_TRY(const auto current, RbdImage::open_snapshot(cluster, image->name(), now->id()));
    TM_TRY(work, regions_to_compare(*current));
  }
  if (image->size() != size()) TM_DO(image->resize(size()));
  TM_DO(compare_and_write(work, target));
  return report();
}

Result<RestoreEstimate> VolumeRestore::estimate_in_place(std::shared_ptr<CephCluster> cluster,
                                                         const RbdImageName& name) {
  TM_TRY(const auto image, RbdImage::open_read_write(cluster, name));
  TM_TRY(const auto snapshot, TemporarySnapshot::take(*image, point_.point.record.store));
  TM_TRY(const InPlacePlan plan, plan_in_place(cluster, *image, snapshot->id()));
  RestoreEstimate estimate;
  estimate.compares_everything = plan.compare;
  estimate.current_size_bytes = image->size();
  estimate.regions = plan.work.size();
  for (const RegionWork& item : plan.work) {
    const std::uint64_t bytes = plan.compare ? kRegionBytes : run_bytes(item);
    (item.map.empty() ? estimate.zero_bytes : estimate.write_bytes) += bytes;
  }
  return estimate;
}

}  // namespace tidemark
