// What a bucket's point says of the bucket itself, to holders of the key.
//
//   {"bucket": {"name", "versioning": "never|enabled|suspended", "owner", "quota": {...},
//               "documents": {"policy", "lifecycle", "cors", "acl", "tagging", "object_lock",
//                             "notification"}}}
//
// A document that the bucket does not have is absent; the others are as the server wrote them.
#pragma once

#include <map>
#include <string>

#include "store/record.h"
#include "transport/s3/client.h"

namespace tidemark {

struct BucketMeta {
  std::string name;
  s3::Versioning versioning = s3::Versioning::never;
  std::string owner = {};
  std::string quota = {};  // a JSON object as radosgw's administration writes it; empty: not known
  std::map<s3::BucketDocument, std::string> documents;
  bool operator==(const BucketMeta&) const = default;
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
