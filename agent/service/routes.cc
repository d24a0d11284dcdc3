#include "agent/service/routes.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "agent/service/point_json.h"
#include "agent/service/wire.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kJsonBodyBytesMax = 64 * kKiB;

Error no_such_route() { return Error(ErrorCode::not_found, "no such resource"); }

Result<nlohmann::json> json_body(HttpRequest& request) {
  TM_TRY(const Bytes body, request.body->read_all(kJsonBodyBytesMax));
  return parse_json(as_text(body));
}

std::string query_at(const HttpRequest& request, std::string_view key) {
  const auto it = request.query.find(key);
  return it == request.query.end() ? std::string() : it->second;
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

HttpResponse binary(Bytes body) {
  HttpResponse response;
  response.headers["content-type"] = "application/octet-stream";
  response.body = std::move(body);
  return response;
}

// "bytes=a-b", both ends given, at most kReadBytesMax.
struct ByteRange {
  std::uint64_t offset = 0;
  std::size_t size = 0;
};
Result<ByteRange> parse_range(const HttpRequest& request) {
  const Error wrong = Error(ErrorCode::invalid_argument, "a Range of at most 8 MiB is needed")
                          .with_hint("Range: bytes=0-4095");
  const auto it = request.headers.find("range");
  if (it == request.headers.end() || !it->second.starts_with("bytes=")) return wrong;
  const auto ends = split(std::string_view(it->second).substr(6), '-');
  if (ends.size() != 2) return wrong;
  const auto first = number<std::uint64_t>(ends[0]), last = number<std::uint64_t>(ends[1]);
  if (!first || !last || *last < *first || *last - *first >= kReadBytesMax) return wrong;
  return ByteRange{*first, static_cast<std::size_t>(*last - *first + 1)};
}

}  // namespace

unsigned http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return 400;
    case ErrorCode::permission_denied:
      return 403;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::already_exists:
    case ErrorCode::refused:
      return 409;
    case ErrorCode::corruption:
      return 422;
    case ErrorCode::unsupported:
      return 501;
    case ErrorCode::unavailable:
    case ErrorCode::cancelled:
      return 503;
    case ErrorCode::deadline_exceeded:
      return 504;
    case ErrorCode::resource_exhausted:
      return 507;
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

HttpResponse json_response(unsigned status, const std::string& text) {
  HttpResponse response;
  response.status = status;
  response.headers["content-type"] = "application/json";
  append(response.body, as_bytes(text));
  return response;
}

