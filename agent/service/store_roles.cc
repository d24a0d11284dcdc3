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
  for (const std::string& name : names) TM_DO(read_role(name));
  return {};
}

Status StoreService::read_role(const std::string& name) {
  const auto bytes = read_blob(*backend_, name, kRoleBytesMax);
  if (!bytes && bytes.error().retryable()) return bytes.error();
  auto role = bytes ? decode_asset_role(*bytes) : Result<AssetRole>(bytes.error());
  if (role && role_blob_name(role->site, role->asset) != name)
    role = Error(ErrorCode::corruption, "it is another asset's");
  const bool none = !role && role.error().code() == ErrorCode::not_found;
  if (!role && !none) log::error("{}: {}", name, role.error().describe());
  const std::lock_guard lock(roles_mutex_);
  unsettled_roles_.erase(name);
  if (none)
    roles_.erase(name);
  else
    roles_[name] = role ? std::optional(*std::move(role)) : std::nullopt;
  return {};
}

void StoreService::settle_roles() {
  std::set<std::string, std::less<>> names;
  {
    const std::lock_guard lock(roles_mutex_);
    names = unsettled_roles_;
  }
  for (const std::string& name : names) ignore_error(read_role(name), "it stays unsettled");
}

Result<AssetRole> StoreService::role_of(std::string_view site, std::string_view asset) {
  const std::lock_guard lock(roles_mutex_);
  const std::string name = role_blob_name(site, asset);
  if (unsettled_roles_.contains(name))
    return Error(ErrorCode::unavailable, "whether the last change of where " + std::string(asset) +
                                             " is in use was kept is not known yet");
  const auto known = roles_.find(name);
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

Result<AssetRole> StoreService::settled_role_of(std::string_view site, std::string_view asset) {
  auto role = role_of(site, asset);
  if (role || role.error().code() != ErrorCode::unavailable) return role;
  const std::lock_guard lock(commit_mutex_);
  settle_roles();
  return role_of(site, asset);
}

Status StoreService::set_role(const AssetRole& role) {
  TM_DO(still_owner());
  const std::lock_guard lock(commit_mutex_);
  return write_role(role);
}

Result<AssetRole> StoreService::set_role_at(AssetRole role,
                                            const std::function<Result<PointRow>()>& choose) {
  TM_DO(still_owner());
  const std::lock_guard lock(commit_mutex_);
  TM_DO(settle());
  TM_TRY(const PointRow point, choose());
  role.point = point.point.record.id;
  TM_DO(write_role(role));
  return role;
}

Status StoreService::write_role(const AssetRole& role) {
  const std::string name = role_blob_name(role.site, role.asset);
  settle_roles();
  {
    const std::lock_guard lock(roles_mutex_);
    const auto known = roles_.find(name);
    const bool unsettled = unsettled_roles_.contains(name);
    if (!unsettled && known != roles_.end() && known->second && known->second->token >= role.token)
      return Error(ErrorCode::refused, "fenced: the role of " + role.asset + " changed meanwhile");
    if (unsettled)
      return Error(ErrorCode::unavailable, "the role of " + role.asset + " cannot be read now");
  }
  const auto written = backend_->replace(name, encode(role));
  if (!written) {
    {
      const std::lock_guard lock(roles_mutex_);
      unsettled_roles_.insert(name);
    }
    settle_roles();
    const auto there = role_of(role.site, role.asset);
    return there && *there == role ? Status() : written;
  }
  const std::lock_guard lock(roles_mutex_);
  roles_[name] = role;
  return {};
}

Status StoreService::take_back(std::string_view site, std::string_view asset) {
  TM_TRY(AssetRole role, settled_role_of(site, asset));
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
