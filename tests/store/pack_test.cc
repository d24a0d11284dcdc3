// Packs: what was put in comes out, with and without encryption, and never under a nonce used
// before.
#include "store/pack.h"

#include "store/tree.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

struct Blob {
  BlobKind kind = BlobKind::chunk;
  Bytes plain;
  std::size_t clear_size = 0;
};

Blob node_blob(Rng& rng, std::size_t items) {
  TreeNode node;
  for (std::size_t i = 0; i < items; ++i)
    node.entries.push_back(
        {"key" + std::to_string(100000 + i), rng.bytes(rng.below(40)), {rng.id<ChunkId>()}});
  EncodedNode encoded = encode_node(node);
  return {BlobKind::node, std::move(encoded.plain), encoded.clear_size};
}

std::vector<Blob> all_sorts(Rng& rng) {
  std::vector<Blob> blobs;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                 std::size_t{65535}, std::size_t{65536}, std::size_t{1000000}}) {
    blobs.push_back({BlobKind::chunk, rng.bytes(size), 0});
    blobs.push_back({BlobKind::chunk, rng.text(size), 0});
    blobs.push_back({BlobKind::chunk, Bytes(size, 0), 0});
  }
  for (const std::size_t items : {1U, 2U, 64U, 512U}) blobs.push_back(node_blob(rng, items));
  // Half of it compresses, and the samples do not show it.
  Bytes mixed = rng.bytes(300000);
  append(mixed, Bytes(300000, 7));
  append(mixed, rng.bytes(300000));
  blobs.push_back({BlobKind::chunk, std::move(mixed), 0});
  return blobs;
}

EncodedBlob encoded(const StoreKeys& keys, const Blob& blob, int level = 3) {
  auto out = encode_blob(keys.chunk_id(blob.plain), blob.kind, blob.plain, blob.clear_size, level);
  EXPECT_TRUE(out);
  return *std::move(out);
}

ByteView stored_of(const PackWriter::Pack& pack, const PackEntry& entry) {
  return ByteView(pack.bytes).subspan(static_cast<std::size_t>(entry.offset), entry.stored_size);
}

class Packs : public testing::TestWithParam<bool> {
 protected:
  PackWriter::Pack pack_of(const std::vector<Blob>& blobs) {
    PackWriter writer(keys_);
    for (const Blob& blob : blobs) writer.add(encoded(keys_, blob));
    const std::uint64_t promised = writer.size();
    PackWriter::Pack pack = writer.finish();
    EXPECT_LE(pack.bytes.size(), promised);
    return pack;
  }
  void expect_all_back(const PackWriter::Pack& pack, const std::vector<Blob>& blobs) {
    const auto index = check_pack(pack.bytes, pack.id);
    ASSERT_TRUE(index) << index.error().describe();
    ASSERT_EQ(index->entries, pack.entries);
    ASSERT_EQ(index->entries.size(), blobs.size());
    for (std::size_t i = 0; i < blobs.size(); ++i) {
      const PackEntry& entry = index->entries[i];
      EXPECT_EQ(entry.kind, blobs[i].kind);
      EXPECT_EQ(entry.ordinal, i);
      const auto plain = decode_blob(keys_, pack.bytes, entry, stored_of(pack, entry));
      ASSERT_TRUE(plain) << plain.error().describe();
      EXPECT_TRUE(*plain == blobs[i].plain);
    }
  }

  Rng rng_;
  StoreKeys keys_ = GetParam() ? StoreKeys(test::fixed_key(1)) : StoreKeys::unencrypted();
};

TEST_P(Packs, GiveBackBlobsOfAllSorts) {
  SCOPED_TRACE(rng_.trace());
  const auto blobs = all_sorts(rng_);
  expect_all_back(pack_of(blobs), blobs);
}

