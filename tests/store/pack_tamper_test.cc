// Packs under attack: altered bytes, exchanged blobs, lying indexes, bombs.
#include <zstd.h>

#include <algorithm>

#include "store/pack.h"
#include "store/tree.h"
#include "tests/store/allocation_meter.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

EncodedBlob chunk_blob(const StoreKeys& keys, ByteView plain) {
  return *encode_blob(keys.chunk_id(plain), BlobKind::chunk, plain, 0, 3);
}
EncodedBlob node_blob(const StoreKeys& keys, Rng& rng) {
  TreeNode node;
  node.entries.push_back({"key", {1, 2}, {rng.id<ChunkId>(), rng.id<ChunkId>()}});
  const EncodedNode encoded = encode_node(node);
  return *encode_blob(keys.chunk_id(encoded.plain), BlobKind::node, encoded.plain,
                      encoded.clear_size, 3);
}

class Tampering : public testing::TestWithParam<bool> {
 protected:
  // Two raw chunks of one length, a compressed one and a node.
  PackWriter::Pack sample() {
    PackWriter writer(keys_);
    writer.add(chunk_blob(keys_, rng_.bytes(40)));
    writer.add(chunk_blob(keys_, rng_.bytes(40)));
    writer.add(chunk_blob(keys_, Bytes(500, 'z')));
    writer.add(node_blob(keys_, rng_));
    return writer.finish();
  }
  static Bytes stored_of(const PackWriter::Pack& pack, const PackEntry& entry) {
    const ByteView bytes =
        ByteView(pack.bytes).subspan(static_cast<std::size_t>(entry.offset), entry.stored_size);
    return Bytes(bytes.begin(), bytes.end());
  }
  std::optional<ErrorCode> decode(const PackWriter::Pack& pack, const PackEntry& entry,
                                  ByteView stored) const {
    return test::code_of(decode_blob(keys_, pack.bytes, entry, stored));
  }

  Rng rng_;
  StoreKeys keys_ = GetParam() ? StoreKeys(test::fixed_key(1)) : StoreKeys::unencrypted();
};

TEST_P(Tampering, AnyChangedByteOfAPackShowsAgainstItsName) {
  const auto pack = sample();
  for (std::size_t at = 0; at < pack.bytes.size(); ++at) {
    Bytes damaged = pack.bytes;
    damaged[at] ^= 1;
    ASSERT_EQ(test::code_of(check_pack(damaged, pack.id)), ErrorCode::corruption);
  }
  EXPECT_EQ(test::code_of(check_pack(ByteView(pack.bytes).first(pack.bytes.size() - 1), pack.id)),
            ErrorCode::corruption);
}

TEST_P(Tampering, AnyChangedByteOfABlobShowsWithoutThePack) {
  SCOPED_TRACE(rng_.trace());
  const auto pack = sample();
  for (const PackEntry& entry : pack.entries) {
    const Bytes stored = stored_of(pack, entry);
    const auto original = decode_blob(keys_, pack.bytes, entry, stored);
    ASSERT_TRUE(original);
    for (std::size_t at = 0; at < stored.size(); ++at) {
      for (unsigned flip = 1; flip < 256; ++flip) {
        Bytes damaged = stored;
        damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ flip);
        const auto decoded = decode_blob(keys_, pack.bytes, entry, damaged);
        // Compressed bytes have some that do not matter (a frame's flags): what comes out is right.
        if (decoded) {
          ASSERT_TRUE(!keys_.encrypted() && *decoded == *original);
        } else {
          ASSERT_EQ(decoded.error().code(), ErrorCode::corruption);
        }
      }
    }
    for (std::size_t size = 0; size < stored.size(); ++size) {
      PackEntry shorter = entry;
      shorter.stored_size = static_cast<std::uint32_t>(size);
      EXPECT_EQ(decode(pack, shorter, ByteView(stored).first(size)), ErrorCode::corruption);
      EXPECT_EQ(decode(pack, entry, ByteView(stored).first(size)), ErrorCode::corruption);
    }
  }
}

TEST_P(Tampering, AnyChangedByteOfTheTailIsRefused) {
  const auto pack = sample();
  const std::size_t begin =
      static_cast<std::size_t>(pack.entries.back().offset + pack.entries.back().stored_size);
  for (std::size_t at = begin; at < pack.bytes.size(); ++at) {
    for (const int flip : {1, 0x80, 0xff}) {
      Bytes damaged = pack.bytes;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ flip);
      EXPECT_FALSE(parse_pack_index(damaged, damaged.size())) << at - begin;
    }
  }
}

