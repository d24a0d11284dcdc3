#include <fmt/core.h>

#include <algorithm>

#include "catalog/internal/checker.h"

namespace tidemark::catalog {
namespace {

constexpr std::size_t kFindingsMax = 1000;

// Stands for a key or a hash, to be compared later.
std::uint64_t fingerprint(std::string_view bytes) { return std::hash<std::string_view>()(bytes); }
std::uint64_t fingerprint(const Digest& digest) { return fingerprint(as_text(digest.view())); }

Error wrong(std::string message) { return Error(ErrorCode::corruption, std::move(message)); }

}  // namespace

Result<std::vector<std::string>> RocksCatalog::check() { return Checker(*database_).run(); }

void Checker::find(std::string finding) {
  ++findings_total_;
  if (findings_.size() < kFindingsMax) findings_.push_back(std::move(finding));
}

Result<std::vector<std::string>> Checker::run() {
  // Packs, points and sessions come before the rows that refer to them.
  static constexpr std::pair<RowKind, RowCheck> kKinds[] = {
      {RowKind::identity, &Checker::check_identity},
      {RowKind::state, &Checker::check_state},
      {RowKind::pack, &Checker::check_pack},
      {RowKind::pack_number, &Checker::check_pack_number},
      {RowKind::damaged_pack, &Checker::check_damaged},
      {RowKind::point, &Checker::check_point},
      {RowKind::live_point, &Checker::check_time},
      {RowKind::deleted_point, &Checker::check_time},
      {RowKind::sequence, &Checker::check_sequence},
      {RowKind::fence, &Checker::check_fence},
      {RowKind::session, &Checker::check_session},
      {RowKind::pack_pin, &Checker::check_pin},
      {RowKind::journal, &Checker::check_journal},
  };
  for (const auto& [kind, check] : kKinds) TM_DO(scan(Table::rows, kind_key(kind), check));
  for (int byte = 0; byte < 0xff; ++byte) {
    const auto known = [&](const auto& entry) { return static_cast<char>(entry.first) == byte; };
    if (std::ranges::none_of(kKinds, known))
      TM_DO(scan(Table::rows, std::string(1, static_cast<char>(byte)), &Checker::check_unknown));
  }
  TM_DO(scan(Table::chunks, "", &Checker::check_chunk));
  check_pack_links();
  check_point_links();
  check_chain();
  check_counts();
  if (findings_total_ > findings_.size())
    findings_.push_back(fmt::format("and {} more", findings_total_ - findings_.size()));
  return std::move(findings_);
}

Status Checker::scan(Table table, std::string_view prefix, RowCheck check) {
  Cursor cursor = database_.cursor(table, std::string(prefix), prefix_end(std::string(prefix)),
                                   snapshot_, false);
  for (cursor.first(); cursor.valid(); cursor.next()) {
    const Status checked = (this->*check)(cursor.key(), cursor.value());
    if (!checked) find(checked.error().message());
  }
  const Status ended = cursor.status();
  if (ended) return {};
  if (ended.error().code() != ErrorCode::corruption) return ended;
  // RocksDB gives up at a damaged block: the rows behind it are not seen by this scan.
  find(ended.error().message());
  return {};
}

Status Checker::check_identity(std::string_view key, std::string_view value) {
  TM_TRY(identity_, decode_identity(key, value));
  return {};
}

Status Checker::check_state(std::string_view key, std::string_view value) {
  TM_TRY(state_, decode_state(key, value));
  return {};
}

Status Checker::check_pack(std::string_view key, std::string_view value) {
  TM_TRY(const StoredPack row, decode_pack(key, value));
  const auto id = parse_id_key<PackId>(key);
  if (!id) return wrong("malformed key of a pack");
  if (!packs_.emplace(row.number, Pack{*id, row}).second)
    return wrong(fmt::format("pack {} has the number {} of another one", id->hex(), row.number));
  ++counted_.packs;
  counted_.pack_bytes += row.size_bytes;
  return {};
}

Status Checker::check_pack_number(std::string_view key, std::string_view value) {
  TM_TRY(const PackId id, decode_pack_number(key, value));
  const auto number = parse_number_key(key);
  if (!number) return wrong("malformed key of a pack's number");
  pack_numbers_.emplace(*number, id);
  const auto pack = packs_.find(*number);
  if (pack == packs_.end() || pack->second.id != id)
    return wrong(
        fmt::format("number {} refers to pack {}, which does not have it", *number, id.hex()));
  return {};
}

Status Checker::check_damaged(std::string_view key, std::string_view value) {
  TM_DO(decode_mark(key, value));
  const auto number = parse_number_key(key);
  if (!number) return wrong("malformed key of a damaged pack");
  damaged_.insert(*number);
  const auto pack = packs_.find(*number);
  if (pack == packs_.end() || !pack->second.row.damaged)
    return wrong(fmt::format("pack number {} is among the damaged ones, its row is not", *number));
  return {};
}

void Checker::check_pack_links() {
  for (const auto& [number, pack] : packs_) {
    if (!pack_numbers_.contains(number))
      find(fmt::format("pack {} is not in the index of numbers", pack.id.hex()));
    if (pack.row.damaged && !damaged_.contains(number))
      find(fmt::format("pack {} is damaged, but not among the damaged ones", pack.id.hex()));
    if (state_ && number >= state_->next_pack)
      find(fmt::format("pack {} has a number that is yet to be given", pack.id.hex()));
  }
}

Status Checker::check_chunk(std::string_view key, std::string_view value) {
  if (key.size() != ChunkId::kSize) return wrong("malformed key of a chunk");
  const ChunkId id = ChunkId::from(as_bytes(key));
  TM_TRY(const StoredChunk row, decode_chunk(id, value));
  ++(row.kind == BlobKind::node ? counted_.nodes : counted_.chunks);
  counted_.plain_bytes += row.plain_size;
  const auto pack = packs_.find(row.pack);
  if (pack == packs_.end())
    return wrong(
        fmt::format("chunk {} lies in pack number {}, which is not there", id.hex(), row.pack));
  const StoredPack& in = pack->second.row;
  if (row.offset > in.size_bytes || row.stored_size > in.size_bytes - row.offset ||
      row.ordinal >= in.entries)
    return wrong(fmt::format("chunk {} lies outside of pack {}", id.hex(), pack->second.id.hex()));
  if (state_ && row.closed_epoch > state_->closed_epoch)
    return wrong(fmt::format("node {} was closed in an epoch yet to come", id.hex()));
  return {};
}

Status Checker::check_point(std::string_view key, std::string_view value) {
  TM_TRY(const PointRow row, decode_point(key, value));
  const PointRecord& record = row.point.record;
  const auto id = parse_id_key<PointId>(key);
  if (!id || *id != record.id)
    return wrong(fmt::format("the row of point {} stands under another id", record.id.hex()));
  if (identity_ && record.store != identity_->store)
    return wrong(fmt::format("point {} belongs to another store", record.id.hex()));
  Point point;
  point.sequence = row.point.sequence;
  point.time_key =
      fingerprint(time_key(row.deleted ? RowKind::deleted_point : RowKind::live_point, record.site,
                           record.asset, record.time, row.point.sequence, record.id));
  chain_.push_back(
      {row.point.sequence, fingerprint(row.record_hash), fingerprint(row.point.previous)});
  points_.emplace(record.id, point);
  if (!row.deleted) ++counted_.points;
  if (row.deleted && row.pinned)
    return wrong(fmt::format("point {} is pinned and deleted", record.id.hex()));
  return {};
}

Status Checker::check_time(std::string_view key, std::string_view value) {
  TM_DO(decode_mark(key, value));
  const auto parsed = parse_time_key(key);
  if (!parsed) return wrong("malformed key in the index of times");
  const auto point = points_.find(parsed->point);
  if (point == points_.end() || point->second.time_key != fingerprint(key))
    return wrong(fmt::format("the index of times has a place for point {} that is not its own",
                             parsed->point.hex()));
  point->second.timed = true;
  return {};
}

Status Checker::check_sequence(std::string_view key, std::string_view value) {
  TM_DO(decode_mark(key, value));
  const auto parsed = parse_sequence_key(key);
  if (!parsed) return wrong("malformed key in the index of sequence numbers");
  const auto point = points_.find(parsed->point);
  if (point == points_.end() || point->second.sequence != parsed->sequence)
    return wrong(fmt::format("sequence number {} refers to point {}, which does not have it",
                             parsed->sequence, parsed->point.hex()));
  point->second.ordered = true;
  return {};
}

void Checker::check_point_links() {
  for (const auto& [id, point] : points_) {
    if (!point.timed) find(fmt::format("point {} is not in the index of times", id.hex()));
    if (!point.ordered)
      find(fmt::format("point {} is not in the index of sequence numbers", id.hex()));
  }
}

// A record that is gone leaves a gap, which a rebuild reports; a link that leads to another record
// than the one that is there is wrong for good. A rebuild may have found a number twice.
void Checker::check_chain() {
  std::ranges::sort(chain_, {}, &ChainLink::sequence);
  for (const ChainLink& link : chain_) {
    const auto before =
        std::ranges::equal_range(chain_, link.sequence - 1, {}, &ChainLink::sequence);
    const auto linked = [&](const ChainLink& last) { return last.hash == link.previous; };
    if (!before.empty() && std::ranges::none_of(before, linked))
      find(fmt::format("point number {} does not link to the point before it", link.sequence));
  }
}

Status Checker::check_fence(std::string_view key, std::string_view value) {
  TM_TRY(const std::uint64_t fence, decode_fence(key, value));
  fences_.emplace(key, fence);
  return {};
}

Status Checker::check_session(std::string_view key, std::string_view value) {
  TM_TRY(const SessionRow row, decode_session(key, value));
  sessions_.insert(row.id);
  const auto fence = fences_.find(fence_key(row.site, row.asset));
  if (fence == fences_.end() || fence->second < row.fence)
    return wrong(fmt::format("session {} has a fence that was never given", row.id.hex()));
  return {};
}

Status Checker::check_pin(std::string_view key, std::string_view value) {
  TM_DO(decode_mark(key, value));
  const auto pin = parse_pin_key(key);
  if (!pin) return wrong("malformed key of a pin");
  if (!sessions_.contains(pin->session))
    return wrong(fmt::format("pack {} is pinned by session {}, which is not open", pin->pack.hex(),
                             pin->session.hex()));
  return {};
}

Status Checker::check_journal(std::string_view key, std::string_view value) {
  const std::uint64_t expected = ++journal_sequence_;
  const Digest previous = journal_hash_;
  TM_TRY(const JournalEntry entry, decode_journal(key, value));
  journal_sequence_ = entry.sequence;
  journal_hash_ = entry.hash;
  if (entry.sequence != expected || entry.previous != previous)
    return wrong(fmt::format("the journal is broken at entry {}", entry.sequence));
  return {};
}

Status Checker::check_unknown(std::string_view key, std::string_view) {
  return wrong("a row of no known kind: " + to_hex(as_bytes(key)));
}

void Checker::check_counts() {
  if (!identity_) find("the identity row is missing");
  if (!state_) return find("the state row is missing");
  const CatalogStats& stats = state_->stats;
  const auto compare = [&](std::string_view what, std::uint64_t stated, std::uint64_t counted) {
    if (stated != counted)
      find(fmt::format("the catalog states {} {}, and has {}", stated, what, counted));
  };
  compare("points", stats.points, counted_.points);
  compare("packs", stats.packs, counted_.packs);
  compare("bytes of packs", stats.pack_bytes, counted_.pack_bytes);
  compare("chunks", stats.chunks, counted_.chunks);
  compare("nodes", stats.nodes, counted_.nodes);
  compare("plain bytes", stats.plain_bytes, counted_.plain_bytes);
}

}  // namespace tidemark::catalog
