// What has to be done to a bucket so that it holds what a point holds: the point's keys merged
// against a listing of the bucket, in one pass and with the memory of a page.
#pragma once

#include <functional>

#include "agent/read/bucket_reader.h"

namespace tidemark {

// A version in the bucket that is written to.
struct TargetVersion {
  std::string version_id, etag;
  std::uint64_t size = 0;
  bool marker = false;
};

struct TargetKey {
  std::string key;
  std::vector<TargetVersion> versions;  // newest first; only the current one without versions
};

// The keys of a listing in ascending order, those of a selection. Used by one thread.
class TargetKeys {
 public:
  TargetKeys(s3::Client& client, const std::string& bucket, const BucketSelection& selection,
             bool versions, const s3::Call& call);
  // Of a bucket that does not exist yet.
  TargetKeys() = default;
  Result<std::optional<TargetKey>> next();

 private:
  Result<bool> fill();
  BucketSelection selection_;
  std::unique_ptr<s3::ObjectListing> objects_;
  std::unique_ptr<s3::VersionListing> versions_;
  std::vector<s3::ListedVersion> page_;
  std::size_t at_ = 0;
};

// The work on one key.
struct KeyWork {
  std::string key;
  std::vector<ObjectEntry> write;          // oldest first
  std::vector<TargetVersion> extra;        // in the bucket and not in the point
  bool exists = false;                     // the bucket has an object here, which is written over
  bool compare = false;                    // may be the same: reading it back tells
  std::uint64_t same = 0, same_bytes = 0;  // already there
  std::string newest;                      // the version id of the newest in the bucket
  std::uint64_t replaced_bytes = 0;
};

// Of the current version alone. Either may be null, not both. Same size and same ETag are the same
// object; where the ETags are not both MD5s of the bytes, they may differ for the same bytes.
KeyWork compare_current(const KeyVersions* wanted, const TargetKey* have);
// Of all versions. History only grows at its new end: where the newest versions of the bucket are
// the oldest ones of the point, the rest is written behind them; where they are not, all are. What
// lies before them in the bucket is extra.
KeyWork compare_versions(const KeyVersions* wanted, const TargetKey* have);

// Calls `each` for every key of either, in ascending order.
Status compare_keys(KeyCursor& point, TargetKeys& target, bool versions,
                    const std::function<Status(KeyWork)>& each);

}  // namespace tidemark