TEST_P(Tampering, ExchangedBlobsAreDamage) {
  const auto pack = sample();
  const PackEntry a = pack.entries[0], b = pack.entries[1];
  EXPECT_EQ(decode(pack, a, stored_of(pack, b)), ErrorCode::corruption);
  EXPECT_EQ(decode(pack, b, stored_of(pack, a)), ErrorCode::corruption);
  PackEntry moved = a;
  moved.ordinal = b.ordinal;
  if (keys_.encrypted()) {
    EXPECT_EQ(decode(pack, moved, stored_of(pack, a)), ErrorCode::corruption);
  }
}

TEST_P(Tampering, BlobOfAnotherPackIsDamageUnderEncryption) {
  const Bytes plain = rng_.bytes(50);
  PackWriter writer(keys_);
  writer.add(chunk_blob(keys_, plain));
  const auto first = writer.finish();
  writer.add(chunk_blob(keys_, plain));
  const auto second = writer.finish();
  // The same bytes at the same place: without a key the packs are one.
  const auto moved = decode(second, second.entries[0], stored_of(first, first.entries[0]));
  EXPECT_EQ(moved, keys_.encrypted() ? std::optional(ErrorCode::corruption) : std::nullopt);
}

TEST_P(Tampering, EntryThatLiesIsDamage) {
  const auto pack = sample();
  for (const PackEntry& entry : pack.entries) {
    const Bytes stored = stored_of(pack, entry);
    const auto refused = [&](const std::function<void(PackEntry&)>& change) {
      PackEntry lie = entry;
      change(lie);
      return decode(pack, lie, stored) == ErrorCode::corruption;
    };
    EXPECT_TRUE(refused([](PackEntry& e) {
      e.kind = e.kind == BlobKind::node ? BlobKind::chunk : BlobKind::node;
    }));
    EXPECT_TRUE(
        refused([](PackEntry& e) { e.codec = e.codec == Codec::raw ? Codec::zstd : Codec::raw; }));
    for (const std::uint32_t size : {0U, 1U, entry.plain_size - 1, entry.plain_size + 1,
                                     kBlobPlainBytesMax, kBlobPlainBytesMax + 1, ~0U})
      EXPECT_TRUE(refused([&](PackEntry& e) { e.plain_size = size; })) << size;
    EXPECT_TRUE(refused([](PackEntry& e) { e.id.bytes[7] ^= 1; }));
    EXPECT_TRUE(refused([](PackEntry& e) { e.stored_size -= 1; }));
    EXPECT_TRUE(refused([](PackEntry& e) { e.stored_size += 1; }));
    if (keys_.encrypted()) {
      EXPECT_TRUE(refused([](PackEntry& e) { e.ordinal ^= 1; }));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EncryptedOrNot, Tampering, testing::Bool());

TEST(PackKeys, WrongKeyIsSaidToBeOne) {
  Rng rng;
  const StoreKeys keys(test::fixed_key(1)), other(test::fixed_key(2));
  const StoreKeys none = StoreKeys::unencrypted();
  const Bytes plain = rng.bytes(100);
  for (const StoreKeys* writes : {&keys, &other, &none}) {
    PackWriter writer(*writes);
    writer.add(chunk_blob(*writes, plain));
    const auto pack = writer.finish();
    const PackEntry entry = pack.entries[0];
    const ByteView stored = ByteView(pack.bytes).subspan(kPackHeaderBytes, entry.stored_size);
    for (const StoreKeys* reads : {&keys, &other, &none}) {
      const auto decoded = decode_blob(*reads, pack.bytes, entry, stored);
      EXPECT_EQ(test::code_of(decoded),
                reads == writes ? std::nullopt : std::optional(ErrorCode::permission_denied));
    }
  }
}

TEST(PackKeys, AnyChangedByteOfTheHeaderIsRefusedUnderEncryption) {
  Rng rng;
  const StoreKeys keys(test::fixed_key(1));
  PackWriter writer(keys);
  writer.add(chunk_blob(keys, rng.bytes(100)));
  const auto pack = writer.finish();
  const ByteView stored =
      ByteView(pack.bytes).subspan(kPackHeaderBytes, pack.entries[0].stored_size);
  for (std::size_t at = 0; at < kPackHeaderBytes; ++at) {
    for (const int flip : {1, 2, 0x80, 0xff}) {
      Bytes header(pack.bytes.begin(), pack.bytes.begin() + kPackHeaderBytes);
      header[at] = static_cast<std::uint8_t>(header[at] ^ flip);
      EXPECT_FALSE(decode_blob(keys, header, pack.entries[0], stored)) << at;
    }
  }
  for (std::size_t size = 0; size < kPackHeaderBytes; ++size)
    EXPECT_EQ(test::code_of(check_pack_header(ByteView(pack.bytes).first(size))),
              ErrorCode::corruption);
}

// A tail with a true digest whatever it says.
struct TailByHand {
  ByteWriter index;
  std::uint64_t blobs_end = kPackHeaderBytes;
  std::uint32_t count = 0;

  void entry(std::uint8_t kind, std::uint8_t codec, std::uint64_t stored, std::uint64_t plain) {
    index.raw(ChunkId{}.view());
    index.u8(kind);
    index.u8(codec);
    index.varint(stored);
    index.varint(plain);
    ++count;
  }
  Bytes pack(std::uint64_t index_offset, std::uint64_t index_size) const {
    ByteWriter w;
    w.raw(Bytes(static_cast<std::size_t>(blobs_end), 0));
    w.raw(index.bytes());
    w.u64(index_offset);
    w.u32(static_cast<std::uint32_t>(index_size));
    w.u32(count);
    w.raw(sha256(index.bytes()).view());
    w.u16(1);
    w.raw(Bytes(6, 0));
    w.raw(std::string_view("TMPKEND\x01"));
    return w.take();
  }
  std::optional<ErrorCode> parses(std::uint64_t index_offset, std::uint64_t index_size) const {
    const Bytes bytes = pack(index_offset, index_size);
    test::AllocationMeter meter;
    const auto index_read = parse_pack_index(bytes, bytes.size());
    EXPECT_LE(meter.peak_bytes(), 8 * kMiB);
    EXPECT_TRUE(!index_read || index_read->tail_needed == 0);
    return test::code_of(index_read);
  }
  std::optional<ErrorCode> parses() const { return parses(blobs_end, index.size()); }
};

TEST(PackIndex, RefusesATrailerThatLies) {
  TailByHand tail;
  tail.blobs_end += 100;
  tail.entry(1, 0, 60, 60);
  tail.entry(2, 1, 40, 100);
  EXPECT_EQ(tail.parses(), std::nullopt);
  const std::uint64_t end = tail.blobs_end, size = tail.index.size();
  for (const auto& [offset, length] :
       std::vector<std::pair<std::uint64_t, std::uint64_t>>{{end - 1, size},
                                                            {end + 1, size},
                                                            {end - 1, size + 1},
                                                            {end + 1, size - 1},
                                                            {0, size},
                                                            {~0ULL, size},
                                                            {~0ULL - size - 63, size},
                                                            {end, 0},
                                                            {end, 0xffffffff},
                                                            {0, end + size},
                                                            {63, size + 101}})
    EXPECT_EQ(tail.parses(offset, length), ErrorCode::corruption) << offset << " " << length;
  for (const std::uint32_t count : {0U, 1U, 3U, 65537U, 0xffffffffU}) {
    TailByHand lie = tail;
    lie.count = count;
    EXPECT_EQ(lie.parses(), ErrorCode::corruption) << count;
  }
}

TEST(PackIndex, RefusesEntriesThatCannotBe) {
  const auto one = [](std::uint8_t kind, std::uint8_t codec, std::uint64_t stored,
                      std::uint64_t plain) {
    TailByHand tail;
    tail.blobs_end += 100;
    tail.entry(kind, codec, stored, plain);
    return tail.parses();
  };
  EXPECT_EQ(one(1, 0, 100, 100), std::nullopt);
  EXPECT_EQ(one(1, 1, 100, kBlobPlainBytesMax), std::nullopt);
  EXPECT_EQ(one(0, 0, 100, 100), ErrorCode::corruption);
  EXPECT_EQ(one(3, 0, 100, 100), ErrorCode::corruption);
  EXPECT_EQ(one(1, 2, 100, 100), ErrorCode::corruption);
  EXPECT_EQ(one(1, 0, 99, 100), ErrorCode::corruption);
  EXPECT_EQ(one(1, 0, 101, 100), ErrorCode::corruption);
  EXPECT_EQ(one(1, 0, ~0ULL, 100), ErrorCode::corruption);
  EXPECT_EQ(one(1, 0, (1ULL << 32) + 100, 100), ErrorCode::corruption);
  EXPECT_EQ(one(1, 0, 100, kBlobPlainBytesMax + 1), ErrorCode::corruption);
}

TEST(PackIndex, RefusesImpossibleSizes) {
  const Bytes tail(kPackTrailerBytes, 0);
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{127}, kPackBytesMax + 1, ~std::uint64_t{0}})
    EXPECT_EQ(test::code_of(parse_pack_index(tail, size)), ErrorCode::corruption);
  EXPECT_EQ(test::code_of(check_pack({}, PackId::from(sha256({}).view()))), ErrorCode::corruption);
}

