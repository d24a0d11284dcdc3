// Values of the catalog's rows. Format: docs/format/catalog.md.
//
// A value is  version | fields | checksum.  The checksum covers the key too, so that a row which
// was swapped with another one shows as well as a flipped bit. decode_* answer `corruption` for any
// value that the matching encode_* would not have written for that key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "catalog/catalog.h"

namespace tidemark::catalog {

inline constexpr std::uint32_t kSchemaVersion = 1;

// Says whose catalog this is. One row.
struct Identity {
  std::uint32_t schema = kSchemaVersion;
  StoreId store;
  // Fences start above it: a rebuilt catalog does not know which were given out before.
  std::uint64_t fence_floor = 0;
};

// What the catalog counts as it goes. One row, in the batch of whatever changes it.
struct State {
  std::uint64_t synced = 0;        // synced batches so far; the control file holds the same
  std::uint64_t closed_epoch = 1;  // closed marks of an earlier epoch are void
  std::uint64_t next_pack = 1;     // number of the next pack
  CatalogStats stats;
};

// A chunk's row refers to its pack by number: 2 or 3 bytes instead of 32.
struct StoredChunk {
  BlobKind kind = BlobKind::chunk;
  Codec codec = Codec::raw;
  std::uint64_t pack = 0;
  std::uint32_t ordinal = 0;
  std::uint64_t offset = 0;
  std::uint32_t stored_size = 0;
  std::uint32_t plain_size = 0;
  std::uint64_t closed_epoch = 0;  // 0: not closed
};

struct StoredPack {
  std::uint64_t number = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t entries = 0;
  bool damaged = false;
};

// Limits of what a journal entry holds.
inline constexpr std::size_t kJournalKindBytesMax = 64;
inline constexpr std::size_t kJournalTextBytesMax = 1 << 20;

std::string encode_identity(std::string_view key, const Identity& row);
Result<Identity> decode_identity(std::string_view key, std::string_view value);

std::string encode_state(std::string_view key, const State& row);
Result<State> decode_state(std::string_view key, std::string_view value);

// The key is the chunk's id.
std::string encode_chunk(const ChunkId& id, const StoredChunk& row);
Result<StoredChunk> decode_chunk(const ChunkId& id, std::string_view value);

std::string encode_pack(std::string_view key, const StoredPack& row);
Result<StoredPack> decode_pack(std::string_view key, std::string_view value);

std::string encode_pack_number(std::string_view key, const PackId& id);
Result<PackId> decode_pack_number(std::string_view key, std::string_view value);

// Rows whose key says everything: pins, damaged packs, places in time and in sequence.
std::string encode_mark(std::string_view key);
Status decode_mark(std::string_view key, std::string_view value);

std::string encode_point(std::string_view key, const PointRow& row);
// Checks as well that the hash is the one of the record. The point's id is the caller's to compare.
Result<PointRow> decode_point(std::string_view key, std::string_view value);

std::string encode_fence(std::string_view key, std::uint64_t fence);
Result<std::uint64_t> decode_fence(std::string_view key, std::string_view value);

// The id stands in the key.
std::string encode_session(std::string_view key, const SessionRow& row);
Result<SessionRow> decode_session(std::string_view key, std::string_view value);

// The sequence stands in the key; `hash` is checked on decoding.
Digest journal_hash(const JournalEntry& entry);
std::string encode_journal(std::string_view key, const JournalEntry& row);
Result<JournalEntry> decode_journal(std::string_view key, std::string_view value);

}  // namespace tidemark::catalog
