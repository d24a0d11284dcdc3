#include "agent/service/remote_store.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/service/point_json.h"
#include "agent/service/wire.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::chrono::milliseconds kFirstPause{200};
constexpr std::chrono::milliseconds kLongestPause{5000};
constexpr std::chrono::milliseconds kCollectionPoll{500};

std::string session_target(const UploadSession& session, std::string_view verb) {
  return "/v1/sessions/" + session.id.hex() + "/" + std::string(verb) +
         "?fence=" + std::to_string(session.fence);
}

Result<PointRow> parse_point(const Bytes& body) {
  TM_TRY(const auto json, parse_json(as_text(body)));
  return point_from_wire(json);
}

std::uint64_t count_at(const nlohmann::json& json, const char* key) {
  return json.contains(key) && json[key].is_number_unsigned() ? json[key].get<std::uint64_t>() : 0;
}

}  // namespace

Result<std::unique_ptr<RemoteStore>> RemoteStore::create(Options options) {
  std::unique_ptr<RemoteStore> store(new RemoteStore(std::move(options)));
  TM_TRY(store->client_, HttpClient::create(store->options_.http));
  return store;
}

Result<Bytes> RemoteStore::call_once(std::string_view method, const std::string& target,
                                     ByteView body, const HttpHeaders& headers) {
  TM_TRY(HttpResponse response, client_->request(method, target, headers, body, options_.stop));
  if (response.status >= 200 && response.status < 300) return std::move(response.body);
  Error error = error_from_json(as_text(response.body),
                                "the store answered " + std::to_string(response.status));
  if (error.code() == ErrorCode::internal && response.status == 503)
    return Error(ErrorCode::unavailable, error.message());
  return error;
}

Result<Bytes> RemoteStore::call(std::string_view method, const std::string& target, ByteView body,
                                const HttpHeaders& headers) {
  const auto give_up = Clock::system().uptime() + options_.retry_for;
  std::chrono::milliseconds pause = kFirstPause;
  while (true) {
    auto result = call_once(method, target, body, headers);
    if (result || !result.error().retryable()) return result;
    if (Clock::system().uptime() + pause > give_up || options_.stop.stop_requested())
      return std::move(result).error().context(options_.http.url);
    log::warn("{}: {}; trying again in {}", options_.http.url, result.error().message(),
              format_duration(pause));
    if (!sleep_for(options_.stop, pause)) return Error(ErrorCode::cancelled, "stopped");
    pause = std::min(2 * pause, kLongestPause);
  }
}

Result<StoreDescriptor> RemoteStore::descriptor() {
  TM_TRY(const Bytes body, call("GET", "/v1/store", {}));
  TM_TRY(const auto json, parse_json(as_text(body)));
  const auto text = json.find("descriptor");
  if (text == json.end() || !text->is_string())
    return Error(ErrorCode::corruption, "the store's answer is malformed");
  const auto bytes = from_hex(text->get_ref<const std::string&>());
  if (!bytes) return Error(ErrorCode::corruption, "the store's answer is malformed");
  return decode_store_descriptor(*bytes);
}

Result<UploadSession> RemoteStore::begin(std::string_view, std::string_view asset,
                                         const PointId& parent) {
  nlohmann::json json = {{"asset", asset}};
  if (!parent.is_null()) json["parent"] = parent.hex();
  return begin_with(json);
}

Result<UploadSession> RemoteStore::begin_discarded(std::string_view, std::string_view asset,
                                                   const PointId& parent, std::uint64_t token) {
  nlohmann::json json = {{"asset", asset}, {"discarded", token}};
  if (!parent.is_null()) json["parent"] = parent.hex();
  return begin_with(json);
}

Result<UploadSession> RemoteStore::begin_with(const nlohmann::json& request) {
  TM_TRY(const Bytes body, call("POST", "/v1/points", as_bytes(request.dump())));
  TM_TRY(const auto answer, parse_json(as_text(body)));
  const auto id = SessionId::from_hex(answer.contains("session") && answer["session"].is_string()
                                          ? answer["session"].get<std::string>()
                                          : std::string());
  if (!id) return Error(ErrorCode::corruption, "the store's answer is malformed");
  return UploadSession{*id, PointId::from(id->view()), count_at(answer, "fence")};
}

Result<std::vector<bool>> RemoteStore::missing(const UploadSession& session,
                                               std::span<const ChunkId> ids) {
  TM_TRY(const Bytes body, call("POST", session_target(session, "missing"), encode_ids(ids)));
  return decode_bitmap(body, ids.size());
}

Status RemoteStore::put_pack(const UploadSession& session, const PackId& id, ByteView bytes) {
  TM_TRY(const Bytes body, call("PUT", session_target(session, "packs/" + id.hex()), bytes));
  return {};
}

Result<PointRow> RemoteStore::commit(const UploadSession& session, ByteView record) {
  TM_TRY(const Bytes body, call("POST", session_target(session, "commit"), record));
  return parse_point(body);
}

Status RemoteStore::abandon(const UploadSession& session) {
  TM_TRY(const Bytes body, call_once("POST", session_target(session, "abandon"), {}, {}));
  return {};
}

Result<PointRow> RemoteStore::find(const PointQuery& query) {
  std::string target = "/v1/point?id=" + url_encode(query.id_prefix);
  if (query.newest)
    target =
        "/v1/point?newest=1&site=" + url_encode(query.site) + "&asset=" + url_encode(query.asset);
  if (query.as_of)
    target = "/v1/point?site=" + url_encode(query.site) + "&asset=" + url_encode(query.asset) +
             "&as_of_us=" + std::to_string(query.as_of->us);
  TM_TRY(const Bytes body, call("GET", target, {}));
  return parse_point(body);
}

