#include "snapshot/bucket/settings.h"

#include <nlohmann/json.hpp>

namespace tidemark {

namespace {

constexpr s3::BucketDocument kDocuments[] = {
    s3::BucketDocument::policy,       s3::BucketDocument::lifecycle,
    s3::BucketDocument::cors,         s3::BucketDocument::acl,
    s3::BucketDocument::tagging,      s3::BucketDocument::object_lock,
    s3::BucketDocument::notification, s3::BucketDocument::encryption};

// Not every user may ask, and not every server is a radosgw: then both stay empty.
Status read_administration(const s3::Client& client, const std::string& bucket, s3::Call call,
                           BucketSettings& out) {
  call.repeat = false;
  const auto answer =
      client.admin("GET", "/admin/bucket", {{"bucket", bucket}, {"stats", "true"}}, {}, call);
  if (!answer) return answer.error().code() == ErrorCode::cancelled ? answer.error() : Status();
  const auto json = nlohmann::json::parse(as_text(*answer), nullptr, false);
  if (!json.is_object()) return {};
  if (json.contains("owner") && json["owner"].is_string()) out.owner = json["owner"];
  if (json.contains("bucket_quota") && json["bucket_quota"].is_object())
    out.quota = json["bucket_quota"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return {};
}

}  // namespace

Result<BucketSettings> read_bucket_settings(const s3::Client& client, const std::string& bucket,
                                            std::stop_token stop) {
  s3::Call call;
  call.stop = std::move(stop);
  BucketSettings out;
  TM_DO(client.head_bucket(bucket, call));
  TM_TRY(out.versioning, client.versioning(bucket, call));
  for (const s3::BucketDocument which : kDocuments) {
    auto document = client.document(bucket, which, call);
    if (!document && document.error().code() == ErrorCode::unsupported) continue;
    if (!document) return std::move(document).error().context("read the bucket's settings");
    if (*document) out.documents[which] = **std::move(document);
  }
  TM_DO(read_administration(client, bucket, call, out));
  return out;
}

}  // namespace tidemark
