// Packs and chunks.

#include <algorithm>
#include <numeric>

#include "catalog/internal/rocks_catalog.h"

namespace tidemark::catalog {
namespace {

StoredChunk stored(const PackEntry& entry, std::uint64_t pack) {
  StoredChunk row;
  row.kind = entry.kind;
  row.codec = entry.codec;
  row.pack = pack;
  row.ordinal = entry.ordinal;
  row.offset = entry.offset;
  row.stored_size = entry.stored_size;
  row.plain_size = entry.plain_size;
  return row;
}

PackEntry entry_of(const ChunkId& id, const StoredChunk& row) {
  return {id, row.kind, row.codec, row.ordinal, row.offset, row.stored_size, row.plain_size};
}

PackRow pack_row(const PackId& id, const StoredPack& row) {
  return {id, row.size_bytes, row.entries, row.damaged, row.number};
}

Status check_entries(const PackRow& pack, std::span<const PackEntry> entries) {
  if (pack.damaged) return Error(ErrorCode::invalid_argument, "a damaged pack is not indexed");
  if (pack.entries != entries.size())
    return Error(ErrorCode::invalid_argument, "a pack's row and its entries disagree in number");
  for (const PackEntry& entry : entries) {
    if (entry.offset > pack.size_bytes || entry.stored_size > pack.size_bytes - entry.offset)
      return Error(ErrorCode::invalid_argument, "an entry lies outside of its pack");
    if (entry.ordinal >= pack.entries)
      return Error(ErrorCode::invalid_argument, "an entry's ordinal is past its pack's end");
  }
  return {};
}

// Adds a row to what the statistics count, or takes it out.
void count_chunk(CatalogStats& stats, const StoredChunk& row, bool add) {
  std::uint64_t& rows = row.kind == BlobKind::node ? stats.nodes : stats.chunks;
  rows = add ? rows + 1 : rows - 1;
  stats.plain_bytes = add ? stats.plain_bytes + row.plain_size : stats.plain_bytes - row.plain_size;
}

}  // namespace

Result<std::vector<std::optional<StoredChunk>>> RocksCatalog::read_chunks(
    std::span<const ChunkId> ids) {
  // Sorted, so that neighbours are found in the same block.
  std::vector<std::uint32_t> order(ids.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::uint32_t i) -> const ChunkId& { return ids[i]; });
  std::vector<rocksdb::Slice> keys;
  keys.reserve(ids.size());
  for (const std::uint32_t i : order) {
    const std::string_view key = as_text(ids[i].view());
    keys.emplace_back(key.data(), key.size());
  }
  std::vector<std::optional<StoredChunk>> rows(ids.size());
  const auto keep = [&](std::size_t i, std::optional<std::string_view> value) -> Status {
    if (!value) return {};
    TM_TRY(rows[order[i]], decode_chunk(ids[order[i]], *value));
    return {};
  };
  TM_DO(database_->get_many(Table::chunks, keys, keep));
  return rows;
}

Status RocksCatalog::resolve_packs(std::unordered_map<std::uint64_t, PackId>& numbers) {
  std::vector<std::uint64_t> unknown;
  for (auto& [number, id] : numbers) {
    if (const auto known = pack_numbers_.find(number)) {
      id = *known;
    } else {
      unknown.push_back(number);
    }
  }
  std::ranges::sort(unknown);
  std::vector<std::string> keys;
  for (const std::uint64_t number : unknown)
    keys.push_back(number_key(RowKind::pack_number, number));
  const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  const auto keep = [&](std::size_t i, std::optional<std::string_view> value) -> Status {
    if (!value)
      return Error(ErrorCode::corruption,
                   "the catalog has no pack of number " + std::to_string(unknown[i]));
    TM_TRY(const PackId id, decode_pack_number(keys[i], *value));
    numbers[unknown[i]] = id;
    pack_numbers_.add(unknown[i], id);
    return {};
  };
  return database_->get_many(Table::rows, slices, keep);
}

Result<std::vector<std::optional<ChunkRow>>> RocksCatalog::find_chunks(
    std::span<const ChunkId> ids) {
  TM_TRY(const auto rows, read_chunks(ids));
  std::vector<std::optional<ChunkRow>> found(ids.size());
  std::unordered_map<std::uint64_t, PackId> numbers;
  {
    std::shared_lock lock(damage_mutex_);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!rows[i] || damaged_packs_.contains(rows[i]->pack)) continue;
      found[i].emplace();
      found[i]->location.entry = entry_of(ids[i], *rows[i]);
      found[i]->closed = rows[i]->closed_epoch == closed_epoch_;
      numbers.try_emplace(rows[i]->pack);
    }
  }
  TM_DO(resolve_packs(numbers));
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (found[i]) found[i]->location.pack = numbers.at(rows[i]->pack);
  return found;
}