Result<std::vector<PointRow>> RemoteStore::points(std::string_view site, std::string_view asset) {
  TM_TRY(const Bytes body,
         call("GET", "/v1/points?site=" + url_encode(site) + "&asset=" + url_encode(asset), {}));
  TM_TRY(const auto json, parse_json(as_text(body)));
  if (!json.contains("points") || !json["points"].is_array())
    return Error(ErrorCode::corruption, "the store's answer is malformed");
  std::vector<PointRow> rows;
  for (const auto& point : json["points"]) {
    TM_TRY(PointRow row, point_from_wire(point));
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<std::vector<BlobLocation>> RemoteStore::locate(std::span<const ChunkId> ids) {
  TM_TRY(const Bytes body, call("POST", "/v1/locate", encode_ids(ids)));
  return decode_locations(body, ids);
}

Result<Bytes> RemoteStore::read(const PackId& pack, std::uint64_t offset, std::size_t size) {
  if (size == 0) return Bytes();
  const HttpHeaders range = {
      {"range", "bytes=" + std::to_string(offset) + "-" + std::to_string(offset + size - 1)}};
  TM_TRY(Bytes body, call("GET", "/v1/packs/" + pack.hex(), {}, range));
  if (body.size() != size)
    return Error(ErrorCode::corruption, "the store's answer has the wrong length");
  return body;
}

Status RemoteStore::administer(const PointId& id, std::string_view verb) {
  TM_TRY(const Bytes body, call("POST", "/v1/points/" + id.hex() + "/" + std::string(verb), {}));
  return {};
}

Result<AssetRole> RemoteStore::role_of(std::string_view site, std::string_view asset) {
  TM_TRY(const Bytes body,
         call("GET", "/v1/role?site=" + url_encode(site) + "&asset=" + url_encode(asset), {}));
  TM_TRY(const auto json, parse_json(as_text(body)));
  const auto text = json.find("role");
  if (text == json.end() || !text->is_string())
    return Error(ErrorCode::corruption, "the store's answer is malformed");
  const auto bytes = from_hex(text->get_ref<const std::string&>());
  if (!bytes) return Error(ErrorCode::corruption, "the store's answer is malformed");
  return decode_asset_role(*bytes);
}

Status RemoteStore::take_back(std::string_view, std::string_view asset) {
  TM_TRY(const Bytes body, call("POST", "/v1/role/take?asset=" + url_encode(asset), {}));
  return {};
}

Status RemoteStore::set_pinned(const PointId& id, bool pinned) {
  return administer(id, pinned ? "pin" : "unpin");
}
Status RemoteStore::remove(const PointId& id) { return administer(id, "delete"); }
Status RemoteStore::undelete(const PointId& id) { return administer(id, "undelete"); }
Status RemoteStore::set_verified(const PointId& id) { return administer(id, "verified"); }

Result<JournalEntry> RemoteStore::record_drill(std::string_view text) {
  TM_TRY(const Bytes body, call("POST", "/v1/journal/drill", as_bytes(text)));
  TM_TRY(const auto json, parse_json(as_text(body)));
  return journal_entry_from_json(json);
}

Result<JournalEntry> RemoteStore::journal_entry(std::uint64_t sequence) {
  TM_TRY(const Bytes body, call("GET", "/v1/journal/" + std::to_string(sequence), {}));
  TM_TRY(const auto json, parse_json(as_text(body)));
  return journal_entry_from_json(json);
}

Result<CatalogStats> RemoteStore::stats() {
  TM_TRY(const Bytes body, call("GET", "/v1/store", {}));
  TM_TRY(const auto json, parse_json(as_text(body)));
  CatalogStats stats;
  stats.points = count_at(json, "points");
  stats.packs = count_at(json, "packs");
  stats.pack_bytes = count_at(json, "pack_bytes");
  stats.chunks = count_at(json, "chunks");
  stats.nodes = count_at(json, "nodes");
  stats.plain_bytes = count_at(json, "plain_bytes");
  if (json.contains("journal")) stats.journal = count_at(json, "journal");
  return stats;
}

// Started there, and asked about until it has ended: it takes longer than a request may.
Result<CollectReport> RemoteStore::collect(const CollectRequest& request) {
  const std::string target = "/v1/gc?grace_us=" + std::to_string(request.grace.count()) +
                             (request.dry_run ? "&dry_run=1" : "");
  TM_TRY(const Bytes started, call("POST", target, {}));
  TM_TRY(const auto answer, parse_json(as_text(started)));
  const std::uint64_t number = count_at(answer, "number");
  while (sleep_for(request.stop, kCollectionPoll)) {
    TM_TRY(const Bytes body, call("GET", "/v1/gc", {}));
    TM_TRY(const auto state, parse_json(as_text(body)));
    if (count_at(state, "number") != number)
      return Error(ErrorCode::unavailable, "the store's agent was started again meanwhile");
    if (state.value("running", nlohmann::json(false)) == nlohmann::json(true)) continue;
    if (state.contains("error")) return error_from_json(as_text(body), "the collection failed");
    return collect_report_from_json(state);
  }
  return Error(ErrorCode::cancelled, "interrupted; the collection goes on at the store");
}

}  // namespace tidemark
