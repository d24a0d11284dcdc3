// Buckets and objects in memory, as an S3 server sees requests on them.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "transport/s3/signature.h"
#include "transport/s3/types.h"

namespace tidemark::testing {

struct S3Request {
  std::string method, bucket, key;  // decoded; empty where there is none
  s3::Query query;
  HttpHeaders headers;
  Bytes body;
};

struct S3Answer {
  unsigned status = 200;
  HttpHeaders headers;
  std::string body;
};

S3Answer s3_error(unsigned status, const std::string& code);

// Enough of S3 to be a partner of the conformance suite: versions, delete markers, parts, ranges,
// preconditions, tags, ACLs, locks, documents. Like radosgw 16.2 it writes the markers of listings
// unencoded, lists behind a key alone that key's versions first, and leaves the ETag out of the
// answer to CompleteMultipartUpload. Safe from any thread.
class S3State {
 public:
  // `now` stamps what is written.
  S3Answer handle(const S3Request& request, Timestamp now);

 private:
  struct Version {
    std::string id, etag;
    std::string body;
    bool marker = false;
    HttpHeaders headers;  // stored with it
    s3::Tags tags;
    std::string acl, retention, legal_hold;
    Timestamp modified;
  };
  struct Upload {
    std::string key;
    HttpHeaders headers;
    std::map<unsigned, std::pair<std::string, std::string>> parts;  // ETag, bytes
  };
  struct BucketState {
    std::string versioning;
    bool lock = false;
    std::map<std::string, std::vector<Version>> objects;  // newest last
    std::map<std::string, Upload> uploads;
    std::map<std::string, std::string> documents;
  };

  S3Answer on_service(const S3Request& request);
  S3Answer on_bucket(const S3Request& request, BucketState& bucket);
  S3Answer on_document(const S3Request& request, BucketState& bucket, const std::string& name);
  S3Answer on_object(const S3Request& request, BucketState& bucket);
  S3Answer on_annotation(const S3Request& request, Version& version, const BucketState& bucket);
  S3Answer on_upload(const S3Request& request, BucketState& bucket);
  S3Answer put(const S3Request& request, BucketState& bucket, HttpHeaders headers, std::string body,
               std::string etag);
  S3Answer get(const S3Request& request, const Version& version);
  S3Answer remove(const std::string& key, const std::string& version_id, BucketState& bucket);
  S3Answer remove_many(const S3Request& request, BucketState& bucket);
  S3Answer complete(const S3Request& request, BucketState& bucket, const std::string& id);
  S3Answer list(const S3Request& request, const BucketState& bucket) const;
  S3Answer list_versions(const S3Request& request, const BucketState& bucket) const;
  Version* find(BucketState& bucket, const std::string& key, const std::string& version_id);
  std::string new_id();

  std::mutex mutex_;
  std::map<std::string, BucketState> buckets_;  // guarded by mutex_
  std::uint64_t ids_ = 0;                       // guarded by mutex_
  Timestamp now_;                               // of the request under way; guarded by mutex_
};

}  // namespace tidemark::testing
