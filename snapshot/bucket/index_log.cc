#include "snapshot/bucket/index_log.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json.h"
#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::size_t kEntriesAtOnce = 1000;

using nlohmann::json;

// Null where the server gave no JSON, for whatever reason.
Result<json> ask(const s3::Client& client, const std::string& path, const s3::Query& query,
                 const std::stop_token& stop) {
  s3::Call call;
  call.stop = stop;
  const auto answer = client.admin("GET", path, query, {}, call);
  if (!answer && answer.error().code() == ErrorCode::cancelled) return answer.error();
  if (!answer) return json();
  json parsed = json::parse(as_text(*answer), nullptr, false);
  return parsed.is_discarded() ? json() : parsed;
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "0#a,1#b,2#" as {"a", "b", ""}; empty where it is not that.
std::vector<std::string> by_shard(const std::string& text) {
  std::vector<std::string> out;
  for (const std::string& part : split(text, ',')) {
    const auto hash = part.find('#');
    if (hash == part.npos || number_of(part.substr(0, hash)) != out.size()) return {};
    out.push_back(part.substr(hash + 1));
  }
  return out;
}

// A shard begins at version 1. A marker begins with the version its entry was made at.
bool is_logged(const IndexShard& shard) {
  if (shard.version <= 1) return shard.version == 1;
  const auto last = number_of(shard.marker.substr(0, shard.marker.find('.')));
  return last && *last + 1 == shard.version;
}

// The key of an entry of the index; empty for one that belongs to no object of its own (a part of
// an upload, say). Their names begin with '_', and one more stands before keys that do.
std::string key_of(const std::string& name) {
  if (!name.starts_with('_')) return name;
  return name.starts_with("__") ? name.substr(1) : std::string();
}

// Reads the log of one shard.
class ShardLog {
 public:
  ShardLog(const s3::Client& client, std::string instance, const IndexShard& from,
           std::uint64_t until, std::stop_token stop)
      : client_(client),
        instance_(std::move(instance)),
        until_(until),
        stop_(std::move(stop)),
        next_(from.version),
        marker_(from.marker) {}

  // Adds keys; false where the log is not whole, or the keys are too many.
  Result<bool> read(std::set<std::string>& keys, std::size_t keys_max);

 private:
  bool take(const json& entry, std::set<std::string>& keys);

  const s3::Client& client_;
  const std::string instance_;
  const std::uint64_t until_;  // the entry of the version before is the last needed
  const std::stop_token stop_;
  std::uint64_t next_;  // all entries of versions below were seen
  std::string marker_;
};

Result<bool> ShardLog::read(std::set<std::string>& keys, std::size_t keys_max) {
  while (true) {
    s3::Query query = {{"type", "bucket-index"},
                       {"bucket-instance", instance_},
                       {"max-entries", std::to_string(kEntriesAtOnce)}};
    if (!marker_.empty()) query["marker"] = marker_;
    TM_TRY(const json page, ask(client_, "/admin/log", query, stop_));
    if (!page.is_array()) return false;
    for (const json& entry : page)
      if (!take(entry, keys)) return false;
    if (keys.size() > keys_max) return false;
    // A version may have several entries: those of the next one show that they were all.
    if (page.size() < kEntriesAtOnce || next_ > until_) return next_ >= until_;
  }
}

bool ShardLog::take(const json& entry, std::set<std::string>& keys) {
  const std::string id = text_at(entry, "op_id"), name = text_at(entry, "object");
  if (!entry.is_object() || !entry.contains("index_ver") || name.empty() ||
      !entry["index_ver"].is_number_unsigned())
    return false;
  const auto version = entry["index_ver"].get<std::uint64_t>();
  std::string marker = id.substr(id.find('#') + 1);
  if (version > next_ || marker <= marker_) return false;
  next_ = std::max(next_, version + 1);
  marker_ = std::move(marker);
  if (std::string key = key_of(name); !key.empty()) keys.insert(std::move(key));
  return true;
}

}  // namespace

Result<std::optional<IndexPosition>> read_index_position(const s3::Client& client,
                                                         const std::string& bucket, bool versions,
                                                         std::stop_token stop) {
  const std::optional<IndexPosition> unknown;
  TM_TRY(const json stats,
         ask(client, "/admin/bucket", {{"bucket", bucket}, {"stats", "true"}}, stop));
  const std::string id = text_at(stats, "id"), tenant = text_at(stats, "tenant");
  if (id.empty()) return unknown;
  IndexPosition position;
  position.instance = (tenant.empty() ? "" : tenant + "/") + bucket + ":" + id;
  TM_TRY(
      const json info,
      ask(client, "/admin/log",
          {{"type", "bucket-index"}, {"bucket-instance", position.instance}, {"info", ""}}, stop));
  const auto counts = by_shard(text_at(info, "bucket_ver"));
  const auto markers = by_shard(text_at(info, "max_marker"));
  if (text_at(info, "syncstopped") == "true" || counts.empty() || counts.size() > kIndexShardsMax ||
      counts.size() != markers.size())
    return unknown;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto version = number_of(counts[i]);
    if (!version) return unknown;
    position.shards.push_back({*version, markers[i]});
    if (versions && !is_logged(position.shards.back())) return unknown;
  }
  return std::optional(std::move(position));
}

Result<std::optional<std::vector<std::string>>> read_changed_keys(const s3::Client& client,
                                                                  const IndexPosition& from,
                                                                  const IndexPosition& to,
                                                                  std::size_t keys_max,
                                                                  std::stop_token stop) {
  const std::optional<std::vector<std::string>> unknown;
  if (from.instance != to.instance || from.shards.size() != to.shards.size()) return unknown;
  std::set<std::string> keys;
  for (std::size_t i = 0; i < from.shards.size(); ++i) {
    if (from.shards[i] == to.shards[i]) continue;
    if (from.shards[i].version >= to.shards[i].version) return unknown;
    ShardLog log(client, from.instance + ":" + std::to_string(i), from.shards[i],
                 to.shards[i].version, stop);
    TM_TRY(const bool whole, log.read(keys, keys_max));
    if (!whole) return unknown;
  }
  return std::optional(std::vector<std::string>(keys.begin(), keys.end()));
}

}  // namespace tidemark
