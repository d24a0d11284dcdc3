// Restoring a bucket's point, or a part of it, into a bucket.
//
//   point's tree --+
//                  +-- compare --> batches --> fetch small objects --> write, 32 at a time
//   listing -------+                                                       |
//                                                    then: the bucket's settings
//
// A run that was cut off is repeated: what is there already is left alone.
#pragma once

#include <stop_token>

#include "agent/restore/bucket_compare.h"
#include "agent/restore/object_writer.h"

namespace tidemark {

struct BucketRestoreOptions {
  std::string bucket;  // where to; made where it does not exist
  BucketSelection selection;
  bool versions = false;      // all versions, oldest first; else the current ones
  bool delete_extra = false;  // what the selection covers and the point does not have goes
  bool force = false;         // the settings of a bucket that exists are replaced too
  bool plan = false;          // count, and do nothing
  std::size_t threads = 32;
  UserNames users = {};         // whom policy and ACLs name otherwise than in the point
  s3::Client* admin = nullptr;  // sets the quota; null: the client that writes does
};

class BucketRestore {
 public:
  // Everything given to it must outlive it.
  BucketRestore(BucketPoint& point, s3::Client& client, BucketRestoreOptions options,
                const Clock& clock, std::stop_token stop);
  ~BucketRestore();

  // Called once. `not_found` where the selection names a key or version that the point does not
  // have; `refused` for --versions into a bucket that exists without versioning. Errors end the
  // work where it is; what concerns single objects or settings is in problems().
  Status run();

  const BucketCounts& counts() const { return counts_; }
  const ProblemList& problems() const { return problems_; }
  bool created() const { return created_; }
  bool settings_applied() const { return settings_applied_; }

 private:
  struct Pipeline;
  Status prepare();
  Status create();
  Status check_selection();
  Status compare(const std::function<Status(KeyWork)>& each);
  Status count(const KeyWork& work);
  Status execute();
  s3::Call call() const;

  BucketPoint& point_;
  s3::Client& client_;
  const BucketRestoreOptions options_;
  const Clock& clock_;
  const std::stop_token stop_;
  BucketCounts counts_;
  ProblemList problems_;
  TargetBucket target_;
  bool exists_ = false, created_ = false, settings_applied_ = false;
};

}  // namespace tidemark
