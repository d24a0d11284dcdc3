// What configures a bucket: brought back from a point.
#pragma once

#include "agent/backup/bucket_meta.h"
#include "agent/restore/bucket_problems.h"
#include "agent/restore/bucket_users.h"

namespace tidemark {

struct SettingsTarget {
  std::string bucket;
  const UserNames& users;  // whom policy and ACL name otherwise than in the point
  s3::Client& admin;       // may ask for radosgw's administration, where anybody may
};

// Makes the bucket's settings those of the point: documents that it lacks are removed, the ones
// that are equal already are left alone. Called after the objects were written, as a policy may
// forbid that and a lifecycle remove them. What the server refuses is a problem and no error. A
// policy that names the point's bucket comes to name this one.
Status apply_bucket_settings(s3::Client& client, const SettingsTarget& target,
                             const BucketMeta& meta, ProblemList& problems, const s3::Call& call);

}  // namespace tidemark
