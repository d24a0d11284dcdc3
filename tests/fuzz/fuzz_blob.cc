#include "store/pack.h"
#include "tests/fuzz/target.h"

using namespace tidemark;

// One stored blob and what its index says of it: encrypted u8 | kind u8 | codec u8 | ordinal u32 |
// plain_size u32 | id | header | stored bytes.
TM_FUZZ_TARGET(blob) {
  ByteReader r(input);
  const bool encrypted = (r.u8() & 1) != 0;
  PackEntry entry;
  entry.kind = (r.u8() & 1) != 0 ? BlobKind::chunk : BlobKind::node;
  entry.codec = (r.u8() & 1) != 0 ? Codec::zstd : Codec::raw;
  entry.ordinal = r.u32();
  entry.plain_size = r.u32();
  entry.id = ChunkId::read(r);
  const ByteView header = r.raw(kPackHeaderBytes);
  const ByteView stored = r.raw(r.remaining());
  if (!r.ok()) return;
  entry.stored_size = static_cast<std::uint32_t>(stored.size());
  // The key of the golden files: bytes 1, 2, 3 …
  Bytes master(SecretKey::kSize);
  for (std::size_t i = 0; i < master.size(); ++i) master[i] = static_cast<std::uint8_t>(i + 1);
  const StoreKeys keys = encrypted ? StoreKeys(SecretKey(master)) : StoreKeys::unencrypted();
  const auto plain = decode_blob(keys, header, entry, stored);
  if (!plain) return;
  TM_CHECK(plain->size() == entry.plain_size && keys.chunk_id(*plain) == entry.id);
}
