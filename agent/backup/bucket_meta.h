// What a bucket's point says of the bucket itself, to holders of the key.
//
//   {"bucket": {"name", "versioning": "never|enabled|suspended", "owner", "quota": {...},
//               "documents": {"policy", "lifecycle", "cors", "acl", "tagging", "object_lock",
//                             "notification"},
//               "unsettled": {"keys", "named": [{"key" or "key_hex", "code", "message"}]},
//               "index": {"instance", "shards": [[version, marker], ...]}, "listed_us"}}
//
// A document that the bucket does not have is absent; the others are as the server wrote them.
// "unsettled" is there where the point was taken in part; "index" where radosgw's log of the
// bucket's index ended before the point was begun, where there is one, and "listed_us" when the
// last point of which the bucket was listed was begun.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "snapshot/bucket/index_log.h"
#include "store/record.h"
#include "transport/s3/client.h"

namespace tidemark {

// A key that a point does not have as the bucket has it: it changed faster than it could be read,
// or the server refuses it. The point has what the point before has of it, or nothing.
struct UnsettledKey {
  std::string key;
  Error why;
};

// Names are bounded, the count is not.
inline constexpr std::size_t kUnsettledNamedMax = 64;
struct UnsettledKeys {
  std::uint64_t count = 0;
  std::vector<UnsettledKey> named;  // the first of them
};

// [{"key" or "key_hex", "code", "message"}]
nlohmann::json unsettled_json(const UnsettledKeys& keys);

struct BucketMeta {
  std::string name;
  s3::Versioning versioning = s3::Versioning::never;
  std::string owner = {};
  std::string quota = {};  // a JSON object as radosgw's administration writes it; empty: not known
  std::map<s3::BucketDocument, std::string> documents;
  UnsettledKeys unsettled = {};
  std::optional<IndexPosition> index = {};
  Timestamp listed = {};  // zero: not known
};

// "never", "enabled" or "suspended".
std::string_view versioning_name(s3::Versioning versioning);
// "policy", "lifecycle", ...
std::string_view document_name(s3::BucketDocument which);

std::string format_bucket_meta(const BucketMeta& meta);
// Names that are not known are passed over.
Result<BucketMeta> parse_bucket_meta(std::string_view json);
// Checks the record's authentication and opens its metadata.
Result<BucketMeta> read_bucket_meta(const PointRecord& record, const StoreKeys& keys);

}  // namespace tidemark
