#include "store/record.h"

#include <algorithm>

#include "store/tree.h"

namespace tidemark {
namespace {

constexpr std::string_view kRecordMagic = "TMPOINT1";
constexpr std::string_view kCommittedMagic = "TMCOMMT1";
constexpr std::uint16_t kCommittedVersion = 1;

// Each meta key seals once.
constexpr GcmNonce kMetaNonce{};

Error damaged(const char* what) {
  return Error(ErrorCode::corruption, std::string("point record: ") + what);
}

void write_body(ByteWriter& w, const PointRecord& record) {
  w.raw(kRecordMagic);
  w.u16(record.version);
  w.u8(static_cast<std::uint8_t>(record.kind));
  w.u8(0);  // reserved
  w.raw(record.id.view());
  w.raw(record.store.view());
  w.raw(record.parent.view());
  w.u64(static_cast<std::uint64_t>(record.time.us));
  w.raw(record.root.id.view());
  w.u8(record.root.level);
  w.varint(record.root.entries);
  w.varint(record.size_bytes);
  w.varint(record.region_bytes);
  w.varint(record.changed_bytes);
  w.varint(record.shipped_bytes);
  w.varint(record.duration_ms);
  w.sized(record.site);
  w.sized(record.asset);
  w.sized(record.set);
  w.varint(record.labels.size());
  for (const auto& [name, value] : record.labels) {
    w.sized(name);
    w.sized(value);
  }
  w.sized(record.sealed_meta);
}

}  // namespace

Bytes encode(PointRecord& record, const StoreKeys& keys) {
  ByteWriter w;
  write_body(w, record);
  record.mac = keys.record_mac(w.bytes());
  w.raw(record.mac.view());
  return w.take();
}

namespace {

Bytes encode_with_mac(const PointRecord& record) {
  ByteWriter w;
  write_body(w, record);
  w.raw(record.mac.view());
  return w.take();
}

void read_labels(ByteReader& r, PointRecord& record) {
  const std::uint64_t labels = r.varint_max(kRecordLabelsMax);
  for (std::uint64_t i = 0; i < labels && r.ok(); ++i) {
    std::string name(r.sized_text(kRecordTextBytesMax));
    const bool in_order = record.labels.empty() || record.labels.rbegin()->first < name;
    if (!in_order) r.fail();  // one value has one encoding
    record.labels[std::move(name)] = std::string(r.sized_text(kRecordTextBytesMax));
  }
}

}  // namespace

Result<PointRecord> decode_point_record(ByteView bytes) {
  if (bytes.size() > kRecordBytesMax) return damaged("too large");
  ByteReader r(bytes);
  if (as_text(r.raw(kRecordMagic.size())) != kRecordMagic) return damaged("not a point record");
  PointRecord record;
  record.version = r.u16();
  if (record.version == 0) return damaged("damaged");
  if (record.version > kRecordVersion)
    return Error(ErrorCode::unsupported, "point record: made by a newer version");
  const std::uint8_t kind = r.u8();
  if (kind != 1 && kind != 2) return damaged("unknown kind of asset");
  record.kind = static_cast<PointKind>(kind);
  if (r.u8() != 0) return damaged("reserved bytes are in use");
  record.id = PointId::read(r);
  record.store = StoreId::read(r);
  record.parent = PointId::read(r);
  record.time.us = static_cast<std::int64_t>(r.u64());
  record.root.id = ChunkId::read(r);
  record.root.level = r.u8();
  record.root.entries = r.varint();
  record.size_bytes = r.varint();
  record.region_bytes = static_cast<std::uint32_t>(r.varint_max(1U << 30));
  record.changed_bytes = r.varint();
  record.shipped_bytes = r.varint();
  record.duration_ms = r.varint();
  record.site = std::string(r.sized_text(kRecordTextBytesMax));
  record.asset = std::string(r.sized_text(kRecordTextBytesMax));
  record.set = std::string(r.sized_text(kRecordTextBytesMax));
  read_labels(r, record);
  const ByteView meta = r.sized(kRecordMetaBytesMax);
  record.sealed_meta.assign(meta.begin(), meta.end());
  record.mac = Digest::read(r);
  if (!r.done() || record.id.is_null() || record.root.level > kTreeLevelMax)
    return damaged("damaged");
  if (record.kind == PointKind::volume && record.region_bytes == 0)
    return damaged("a volume without a size of regions");
  const bool no_entries = record.root.level == 0 && record.root.entries == 0;
  if (record.root.id.is_null() && !no_entries) return damaged("an empty tree with entries");
  return record;
}

Status check_record_mac(const PointRecord& record, const StoreKeys& keys) {
  ByteWriter w;
  write_body(w, record);
  if (!equal_constant_time(keys.record_mac(w.bytes()).view(), record.mac.view()))
    return damaged("not written under this store's key, or altered since");
  return {};
}

Bytes seal_meta(std::string_view json, const PointId& point, const StoreKeys& keys,
                const MetaSalt& salt) {
  if (!keys.encrypted()) return copy_of(as_bytes(json));
  Bytes sealed = copy_of(salt.view());
  aes_gcm_seal(keys.meta_key(point, salt), kMetaNonce, point.view(), as_bytes(json), sealed);
  return sealed;
}

Result<std::string> open_meta(const PointRecord& record, const StoreKeys& keys) {
  if (!keys.encrypted()) return std::string(as_text(record.sealed_meta));
  ByteReader r(record.sealed_meta);
  const SecretKey key = record.version == 1 ? keys.meta_key_v1(record.id)
                                            : keys.meta_key(record.id, MetaSalt::read(r));
  if (!r.ok()) return damaged("its metadata is cut off");
  auto plain = aes_gcm_open(key, kMetaNonce, record.id.view(), r.raw(r.remaining()));
  if (!plain) return std::move(plain).error().context("point metadata");
  return std::string(as_text(*plain));
}

Bytes encode(const CommittedPoint& point) {
  ByteWriter w;
  w.raw(kCommittedMagic);
  w.u16(kCommittedVersion);
  w.raw(std::array<std::uint8_t, 6>{});  // reserved
  w.u64(static_cast<std::uint64_t>(point.received.us));
  w.u64(point.sequence);
  w.raw(point.previous.view());
  w.u64(point.stored_bytes);
  w.sized(encode_with_mac(point.record));
  w.raw(sha256(w.bytes()).view());
  return w.take();
}

Result<CommittedPoint> decode_committed_point(ByteView bytes) {
  if (bytes.size() < kCommittedMagic.size() + Digest::kSize || bytes.size() > kRecordBytesMax + 256)
    return damaged("impossible size");
  const ByteView body = bytes.first(bytes.size() - Digest::kSize);
  ByteReader r(body);
  if (as_text(r.raw(kCommittedMagic.size())) != kCommittedMagic)
    return damaged("not a point record");
  if (r.u16() != kCommittedVersion)
    return Error(ErrorCode::unsupported, "point record: made by a newer version");
  if (sha256(body) != Digest::from(bytes.last(Digest::kSize))) return damaged("damaged");
  CommittedPoint point;
  if (!is_all_zero(r.raw(6))) return damaged("reserved bytes are in use");
  point.received.us = static_cast<std::int64_t>(r.u64());
  point.sequence = r.u64();
  point.previous = Digest::read(r);
  point.stored_bytes = r.u64();
  const ByteView record = r.sized(kRecordBytesMax);
  if (!r.done()) return damaged("damaged");
  TM_TRY(point.record, decode_point_record(record));
  return point;
}

std::string point_blob_name(const PointId& id) { return "points/" + id.hex(); }

std::optional<PointId> point_of_blob_name(std::string_view name) {
  if (!name.starts_with("points/")) return std::nullopt;
  const std::string_view hex = name.substr(7);
  // One name for each: digits of the other case would be a second one.
  if (std::ranges::any_of(hex, [](char c) { return c >= 'A' && c <= 'F'; })) return std::nullopt;
  return PointId::from_hex(hex);
}

std::string point_mark_name(const PointId& id, PointMark mark) {
  return "marks/" + id.hex() + (mark == PointMark::pin ? ".pin" : ".deleted");
}

std::optional<PointId> point_of_mark_name(std::string_view name, PointMark mark) {
  const auto slash = name.find('/'), dot = name.find('.');
  if (slash > dot || dot == std::string_view::npos) return std::nullopt;
  const auto id = PointId::from_hex(name.substr(slash + 1, dot - slash - 1));
  if (!id || point_mark_name(*id, mark) != name) return std::nullopt;
  return id;
}

}  // namespace tidemark
