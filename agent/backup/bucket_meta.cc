#include "agent/backup/bucket_meta.h"

#include <array>
#include <nlohmann/json.hpp>

#include "agent/service/point_json.h"
#include "base/json.h"

namespace tidemark {
namespace {

using s3::BucketDocument;
using s3::Versioning;

constexpr std::array kVersioningNames = {std::pair(Versioning::never, "never"),
                                         std::pair(Versioning::enabled, "enabled"),
                                         std::pair(Versioning::suspended, "suspended")};

constexpr std::array kDocumentNames = {
    std::pair(BucketDocument::policy, "policy"),
    std::pair(BucketDocument::lifecycle, "lifecycle"),
    std::pair(BucketDocument::cors, "cors"),
    std::pair(BucketDocument::acl, "acl"),
    std::pair(BucketDocument::tagging, "tagging"),
    std::pair(BucketDocument::object_lock, "object_lock"),
    std::pair(BucketDocument::notification, "notification"),
    std::pair(BucketDocument::encryption, "encryption"),
};

std::string text_of(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string key_at(const nlohmann::json& json) {
  const auto hex = from_hex(text_at(json, "key_hex"));
  return hex && !hex->empty() ? std::string(as_text(*hex)) : text_at(json, "key");
}

UnsettledKeys parse_unsettled(const nlohmann::json& json) {
  UnsettledKeys out;
  if (!json.is_object() || !json.contains("keys") || !json["keys"].is_number_unsigned()) return out;
  out.count = json["keys"];
  if (!json.contains("named") || !json["named"].is_array()) return out;
  for (const auto& one : json["named"]) {
    if (!one.is_object() || out.named.size() == kUnsettledNamedMax) continue;
    out.named.push_back(
        {key_at(one), Error(error_code_from(text_at(one, "code")), text_at(one, "message"))});
  }
  return out;
}

nlohmann::json index_json(const IndexPosition& index) {
  nlohmann::json shards = nlohmann::json::array();
  for (const IndexShard& shard : index.shards) shards.push_back({shard.version, shard.marker});
  return {{"instance", index.instance}, {"shards", std::move(shards)}};
}

// Nothing where it is not as index_json() writes it.
std::optional<IndexPosition> parse_index(const nlohmann::json& json) {
  if (!json.is_object() || !json.contains("shards") || !json["shards"].is_array()) return {};
  IndexPosition index;
  index.instance = text_at(json, "instance");
  for (const auto& shard : json["shards"]) {
    const bool sound = shard.is_array() && shard.size() == 2 && shard[0].is_number_unsigned() &&
                       shard[1].is_string() && index.shards.size() < kIndexShardsMax;
    if (!sound) return {};
    index.shards.push_back({shard[0].get<std::uint64_t>(), shard[1].get<std::string>()});
  }
  return index;
}

}  // namespace

nlohmann::json unsettled_json(const UnsettledKeys& keys) {
  nlohmann::json out = nlohmann::json::array();
  for (const UnsettledKey& one : keys.named) {
    nlohmann::json json = {{"code", std::string(to_string(one.why.code()))},
                           {"message", one.why.message()}};
    put_object_key(json, one.key);
    out.push_back(std::move(json));
  }
  return out;
}

std::string_view versioning_name(Versioning versioning) {
  for (const auto& [which, name] : kVersioningNames)
    if (which == versioning) return name;
  return "";
}

std::string_view document_name(BucketDocument which) {
  for (const auto& [document, name] : kDocumentNames)
    if (document == which) return name;
  return "unknown";
}

std::string format_bucket_meta(const BucketMeta& meta) {
  nlohmann::json bucket = {{"name", meta.name}, {"owner", meta.owner}};
  bucket["versioning"] = versioning_name(meta.versioning);
  const auto quota = parse_json(meta.quota.empty() ? "{}" : meta.quota);
  bucket["quota"] = quota && quota->is_object() ? *quota : nlohmann::json::object();
  bucket["documents"] = nlohmann::json::object();
  for (const auto& [which, document] : meta.documents)
    bucket["documents"][std::string(document_name(which))] = document;
  if (meta.unsettled.count > 0)
    bucket["unsettled"] = {{"keys", meta.unsettled.count},
                           {"named", unsettled_json(meta.unsettled)}};
  if (meta.index) bucket["index"] = index_json(*meta.index);
  if (meta.listed.us != 0) bucket["listed_us"] = meta.listed.us;
  return text_of({{"bucket", std::move(bucket)}});
}

Result<BucketMeta> parse_bucket_meta(std::string_view text) {
  const Error malformed(ErrorCode::corruption, "the point's metadata is malformed");
  TM_TRY(const auto json, parse_json(text));
  if (!json.is_object() || !json.contains("bucket") || !json["bucket"].is_object())
    return malformed;
  const auto& bucket = json["bucket"];
  BucketMeta meta;
  meta.name = text_at(bucket, "name");
  meta.owner = text_at(bucket, "owner");
  bool known = false;
  for (const auto& [versioning, name] : kVersioningNames) {
    if (text_at(bucket, "versioning") != name) continue;
    meta.versioning = versioning;
    known = true;
  }
  if (!known) return malformed;
  if (bucket.contains("quota") && bucket["quota"].is_object() && !bucket["quota"].empty())
    meta.quota = text_of(bucket["quota"]);
  if (bucket.contains("unsettled")) meta.unsettled = parse_unsettled(bucket["unsettled"]);
  if (bucket.contains("index")) meta.index = parse_index(bucket["index"]);
  if (bucket.contains("listed_us") && bucket["listed_us"].is_number_integer())
    meta.listed.us = bucket["listed_us"];
  if (!bucket.contains("documents") || !bucket["documents"].is_object()) return meta;
  for (const auto& [which, name] : kDocumentNames) {
    const std::string document = text_at(bucket["documents"], name);
    if (!document.empty()) meta.documents[which] = document;
  }
  return meta;
}

Result<BucketMeta> read_bucket_meta(const PointRecord& record, const StoreKeys& keys) {
  if (record.kind != PointKind::bucket)
    return Error(ErrorCode::invalid_argument, "the point is not of a bucket");
  TM_DO(check_record_mac(record, keys));
  TM_TRY(const std::string json, open_meta(record, keys));
  return parse_bucket_meta(json);
}

}  // namespace tidemark
