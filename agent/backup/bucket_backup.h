// One backup of one bucket: begin, capture, commit.
//
// The base is the newest point of the asset: its tree is what the listing is merged with. Nothing
// is left at the source, so that a run that was killed leaves nothing to remove; chunks that
// arrived are not sent again.
#pragma once

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
  std::string set;
  std::map<std::string, std::string> labels;
  bool full = false;  // read every object again
  int zstd_level = 1;
  BackupProgress* progress = nullptr;  // may be null
  std::stop_token stop;
};

// `not_found` where the bucket is gone.
Result<BackupReport> back_up_bucket(const s3::Client& client, const std::string& bucket,
                                    PointStore& store, const StoreKeys& keys,
                                    const BucketBackupOptions& options, Clock& clock);

}  // namespace tidemark