HttpResponse error_response(const Error& error) {
  // The replacement handler keeps a name that is no UTF-8 from making the answer impossible.
  return json_response(
      http_status(error.code()),
      error_json(error).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

HttpResponse StoreApi::handle(HttpRequest& request) {
  if (!policy_.known(request.peer_site)) {
    log::warn("refused {} {}: site '{}' is not configured here", request.method, request.path,
              request.peer_site);
    return error_response(
        Error(ErrorCode::permission_denied, "site '" + request.peer_site + "' is not known here")
            .with_hint("add it under 'peers' of site " + policy_.own_site));
  }
  auto response = route(request);
  if (response) return *std::move(response);
  const Error& error = response.error();
  if (error.code() == ErrorCode::internal || error.code() == ErrorCode::corruption)
    log::error("{} {} of {}: {}", request.method, request.path, request.peer_site, error.message());
  return error_response(error);
}

Result<HttpResponse> StoreApi::route(HttpRequest& request) {
  if (store_ == nullptr)
    return Error(ErrorCode::not_found, "site " + policy_.own_site + " serves no store");
  const auto parts = split(std::string_view(request.path).substr(1), '/');
  if (parts.size() < 2 || parts[0] != "v1") return no_such_route();
  const bool get = request.method == "GET", post = request.method == "POST";
  if (get && request.path == "/v1/store") return get_store();
  if (get && request.path == "/v1/points") return list_points(request);
  if (get && request.path == "/v1/point") return find_point(request);
  if (post && request.path == "/v1/points") return begin(request);
  if (post && request.path == "/v1/locate") return locate(request);
  if (get && request.path == "/v1/role") return find_role(request);
  if (post && request.path == "/v1/role/take") return take_back(request);
  if ((get || post) && request.path == "/v1/gc") return collect(request);
  if (parts.size() == 3 && parts[1] == "journal") return journal(request, parts[2]);
  if (get && parts.size() == 3 && parts[1] == "packs") return read_pack(request, parts[2]);
  if (parts.size() >= 4 && parts[1] == "sessions") return in_session(request, parts);
  if (post && parts.size() == 4 && parts[1] == "points") return administer(request, parts);
  return no_such_route();
}

Result<HttpResponse> StoreApi::get_store() {
  TM_TRY(const StoreDescriptor descriptor, store_->descriptor());
  TM_TRY(const CatalogStats stats, store_->stats());
  return json_response(200, nlohmann::json{{"id", descriptor.id.hex()},
                                           {"site", policy_.own_site},
                                           {"encrypted", descriptor.encrypted},
                                           {"descriptor", to_hex(encode(descriptor))},
                                           {"points", stats.points},
                                           {"packs", stats.packs},
                                           {"pack_bytes", stats.pack_bytes},
                                           {"chunks", stats.chunks},
                                           {"nodes", stats.nodes},
                                           {"plain_bytes", stats.plain_bytes},
                                           {"journal", stats.journal}}
                                .dump());
}

Result<HttpResponse> StoreApi::begin(HttpRequest& request) {
  TM_TRY(const auto json, json_body(request));
  const std::string parent_text = text_at(json, "parent");
  const auto parent = parent_text.empty() ? PointId{} : PointId::from_hex(parent_text);
  if (!parent) return Error(ErrorCode::invalid_argument, "'parent' is not a point's id");
  // The owner is who asks: nobody writes another site's points.
  const std::string asset = text_at(json, "asset");
  const bool discarded = json.contains("discarded");
  if (discarded && !json["discarded"].is_number_unsigned())
    return Error(ErrorCode::invalid_argument, "'discarded' is no token");
  TM_TRY(const auto session, discarded
                                 ? store_->begin_discarded(request.peer_site, asset, *parent,
                                                           json["discarded"].get<std::uint64_t>())
                                 : store_->begin(request.peer_site, asset, *parent));
  return json_response(200, nlohmann::json{{"session", session.id.hex()},
                                           {"point", session.point.hex()},
                                           {"fence", session.fence}}
                                .dump());
}

Result<HttpResponse> StoreApi::in_session(HttpRequest& request,
                                          const std::vector<std::string>& parts) {
  const auto id = SessionId::from_hex(parts[2]);
  const auto fence = number<std::uint64_t>(query_at(request, "fence"));
  if (!id || !fence) return Error(ErrorCode::invalid_argument, "session id or fence is malformed");
  const UploadSession session{*id, PointId::from(id->view()), *fence};
  const std::string& verb = parts[3];
  if (request.method == "POST" && verb == "commit" && parts.size() == 4) {
    TM_TRY(const Bytes record, request.body->read_all(kRecordBytesMax));
    TM_TRY(const PointRecord decoded, StoreService::decode_sent_record(record));
    if (decoded.site != request.peer_site)
      return Error(ErrorCode::permission_denied, "the point belongs to another site");
    TM_TRY(const PointRow row, store_->commit(session, record));
    return json_response(200, point_to_wire(row).dump());
  }
  TM_TRY(const SessionRow row, store_->session(*id));
  if (row.site != request.peer_site)
    return Error(ErrorCode::permission_denied, "the session belongs to another site");
  if (request.method == "POST" && verb == "missing" && parts.size() == 4) {
    TM_TRY(const auto ids, read_ids(*request.body));
    TM_TRY(const auto missing, store_->missing(session, ids));
    return binary(encode_bitmap(missing));
  }
  if (request.method == "PUT" && verb == "packs" && parts.size() == 5) {
    const auto pack = PackId::from_hex(parts[4]);
    if (!pack) return Error(ErrorCode::invalid_argument, "not a pack's name");
    TM_TRY(const Bytes body, request.body->read_all(kPackBytesMax));
    TM_DO(store_->put_pack(session, *pack, body));
    return json_response(200, "{}");
  }
  if (request.method == "POST" && verb == "abandon" && parts.size() == 4) {
    TM_DO(store_->abandon(session));
    return json_response(200, "{}");
  }
  return no_such_route();
}

bool StoreApi::may_read(const HttpRequest& request, const PointRecord& record) const {
  if (record.site == request.peer_site || request.peer_site == policy_.own_site) return true;
  const auto asset = AssetName::parse(record.asset);
  return asset && policy_.may_read(request.peer_site, record.site, *asset);
}

Result<HttpResponse> StoreApi::list_points(const HttpRequest& request) {
  TM_TRY(const auto rows, store_->points(query_at(request, "site"), query_at(request, "asset")));
  nlohmann::json points = nlohmann::json::array();
  for (const PointRow& row : rows)
    if (may_read(request, row.point.record)) points.push_back(point_to_wire(row));
  return json_response(200, nlohmann::json{{"points", std::move(points)}}.dump());
}

Result<HttpResponse> StoreApi::find_point(const HttpRequest& request) {
  PointQuery query;
  query.site = query_at(request, "site");
  query.asset = query_at(request, "asset");
  query.id_prefix = query_at(request, "id");
  if (const auto as_of = number<std::int64_t>(query_at(request, "as_of_us")))
    query.as_of = Timestamp{*as_of};
  query.newest = query_at(request, "newest") == "1";
  if (!query.newest && !query.as_of && query.id_prefix.empty())
    return Error(ErrorCode::invalid_argument,
                 "say which point: id, or site and asset with newest or as_of_us");
  auto row = store_->find(query);
  if (!row) return std::move(row).error();
  // To who may not read it, it does not exist.
  if (!may_read(request, row->point.record)) return Error(ErrorCode::not_found, "no such point");
  return json_response(200, point_to_wire(*row).dump());
}

// To who may read the asset's points.
Result<HttpResponse> StoreApi::find_role(const HttpRequest& request) {
  PointRecord asset;
  asset.site = query_at(request, "site");
  asset.asset = query_at(request, "asset");
  if (!may_read(request, asset)) return Error(ErrorCode::not_found, "no such asset");
  TM_TRY(const AssetRole role, store_->role_of(asset.site, asset.asset));
  return json_response(200, nlohmann::json{{"role", to_hex(encode(role))}}.dump());
}

// Of the asker's own asset.
Result<HttpResponse> StoreApi::take_back(const HttpRequest& request) {
  TM_DO(store_->take_back(request.peer_site, query_at(request, "asset")));
  return json_response(200, "{}");
}

Result<HttpResponse> StoreApi::locate(HttpRequest& request) {
  TM_TRY(const auto ids, read_ids(*request.body));
  TM_TRY(const auto locations, store_->locate(ids));
  return binary(encode_locations(locations));
}

Result<HttpResponse> StoreApi::read_pack(const HttpRequest& request, const std::string& text) {
  const auto id = PackId::from_hex(text);
  if (!id) return Error(ErrorCode::invalid_argument, "not a pack's name");
  TM_TRY(const ByteRange range, parse_range(request));
  TM_TRY(Bytes bytes, store_->read(*id, range.offset, range.size));
  HttpResponse response = binary(std::move(bytes));
  response.status = 206;
  return response;
}

Status StoreApi::check_own_site(const HttpRequest& request) const {
  if (request.peer_site == policy_.own_site) return {};
  return Error(ErrorCode::permission_denied, "only the store's own site may do this")
      .with_hint("run the command at site " + policy_.own_site);
}

// POST starts a collection, GET tells of the last one.
Result<HttpResponse> StoreApi::collect(const HttpRequest& request) {
  TM_DO(check_own_site(request));
  if (request.method == "POST") {
    CollectRequest wanted;
    if (const std::string grace = query_at(request, "grace_us"); !grace.empty()) {
      const auto us = number<std::int64_t>(grace);
      if (!us || *us < 0) return Error(ErrorCode::invalid_argument, "'grace_us' is no duration");
      wanted.grace = std::chrono::microseconds(*us);
    }
    wanted.dry_run = query_at(request, "dry_run") == "1";
    if (policy_.prepare_collection) policy_.prepare_collection(wanted);
    TM_TRY(const std::uint64_t number, store_->start_collection(wanted));
    return json_response(202, nlohmann::json{{"number", number}}.dump());
  }
  const StoreService::Collection state = store_->collection();
  nlohmann::json json;
  if (state.last)
    json = *state.last ? collect_report_json(**state.last) : error_json(state.last->error());
  json["number"] = state.number;
  json["running"] = state.running;
  return json_response(200, json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

// POST …/drill writes what is sent, GET …/<sequence> reads.
Result<HttpResponse> StoreApi::journal(HttpRequest& request, const std::string& what) {
  TM_DO(check_own_site(request));
  if (request.method == "POST" && what == "drill") {
    TM_TRY(const auto text, json_body(request));
    TM_TRY(const JournalEntry entry, store_->record_drill(text.dump()));
    return json_response(200, journal_entry_json(entry).dump());
  }
  const auto sequence = number<std::uint64_t>(what);
  if (request.method != "GET" || !sequence) return no_such_route();
  TM_TRY(const JournalEntry entry, store_->journal_entry(*sequence));
  return json_response(200, journal_entry_json(entry).dump(
                                -1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Result<HttpResponse> StoreApi::administer(HttpRequest& request,
                                          const std::vector<std::string>& parts) {
  const auto id = PointId::from_hex(parts[2]);
  if (!id) return Error(ErrorCode::invalid_argument, "not a point's id");
  TM_DO(check_own_site(request));
  const std::string& verb = parts[3];
  if (verb == "pin")
    TM_DO(store_->set_pinned(*id, true));
  else if (verb == "unpin")
    TM_DO(store_->set_pinned(*id, false));
  else if (verb == "delete")
    TM_DO(store_->remove(*id));
  else if (verb == "undelete")
    TM_DO(store_->undelete(*id));
  else if (verb == "verified")
    TM_DO(store_->set_verified(*id));
  else
    return no_such_route();
  return json_response(200, "{}");
}

}  // namespace tidemark
