// One backup of one RBD image: from choosing the base to the committed point.
//
//   begin session -> snapshot -> capture and upload -> commit -> drop the old base
//        |              |               |               |
//        +---- on any failure: remove the new snapshot, keep the base, leave the session to end
//
// A kill at any moment leaves at most one snapshot too many, which the next run removes; chunks
// that arrived are not sent again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>

#include "agent/backup/bucket_meta.h"
#include "agent/backup/hooks.h"
#include "agent/backup/set_moment.h"
#include "agent/backup/volume_capture.h"
#include "base/clock.h"

namespace tidemark {

struct VolumeBackupOptions {
  std::string site;
  std::string asset;  // whose point it is; empty: "rbd/" and the image's name
  // Begins the session instead of the store, where it is not the site's own copy that is captured.
  std::function<Result<UploadSession>(std::string_view asset, const PointId& parent)> begin;
  std::map<std::string, std::string> labels;
  std::string manifests;  // agent/backup/manifests.h; empty: none
  // Share of the regions that is read again after an incremental capture and held against the new
  // tree: every one at 1, a bounded sample below.
  double check_unchanged = 0.001;
  bool full = false;  // capture everything again
  // Neither more snapshots of ours, for whichever store, nor one on an image that has `room` of
  // them: `refused` then.
  std::size_t our_snapshots_max = 4, room = 400;
  int zstd_level = 1;
  PointHooks hooks;
  SetMember* member = nullptr;         // of a set that the point is taken with; may be null
  BackupProgress* progress = nullptr;  // may be null
  RateLimiter* limiter = nullptr;      // of what is sent; may be null
  std::stop_token stop;
};

// How the point came about, beside what its record says.
struct BackupReport {
  PointRow point;
  std::string mode;  // "first", "incremental", "full" (and why, in the log)
  std::uint64_t read_bytes = 0;
  std::uint64_t regions_checked = 0;  // read again and compared
  // Of a bucket: versions read, and keys that changed while they were read.
  std::uint64_t objects_read = 0, keys_moved = 0;
  // Of a bucket: its keys were not listed, as the log of its index told which ones changed.
  bool by_index_log = false;
  // Of a bucket: what the point does not have as the bucket has it. Where there is any, the point
  // was taken in part.
  UnsettledKeys unsettled = {};
};

// `not_found` where the image is gone. Damage is reported as `corruption`: an unchanged region that
// differs from the tree leads to a full capture, and to an error in the log that names it.
Result<BackupReport> back_up_volume(std::shared_ptr<CephCluster> cluster, const RbdImageName& image,
                                    PointStore& store, const StoreKeys& keys,
                                    const VolumeBackupOptions& options, Clock& clock);

// What a volume's point says to holders of the key.
struct VolumeMeta {
  std::string cluster_fsid;
  ImageInfo image;
  std::uint64_t snapshot_id = 0;
  std::string snapshot_name;
};
// An image like that of the point, empty, and without what we noted in its metadata.
CreateImage image_like(const PointRecord& record, const VolumeMeta& meta);
std::string format_volume_meta(const VolumeMeta& meta);
Result<VolumeMeta> parse_volume_meta(std::string_view json);
// Checks the record's authentication and opens its metadata.
Result<VolumeMeta> read_volume_meta(const PointRecord& record, const StoreKeys& keys);

}  // namespace tidemark
