#include "catalog/internal/rows.h"

#include <xxhash.h>

#include "base/crypto.h"
#include "catalog/internal/keys.h"

namespace tidemark::catalog {
namespace {

constexpr std::uint8_t kRowVersion = 1;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::string_view kMagic = "tidemark-catalog";
// Keeps a chunk's row from passing for a row of the other family.
enum class Family : std::uint64_t { rows = 0, chunks = 1 };

std::uint32_t checksum(Family family, std::string_view key, std::string_view value) {
  const std::uint64_t seed = XXH64(key.data(), key.size(), static_cast<std::uint64_t>(family));
  return static_cast<std::uint32_t>(XXH64(value.data(), value.size(), seed));
}

ByteWriter begin_row() {
  ByteWriter writer;
  writer.u8(kRowVersion);
  return writer;
}

std::string end_row(ByteWriter& writer, std::string_view key, Family family = Family::rows) {
  writer.u32(checksum(family, key, as_text(writer.bytes())));
  return std::string(as_text(writer.bytes()));
}

Error bad_row(std::string_view key, std::string_view why) {
  constexpr std::size_t kShown = 40;
  return Error(ErrorCode::corruption,
               "catalog row " + to_hex(as_bytes(key.substr(0, kShown))) + ": " + std::string(why))
      .with_hint("rebuild the catalog");
}

// A reader over the fields between version and checksum.
Result<ByteReader> open_row(std::string_view key, std::string_view value,
                            Family family = Family::rows) {
  if (value.size() < 1 + kChecksumBytes) return bad_row(key, "too short");
  const std::string_view covered = value.substr(0, value.size() - kChecksumBytes);
  ByteReader sum(as_bytes(value.substr(covered.size())));
  if (sum.u32() != checksum(family, key, covered)) return bad_row(key, "wrong checksum");
  if (static_cast<std::uint8_t>(covered[0]) != kRowVersion) return bad_row(key, "unknown version");
  return ByteReader(as_bytes(covered.substr(1)));
}

// Of a row whose checksum is right but whose fields are not: written by something else than us.
Error bad_fields(std::string_view key) { return bad_row(key, "malformed fields"); }

void put_time(ByteWriter& writer, Timestamp time) {
  writer.u64(static_cast<std::uint64_t>(time.us));
}
Timestamp get_time(ByteReader& reader) {
  return Timestamp{static_cast<std::int64_t>(reader.u64())};
}

}  // namespace

std::string encode_identity(std::string_view key, const Identity& row) {
  ByteWriter writer = begin_row();
  writer.sized(kMagic);
  writer.u32(row.schema);
  writer.raw(row.store.view());
  writer.u64(row.fence_floor);
  return end_row(writer, key);
}

Result<Identity> decode_identity(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  if (reader.sized_text(kMagic.size()) != kMagic) return bad_fields(key);
  Identity row;
  row.schema = reader.u32();
  row.store = StoreId::read(reader);
  row.fence_floor = reader.u64();
  if (!reader.done()) return bad_fields(key);
  return row;
}

std::string encode_state(std::string_view key, const State& row) {
  ByteWriter writer = begin_row();
  for (const std::uint64_t field :
       {row.synced, row.closed_epoch, row.next_pack, row.stats.points, row.stats.packs,
        row.stats.pack_bytes, row.stats.chunks, row.stats.nodes, row.stats.plain_bytes})
    writer.varint(field);
  return end_row(writer, key);
}

Result<State> decode_state(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  State row;
  for (std::uint64_t* field :
       {&row.synced, &row.closed_epoch, &row.next_pack, &row.stats.points, &row.stats.packs,
        &row.stats.pack_bytes, &row.stats.chunks, &row.stats.nodes, &row.stats.plain_bytes})
    *field = reader.varint();
  if (!reader.done() || row.closed_epoch == 0 || row.next_pack == 0) return bad_fields(key);
  return row;
}

std::string encode_chunk(const ChunkId& id, const StoredChunk& row) {
  ByteWriter writer = begin_row();
  writer.u8(static_cast<std::uint8_t>(row.kind));
  writer.u8(static_cast<std::uint8_t>(row.codec));
  writer.varint(row.pack);
  writer.varint(row.ordinal);
  writer.varint(row.offset);
  writer.varint(row.stored_size);
  writer.varint(row.plain_size);
  if (row.kind == BlobKind::node) writer.varint(row.closed_epoch);
  return end_row(writer, as_text(id.view()), Family::chunks);
}

Result<StoredChunk> decode_chunk(const ChunkId& id, std::string_view value) {
  const std::string_view key = as_text(id.view());
  TM_TRY(ByteReader reader, open_row(key, value, Family::chunks));
  const std::uint8_t kind = reader.u8(), codec = reader.u8();
  const bool node = kind == static_cast<std::uint8_t>(BlobKind::node);
  if (!node && kind != static_cast<std::uint8_t>(BlobKind::chunk)) return bad_fields(key);
  if (codec > static_cast<std::uint8_t>(Codec::zstd)) return bad_fields(key);
  StoredChunk row;
  row.kind = static_cast<BlobKind>(kind);
  row.codec = static_cast<Codec>(codec);
  row.pack = reader.varint();
  row.ordinal = static_cast<std::uint32_t>(reader.varint_max(UINT32_MAX));
  row.offset = reader.varint();
  row.stored_size = static_cast<std::uint32_t>(reader.varint_max(UINT32_MAX));
  row.plain_size = static_cast<std::uint32_t>(reader.varint_max(UINT32_MAX));
  if (node) row.closed_epoch = reader.varint();
  if (!reader.done()) return bad_fields(key);
  return row;
}

std::string encode_pack(std::string_view key, const StoredPack& row) {
  ByteWriter writer = begin_row();
  writer.varint(row.number);
  writer.varint(row.size_bytes);
  writer.varint(row.entries);
  writer.u8(row.damaged ? 1 : 0);
  return end_row(writer, key);
}

Result<StoredPack> decode_pack(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  StoredPack row;
  row.number = reader.varint();
  row.size_bytes = reader.varint();
  row.entries = static_cast<std::uint32_t>(reader.varint_max(UINT32_MAX));
  const std::uint8_t damaged = reader.u8();
  row.damaged = damaged == 1;
  if (!reader.done() || damaged > 1) return bad_fields(key);
  return row;
}

std::string encode_pack_number(std::string_view key, const PackId& id) {
  ByteWriter writer = begin_row();
  writer.raw(id.view());
  return end_row(writer, key);
}

Result<PackId> decode_pack_number(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  const PackId id = PackId::read(reader);
  if (!reader.done()) return bad_fields(key);
  return id;
}

std::string encode_mark(std::string_view key) {
  ByteWriter writer = begin_row();
  return end_row(writer, key);
}

Status decode_mark(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  if (!reader.done()) return bad_fields(key);
  return {};
}

namespace {
constexpr std::uint8_t kPinned = 1, kDeleted = 2, kVerified = 4;
}

std::string encode_point(std::string_view key, const PointRow& row) {
  ByteWriter writer = begin_row();
  writer.u8(static_cast<std::uint8_t>((row.pinned ? kPinned : 0) | (row.deleted ? kDeleted : 0) |
                                      (row.verified ? kVerified : 0)));
  put_time(writer, row.deleted.value_or(Timestamp{}));
  put_time(writer, row.verified.value_or(Timestamp{}));
  writer.raw(row.record_hash.view());
  writer.sized(encode(row.point));
  return end_row(writer, key);
}

Result<PointRow> decode_point(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  PointRow row;
  const std::uint8_t flags = reader.u8();
  row.pinned = (flags & kPinned) != 0;
  const Timestamp deleted = get_time(reader), verified = get_time(reader);
  if ((flags & kDeleted) != 0) row.deleted = deleted;
  if ((flags & kVerified) != 0) row.verified = verified;
  row.record_hash = Digest::read(reader);
  const ByteView record = reader.sized(value.size());
  if (!reader.done() || flags > (kPinned | kDeleted | kVerified)) return bad_fields(key);
  if (sha256(record) != row.record_hash) return bad_row(key, "the record has another hash");
  auto point = decode_committed_point(record);
  if (!point) return bad_row(key, point.error().message());
  row.point = *std::move(point);
  return row;
}

std::string encode_fence(std::string_view key, std::uint64_t fence) {
  ByteWriter writer = begin_row();
  writer.varint(fence);
  return end_row(writer, key);
}

Result<std::uint64_t> decode_fence(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  const std::uint64_t fence = reader.varint();
  if (!reader.done()) return bad_fields(key);
  return fence;
}

std::string encode_session(std::string_view key, const SessionRow& row) {
  ByteWriter writer = begin_row();
  writer.sized(row.site);
  writer.sized(row.asset);
  writer.raw(row.parent.view());
  writer.varint(row.fence);
  put_time(writer, row.opened);
  put_time(writer, row.renewed);
  writer.varint(row.stored_bytes);
  return end_row(writer, key);
}

Result<SessionRow> decode_session(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  SessionRow row;
  row.site = reader.sized_text(kKeyNameBytesMax);
  row.asset = reader.sized_text(kKeyNameBytesMax);
  row.parent = PointId::read(reader);
  row.fence = reader.varint();
  row.opened = get_time(reader);
  row.renewed = get_time(reader);
  row.stored_bytes = reader.varint();
  const auto id = parse_id_key<SessionId>(key);
  if (!reader.done() || !id) return bad_fields(key);
  row.id = *id;
  return row;
}

Digest journal_hash(const JournalEntry& entry) {
  ByteWriter writer;
  writer.u64(entry.sequence);
  put_time(writer, entry.time);
  writer.sized(entry.kind);
  writer.sized(entry.text);
  writer.raw(entry.previous.view());
  return sha256(writer.bytes());
}

std::string encode_journal(std::string_view key, const JournalEntry& row) {
  ByteWriter writer = begin_row();
  put_time(writer, row.time);
  writer.sized(row.kind);
  writer.sized(row.text);
  writer.raw(row.previous.view());
  writer.raw(row.hash.view());
  return end_row(writer, key);
}

Result<JournalEntry> decode_journal(std::string_view key, std::string_view value) {
  TM_TRY(ByteReader reader, open_row(key, value));
  JournalEntry row;
  row.time = get_time(reader);
  row.kind = reader.sized_text(kJournalKindBytesMax);
  row.text = reader.sized_text(kJournalTextBytesMax);
  row.previous = Digest::read(reader);
  row.hash = Digest::read(reader);
  const auto sequence = parse_number_key(key);
  if (!reader.done() || !sequence) return bad_fields(key);
  row.sequence = *sequence;
  if (journal_hash(row) != row.hash) return bad_row(key, "the journal entry has another hash");
  return row;
}

}  // namespace tidemark::catalog
