// Packs: many chunks and tree nodes in one immutable blob. Format: docs/format/pack.md.
//
// A pack is  header | blobs | index | trailer.  The index stands in clear, so that a store without
// the key can find, check and collect what it keeps; the blobs are compressed and, where the store
// is encrypted, sealed under a key that belongs to this pack alone. Without encryption equal blobs
// in equal order make equal packs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/backend.h"
#include "store/keys.h"

namespace tidemark {

// A chunk holds data of an asset; a node is a piece of a tree.
enum class BlobKind : std::uint8_t { chunk = 1, node = 2 };
enum class Codec : std::uint8_t { raw = 0, zstd = 1 };

// The most plain bytes of one chunk or node, and the most a pack may hold: bounds for whoever
// reads.
inline constexpr std::uint32_t kBlobPlainBytesMax = 8 * kMiB;
inline constexpr std::uint64_t kPackBytesMax = 64 * kMiB;
// Where a writer closes a pack.
inline constexpr std::uint64_t kPackBytesTarget = 16 * kMiB;
inline constexpr std::uint32_t kPackEntriesMax = 65536;
inline constexpr std::size_t kPackHeaderBytes = 64;
inline constexpr std::size_t kPackTrailerBytes = 64;

struct PackEntry {
  ChunkId id;
  BlobKind kind = BlobKind::chunk;
  Codec codec = Codec::raw;
  std::uint32_t ordinal = 0;      // position among the pack's blobs; also the nonce
  std::uint64_t offset = 0;       // of the stored bytes, from the pack's start
  std::uint32_t stored_size = 0;  // bytes in the pack
  std::uint32_t plain_size = 0;   // bytes before compression
  bool operator==(const PackEntry&) const = default;
};

// What is needed to read one blob again, wherever the pack lives.
struct BlobLocation {
  PackId pack;
  PackEntry entry;
};

// Plain bytes and how they are stored, before encryption: made by encode_blob on any thread.
struct EncodedBlob {
  ChunkId id;
  BlobKind kind = BlobKind::chunk;
  Codec codec = Codec::raw;
  std::uint32_t plain_size = 0;
  Bytes clear;  // node: level and references, authenticated and not encrypted; chunk: empty
  Bytes body;   // the rest of the plain bytes, compressed as `codec` says
};

// Compresses `plain` (skipping what does not shrink), decodes the result again and compares it, so
// that a codec's bug cannot reach the store. `clear_size` leading bytes stay outside the body.
// REQUIRES: id is the id of `plain`, plain.size() <= kBlobPlainBytesMax.
Result<EncodedBlob> encode_blob(const ChunkId& id, BlobKind kind, ByteView plain,
                                std::size_t clear_size, int zstd_level);

// Collects blobs into one pack. Used by one thread at a time.
class PackWriter {
 public:
  // `keys` must outlive the writer.
  explicit PackWriter(const StoreKeys& keys);
  ~PackWriter();

  void add(const EncodedBlob& blob);
  // No less than what finish() would return now.
  std::uint64_t size() const;
  std::size_t count() const { return entries_.size(); }
  const std::vector<PackEntry>& entries() const { return entries_; }

  struct Pack {
    PackId id;
    Bytes bytes;
    std::vector<PackEntry> entries;
  };
  // Ends the pack; the writer is empty again, with a fresh salt. REQUIRES: count() > 0.
  Pack finish();

 private:
  void begin();
  const StoreKeys& keys_;
  SecretKey key_;  // of this pack
  Bytes bytes_;
  std::vector<PackEntry> entries_;
};

// Reads the index of a pack from its last bytes. `tail` must end where the pack ends; `pack_size`
// is the size of the whole. Where `tail` is too short, `tail_needed` is set to the number of bytes
// needed and the result is empty.
struct PackIndex {
  std::vector<PackEntry> entries;
  std::size_t tail_needed = 0;  // not 0: call again with so many last bytes
};
Result<PackIndex> parse_pack_index(ByteView tail, std::uint64_t pack_size);
// Checks the header's magic, version and flags.
Status check_pack_header(ByteView header);
// `invalid_argument` unless the pack was written as a store with this key id keeps its packs.
Status check_pack_key(ByteView header, bool encrypted, const Digest& key_id);
// A whole pack: name, header, index, and that the blobs lie one behind another without a gap.
Result<PackIndex> check_pack(ByteView pack, const PackId& expected);

// The plain bytes of one stored blob, authenticated and held against its id. `header` is the pack's
// first kPackHeaderBytes, `stored` the bytes at entry.offset. `corruption` where anything differs.
Result<Bytes> decode_blob(const StoreKeys& keys, ByteView header, const PackEntry& entry,
                          ByteView stored);
// The same blob as encode_blob() made it, checked as decode_blob() does: to be written into another
// pack without being compressed anew.
Result<EncodedBlob> unseal_blob(const StoreKeys& keys, ByteView header, const PackEntry& entry,
                                ByteView stored);

// What a store without the key can read of a node.
struct NodeRefs {
  std::uint8_t level = 0;  // 0: refs are chunks; above: refs are nodes of one level less
  std::vector<ChunkId> refs;
};
Result<NodeRefs> parse_node_refs(ByteView stored);
// Those of many nodes, read on up to `threads` threads; the first failure, if any.
Result<std::vector<NodeRefs>> read_node_refs(Backend& backend, std::span<const BlobLocation> nodes,
                                             std::size_t threads);

// "packs/3f/3f09…", and back.
std::string pack_blob_name(const PackId& id);
std::optional<PackId> pack_of_blob_name(std::string_view name);
// "marks/<hex id>.damaged": lies beside a pack whose bytes were found to be wrong.
std::string pack_mark_name(const PackId& id);

}  // namespace tidemark
