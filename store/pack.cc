#include "store/pack.h"

#include <zstd.h>

#include <algorithm>
#include <memory>

#include "base/assert.h"
#include "base/queue.h"
#include "store/tree.h"

namespace tidemark {
namespace {

constexpr std::array<std::uint8_t, 8> kHeaderMagicBytes = {'T', 'M', 'P', 'A', 'C', 'K', 0, 1};
constexpr std::array<std::uint8_t, 8> kTrailerMagicBytes = {'T', 'M', 'P', 'K', 'E', 'N', 'D', 1};
constexpr std::uint16_t kPackVersion = 1;
constexpr std::uint16_t kFlagEncrypted = 1;
constexpr std::size_t kSaltBytes = 32;
constexpr std::size_t kKeyIdBytes = 16;  // enough of the key id to tell keys apart
// An index entry: id, kind, codec, and three varints of at least a byte each.
constexpr std::size_t kIndexEntryBytesMin = 32 + 1 + 1 + 1 + 1;
constexpr std::size_t kSmallPackBytes = 256 * kKiB;
constexpr std::size_t kPackBytesReserved = kPackBytesTarget + 2 * kBlobPlainBytesMax;

struct ZstdFree {
  void operator()(ZSTD_CCtx* c) const { ZSTD_freeCCtx(c); }
  void operator()(ZSTD_DCtx* d) const { ZSTD_freeDCtx(d); }
};

// Contexts are big and slow to make; one per thread is kept.
ZSTD_CCtx* compressor() {
  static thread_local std::unique_ptr<ZSTD_CCtx, ZstdFree> context(ZSTD_createCCtx());
  return context.get();
}
ZSTD_DCtx* decompressor() {
  static thread_local std::unique_ptr<ZSTD_DCtx, ZstdFree> context(ZSTD_createDCtx());
  return context.get();
}

// Decompresses into exactly `plain`. The frame's own claims are not believed: the output buffer is
// the bound, and its size comes from the (checked) index.
Status decompress(ByteView from, ByteSpan plain) {
  const std::size_t n =
      ZSTD_decompressDCtx(decompressor(), plain.data(), plain.size(), from.data(), from.size());
  if (ZSTD_isError(n) || n != plain.size())
    return Error(ErrorCode::corruption, "compressed data does not decode to its stated length");
  return {};
}

// Data that compresses to more than this share of itself is stored raw: the reader gains more than
// the store loses.
constexpr std::size_t worth_storing(std::size_t plain) { return plain - plain / 16; }

// A quick look before compressing all: where three samples of 4 KiB do not shrink, the rest will
// not.
bool looks_incompressible(ByteView plain) {
  static constexpr std::size_t kSample = 4096;
  if (plain.size() < 16 * kSample) return false;
  std::array<std::uint8_t, ZSTD_COMPRESSBOUND(kSample)> out;
  for (const std::size_t at : {std::size_t{0}, plain.size() / 2, plain.size() - kSample}) {
    const std::size_t n =
        ZSTD_compressCCtx(compressor(), out.data(), out.size(), plain.data() + at, kSample, 1);
    if (ZSTD_isError(n) || n < worth_storing(kSample)) return false;
  }
  return true;
}

GcmNonce nonce_of(std::uint32_t ordinal) {
  GcmNonce nonce{};
  for (std::size_t i = 0; i < 4; ++i) nonce[i] = static_cast<std::uint8_t>(ordinal >> (8 * i));
  return nonce;
}

// What a blob's ciphertext is bound to: the pack it is in, its place there, and what it says it is.
Bytes blob_aad(ByteView header, const PackEntry& entry, ByteView clear) {
  ByteWriter w;
  w.raw(header);
  w.u8(static_cast<std::uint8_t>(entry.kind));
  w.u8(static_cast<std::uint8_t>(entry.codec));
  w.u32(entry.ordinal);
  w.u32(entry.plain_size);
  w.raw(entry.id.view());
  w.raw(clear);
  return w.take();
}

// The clear part of a node: a varint length, then level and references (see node.cc).
Result<ByteView> clear_part(ByteView stored, std::size_t* prefix_size) {
  ByteReader r(stored);
  const ByteView clear = r.sized(kBlobPlainBytesMax);
  if (!r.ok()) return Error(ErrorCode::corruption, "tree node: damaged");
  *prefix_size = r.position();
  return clear;
}

Error pack_error(const char* what) {
  return Error(ErrorCode::corruption, std::string("pack: ") + what);
}

}  // namespace

Result<EncodedBlob> encode_blob(const ChunkId& id, BlobKind kind, ByteView plain,
                                std::size_t clear_size, int zstd_level) {
  TM_CHECK(plain.size() <= kBlobPlainBytesMax && clear_size <= plain.size());
  EncodedBlob blob;
  blob.id = id;
  blob.kind = kind;
  blob.plain_size = static_cast<std::uint32_t>(plain.size());
  blob.clear = copy_of(plain.first(clear_size));
  const ByteView rest = plain.subspan(clear_size);
  if (!looks_incompressible(rest)) {
    // Kept from call to call: fresh megabytes cost page faults.
    static thread_local Bytes packed, back;
    packed.resize(ZSTD_compressBound(rest.size()));
    const std::size_t n = ZSTD_compressCCtx(compressor(), packed.data(), packed.size(), rest.data(),
                                            rest.size(), zstd_level);
    if (!ZSTD_isError(n) && n < worth_storing(rest.size())) {
      // Encoders have written what no decoder could read. What does not come back is stored raw.
      back.resize(rest.size());
      const auto decoded = decompress(ByteView(packed).first(n), back);
      if (decoded && std::memcmp(back.data(), rest.data(), rest.size()) == 0) {
        blob.codec = Codec::zstd;
        blob.body = copy_of(ByteView(packed).first(n));
        return blob;
      }
    }
  }
  blob.body = copy_of(rest);
  return blob;
}

PackWriter::PackWriter(const StoreKeys& keys) : keys_(keys) { begin(); }
PackWriter::~PackWriter() = default;

void PackWriter::begin() {
  entries_.clear();
  // Without a key there is nothing to salt, and equal blobs make equal packs.
  std::array<std::uint8_t, kSaltBytes> salt{};
  if (keys_.encrypted()) random_bytes(salt);
  ByteWriter w;
  w.raw(kHeaderMagicBytes);
  w.u16(kPackVersion);
  w.u16(keys_.encrypted() ? kFlagEncrypted : 0);
  w.u32(kPackHeaderBytes);
  w.raw(keys_.key_id().view().first(kKeyIdBytes));
  w.raw(salt);
  TM_CHECK(w.size() == kPackHeaderBytes);
  bytes_ = w.take();
  if (keys_.encrypted()) key_ = keys_.pack_key(salt);
}

void PackWriter::add(const EncodedBlob& blob) {
  TM_CHECK(entries_.size() < kPackEntriesMax);
  // One that is more than small gets at once what it may grow to: no megabytes are copied again.
  if (bytes_.size() + blob.body.size() > kSmallPackBytes) bytes_.reserve(kPackBytesReserved);
  PackEntry entry;
  entry.id = blob.id;
  entry.kind = blob.kind;
  entry.codec = blob.codec;
  entry.ordinal = static_cast<std::uint32_t>(entries_.size());
  entry.offset = bytes_.size();
  entry.plain_size = blob.plain_size;
  if (blob.kind == BlobKind::node) {
    ByteWriter w;
    w.sized(blob.clear);
    append(bytes_, w.bytes());
  }
  if (keys_.encrypted()) {
    const Bytes aad = blob_aad(ByteView(bytes_).first(kPackHeaderBytes), entry, blob.clear);
    aes_gcm_seal(key_, nonce_of(entry.ordinal), aad, blob.body, bytes_);
  } else {
    append(bytes_, blob.body);
  }
  entry.stored_size = static_cast<std::uint32_t>(bytes_.size() - entry.offset);
  entries_.push_back(entry);
}

std::uint64_t PackWriter::size() const {
  return bytes_.size() + entries_.size() * (kIndexEntryBytesMin + 8) + kPackTrailerBytes;
}

PackWriter::Pack PackWriter::finish() {
  TM_CHECK(!entries_.empty());
  ByteWriter index;
  for (const PackEntry& entry : entries_) {
    index.raw(entry.id.view());
    index.u8(static_cast<std::uint8_t>(entry.kind));
    index.u8(static_cast<std::uint8_t>(entry.codec));
    index.varint(entry.stored_size);
    index.varint(entry.plain_size);
  }
  ByteWriter trailer;
  trailer.u64(bytes_.size());
  trailer.u32(static_cast<std::uint32_t>(index.size()));
  trailer.u32(static_cast<std::uint32_t>(entries_.size()));
  trailer.raw(sha256(index.bytes()).view());
  trailer.u16(kPackVersion);
  trailer.raw(std::array<std::uint8_t, 6>{});  // reserved
  trailer.raw(kTrailerMagicBytes);
  TM_CHECK(trailer.size() == kPackTrailerBytes);
  append(bytes_, index.bytes());
  append(bytes_, trailer.bytes());
  TM_CHECK(bytes_.size() <= kPackBytesMax);  // nobody would read it
  Pack pack;
  pack.id = PackId::from(sha256(bytes_).view());
  pack.bytes = std::move(bytes_);
  pack.entries = std::move(entries_);
  begin();
  return pack;
}

Result<PackIndex> parse_pack_index(ByteView tail, std::uint64_t pack_size) {
  PackIndex out;
  if (pack_size < kPackHeaderBytes + kPackTrailerBytes || pack_size > kPackBytesMax)
    return pack_error("impossible size");
  if (tail.size() < kPackTrailerBytes) {
    out.tail_needed = kPackTrailerBytes;
    return out;
  }
  ByteReader trailer(tail.last(kPackTrailerBytes));
  const std::uint64_t index_offset = trailer.u64();
  const std::uint64_t index_size = trailer.u32();
  const std::uint32_t count = trailer.u32();
  const Digest digest = Digest::read(trailer);
  const std::uint16_t version = trailer.u16();
  const bool reserved_in_use = !is_all_zero(trailer.raw(6));
  if (!std::ranges::equal(trailer.raw(8), kTrailerMagicBytes)) return pack_error("no trailer");
  if (version != kPackVersion)
    return Error(ErrorCode::unsupported, "pack: made by a newer version");
  if (reserved_in_use) return pack_error("reserved bytes are in use");
  if (index_offset < kPackHeaderBytes || index_offset > pack_size ||
      index_offset + index_size + kPackTrailerBytes != pack_size || count > kPackEntriesMax ||
      count > index_size / kIndexEntryBytesMin)
    return pack_error("the trailer contradicts itself");
  if (tail.size() < index_size + kPackTrailerBytes) {
    out.tail_needed = static_cast<std::size_t>(index_size + kPackTrailerBytes);
    return out;
  }
  const ByteView index =
      tail.last(static_cast<std::size_t>(index_size) + kPackTrailerBytes).first(index_size);
  if (sha256(index) != digest) return pack_error("the index is damaged");
  ByteReader r(index);
  std::uint64_t offset = kPackHeaderBytes;
  out.entries.reserve(count);
  for (std::uint32_t i = 0; i < count && r.ok(); ++i) {
    PackEntry entry;
    entry.id = ChunkId::read(r);
    const std::uint8_t kind = r.u8(), codec = r.u8();
    if ((kind != 1 && kind != 2) || codec > 1) return pack_error("unknown kind of blob");
    entry.kind = static_cast<BlobKind>(kind);
    entry.codec = static_cast<Codec>(codec);
    entry.ordinal = i;
    entry.offset = offset;
    entry.stored_size = static_cast<std::uint32_t>(r.varint_max(kPackBytesMax));
    entry.plain_size = static_cast<std::uint32_t>(r.varint_max(kBlobPlainBytesMax));
    offset += entry.stored_size;
    out.entries.push_back(entry);
  }
  if (!r.done() || offset != index_offset) return pack_error("the index does not fit the blobs");
  return out;
}

Status check_pack_header(ByteView header) {
  if (header.size() < kPackHeaderBytes || !std::ranges::equal(header.first(8), kHeaderMagicBytes))
    return pack_error("not a pack");
  ByteReader r(header.subspan(8));
  if (r.u16() != kPackVersion)
    return Error(ErrorCode::unsupported, "pack: made by a newer version");
  if ((r.u16() & ~kFlagEncrypted) != 0)
    return Error(ErrorCode::unsupported, "pack: uses what this version does not know");
  if (r.u32() != kPackHeaderBytes) return pack_error("impossible header");
  return {};
}

Status check_pack_key(ByteView header, bool encrypted, const Digest& key_id) {
  TM_DO(check_pack_header(header));
  const bool sealed = (header[10] & kFlagEncrypted) != 0;
  if (sealed != encrypted ||
      !std::ranges::equal(header.subspan(16, kKeyIdBytes), key_id.view().first(kKeyIdBytes)))
    return Error(ErrorCode::invalid_argument, "pack: not written under this store's key");
  return {};
}

Result<PackIndex> check_pack(ByteView pack, const PackId& expected) {
  if (PackId::from(sha256(pack).view()) != expected)
    return pack_error("the bytes do not match the name");
  TM_DO(check_pack_header(pack));
  TM_TRY(PackIndex index, parse_pack_index(pack, pack.size()));
  if (index.tail_needed != 0 || index.entries.empty()) return pack_error("empty");
  return index;
}

namespace {

// A stored blob without its seal.
struct OpenedBlob {
  ByteView clear, body;
  Bytes bytes;  // the body's, where it was sealed
};

Result<OpenedBlob> open_blob(const StoreKeys& keys, ByteView header, const PackEntry& entry,
                             ByteView stored) {
  TM_DO(check_pack_header(header));
  header = header.first(kPackHeaderBytes);
  const bool sealed = (header[10] & kFlagEncrypted) != 0;
  if (sealed != keys.encrypted() ||
      !std::ranges::equal(header.subspan(16, kKeyIdBytes), keys.key_id().view().first(kKeyIdBytes)))
    return Error(ErrorCode::permission_denied, "pack: written under another key");
  if (stored.size() != entry.stored_size || entry.plain_size > kBlobPlainBytesMax)
    return pack_error("a blob has an impossible length");
  OpenedBlob out;
  std::size_t prefix = 0;
  if (entry.kind == BlobKind::node) {
    TM_TRY(out.clear, clear_part(stored, &prefix));
  }
  out.body = stored.subspan(prefix);
  if (sealed) {
    const SecretKey key = keys.pack_key(header.subspan(32, kSaltBytes));
    TM_TRY(out.bytes, aes_gcm_open(key, nonce_of(entry.ordinal), blob_aad(header, entry, out.clear),
                                   out.body));
    out.body = out.bytes;
  }
  if (out.clear.size() > entry.plain_size) return pack_error("a blob has an impossible length");
  return out;
}

// The plain bytes of an opened blob, held against its id.
Result<Bytes> plain_of(const StoreKeys& keys, const PackEntry& entry, ByteView clear,
                       ByteView body) {
  Bytes plain = copy_of(clear);
  plain.resize(entry.plain_size);
  const ByteSpan rest = ByteSpan(plain).subspan(clear.size());
  if (entry.codec == Codec::zstd) {
    TM_DO(decompress(body, rest));
  } else if (body.size() != rest.size()) {
    return pack_error("a blob has an impossible length");
  } else {
    std::ranges::copy(body, rest.begin());
  }
  if (keys.chunk_id(plain) != entry.id) return pack_error("a blob does not match its id");
  return plain;
}

}  // namespace

Result<Bytes> decode_blob(const StoreKeys& keys, ByteView header, const PackEntry& entry,
                          ByteView stored) {
  TM_TRY(OpenedBlob blob, open_blob(keys, header, entry, stored));
  // A raw chunk that was sealed is in its own place already.
  if (blob.bytes.empty() || !blob.clear.empty() || entry.codec != Codec::raw)
    return plain_of(keys, entry, blob.clear, blob.body);
  if (blob.bytes.size() != entry.plain_size) return pack_error("a blob has an impossible length");
  if (keys.chunk_id(blob.bytes) != entry.id) return pack_error("a blob does not match its id");
  return std::move(blob.bytes);
}

Result<EncodedBlob> unseal_blob(const StoreKeys& keys, ByteView header, const PackEntry& entry,
                                ByteView stored) {
  TM_TRY(OpenedBlob blob, open_blob(keys, header, entry, stored));
  TM_TRY(const Bytes plain, plain_of(keys, entry, blob.clear, blob.body));
  EncodedBlob out;
  out.id = entry.id;
  out.kind = entry.kind;
  out.codec = entry.codec;
  out.plain_size = entry.plain_size;
  out.clear = copy_of(blob.clear);
  out.body = blob.bytes.empty() ? copy_of(blob.body) : std::move(blob.bytes);
  return out;
}

Result<NodeRefs> parse_node_refs(ByteView stored) {
  std::size_t prefix = 0;
  TM_TRY(const ByteView clear, clear_part(stored, &prefix));
  ByteReader r(clear);
  NodeRefs out;
  out.level = r.u8();
  if (out.level > kTreeLevelMax) return Error(ErrorCode::corruption, "tree node: impossible level");
  const std::size_t count = r.count(ChunkId::kSize);
  out.refs.reserve(count);
  for (std::size_t i = 0; i < count; ++i) out.refs.push_back(ChunkId::read(r));
  if (!r.done()) return Error(ErrorCode::corruption, "tree node: damaged references");
  return out;
}

std::string pack_mark_name(const PackId& id) { return "marks/" + id.hex() + ".damaged"; }

Result<std::vector<NodeRefs>> read_node_refs(Backend& backend, std::span<const BlobLocation> nodes,
                                             std::size_t threads) {
  std::vector<NodeRefs> refs(nodes.size());
  TM_DO(parallel_for(nodes.size(), threads, [&](std::size_t i) -> Status {
    const BlobLocation& at = nodes[i];
    TM_TRY(const Bytes stored,
           backend.read(pack_blob_name(at.pack), at.entry.offset, at.entry.stored_size));
    TM_TRY(refs[i], parse_node_refs(stored));
    return {};
  }));
  return refs;
}

std::string pack_blob_name(const PackId& id) {
  const std::string hex = id.hex();
  return "packs/" + hex.substr(0, 2) + "/" + hex;
}

std::optional<PackId> pack_of_blob_name(std::string_view name) {
  if (!name.starts_with("packs/") || name.size() != 6 + 3 + 64) return std::nullopt;
  const auto id = PackId::from_hex(name.substr(9));
  if (!id || pack_blob_name(*id) != name) return std::nullopt;
  return id;
}

}  // namespace tidemark