Result<std::optional<StoredPack>> RocksCatalog::read_pack(const PackId& id) {
  const std::string key = id_key(RowKind::pack, id);
  TM_TRY(const auto value, database_->get(Table::rows, key));
  if (!value) return std::optional<StoredPack>();
  TM_TRY(const StoredPack row, decode_pack(key, *value));
  return std::optional<StoredPack>(row);
}

Result<std::optional<PackRow>> RocksCatalog::find_pack(const PackId& id) {
  TM_TRY(const auto row, read_pack(id));
  if (!row) return std::optional<PackRow>();
  return std::optional<PackRow>(pack_row(id, *row));
}

Status RocksCatalog::add_pack(const PackRow& pack, std::span<const PackEntry> entries) {
  TM_DO(check_entries(pack, entries));
  std::lock_guard lock(write_mutex_);
  return index_pack(pack, entries, {}, false);
}

Status RocksCatalog::move_chunks(const PackRow& pack, std::span<const PackEntry> entries,
                                 std::span<const PackId> from) {
  TM_DO(check_entries(pack, entries));
  std::lock_guard lock(write_mutex_);
  std::unordered_set<std::uint64_t> numbers;
  for (const PackId& id : from) {
    TM_TRY(const auto row, read_pack(id));
    if (row) numbers.insert(row->number);
  }
  return index_pack(pack, entries, numbers, true);
}

void RocksCatalog::put_pack(Change& change, const PackRow& pack, const StoredPack& row,
                            bool mended) {
  const std::string key = id_key(RowKind::pack, pack.id);
  put(change, key, encode_pack(key, row));
  if (mended) {
    erase(change, number_key(RowKind::damaged_pack, row.number));
    return;
  }
  const std::string by_number = number_key(RowKind::pack_number, row.number);
  put(change, by_number, encode_pack_number(by_number, pack.id));
  change.state.stats.packs += 1;
  change.state.stats.pack_bytes += pack.size_bytes;
}

Status RocksCatalog::index_pack(const PackRow& pack, std::span<const PackEntry> entries,
                                const std::unordered_set<std::uint64_t>& from, bool sync) {
  TM_TRY(const auto known, read_pack(pack.id));
  const bool mended = known && known->damaged;
  std::vector<ChunkId> ids;
  ids.reserve(entries.size());
  for (const PackEntry& entry : entries) ids.push_back(entry.id);
  TM_TRY(const auto rows, read_chunks(ids));

  Change change = begin();
  const std::uint64_t number = known ? known->number : change.state.next_pack++;
  if (!known || mended)
    put_pack(change, pack, {number, pack.size_bytes, pack.entries, false}, mended);
  std::unordered_set<ChunkId, IdHash> seen;  // one pack may hold a chunk twice
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const bool moves = rows[i] && rows[i]->pack != number && from.contains(rows[i]->pack);
    // damaged_packs_ changes under write_mutex_ only, which is held.
    const bool stays =
        rows[i] && !moves && (rows[i]->pack == number || !damaged_packs_.contains(rows[i]->pack));
    if (stays || !seen.insert(ids[i]).second) continue;
    if (rows[i]) count_chunk(change.state.stats, *rows[i], false);
    StoredChunk chunk = stored(entries[i], number);
    if (moves) chunk.closed_epoch = rows[i]->closed_epoch;
    count_chunk(change.state.stats, chunk, true);
    database_->put(change.batch, Table::chunks, as_text(ids[i].view()),
                   encode_chunk(ids[i], chunk));
  }
  if (known && !mended && seen.empty()) return {};
  TM_DO(apply(change, mended || sync));
  if (!mended) return {};
  std::unique_lock damage(damage_mutex_);
  damaged_packs_.erase(number);
  return {};
}

Status RocksCatalog::mark_pack_damaged(const PackId& id) {
  std::lock_guard lock(write_mutex_);
  TM_TRY(auto row, read_pack(id));
  if (!row) return Error(ErrorCode::not_found, "no pack " + id.hex());
  if (row->damaged) return {};
  row->damaged = true;
  Change change = begin();
  // A node that was closed may reach into this pack: all closed marks are void from here on.
  ++change.state.closed_epoch;
  const std::string key = id_key(RowKind::pack, id);
  put(change, key, encode_pack(key, *row));
  const std::string mark = number_key(RowKind::damaged_pack, row->number);
  put(change, mark, encode_mark(mark));
  const Status applied = apply(change, true);
  // Known even where the write failed: absent is the safe answer.
  std::unique_lock damage(damage_mutex_);
  damaged_packs_.insert(row->number);
  closed_epoch_ = change.state.closed_epoch;
  return applied;
}

