// Objects, versions, parts and uploads of S3 as values.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "transport/http.h"

namespace tidemark::s3 {

// Names are lower case, as S3 keeps them; the prefix "x-amz-meta-" is not part of them.
using UserMetadata = std::map<std::string, std::string, std::less<>>;
using Tags = std::map<std::string, std::string, std::less<>>;

// Until when a version must not be deleted.
struct Retention {
  std::string mode;  // "GOVERNANCE" or "COMPLIANCE"
  Timestamp until;
  bool operator==(const Retention&) const = default;
};

// ETags are as the server gives them, without the quotation marks. They are an MD5 only for bodies
// that were sent in one part and are not encrypted.
struct ListedObject {
  std::string key;
  std::string etag;
  std::uint64_t size = 0;
  Timestamp last_modified;
  std::string storage_class;
};

struct ListedVersion {
  std::string key;
  std::string version_id;  // "null" for one written without versioning
  bool is_latest = false;
  bool is_delete_marker = false;
  std::string etag;  // of a delete marker: empty, as are the two below
  std::uint64_t size = 0;
  std::string storage_class;
  Timestamp last_modified;
  std::string owner_id;
};

struct ObjectInfo {
  std::uint64_t size = 0;  // of the whole object, also where a range was read
  std::string etag;
  Timestamp last_modified;  // to the second: a listing says more
  std::string version_id;   // empty in a bucket that never had versioning
  // content-type, cache-control, content-disposition, content-encoding, content-language, expires;
  // those that are set.
  HttpHeaders content_headers;
  UserMetadata metadata;
  std::string storage_class;  // empty: standard
  std::optional<Retention> retention;
  std::optional<bool> legal_hold;
  bool encrypted = false;  // by the server: the ETag need not be an MD5
  // All headers of the answer, for what is not named above.
  HttpHeaders headers;
};

// What is written besides the bytes.
struct ObjectSettings {
  HttpHeaders content_headers = {};  // as in ObjectInfo; others are `invalid_argument`
  UserMetadata metadata = {};
  Tags tags = {};
  std::string canned_acl = {};     // "private", "public-read", ...; empty: the server's default
  std::string storage_class = {};  // empty: standard
  std::optional<Retention> retention = {};
  std::optional<bool> legal_hold = {};
};

struct PutResult {
  std::string etag;
  std::string version_id;  // empty where the bucket has no versioning
};

struct Part {
  unsigned number = 0;  // 1 to 10,000
  std::string etag;
  std::uint64_t size = 0;
};

struct Upload {
  std::string key;
  std::string upload_id;
  Timestamp initiated;
};

struct ObjectName {
  std::string key = {};
  std::string version_id = {};  // empty: the current one
};

struct Bucket {
  std::string name;
  Timestamp created;
};

}  // namespace tidemark::s3
