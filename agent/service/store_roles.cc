// What of the store's service keeps where assets are in use.

#include <tuple>

#include "agent/service/store_service.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kRoleBytesMax = 64 * kKiB;

}  // namespace

Status StoreService::read_roles() {
  std::vector<std::string> names;
  TM_DO(backend_->list_names("roles/", [&](std::string_view name) -> Status {
    names.emplace_back(name);
    return {};
  }));
  for (const std::string& name : names) {
    const auto bytes = read_blob(*backend_, name, kRoleBytesMax);
    if (!bytes && bytes.error().retryable()) return bytes.error();
    auto role = bytes ? decode_asset_role(*bytes) : Result<AssetRole>(bytes.error());
    if (role && role_blob_name(role->site, role->asset) != name)
      role = Error(ErrorCode::corruption, "it is another asset's");
    if (!role) log::error("{}: {}", name, role.error().describe());
    const std::lock_guard lock(roles_mutex_);
    roles_[name] = role ? std::optional(*std::move(role)) : std::nullopt;
  }
  return {};
}

Result<AssetRole> StoreService::role_of(std::string_view site, std::string_view asset) {
  const std::lock_guard lock(roles_mutex_);
  const auto known = roles_.find(role_blob_name(site, asset));
  if (known == roles_.end()) {
    AssetRole role;
    role.site = role.holder = site;
    role.asset = asset;
    return role;
  }
  if (!known->second)
    return Error(ErrorCode::corruption, "where " + std::string(asset) + " of site " +
                                            std::string(site) + " is in use cannot be read")
        .with_hint(known->first +
                   " in the store is damaged; `tidemark standby promote` writes it anew");
  return *known->second;
}

bool StoreService::needed_by_role(const PointRow& row) {
  const auto role = role_of(row.point.record.site, row.point.record.asset);
  return !role || is_needed_by(*role, row.point.record.id);
}

Result<std::optional<PointRow>> StoreService::find_kept(const PointQuery& query) {
  std::optional<PointRow> found;
  const auto place = [&](const PointRow& row) {
    return std::tuple(!is_discarded(row.point.record), query.newest ? 0 : row.point.record.time.us,
                      row.point.sequence);
  };
  TM_DO(catalog_->each_point(query.site, query.asset, [&](const PointRow& row) -> Status {
    const bool meant = query.newest || row.point.record.time <= *query.as_of;
    if (meant && (!found || place(row) > place(*found))) found = row;
    return {};
  }));
  return found;
}

Status StoreService::set_role(const AssetRole& role) {
  TM_DO(still_owner());
  const std::string name = role_blob_name(role.site, role.asset);
  const std::lock_guard lock(commit_mutex_);
  {
    const std::lock_guard roles_lock(roles_mutex_);
    const auto known = roles_.find(name);
    if (known != roles_.end() && known->second && known->second->token >= role.token)
      return Error(ErrorCode::refused, "fenced: the role of " + role.asset + " changed meanwhile");
  }
  TM_DO(backend_->replace(name, encode(role)));
  const std::lock_guard roles_lock(roles_mutex_);
  roles_[name] = role;
  return {};
}

Status StoreService::take_back(std::string_view site, std::string_view asset) {
  TM_TRY(AssetRole role, role_of(site, asset));
  if (role.holder == site) return {};
  if (!role.holder.empty())
    return Error(ErrorCode::refused, std::string(asset) + " is still in use at site " + role.holder)
        .with_hint("'tidemark standby demote' there hands it over");
  role.holder = site;
  role.image.clear();
  role.since = clock_.now();
  ++role.token;
  TM_DO(set_role(role));
  log::warn("{}:{} is in use at its own site again (token {})", site, asset, role.token);
  return {};
}

Result<UploadSession> StoreService::begin_as(std::string_view holder, std::string_view site,
                                             std::string_view asset, const PointId& parent) {
  return begin_session(site, asset, parent, true,
                       [&] { return check_holder(holder, site, asset); });
}

Result<UploadSession> StoreService::begin_discarded(std::string_view site, std::string_view asset,
                                                    const PointId& parent, std::uint64_t token) {
  return begin_session(site, asset, parent, true, [&]() -> Status {
    TM_TRY(const AssetRole role, role_of(site, asset));
    if (role.holder.empty() && role.token == token) return {};
    return Error(ErrorCode::refused, "fenced: the role of " + role.asset + " changed meanwhile");
  });
}

Status StoreService::check_holder(std::string_view holder, std::string_view site,
                                  std::string_view asset) {
  TM_TRY(const AssetRole role, role_of(site, asset));
  if (role.holder == holder) return {};
  if (role.holder.empty())
    return Error(ErrorCode::refused, "fenced: " + std::string(asset) + " was handed over, and " +
                                         std::string(site) + " has not taken it back yet")
        .with_hint("'tidemark standby failback' does that");
  return Error(ErrorCode::refused, "fenced: " + std::string(asset) + " is in use at site " +
                                       role.holder + " since " + format_time(role.since) +
                                       " (token " + std::to_string(role.token) + ")")
      .with_hint(
          "'tidemark standby failback' brings it back; until then nothing of this side is sent");
}

}  // namespace tidemark