// A pack of one chunk whose stored bytes are `frame`, in a store without encryption.
struct BombByHand {
  Bytes header;
  PackEntry entry;
  Bytes stored;
  std::size_t peak_bytes = 0;

  BombByHand(ByteView frame, std::uint32_t plain_size) : stored(frame.begin(), frame.end()) {
    PackWriter writer(keys);
    writer.add(chunk_blob(keys, Bytes{1}));
    const auto pack = writer.finish();
    header.assign(pack.bytes.begin(), pack.bytes.begin() + kPackHeaderBytes);
    entry.codec = Codec::zstd;
    entry.stored_size = static_cast<std::uint32_t>(frame.size());
    entry.plain_size = plain_size;
  }
  std::optional<ErrorCode> decode() {
    test::AllocationMeter meter;
    const auto code = test::code_of(decode_blob(keys, header, entry, stored));
    peak_bytes = meter.peak_bytes();
    return code;
  }
  StoreKeys keys = StoreKeys::unencrypted();
};

Bytes compressed(ByteView plain, int window_log) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  Bytes out(ZSTD_compressBound(plain.size()));
  ZSTD_inBuffer in = {plain.data(), plain.size(), 0};
  ZSTD_outBuffer to = {out.data(), out.size(), 0};
  while (ZSTD_compressStream2(context, &to, &in, ZSTD_e_end) != 0) {
  }
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