TEST_P(Packs, TakeBlobsOverFromOtherPacksAsTheyWereEncoded) {
  SCOPED_TRACE(rng_.trace());
  const auto blobs = all_sorts(rng_);
  const PackWriter::Pack old = pack_of(blobs);
  PackWriter writer(keys_);
  for (std::size_t i = old.entries.size(); i > 0; --i) {
    const PackEntry& entry = old.entries[i - 1];
    const auto blob = unseal_blob(keys_, old.bytes, entry, stored_of(old, entry));
    ASSERT_TRUE(blob) << blob.error().describe();
    EXPECT_EQ(blob->codec, entry.codec);
    writer.add(*blob);
  }
  const std::vector<Blob> reversed(blobs.rbegin(), blobs.rend());
  const PackWriter::Pack fresh = writer.finish();
  expect_all_back(fresh, reversed);
  EXPECT_EQ(fresh.bytes.size(), old.bytes.size());
}

TEST_P(Packs, TakeOverNothingThatIsDamaged) {
  SCOPED_TRACE(rng_.trace());
  const PackWriter::Pack pack = pack_of(all_sorts(rng_));
  for (const PackEntry& entry : pack.entries) {
    Bytes stored = copy_of(stored_of(pack, entry));
    if (stored.empty()) continue;
    stored[rng_.below(stored.size())] ^= 1;
    if (!unseal_blob(keys_, pack.bytes, entry, stored)) continue;
    // A bit that zstd has no use for: what it says is still what the id says.
    EXPECT_FALSE(keys_.encrypted()) << entry.ordinal;
    EXPECT_TRUE(decode_blob(keys_, ByteView(pack.bytes).first(kPackHeaderBytes), entry, stored))
        << entry.ordinal;
  }
}

TEST_P(Packs, GiveBackTheLargestBlobs) {
  const std::vector<Blob> blobs = {{BlobKind::chunk, rng_.bytes(kBlobPlainBytesMax), 0},
                                   {BlobKind::chunk, Bytes(kBlobPlainBytesMax, 0), 0}};
  const auto pack = pack_of(blobs);
  expect_all_back(pack, blobs);
  EXPECT_LE(pack.entries[1].stored_size, 4096U);
}

TEST_P(Packs, StoreWhatDoesNotShrinkAsItIs) {
  const auto raw = encoded(keys_, {BlobKind::chunk, rng_.bytes(100000), 0});
  EXPECT_EQ(raw.codec, Codec::raw);
  EXPECT_EQ(raw.body.size(), 100000U);
  const auto small = encoded(keys_, {BlobKind::chunk, rng_.text(100000), 0});
  EXPECT_EQ(small.codec, Codec::zstd);
  EXPECT_LE(small.body.size(), 50000U);
}

TEST_P(Packs, HoldAsManyEntriesAsAllowed) {
  PackWriter writer(keys_);
  const EncodedBlob blob = encoded(keys_, {BlobKind::chunk, {1}, 0});
  for (std::uint32_t i = 0; i < kPackEntriesMax; ++i) writer.add(blob);
  const auto pack = writer.finish();
  const auto index = check_pack(pack.bytes, pack.id);
  ASSERT_TRUE(index);
  EXPECT_EQ(index->entries.size(), kPackEntriesMax);
  const PackEntry& last = index->entries.back();
  EXPECT_TRUE(decode_blob(keys_, pack.bytes, last, stored_of(pack, last)));
}

TEST_P(Packs, WriterIsEmptyAndReadyAfterEachPack) {
  PackWriter writer(keys_);
  std::set<PackId> ids;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(writer.count(), 0U);
    const Blob blob{BlobKind::chunk, rng_.bytes(100), 0};
    writer.add(encoded(keys_, blob));
    const auto pack = writer.finish();
    expect_all_back(pack, {blob});
    EXPECT_TRUE(ids.insert(pack.id).second);
  }
}

TEST_P(Packs, IndexIsReadFromTheTailInTwoSteps) {
  const auto pack = pack_of(all_sorts(rng_));
  const ByteView bytes(pack.bytes);
  for (const std::size_t first : {std::size_t{0}, std::size_t{10}, kPackTrailerBytes}) {
    std::size_t size = first;
    auto index = parse_pack_index(bytes.last(size), bytes.size());
    int calls = 1;
    while (index && index->tail_needed != 0) {
      ASSERT_GT(index->tail_needed, size);
      size = index->tail_needed;
      index = parse_pack_index(bytes.last(size), bytes.size());
      ++calls;
    }
    ASSERT_TRUE(index);
    EXPECT_EQ(index->entries, pack.entries);
    EXPECT_LE(calls, 3);
  }
}

