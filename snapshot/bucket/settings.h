// What a bucket is set to, beside its objects.
#pragma once

#include <map>
#include <stop_token>
#include <string>

#include "transport/s3/client.h"

namespace tidemark {

struct BucketSettings {
  s3::Versioning versioning = s3::Versioning::never;
  std::string owner;  // as radosgw's administration names it; empty where we may not ask
  std::string quota;  // a JSON object, the same way
  // As the server writes them. What is not set is not here.
  std::map<s3::BucketDocument, std::string> documents;
};

// `not_found` where there is no such bucket.
Result<BucketSettings> read_bucket_settings(const s3::Client& client, const std::string& bucket,
                                            std::stop_token stop);

}  // namespace tidemark
