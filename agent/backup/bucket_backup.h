// One backup of one bucket: begin, capture, commit.
//
// The base is the newest point of the asset: its tree is what the listing is merged with, or, where
// radosgw's log of the bucket's index tells which keys changed since, only those keys. Nothing is
// left at the source, so that a run that was killed leaves nothing to remove; chunks that arrived
// are not sent again.
#pragma once

#include <chrono>
#include <map>
#include <stop_token>
#include <string>

#include "agent/backup/bucket_capture.h"
#include "agent/backup/volume_backup.h"
#include "base/clock.h"
#include "snapshot/bucket/settings.h"

namespace tidemark {

struct BucketBackupOptions {
  std::string site;
  std::map<std::string, std::string> labels;
  std::string manifests;  // agent/backup/manifests.h; empty: none
  bool full = false;  // read every object again
  // How old the last listing may be where the log of the index is there: what index_log.h says that
  // the log cannot tell is found after so long.
  std::chrono::microseconds list_every = std::chrono::hours(7 * 24);
  int zstd_level = 1;
  PointHooks hooks;
  SetMember* member = nullptr;         // of a set that the point is taken with; may be null
  BackupProgress* progress = nullptr;  // may be null
  RateLimiter* limiter = nullptr;      // of what is sent; may be null
  std::stop_token stop;
};

// `not_found` where the bucket is gone.
Result<BackupReport> back_up_bucket(const s3::Client& client, const std::string& bucket,
                                    PointStore& store, const StoreKeys& keys,
                                    const BucketBackupOptions& options, Clock& clock);

}  // namespace tidemark