TEST_P(Packs, StoreWithoutTheKeySeesIndexAndReferencesOnly) {
  SCOPED_TRACE(rng_.trace());
  TreeNode node;
  const std::string secret = "the name of a secret thing";
  node.entries.push_back({secret, {}, {rng_.id<ChunkId>(), rng_.id<ChunkId>()}});
  EncodedNode plain = encode_node(node);
  const auto pack = pack_of({{BlobKind::node, plain.plain, plain.clear_size}});
  const auto index = check_pack(pack.bytes, pack.id);
  ASSERT_TRUE(index);
  const auto refs = parse_node_refs(stored_of(pack, index->entries[0]));
  ASSERT_TRUE(refs);
  EXPECT_EQ(refs->level, 0);
  EXPECT_EQ(refs->refs, node.entries[0].refs);
  EXPECT_EQ(as_text(pack.bytes).find(secret) == std::string_view::npos, keys_.encrypted());
}

INSTANTIATE_TEST_SUITE_P(EncryptedOrNot, Packs, testing::Bool());

TEST(EncryptedPacks, NeverUseOneKeyAndNonceTwice) {
  const StoreKeys keys(test::fixed_key(1));
  std::set<std::pair<std::string, std::uint32_t>> used;
  std::set<std::string> salts;
  const Bytes plain = {1, 2, 3};
  static constexpr std::size_t kPacks = test::rounds(150);
  for (int w = 0; w < 4; ++w) {
    PackWriter writer(keys);
    for (std::size_t i = 0; i < kPacks; ++i) {
      for (int k = 0; k < 3; ++k)
        writer.add(*encode_blob(keys.chunk_id(plain), BlobKind::chunk, plain, 0, 1));
      const auto pack = writer.finish();
      const std::string salt = to_hex(ByteView(pack.bytes).subspan(32, 32));
      salts.insert(salt);
      for (const PackEntry& entry : pack.entries)
        EXPECT_TRUE(used.emplace(salt, entry.ordinal).second);
    }
  }
  EXPECT_EQ(salts.size(), 4 * kPacks);
}

TEST(EncryptedPacks, EqualBlobsDoNotLookAlike) {
  const StoreKeys keys(test::fixed_key(1));
  const Bytes plain(1000, 5);
  PackWriter writer(keys);
  const auto blob = *encode_blob(keys.chunk_id(plain), BlobKind::chunk, plain, 0, 1);
  writer.add(blob);
  writer.add(blob);
  const auto pack = writer.finish();
  const auto a = stored_of(pack, pack.entries[0]), b = stored_of(pack, pack.entries[1]);
  EXPECT_FALSE(std::ranges::equal(a, b));
}

TEST(PlainPacks, EqualBlobsMakeEqualPacks) {
  const StoreKeys keys = StoreKeys::unencrypted();
  const Bytes plain(1000, 5);
  const auto blob = *encode_blob(keys.chunk_id(plain), BlobKind::chunk, plain, 0, 1);
  PackWriter a(keys), b(keys);
  a.add(blob);
  b.add(blob);
  EXPECT_EQ(a.finish().id, b.finish().id);
}

TEST(PackNames, AreThereAndBack) {
  const PackId id = random_id<PackId>();
  const std::string name = pack_blob_name(id), hex = id.hex();
  EXPECT_EQ(name, "packs/" + hex.substr(0, 2) + "/" + hex);
  EXPECT_EQ(pack_of_blob_name(name), id);
  const std::string other = hex[0] == '0' ? "11" : "00";
  for (const std::string& wrong : {std::string(), std::string("packs/"), name + "0", name.substr(1),
                                   "packs/" + other + "/" + hex, "packs/" + hex,
                                   "packs/" + hex.substr(0, 2) + "/" + std::string(64, 'g'),
                                   "packs/AA/" + std::string(64, 'A')})
    EXPECT_FALSE(pack_of_blob_name(wrong)) << wrong;
}

}  // namespace
}  // namespace tidemark
