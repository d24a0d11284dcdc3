#include "agent/service/point_json.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::size_t kJsonBytesMax = 64 * kMiB;
constexpr int kJsonDepthMax = 16;

nlohmann::json optional_time(const std::optional<Timestamp>& t) {
  return t ? nlohmann::json(format_time(*t)) : nlohmann::json(nullptr);
}

std::optional<Timestamp> time_at(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number_integer()) return std::nullopt;
  return Timestamp{it->get<std::int64_t>()};
}

}  // namespace

nlohmann::json point_json(const PointRow& row) {
  const PointRecord& record = row.point.record;
  return {
      {"id", record.id.hex()},
      {"asset", record.asset},
      {"site", record.site},
      {"time", format_time(record.time)},
      {"received", format_time(row.point.received)},
      {"parent",
       record.parent.is_null() ? nlohmann::json(nullptr) : nlohmann::json(record.parent.hex())},
      {"set", record.set.empty() ? nlohmann::json(nullptr) : nlohmann::json(record.set)},
      {"size_bytes", record.size_bytes},
      {"changed_bytes", record.changed_bytes},
      {"shipped_bytes", record.shipped_bytes},
      {"stored_bytes", row.point.stored_bytes},
      {"duration_ms", record.duration_ms},
      {"pinned", row.pinned},
      {"verified_at", optional_time(row.verified)},
      {"root", record.root.id.hex()},
      {"sequence", row.point.sequence},
      {"labels", record.labels},
  };
}

void put_object_key(nlohmann::json& json, std::string_view key) {
  if (utf8_prefix(key) == key.size())
    json["key"] = key;
  else
    json["key_hex"] = to_hex(as_bytes(key));
}

nlohmann::json point_to_wire(const PointRow& row) {
  nlohmann::json json = {{"record", to_hex(encode(row.point))}, {"pinned", row.pinned}};
  if (row.deleted) json["deleted_us"] = row.deleted->us;
  if (row.verified) json["verified_us"] = row.verified->us;
  return json;
}

Result<PointRow> point_from_wire(const nlohmann::json& json) {
  const Error wrong(ErrorCode::corruption, "the store's answer holds no point");
  if (!json.is_object() || !json.contains("record") || !json["record"].is_string()) return wrong;
  const auto bytes = from_hex(json["record"].get_ref<const std::string&>());
  if (!bytes) return wrong;
  PointRow row;
  TM_TRY(row.point, decode_committed_point(*bytes));
  row.record_hash = sha256(*bytes);
  row.pinned = json.value("pinned", nlohmann::json(false)) == nlohmann::json(true);
  row.deleted = time_at(json, "deleted_us");
  row.verified = time_at(json, "verified_us");
  return row;
}

Result<nlohmann::json> parse_json(std::string_view text) {
  if (text.size() > kJsonBytesMax) return Error(ErrorCode::invalid_argument, "JSON: too large");
  bool too_deep = false;
  const auto limit = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kJsonDepthMax;
    return !too_deep;
  };
  nlohmann::json json = nlohmann::json::parse(text, limit, false);
  if (json.is_discarded() || too_deep) return Error(ErrorCode::invalid_argument, "malformed JSON");
  return json;
}

nlohmann::json error_json(const Error& error) {
  return {{"error",
           {{"code", std::string(to_string(error.code()))},
            {"message", error.message()},
            {"hint", error.hint()}}}};
}

Error error_from_json(std::string_view text, const std::string& fallback) {
  const auto json = parse_json(text);
  if (!json || !json->is_object() || !json->contains("error") || !(*json)["error"].is_object())
    return Error(ErrorCode::internal, fallback);
  const auto& error = (*json)["error"];
  const auto text_at = [&](const char* key) {
    return error.contains(key) && error[key].is_string() ? error[key].get<std::string>()
                                                         : std::string();
  };
  return Error(error_code_from(text_at("code")), text_at("message")).with_hint(text_at("hint"));
}

namespace {

constexpr std::pair<const char*, std::uint64_t CollectReport::*> kCollectFields[] = {
    {"points_dropped", &CollectReport::points_dropped},
    {"packs", &CollectReport::packs},
    {"pack_bytes", &CollectReport::pack_bytes},
    {"live_bytes", &CollectReport::live_bytes},
    {"packs_removed", &CollectReport::packs_removed},
    {"bytes_removed", &CollectReport::bytes_removed},
    {"packs_waiting", &CollectReport::packs_waiting},
    {"bytes_waiting", &CollectReport::bytes_waiting},
    {"orphans", &CollectReport::orphans},
    {"packs_repacked", &CollectReport::packs_repacked},
    {"bytes_repacked", &CollectReport::bytes_repacked},
    {"packs_to_repack", &CollectReport::packs_to_repack},
    {"bytes_to_repack", &CollectReport::bytes_to_repack},
    {"duration_ms", &CollectReport::duration_ms},
};

}  // namespace

nlohmann::json collect_report_json(const CollectReport& report) {
  nlohmann::json json;
  for (const auto& [name, field] : kCollectFields) json[name] = report.*field;
  return json;
}

CollectReport collect_report_from_json(const nlohmann::json& json) {
  CollectReport report;
  for (const auto& [name, field] : kCollectFields)
    if (const auto it = json.find(name); it != json.end() && it->is_number_unsigned())
      report.*field = it->get<std::uint64_t>();
  return report;
}

nlohmann::json journal_entry_json(const JournalEntry& entry) {
  return {
      {"sequence", entry.sequence}, {"time_us", entry.time.us},         {"kind", entry.kind},
      {"text", entry.text},         {"previous", entry.previous.hex()}, {"hash", entry.hash.hex()}};
}

Result<JournalEntry> journal_entry_from_json(const nlohmann::json& json) {
  const Error wrong(ErrorCode::corruption, "the store's answer holds no journal entry");
  const auto previous = Digest::from_hex(text_at(json, "previous"));
  const auto hash = Digest::from_hex(text_at(json, "hash"));
  const auto time = time_at(json, "time_us");
  const auto sequence = json.find("sequence");
  if (!previous || !hash || !time || sequence == json.end() || !sequence->is_number_unsigned())
    return wrong;
  JournalEntry entry;
  entry.sequence = sequence->get<std::uint64_t>();
  entry.time = *time;
  entry.kind = text_at(json, "kind");
  entry.text = text_at(json, "text");
  entry.previous = *previous;
  entry.hash = *hash;
  return entry;
}

}  // namespace tidemark
