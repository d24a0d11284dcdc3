#include "agent/cli/command.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/kube/claim_points.h"
#include "agent/site/set_run.h"
#include "base/log.h"

namespace tidemark {

int exit_code_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return kExitUsage;
    case ErrorCode::not_found:
      return kExitNotFound;
    case ErrorCode::already_exists:
    case ErrorCode::permission_denied:
    case ErrorCode::refused:
      return kExitRefused;
    case ErrorCode::corruption:
      return kExitDamaged;
    case ErrorCode::cancelled:
      return kExitInterrupted;
    case ErrorCode::unavailable:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::resource_exhausted:
    case ErrorCode::unsupported:
    case ErrorCode::internal:
      return kExitFailed;
  }
  return kExitFailed;
}

namespace {

SecretRef file_ref(const std::string& path) {
  SecretRef ref;
  if (path.empty()) return ref;
  ref.from = SecretRef::From::file;
  ref.file = path;
  return ref;
}

// Log level and format of the configuration hold unless the command line says otherwise.
void apply_logging(const Config& config, const Globals& globals) {
  log::set_format(config.log.format);
  if (globals.log_level.empty()) log::set_level(config.log.level);
}

}  // namespace

Result<const Config*> Command::config() {
  if (!config_) {
    TM_TRY(config_, load_config(globals.config_path));
    apply_logging(*config_, globals);
  }
  return &*config_;
}

Result<std::string> Command::own_site() {
  if (!globals.store_url.empty()) return std::string();
  TM_TRY(const Config* const loaded, config());
  return loaded->site;
}

Result<StoreAccess> Command::open_store() {
  if (!globals.store_url.empty()) {
    TM_TRY(const BackendConfig backend,
           parse_backend_url(globals.store_url, globals.ceph_conf, globals.ceph_user));
    return open_bare_store(backend, file_ref(globals.key_file), file_ref(globals.passphrase_file));
  }
  TM_TRY(const Config* const loaded, config());
  if (!globals.peer.empty())
    return open_store_named(*loaded, globals.peer, clock, stop.get_token());
  if (loaded->store) return open_own_store(*loaded, clock, stop.get_token());
  const std::vector<std::string> peers = peers_with_url(*loaded);
  if (peers.size() == 1) return open_peer_store(*loaded, peers.front(), stop.get_token());
  return Error(ErrorCode::invalid_argument, "it is not clear which store is meant")
      .with_hint("name one with --peer");
}

Result<std::shared_ptr<CephCluster>> Command::connect_cluster() {
  if (!globals.ceph_conf.empty()) {
    CephConfig ceph;
    ceph.conf = globals.ceph_conf;
    ceph.user = globals.ceph_user;
    return CephCluster::connect(ceph);
  }
  TM_TRY(const Config* const loaded, config());
  return CephCluster::connect(ceph_config(loaded->ceph));
}

Result<SiteAsset> Command::parse_asset(const std::string& text) {
  TM_TRY(SiteAsset parsed, parse_site_asset(text));
  if (parsed.site.empty()) {
    TM_TRY(parsed.site, own_site());
  }
  return parsed;
}

Result<std::pair<std::string, std::string>> Command::parse_filter(const std::string& text) {
  if (text.empty()) return std::pair<std::string, std::string>();
  TM_TRY(SiteAsset parsed, parse_site_asset(text));
  return std::pair(std::move(parsed.site), parsed.asset.text());
}

Result<PointRow> Command::find_point_by_id(StoreAccess& access, const std::string& id) {
  const bool hex =
      id.size() >= 4 && id.size() <= 32 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
      });
  if (!hex)
    return Error(ErrorCode::invalid_argument, "'" + id + "' is not a point's id")
        .with_hint("four or more of its hex digits, as 'tidemark points' shows them");
  PointQuery query;
  query.id_prefix = id;
  return access.store->find(query);
}

namespace {

Result<PointRow> find_in_set(StoreAccess& access, const SiteAsset& asset, const std::string& name) {
  TM_TRY(const auto rows, access.store->points(asset.site, ""));
  const auto ours = [text = asset.asset.text()](const PointRow& row) {
    return row.point.record.asset == text;
  };
  TM_TRY(const auto set, choose_set(rows, name, ours));
  for (const PointRow& row : rows)
    if (set && row.point.record.set == set->id && ours(row)) return row;
  return Error(ErrorCode::not_found,
               access.name + " has no point of " + asset.asset.text() + " in a set '" + name + "'")
      .with_hint("see: tidemark points");
}

}  // namespace

Result<SiteAsset> Command::find_asset(StoreAccess& access, const std::string& text,
                                      const std::string& as_of) {
  if (!is_site_claim(text)) return parse_asset(text);
  TM_TRY(SiteClaim claim, parse_site_claim(text));
  if (claim.site.empty()) {
    TM_TRY(claim.site, own_site());
  }
  std::optional<Timestamp> time;
  if (!as_of.empty() && as_of != "latest") {
    TM_TRY(time, parse_time(as_of, clock.now()));
  }
  return asset_of_claim(*access.store, claim, time);
}

Result<PointRow> Command::find_point(StoreAccess& access, const std::string& asset_text,
                                     const std::string& id, const std::string& as_of,
                                     const std::string& set) {
  if (!id.empty() && is_site_claim(asset_text)) {
    TM_TRY(const SiteClaim claim, parse_site_claim(asset_text));
    TM_TRY(PointRow row, find_point_by_id(access, id));
    if (is_of_claim(row.point.record, claim)) return row;
    return Error(ErrorCode::invalid_argument, "point " + id + " is not of " + asset_text);
  }
  TM_TRY(SiteAsset asset, find_asset(access, asset_text, as_of));
  if (!id.empty()) {
    TM_TRY(PointRow row, find_point_by_id(access, id));
    if (row.point.record.asset != asset.asset.text())
      return Error(ErrorCode::invalid_argument,
                   "point " + id + " is of " + row.point.record.asset + ", not of " + asset_text);
    return row;
  }
  if (asset.site.empty()) {
    // No configuration says who we are: the asset must be one site's only.
    TM_TRY(const auto rows, access.store->points("", asset.asset.text()));
    for (const PointRow& row : rows) {
      if (!asset.site.empty() && asset.site != row.point.record.site)
        return Error(ErrorCode::invalid_argument, "several sites have " + asset_text)
            .with_hint("write <site>:" + asset_text);
      asset.site = row.point.record.site;
    }
  }
  if (!set.empty()) return find_in_set(access, asset, set);
  PointQuery query;
  query.site = asset.site;
  query.asset = asset.asset.text();
  query.newest = as_of.empty() || as_of == "latest";
  if (!query.newest) {
    TM_TRY(query.as_of, parse_time(as_of, clock.now()));
  }
  auto row = access.store->find(query);
  if (!row && row.error().code() == ErrorCode::not_found)
    return Error(ErrorCode::not_found,
                 access.name + " has no such point of " + asset.site + ":" + asset.asset.text())
        .with_hint("see: tidemark points");
  return row;
}

void Command::print(const nlohmann::json& json, const std::function<void()>& text) const {
  if (globals.json) {
    std::puts(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    text();
  }
}

void print_error(const Error& error) {
  std::fprintf(stderr, "tidemark: %s\n", error.message().c_str());
  if (!error.hint().empty()) std::fprintf(stderr, "  %s\n", error.hint().c_str());
}

std::string shown_time(Timestamp t) { return format_time({t.us - t.us % 1'000'000}); }

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] + 2 - row[i].size(), ' ');
    }
    std::puts(line.c_str());
  }
}

}  // namespace tidemark
