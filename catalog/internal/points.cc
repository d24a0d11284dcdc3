// Points: their rows, their places in time and in sequence.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/crypto.h"
#include "catalog/internal/rocks_catalog.h"

namespace tidemark::catalog {
namespace {

RowKind time_kind(const PointRow& row) {
  return row.deleted ? RowKind::deleted_point : RowKind::live_point;
}

std::string time_key_of(const PointRow& row) {
  const PointRecord& record = row.point.record;
  return time_key(time_kind(row), record.site, record.asset, record.time, row.point.sequence,
                  record.id);
}

// For the journal. Names are bytes: what is not UTF-8 is replaced.
std::string journal_text(const PointRow& row) {
  const PointRecord& record = row.point.record;
  nlohmann::json text = {{"point", record.id.hex()},
                         {"site", record.site},
                         {"asset", record.asset},
                         {"sequence", row.point.sequence},
                         {"record", row.record_hash.hex()}};
  return text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Status check_new_point(const PointRow& row) {
  const PointRecord& record = row.point.record;
  TM_DO(check_key_name(record.site, "a point's site"));
  TM_DO(check_key_name(record.asset, "a point's asset"));
  if (record.id.is_null()) return Error(ErrorCode::invalid_argument, "a point without an id");
  if (sha256(encode(row.point)) != row.record_hash)
    return Error(ErrorCode::invalid_argument, "a point's hash is not the one of its record");
  return {};
}

Error no_point(const PointId& id) { return Error(ErrorCode::not_found, "no point " + id.hex()); }

Error bad_index(std::string_view key) {
  return Error(ErrorCode::corruption,
               "the catalog's index of points is wrong at " + to_hex(as_bytes(key)))
      .with_hint("rebuild the catalog");
}

}  // namespace

Result<std::optional<PointRow>> RocksCatalog::read_point(const PointId& id,
                                                         const Database::Snapshot& snapshot) {
  const std::string key = id_key(RowKind::point, id);
  TM_TRY(const auto value, database_->get(Table::rows, key, snapshot));
  if (!value) return std::optional<PointRow>();
  TM_TRY(PointRow row, decode_point(key, *value));
  if (row.point.record.id != id) return bad_index(key);
  return std::optional<PointRow>(std::move(row));
}

Result<std::optional<PointRow>> RocksCatalog::find_point(const PointId& id) {
  return read_point(id);
}

void RocksCatalog::put_new_point(Change& change, const PointRow& row) {
  const PointRecord& record = row.point.record;
  const std::string key = id_key(RowKind::point, record.id);
  put(change, key, encode_point(key, row));
  const std::string time = time_key_of(row);
  put(change, time, encode_mark(time));
  const std::string sequence = sequence_key(row.point.sequence, record.id);
  put(change, sequence, encode_mark(sequence));
  if (!row.deleted) ++change.state.stats.points;
}

Status RocksCatalog::commit_point(const PointRow& row, std::span<const ChunkId> closed_nodes,
                                  const std::optional<SessionId>& session) {
  TM_DO(check_new_point(row));
  const PointId& id = row.point.record.id;
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  TM_TRY(const auto known, read_point(id));
  if (known) {
    if (known->record_hash != row.record_hash)
      return Error(ErrorCode::already_exists, "point " + id.hex() + " has another record");
    // The commit is being repeated, perhaps by a new session, which ends as well.
    if (!session) return {};
    TM_DO(erase_session(change, *session));
    return apply(change, true);
  }
  if (row.point.sequence != point_.sequence + 1 || row.point.previous != point_.hash)
    return Error(ErrorCode::refused, "point " + id.hex() + " does not follow point number " +
                                         std::to_string(point_.sequence) + " of the store");
  put_new_point(change, row);
  change.point = {row.point.sequence, row.record_hash};
  TM_DO(put_closed(change, closed_nodes));
  if (session) {
    TM_DO(check_session(*session, row));
    TM_DO(erase_session(change, *session));
  }
  TM_DO(add_journal(change, "commit", journal_text(row), row.point.received));
  return apply(change, true);
}

Status RocksCatalog::restore_point(const PointRow& row) {
  TM_DO(check_new_point(row));
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  put_new_point(change, row);
  return apply(change, false);
}

Result<std::vector<PointRow>> RocksCatalog::find_points_by_prefix(std::string_view prefix,
                                                                  std::size_t limit) {
  std::vector<PointRow> found;
  std::string digits(prefix);
  for (char& c : digits)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  // The smallest id with this prefix: an odd last digit is followed by a zero.
  const auto bytes = from_hex(digits.size() % 2 == 0 ? digits : digits + '0');
  if (!bytes || bytes->size() > PointId::kSize) return found;
  const std::string all = kind_key(RowKind::point);
  Cursor cursor = database_->cursor(Table::rows, all, prefix_end(all));
  cursor.seek(all + std::string(as_text(*bytes)));
  for (; cursor.valid() && found.size() < limit; cursor.next()) {
    const auto id = parse_id_key<PointId>(cursor.key());
    if (!id) return bad_index(cursor.key());
    if (!id->hex().starts_with(digits)) break;
    TM_TRY(PointRow row, decode_point(cursor.key(), cursor.value()));
    found.push_back(std::move(row));
  }
  TM_DO(cursor.status());
  return found;
}

Result<std::optional<PointRow>> RocksCatalog::find_point_as_of(std::string_view site,
                                                               std::string_view asset,
                                                               Timestamp time) {
  TM_DO(check_key_name(site, "site"));
  TM_DO(check_key_name(asset, "asset"));
  const auto snapshot = database_->snapshot();
  const std::string prefix = time_prefix(RowKind::live_point, site, asset);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  cursor.seek_back(time_key_after(RowKind::live_point, site, asset, time));
  TM_DO(cursor.valid() ? Status() : cursor.status());
  if (!cursor.valid()) return std::optional<PointRow>();
  const auto key = parse_time_key(cursor.key());
  if (!key) return bad_index(cursor.key());
  TM_TRY(auto row, read_point(key->point, snapshot));
  if (!row) return bad_index(cursor.key());
  return row;
}

Status RocksCatalog::each_point_id(const std::function<Status(const PointId&)>& each) {
  const std::string prefix = kind_key(RowKind::point);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), database_->snapshot());
  for (cursor.first(); cursor.valid(); cursor.next()) {
    const auto id = parse_id_key<PointId>(cursor.key());
    if (!id) return bad_index(cursor.key());
    TM_DO(each(*id));
  }
  return cursor.status();
}

