// Sessions, their fences and the packs that they protect.

#include "base/crypto.h"
#include "catalog/internal/rocks_catalog.h"

namespace tidemark::catalog {
namespace {

Error no_session(const SessionId& id) {
  return Error(ErrorCode::not_found, "no session " + id.hex());
}

}  // namespace

Result<SessionRow> RocksCatalog::open_session(SessionRow row) {
  TM_DO(check_key_name(row.site, "a session's site"));
  TM_DO(check_key_name(row.asset, "a session's asset"));
  if (row.id.is_null()) row.id = random_id<SessionId>();
  std::lock_guard lock(write_mutex_);
  TM_TRY(const auto known, find_session(row.id));
  if (known) return Error(ErrorCode::already_exists, "session " + row.id.hex() + " is open");
  TM_TRY(const std::uint64_t newest, newest_fence(row.site, row.asset));
  row.fence = newest + 1;
  Change change = begin();
  const std::string fence = fence_key(row.site, row.asset);
  put(change, fence, encode_fence(fence, row.fence));
  const std::string key = id_key(RowKind::session, row.id);
  put(change, key, encode_session(key, row));
  TM_DO(apply(change, true));
  return row;
}

Result<std::optional<SessionRow>> RocksCatalog::find_session(const SessionId& id) {
  const std::string key = id_key(RowKind::session, id);
  TM_TRY(const auto value, database_->get(Table::rows, key));
  if (!value) return std::optional<SessionRow>();
  TM_TRY(SessionRow row, decode_session(key, *value));
  return std::optional<SessionRow>(std::move(row));
}

Result<std::uint64_t> RocksCatalog::newest_fence(std::string_view site, std::string_view asset) {
  TM_DO(check_key_name(site, "site"));
  TM_DO(check_key_name(asset, "asset"));
  const std::string key = fence_key(site, asset);
  TM_TRY(const auto value, database_->get(Table::rows, key));
  if (!value) return identity_.fence_floor;
  return decode_fence(key, *value);
}

Status RocksCatalog::renew_session(const SessionId& id, Timestamp now, std::uint64_t added_bytes) {
  std::lock_guard lock(write_mutex_);
  TM_TRY(auto row, find_session(id));
  if (!row) return no_session(id);
  row->renewed = now;
  row->stored_bytes += added_bytes;
  Change change = begin();
  const std::string key = id_key(RowKind::session, id);
  put(change, key, encode_session(key, *row));
  return apply(change, false);
}

Status RocksCatalog::erase_session(Change& change, const SessionId& id) {
  erase(change, id_key(RowKind::session, id));
  const std::string prefix = id_key(RowKind::pack_pin, id);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix));
  for (cursor.first(); cursor.valid(); cursor.next()) erase(change, cursor.key());
  return cursor.status();
}

Status RocksCatalog::check_session(const SessionId& id, const PointRow& row) {
  const PointRecord& record = row.point.record;
  TM_TRY(const auto session, find_session(id));
  if (!session) return Error(ErrorCode::refused, "session " + id.hex() + " is not open any more");
  if (session->site != record.site || session->asset != record.asset)
    return Error(ErrorCode::refused, "session " + id.hex() + " is of another asset");
  TM_TRY(const std::uint64_t newest, newest_fence(session->site, session->asset));
  if (session->fence != newest)
    return Error(ErrorCode::refused, "session " + id.hex() + " is fenced off by a newer one");
  return {};
}

Status RocksCatalog::close_session(const SessionId& id) {
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  TM_DO(erase_session(change, id));
  return apply(change, false);
}

Status RocksCatalog::each_session(const std::function<Status(const SessionRow&)>& each) {
  const std::string prefix = kind_key(RowKind::session);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix));
  for (cursor.first(); cursor.valid(); cursor.next()) {
    TM_TRY(const SessionRow row, decode_session(cursor.key(), cursor.value()));
    TM_DO(each(row));
  }
  return cursor.status();
}

Status RocksCatalog::pin_packs(const SessionId& id, std::span<const PackId> packs) {
  std::lock_guard lock(write_mutex_);
  TM_TRY(const auto session, find_session(id));
  if (!session) return no_session(id);
  Change change = begin();
  for (const PackId& pack : packs) {
    const std::string key = pin_key(id, pack);
    put(change, key, encode_mark(key));
  }
  return apply(change, false);
}

Status RocksCatalog::each_pinned_pack(const SessionId& id,
                                      const std::function<Status(const PackId&)>& each) {
  const std::string prefix = id_key(RowKind::pack_pin, id);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix));
  for (cursor.first(); cursor.valid(); cursor.next()) {
    TM_DO(decode_mark(cursor.key(), cursor.value()));
    const auto pin = parse_pin_key(cursor.key());
    if (!pin) return Error(ErrorCode::corruption, "malformed key of a pin in the catalog");
    TM_DO(each(pin->pack));
  }
  return cursor.status();
}

}  // namespace tidemark::catalog
