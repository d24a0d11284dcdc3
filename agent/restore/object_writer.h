// Writes one object of a point into a bucket, with all that belongs to it.
#pragma once

#include <stop_token>

#include "agent/read/bucket_reader.h"
#include "agent/restore/bucket_problems.h"
#include "agent/restore/bucket_users.h"
#include "base/queue.h"

namespace tidemark {

// What there is to know of the bucket that is written to.
struct TargetBucket {
  std::string name;
  bool versioned = false;  // a PUT or DELETE makes a version
  bool locks = false;      // takes retention and legal hold
  UserNames users;         // whom ACLs name otherwise than the point does
};

// Sizes of the parts to write an object in; one for a plain PUT. Those it had where they are known
// or follow from its ETag, so that it gets the same ETag again.
std::vector<std::uint64_t> parts_to_write(const ObjectEntry& entry);

// Safe from any thread. Everything given to it must outlive it.
class ObjectWriter {
 public:
  ObjectWriter(s3::Client& client, BlobReader& reader, TargetBucket bucket, BucketCounts& counts,
               ProblemList& problems, const Clock& clock, std::stop_token stop);

  // A version to be written over what the key has.
  struct Newest {
    bool known = false;
    std::string version_id;
  };

  // Writes bytes, headers, metadata, tags, ACL and lock. The object appears as a whole, with the
  // bytes that were captured, or not at all. An object that the store cannot give, that the server
  // refuses as such, or whose ACL or lock it refuses is a problem and no error. `newest` is the
  // version that the key has now, and what it is told of the one written: without it, a PUT whose
  // answer was lost counts as done where the newest version has the same bytes. `chunk`: the bytes
  // of its only chunk, read before.
  Status write(const ObjectEntry& entry, std::optional<Bytes> chunk, Newest& newest);
  // Writes a delete marker.
  Status write_marker(const std::string& key, Newest& newest);
  // Whether the bucket has an object with these bytes, metadata and content headers under the key:
  // read back and hashed. REQUIRES: its size is the entry's.
  Result<bool> has_same(const ObjectEntry& entry);

 private:
  using Attempt = std::function<Result<s3::PutResult>()>;
  s3::Call call(bool repeat = true) const;
  Result<s3::PutResult> put(const ObjectEntry& entry, ObjectBytes& bytes, const Newest& newest);
  Result<s3::PutResult> put_whole(const ObjectEntry& entry, ObjectBytes& bytes,
                                  const s3::ObjectSettings& settings);
  Result<s3::PutResult> put_parts(const ObjectEntry& entry, ObjectBytes& bytes,
                                  const s3::ObjectSettings& settings,
                                  const std::vector<std::uint64_t>& sizes);
  Result<std::vector<s3::Part>> send_parts(const std::string& key, const std::string& upload,
                                           ObjectBytes& bytes,
                                           const std::vector<std::uint64_t>& sizes);
  Result<s3::PutResult> until_clear(const std::string& key, bool marker, const std::string& etag,
                                    const Newest& newest, const Attempt& attempt);
  Result<std::optional<s3::PutResult>> landed(const std::string& key, bool marker,
                                              const std::string& etag, const Newest& newest);
  s3::ObjectSettings settings_of(const ObjectEntry& entry);
  Status set_acl(const ObjectEntry& entry, const std::string& version_id);

  s3::Client& client_;
  BlobReader& reader_;
  const TargetBucket bucket_;
  BucketCounts& counts_;
  ProblemList& problems_;
  const Clock& clock_;
  const std::stop_token stop_;
  // Objects that are streamed hold two chunks each while they are.
  static constexpr std::uint64_t kStreamBytes = 2 * kObjectChunkBytes;
  Budget streams_{128 * kMiB};
};

}  // namespace tidemark