Result<std::optional<PointRow>> RocksCatalog::find_newest_point(std::string_view site,
                                                                std::string_view asset) {
  TM_DO(check_key_name(site, "site"));
  TM_DO(check_key_name(asset, "asset"));
  const auto snapshot = database_->snapshot();
  const std::string prefix = time_prefix(RowKind::live_point, site, asset);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  std::uint64_t highest = 0;
  std::optional<PointId> newest;
  for (cursor.first(); cursor.valid(); cursor.next()) {
    const auto key = parse_time_key(cursor.key());
    if (!key) return bad_index(cursor.key());
    if (newest && key->sequence < highest) continue;
    highest = key->sequence;
    newest = key->point;
  }
  TM_DO(cursor.status());
  if (!newest) return std::optional<PointRow>();
  TM_TRY(auto row, read_point(*newest, snapshot));
  if (!row) return bad_index(newest->hex());
  return row;
}

Status RocksCatalog::each_latest_point(const std::function<Status(const PointRow&)>& each) {
  const std::string prefix = kind_key(RowKind::live_point);
  const auto snapshot = database_->snapshot();
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  for (cursor.first(); cursor.valid();) {
    const auto first = parse_time_key(cursor.key());
    if (!first) return bad_index(cursor.key());
    const std::string behind =
        prefix_end(time_prefix(RowKind::live_point, first->site, first->asset));
    cursor.seek_back(behind);  // no key is equal to it: the last one of this asset
    const auto last = cursor.valid() ? parse_time_key(cursor.key()) : std::nullopt;
    if (!last) return bad_index(behind);
    TM_TRY(const auto row, read_point(last->point, snapshot));
    if (!row) return bad_index(cursor.key());
    TM_DO(each(*row));
    cursor.seek(behind);
  }
  return cursor.status();
}

Status RocksCatalog::each_point(std::string_view site, std::string_view asset,
                                const std::function<Status(const PointRow&)>& each) {
  if (!site.empty()) TM_DO(check_key_name(site, "site"));
  if (!asset.empty()) TM_DO(check_key_name(asset, "asset"));
  std::string prefix = kind_key(RowKind::live_point);
  if (!site.empty()) prefix = time_prefix(RowKind::live_point, site);
  if (!site.empty() && !asset.empty()) prefix = time_prefix(RowKind::live_point, site, asset);
  const auto snapshot = database_->snapshot();
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  for (cursor.first(); cursor.valid(); cursor.next()) {
    const auto key = parse_time_key(cursor.key());
    if (!key) return bad_index(cursor.key());
    if (!asset.empty() && key->asset != asset) continue;
    TM_TRY(const auto row, read_point(key->point, snapshot));
    if (!row) return bad_index(cursor.key());
    TM_DO(each(*row));
  }
  return cursor.status();
}