Status RocksCatalog::drop_packs(std::span<const PackId> packs, std::span<const ChunkId> chunks) {
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  std::unordered_set<std::uint64_t> numbers;
  for (const PackId& id : packs) {
    TM_TRY(const auto row, read_pack(id));
    if (!row || !numbers.insert(row->number).second) continue;
    erase(change, id_key(RowKind::pack, id));
    erase(change, number_key(RowKind::pack_number, row->number));
    if (row->damaged) erase(change, number_key(RowKind::damaged_pack, row->number));
    change.state.stats.packs -= 1;
    change.state.stats.pack_bytes -= row->size_bytes;
  }
  if (numbers.empty()) return {};
  TM_TRY(const auto rows, read_chunks(chunks));
  std::unordered_set<ChunkId, IdHash> seen;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    // It may have been sent again since, and lie elsewhere.
    if (!rows[i] || !numbers.contains(rows[i]->pack) || !seen.insert(chunks[i]).second) continue;
    count_chunk(change.state.stats, *rows[i], false);
    database_->erase(change.batch, Table::chunks, as_text(chunks[i].view()));
  }
  // A node of another pack that nothing reaches may refer to what goes here.
  ++change.state.closed_epoch;
  TM_DO(apply(change, true));
  std::unique_lock damage(damage_mutex_);
  for (const std::uint64_t number : numbers) damaged_packs_.erase(number);
  closed_epoch_ = change.state.closed_epoch;
  return {};
}

Status RocksCatalog::each_pack(const std::function<Status(const PackRow&)>& each) {
  return each_pack(each, nullptr);
}

Status RocksCatalog::each_pack(const std::function<Status(const PackRow&)>& each,
                               const Database::Snapshot& snapshot) {
  const std::string prefix = kind_key(RowKind::pack);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix), snapshot);
  for (cursor.first(); cursor.valid(); cursor.next()) {
    TM_TRY(const StoredPack row, decode_pack(cursor.key(), cursor.value()));
    const auto id = parse_id_key<PackId>(cursor.key());
    if (!id) return Error(ErrorCode::corruption, "malformed key of a pack in the catalog");
    TM_DO(each(pack_row(*id, row)));
  }
  return cursor.status();
}

Status RocksCatalog::put_closed(Change& change, std::span<const ChunkId> nodes) {
  TM_TRY(auto rows, read_chunks(nodes));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!rows[i] || damaged_packs_.contains(rows[i]->pack))
      return Error(ErrorCode::not_found, "node " + nodes[i].hex() + " is not in the catalog");
    if (rows[i]->kind != BlobKind::node)
      return Error(ErrorCode::invalid_argument, nodes[i].hex() + " is a chunk, not a node");
    if (rows[i]->closed_epoch == change.state.closed_epoch) continue;
    rows[i]->closed_epoch = change.state.closed_epoch;
    database_->put(change.batch, Table::chunks, as_text(nodes[i].view()),
                   encode_chunk(nodes[i], *rows[i]));
  }
  return {};
}

// The rows of one snapshot.
class RocksView final : public CatalogView {
 public:
  explicit RocksView(RocksCatalog& catalog)
      : catalog_(catalog), snapshot_(catalog.database_->snapshot()) {}

  Status each_chunk(
      const std::function<Status(const ChunkId&, std::uint64_t, std::uint32_t)>& each) override {
    // Read once: what others ask for stays in the cache.
    Cursor cursor = catalog_.database_->cursor(Table::chunks, "", "", snapshot_, false);
    for (cursor.first(); cursor.valid(); cursor.next()) {
      if (cursor.key().size() != ChunkId::kSize)
        return Error(ErrorCode::corruption, "malformed key of a chunk in the catalog");
      const ChunkId id = ChunkId::from(as_bytes(cursor.key()));
      TM_TRY(const StoredChunk row, decode_chunk(id, cursor.value()));
      TM_DO(each(id, row.pack, row.stored_size));
    }
    return cursor.status();
  }
  Status each_pack(const std::function<Status(const PackRow&)>& each) override {
    return catalog_.each_pack(each, snapshot_);
  }
  Status each_point(const std::function<Status(const PointRow&)>& each) override {
    return catalog_.each_point_by_sequence(each, snapshot_);
  }

 private:
  RocksCatalog& catalog_;
  const Database::Snapshot snapshot_;
};

Result<std::unique_ptr<CatalogView>> RocksCatalog::view() {
  return std::unique_ptr<CatalogView>(std::make_unique<RocksView>(*this));
}

Status RocksCatalog::mark_closed(std::span<const ChunkId> nodes) {
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  TM_DO(put_closed(change, nodes));
  return apply(change, false);
}

}  // namespace tidemark::catalog
