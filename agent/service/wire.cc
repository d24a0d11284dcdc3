#include "agent/service/wire.h"

namespace tidemark {

Bytes encode_ids(std::span<const ChunkId> ids) {
  Bytes out;
  out.reserve(ids.size() * ChunkId::kSize);
  for (const ChunkId& id : ids) append(out, id.view());
  return out;
}

Result<std::vector<ChunkId>> read_ids(BodyReader& body) {
  TM_TRY(const Bytes bytes, body.read_all(kIdsPerCallMax * ChunkId::kSize));
  if (bytes.size() % ChunkId::kSize != 0)
    return Error(ErrorCode::invalid_argument, "a list of ids is cut short");
  std::vector<ChunkId> ids(bytes.size() / ChunkId::kSize);
  ByteReader r(bytes);
  for (ChunkId& id : ids) id = ChunkId::read(r);
  return ids;
}

Bytes encode_bitmap(const std::vector<bool>& bits) {
  Bytes out((bits.size() + 7) / 8);
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  for (std::size_t i = 0; i < bits.size(); ++i)
    if (bits[i]) out[i / 8] = static_cast<std::uint8_t>(out[i / 8] | 1U << (i % 8));
  return out;
}

Result<std::vector<bool>> decode_bitmap(ByteView bytes, std::size_t count) {
  if (bytes.size() != (count + 7) / 8)
    return Error(ErrorCode::corruption, "the store's answer has the wrong length");
  std::vector<bool> bits(count);
  for (std::size_t i = 0; i < count; ++i) bits[i] = (bytes[i / 8] >> (i % 8) & 1) != 0;
  return bits;
}

Bytes encode_locations(std::span<const BlobLocation> locations) {
  ByteWriter w;
  for (const BlobLocation& location : locations) {
    w.raw(location.pack.view());
    w.u8(static_cast<std::uint8_t>(location.entry.kind));
    w.u8(static_cast<std::uint8_t>(location.entry.codec));
    w.varint(location.entry.ordinal);
    w.varint(location.entry.offset);
    w.varint(location.entry.stored_size);
    w.varint(location.entry.plain_size);
  }
  return w.take();
}

Result<std::vector<BlobLocation>> decode_locations(ByteView bytes, std::span<const ChunkId> ids) {
  const Error wrong(ErrorCode::corruption, "the store's answer is malformed");
  ByteReader r(bytes);
  std::vector<BlobLocation> out;
  out.reserve(ids.size());
  for (const ChunkId& id : ids) {
    BlobLocation location;
    location.pack = PackId::read(r);
    location.entry.id = id;
    const std::uint8_t kind = r.u8(), codec = r.u8();
    if ((kind != 1 && kind != 2) || codec > 1) return wrong;
    location.entry.kind = static_cast<BlobKind>(kind);
    location.entry.codec = static_cast<Codec>(codec);
    location.entry.ordinal = static_cast<std::uint32_t>(r.varint_max(kPackEntriesMax));
    location.entry.offset = r.varint_max(kPackBytesMax);
    location.entry.stored_size = static_cast<std::uint32_t>(r.varint_max(kPackBytesMax));
    location.entry.plain_size = static_cast<std::uint32_t>(r.varint_max(kBlobPlainBytesMax));
    out.push_back(location);
  }
  if (!r.done()) return wrong;
  return out;
}

}  // namespace tidemark