Status RocksCatalog::each_point_by_sequence(const std::function<Status(const PointRow&)>& each) {
  return each_point_by_sequence(each, database_->snapshot());
}

Status RocksCatalog::each_point_by_sequence(const std::function<Status(const PointRow&)>& each,
                                            const Database::Snapshot& snapshot) {
  const std::string prefix = kind_key(RowKind::sequence);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  for (cursor.first(); cursor.valid(); cursor.next()) {
    const auto key = parse_sequence_key(cursor.key());
    if (!key) return bad_index(cursor.key());
    TM_TRY(const auto row, read_point(key->point, snapshot));
    if (!row) return bad_index(cursor.key());
    TM_DO(each(*row));
  }
  return cursor.status();
}

Result<std::optional<PointRow>> RocksCatalog::last_point() {
  const std::string prefix = kind_key(RowKind::sequence);
  const auto snapshot = database_->snapshot();
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  cursor.last();
  if (!cursor.valid()) {
    TM_DO(cursor.status());
    return std::optional<PointRow>();
  }
  const auto key = parse_sequence_key(cursor.key());
  if (!key) return bad_index(cursor.key());
  TM_TRY(auto row, read_point(key->point, snapshot));
  if (!row) return bad_index(cursor.key());
  return row;
}

Status RocksCatalog::change_point(const PointId& id,
                                  const std::function<Result<bool>(PointRow&)>& change_row,
                                  std::string_view kind, Timestamp now) {
  std::lock_guard lock(write_mutex_);
  TM_TRY(auto row, read_point(id));
  if (!row) return no_point(id);
  const std::string old_place = time_key_of(*row);
  const bool was_listed = !row->deleted;
  TM_TRY(const bool changed, change_row(*row));
  if (!changed) return {};

  Change change = begin();
  const std::string key = id_key(RowKind::point, id);
  put(change, key, encode_point(key, *row));
  const std::string place = time_key_of(*row);
  if (place != old_place) {
    erase(change, old_place);
    put(change, place, encode_mark(place));
    if (was_listed) {
      --change.state.stats.points;
    } else {
      ++change.state.stats.points;
    }
  }
  if (kind.empty()) return apply(change, false);
  TM_DO(add_journal(change, kind, journal_text(*row), now));
  return apply(change, true);
}

Status RocksCatalog::set_pinned(const PointId& id, bool pinned, Timestamp now) {
  const auto set = [&](PointRow& row) -> Result<bool> {
    if (pinned && row.deleted)
      return Error(ErrorCode::refused, "point " + id.hex() + " is deleted")
          .with_hint("take the deletion back first");
    return std::exchange(row.pinned, pinned) != pinned;
  };
  return change_point(id, set, pinned ? "pin" : "unpin", now);
}

Status RocksCatalog::set_deleted(const PointId& id, std::optional<Timestamp> deleted,
                                 Timestamp now) {
  const auto set = [&](PointRow& row) -> Result<bool> {
    if (deleted && row.pinned)
      return Error(ErrorCode::refused, "point " + id.hex() + " is pinned")
          .with_hint("unpin it first");
    return std::exchange(row.deleted, deleted) != deleted;
  };
  return change_point(id, set, deleted ? "delete" : "undelete", now);
}

Status RocksCatalog::set_verified(const PointId& id, Timestamp when) {
  const auto set = [&](PointRow& row) -> Result<bool> {
    return std::exchange(row.verified, when) != when;
  };
  return change_point(id, set, "", when);
}

Status RocksCatalog::drop_point(const PointId& id, Timestamp now) {
  std::lock_guard lock(write_mutex_);
  TM_TRY(const auto row, read_point(id));
  if (!row) return {};
  if (!row->deleted) return Error(ErrorCode::refused, "point " + id.hex() + " is not deleted");
  if (row->point.sequence == point_.sequence)
    return Error(ErrorCode::refused, "point " + id.hex() + " is the newest of the store");
  Change change = begin();
  erase(change, id_key(RowKind::point, id));
  erase(change, time_key_of(*row));
  erase(change, sequence_key(row->point.sequence, id));
  TM_DO(add_journal(change, "expire", journal_text(*row), now));
  return apply(change, true);
}

}  // namespace tidemark::catalog