TEST(Bombs, FrameThatHoldsMoreThanTheIndexSaysTakesNoMoreThanThat) {
  const Bytes bomb = compressed(Bytes(64 * kMiB, 0), 23);
  ASSERT_LE(bomb.size(), 16 * kKiB);
  BombByHand warm_up(bomb, 100);
  ASSERT_EQ(warm_up.decode(), ErrorCode::corruption);  // makes this thread's decompressor
  for (const std::uint32_t plain_size : {0U, 1U, 4096U, 1000000U, kBlobPlainBytesMax}) {
    BombByHand blob(bomb, plain_size);
    EXPECT_EQ(blob.decode(), ErrorCode::corruption);
    EXPECT_LE(blob.peak_bytes, plain_size + 64 * kKiB);
  }
}

TEST(Bombs, WindowOfTwoGibibytesIsNotAllocated) {
  // Magic, a descriptor without content size, and the largest window there is; then an empty block.
  const Bytes frame = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x01, 0x00, 0x00};
  BombByHand blob(frame, 1000);
  EXPECT_EQ(blob.decode(), ErrorCode::corruption);
  EXPECT_LE(blob.peak_bytes, kMiB);
}

TEST(Bombs, ContentSizeOfAFrameIsNotBelieved) {
  // Magic, single segment with 8 bytes of content size: 2^62; then an empty block.
  const Bytes frame = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x01, 0x00, 0x00};
  BombByHand blob(frame, 1000);
  EXPECT_EQ(blob.decode(), ErrorCode::corruption);
  EXPECT_LE(blob.peak_bytes, kMiB);
}

TEST(Bombs, ManyFramesInARowTakeNoMoreThanTheIndexSays) {
  Bytes frames;
  const Bytes one = compressed(Bytes(kMiB, 0), 20);
  for (int i = 0; i < 1000; ++i) append(frames, one);
  BombByHand blob(frames, 2 * kMiB);
  EXPECT_EQ(blob.decode(), ErrorCode::corruption);
  EXPECT_LE(blob.peak_bytes, 3 * kMiB);
}

TEST(NodeRefs, DamageAndLyingCountsAreRefusedWithoutAllocating) {
  Rng rng;
  const StoreKeys keys = StoreKeys::unencrypted();
  const EncodedBlob node = node_blob(keys, rng);
  ByteWriter stored;
  stored.sized(node.clear);
  ASSERT_TRUE(parse_node_refs(stored.bytes()));
  for (std::size_t size = 0; size < stored.size(); ++size)
    EXPECT_FALSE(parse_node_refs(ByteView(stored.bytes()).first(size)));
  for (const std::uint64_t count : {1ULL, 3ULL, 1ULL << 27, 1ULL << 59, ~0ULL}) {
    ByteWriter clear, lie;
    clear.u8(0);
    clear.varint(count);
    clear.raw(Bytes(2 * ChunkId::kSize, 1));
    lie.sized(clear.bytes());
    test::AllocationMeter meter;
    EXPECT_EQ(test::code_of(parse_node_refs(lie.bytes())), ErrorCode::corruption);
    EXPECT_LE(meter.peak_bytes(), 4 * kKiB);
  }
  ByteWriter clear, deep;
  clear.u8(kTreeLevelMax + 1);
  clear.varint(0);
  deep.sized(clear.bytes());
  EXPECT_FALSE(parse_node_refs(deep.bytes()));
}

}  // namespace
}  // namespace tidemark
