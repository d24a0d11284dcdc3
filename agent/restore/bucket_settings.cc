#include "agent/restore/bucket_settings.h"

#include <array>
#include <nlohmann/json.hpp>

#include "agent/service/point_json.h"
#include "base/json.h"

namespace tidemark {
namespace {

using s3::BucketDocument;

// The policy last: it may take the right to do the rest.
constexpr std::array kOrder = {BucketDocument::tagging,      BucketDocument::cors,
                               BucketDocument::acl,          BucketDocument::object_lock,
                               BucketDocument::notification, BucketDocument::encryption,
                               BucketDocument::lifecycle,    BucketDocument::policy};

bool removable(BucketDocument which) {
  return which == BucketDocument::tagging || which == BucketDocument::cors ||
         which == BucketDocument::lifecycle || which == BucketDocument::policy;
}

// "arn:aws:s3:::old" and "arn:aws:s3:::old/..." with the new name.
std::string renamed(std::string policy, const std::string& from, const std::string& to) {
  const std::string name = "arn:aws:s3:::" + from;
  if (from.empty() || from == to) return policy;
  for (auto at = policy.find(name); at != policy.npos; at = policy.find(name, at + 1)) {
    const char next = at + name.size() < policy.size() ? policy[at + name.size()] : '"';
    if (next == '"' || next == '/') policy.replace(at + name.size() - from.size(), from.size(), to);
  }
  return policy;
}

// True where the error is one to stop at; others are problems.
bool stops(const Status& status) {
  return !status && (status.error().retryable() || status.error().code() == ErrorCode::cancelled);
}

// As the target is to have it.
std::string wanted_document(BucketDocument which, const std::string& document,
                            const BucketMeta& meta, const SettingsTarget& target) {
  if (which == BucketDocument::acl) return rename_owners(document, target.users);
  if (which != BucketDocument::policy) return document;
  return rename_principals(renamed(document, meta.name, target.bucket), target.users);
}

Status apply_document(s3::Client& client, const SettingsTarget& target, const BucketMeta& meta,
                      BucketDocument which, const s3::Call& call) {
  TM_TRY(const auto there, client.document(target.bucket, which, call));
  const auto at = meta.documents.find(which);
  if (at == meta.documents.end()) {
    if (!there || !removable(which)) return {};
    return client.remove_document(target.bucket, which, call);
  }
  const std::string wanted = wanted_document(which, at->second, meta, target);
  return there == wanted ? Status() : client.set_document(target.bucket, which, wanted, call);
}

std::int64_t number_in(const nlohmann::json& object, const char* name) {
  const bool there = object.contains(name) && object[name].is_number_integer();
  return there ? object[name].get<std::int64_t>() : -1;
}

// As parameters: radosgw 16 calls a signed body of this request not implemented. Less than nothing
// is no limit; of sizes, whole KiB can be set.
Status apply_quota(s3::Client& client, const std::string& bucket, const BucketMeta& meta,
                   const s3::Call& call) {
  if (meta.quota.empty()) return {};
  TM_TRY(const auto quota, parse_json(meta.quota));
  if (!quota.is_object() || !quota.contains("enabled") || quota["enabled"] != true) return {};
  TM_TRY(const Bytes answer, client.admin("GET", "/admin/bucket", {{"bucket", bucket}}, {}, call));
  TM_TRY(const auto info, parse_json(as_text(answer)));
  const std::string owner = text_at(info, "owner");
  const std::int64_t size = number_in(quota, "max_size");
  const std::int64_t size_kib = size < 0 ? -1 : size / 1024 + (size % 1024 != 0);
  const auto set = client.admin("PUT", "/admin/bucket",
                                {{"quota", ""},
                                 {"uid", owner},
                                 {"bucket", bucket},
                                 {"max-objects", std::to_string(number_in(quota, "max_objects"))},
                                 {"max-size-kb", std::to_string(size_kib)},
                                 {"enabled", "true"}},
                                {}, call);
  return set ? Status() : Status(set.error());
}

Status apply_versioning(s3::Client& client, const std::string& bucket, const BucketMeta& meta,
                        const s3::Call& call) {
  TM_TRY(const s3::Versioning there, client.versioning(bucket, call));
  if (there == meta.versioning) return {};
  if (meta.versioning == s3::Versioning::never)
    return Error(ErrorCode::unsupported, "versioning cannot be taken back, only suspended");
  return client.set_versioning(bucket, meta.versioning == s3::Versioning::enabled, call);
}

}  // namespace

Status apply_bucket_settings(s3::Client& client, const SettingsTarget& target,
                             const BucketMeta& meta, ProblemList& problems, const s3::Call& call) {
  const auto note = [&](std::string_view what, const Status& status) -> Status {
    if (stops(status)) return status.error().context(what);
    if (!status) problems.add({}, std::string(what), status.error());
    return {};
  };
  TM_DO(note("versioning", apply_versioning(client, target.bucket, meta, call)));
  TM_DO(note("quota", apply_quota(target.admin, target.bucket, meta, call)));
  for (const BucketDocument which : kOrder)
    TM_DO(note(document_name(which), apply_document(client, target, meta, which, call)));
  return {};
}

}  // namespace tidemark
