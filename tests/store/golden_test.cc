// Every format of the store, byte for byte. Where one of these fails, what stores hold cannot be
// read any more: a change of format needs a new version number, and these files stay.
#include "store/bucket.h"
#include "store/pack.h"
#include "store/record.h"
#include "store/volume.h"
#include "tests/store/format_by_hand.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::BlobByHand;
using test::check_golden;
using test::golden;

const SecretKey& master() {
  static const SecretKey key = test::fixed_key(1);
  return key;
}
const SecretKey& file_key() {
  static const SecretKey key = test::fixed_key(0x80);
  return key;
}
constexpr std::string_view kPassphrase = "correct horse battery staple";

template <class Id>
Id counted_id(std::uint8_t first) {
  Id id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i)
    id.bytes[i] = static_cast<std::uint8_t>(first + i);
  return id;
}
Bytes counted_bytes(std::uint8_t first) {
  const auto id = counted_id<Digest>(first);
  return Bytes(id.bytes.begin(), id.bytes.end());
}

TreeNode sample_leaf() {
  const auto a = counted_id<ChunkId>(0x10), b = counted_id<ChunkId>(0x60);
  TreeNode node;
  node.entries = {{"photos/2026/a.jpg", {1, 2, 3}, {a}},
                  {"photos/2026/b.jpg", {}, {}},
                  {"photos/2027", {9}, {b, a, b}}};
  return node;
}
TreeNode sample_inner() {
  TreeNode node;
  node.level = 1;
  node.children = {{"", counted_id<ChunkId>(0x20), 63}, {"photos", counted_id<ChunkId>(0x50), 300}};
  return node;
}
RegionMap sample_region() {
  RegionMap map;
  map.chunks = {{counted_id<ChunkId>(0x10), 12288}, {counted_id<ChunkId>(0x60), 4096}};
  map.extents = {{0, 8192, 0, 0}, {8192, 4096, 1, 0}, {1048576, 4096, 0, 8192}};
  return map;
}

// What "the quick brown fox " repeated makes when compressed: kept in a file, because compressors
// of other versions may say the same in other bytes.
Bytes sample_text() {
  Bytes text;
  for (int i = 0; i < 50; ++i) append(text, as_bytes("the quick brown fox "));
  return text;
}
Bytes sample_frame() {
  const char* write = std::getenv("TM_WRITE_GOLDEN");
  if (write != nullptr && std::string_view(write) == "1") {
    const Bytes text = sample_text();
    check_golden("zstd_frame", encode_blob({}, BlobKind::chunk, text, 0, 3)->body);
  }
  return golden("zstd_frame");
}

std::vector<BlobByHand> sample_blobs() {
  const EncodedNode leaf = encode_node(sample_leaf());
  const auto split = leaf.plain.begin() + static_cast<std::ptrdiff_t>(leaf.clear_size);
  return {{1, 0, {'a', 'b', 'c'}, {}, {'a', 'b', 'c'}},
          {1, 0, {}, {}, {}},
          {2, 0, leaf.plain, Bytes(leaf.plain.begin(), split), Bytes(split, leaf.plain.end())},
          {1, 1, sample_text(), {}, sample_frame()}};
}

EncodedBlob encoded(const StoreKeys& keys, const BlobByHand& blob) {
  return {keys.chunk_id(blob.plain),
          static_cast<BlobKind>(blob.kind),
          static_cast<Codec>(blob.codec),
          static_cast<std::uint32_t>(blob.plain.size()),
          blob.clear,
          blob.body};
}

void expect_decodes(const Bytes& pack, const StoreKeys& keys) {
  const auto index = check_pack(pack, PackId::from(sha256(pack).view()));
  ASSERT_TRUE(index);
  const auto blobs = sample_blobs();
  ASSERT_EQ(index->entries.size(), blobs.size());
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    const PackEntry& entry = index->entries[i];
    const auto stored =
        ByteView(pack).subspan(static_cast<std::size_t>(entry.offset), entry.stored_size);
    const auto plain = decode_blob(keys, pack, entry, stored);
    ASSERT_TRUE(plain) << plain.error().describe();
    EXPECT_EQ(*plain, blobs[i].plain);
  }
}

TEST(Golden, PlainPack) {
  const StoreKeys keys = StoreKeys::unencrypted();
  PackWriter writer(keys);
  for (const BlobByHand& blob : sample_blobs()) writer.add(encoded(keys, blob));
  const auto pack = writer.finish();
  check_golden("pack_plain", pack.bytes);
  EXPECT_EQ(pack.bytes, test::pack_by_hand(nullptr, Bytes(32, 0), sample_blobs()));
  expect_decodes(golden("pack_plain"), keys);
}

TEST(Golden, EncryptedPack) {
  check_golden("pack_sealed", test::pack_by_hand(&master(), counted_bytes(0xa0), sample_blobs()));
  expect_decodes(golden("pack_sealed"), StoreKeys(master()));
}

TEST(Golden, WriterOfEncryptedPacksKeepsToTheFormat) {
  const StoreKeys keys(master());
  PackWriter writer(keys);
  for (int i = 0; i < 3; ++i) {
    for (const BlobByHand& blob : sample_blobs()) writer.add(encoded(keys, blob));
    const auto pack = writer.finish();
    const ByteView salt = ByteView(pack.bytes).subspan(32, 32);
    EXPECT_EQ(pack.bytes, test::pack_by_hand(&master(), salt, sample_blobs()));
  }
}

TEST(Golden, PlainStoreDescriptor) {
  StoreDescriptor descriptor;
  descriptor.id = counted_id<StoreId>(0x30);
  descriptor.created_us = 1'795'339'800'000'000;
  descriptor.encrypted = false;
  check_golden("store_plain", encode(descriptor));
  EXPECT_EQ(encode(descriptor),
            test::descriptor_by_hand(nullptr, descriptor.id.view(), 1'795'339'800'000'000, {}));
}

TEST(Golden, EncryptedStoreDescriptor) {
  const Bytes file_salt = counted_bytes(0x11), text_salt = counted_bytes(0x55);
  const SecretKey by_file = hkdf(file_key(), file_salt, "tidemark key file slot 1");
  // Cheaper parameters than those of a real slot, to keep the test quick.
  const auto by_text = scrypt(kPassphrase, text_salt, 8, 4, 1);
  ASSERT_TRUE(by_text);
  const std::vector<test::SlotByHand> slots = {
      {2, "osaka agent", 0, 0, 0, file_salt, Bytes(by_file.view().begin(), by_file.view().end())},
      {1, "recovery sheet", 8, 4, 1, text_salt,
       Bytes(by_text->view().begin(), by_text->view().end())}};
  const auto id = counted_id<StoreId>(0x30);
  check_golden("store_sealed",
               test::descriptor_by_hand(&master(), id.view(), 1'795'339'800'000'000, slots));

  const auto decoded = decode_store_descriptor(golden("store_sealed"));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(encode(*decoded), golden("store_sealed"));
  EXPECT_EQ(decoded->key_id, StoreKeys(master()).key_id());
  for (const auto& opened :
       {open_with_key_file(*decoded, file_key()), open_with_passphrase(*decoded, kPassphrase)}) {
    ASSERT_TRUE(opened);
    EXPECT_TRUE(equal_constant_time(opened->view(), master().view()));
  }
}

TEST(Golden, KeySlotsThatAreMadeKeepToTheFormat) {
  StoreDescriptor descriptor;
  descriptor.id = counted_id<StoreId>(0x30);
  descriptor.key_id = StoreKeys(master()).key_id();
  const KeySlot slot = make_key_file_slot(master(), file_key(), "agent");
  descriptor.slots = {slot};
  const SecretKey key = hkdf(file_key(), slot.salt, "tidemark key file slot 1");
  EXPECT_EQ(
      encode(descriptor),
      test::descriptor_by_hand(&master(), descriptor.id.view(), 0,
                               {{2, "agent", 0, 0, 0, Bytes(slot.salt.begin(), slot.salt.end()),
                                 Bytes(key.view().begin(), key.view().end())}}));
}

TEST(Golden, KeyFile) {
  check_golden("key_file", as_bytes(format_key_file(file_key())));
  const Bytes bytes = golden("key_file");
  const auto parsed = parse_key_file(as_text(bytes));
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(equal_constant_time(parsed->view(), file_key().view()));
}

TEST(Golden, TreeNodes) {
  for (const auto& [name, node] :
       {std::pair("node_leaf", sample_leaf()), std::pair("node_inner", sample_inner())}) {
    check_golden(name, encode_node(node).plain);
    const auto decoded = decode_node(golden(name));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->entries, node.entries);
    EXPECT_EQ(decoded->children, node.children);
  }
}

TEST(Golden, RegionValue) {
  const TreeEntry entry = encode_region(0x0102030405, sample_region());
  EXPECT_EQ(to_hex(as_bytes(entry.key)), "0000000102030405");
  check_golden("region", entry.value);
  TreeEntry read = entry;
  read.value = golden("region");
  const auto decoded = decode_region(read, kRegionBytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, sample_region());
}

ObjectEntry sample_object() {
  ObjectEntry entry;
  entry.place = {std::string("a\0b", 3), {1'795'339'800'123'456}, 1, "v1"};
  entry.latest = true;
  entry.size_bytes = 5;
  entry.etag = "5d41402abc4b2a76b9719d911017c592";
  entry.sha256 = counted_id<Digest>(0x40);
  entry.storage_class = "COLD";
  entry.owner = "tokyo";
  entry.acl = "<a/>";
  entry.headers = {{"content-type", "text/plain"}};
  entry.metadata = {{"colour", "red"}, {"size", "5"}};
  entry.tags = {{"tier", "gold"}};
  entry.lock = ObjectLock{"GOVERNANCE", {1'795'339'801'000'000}, true};
  entry.part_sizes = {5};
  entry.inline_data = copy_of(as_bytes("hello"));
  return entry;
}

// One with its bytes inside, one in chunks, one delete marker.
TEST(Golden, ObjectValues) {
  const ObjectEntry in_place = sample_object();
  ObjectEntry in_chunks;
  in_chunks.place = {"photos/b.jpg", {1'795'339'800'123'456}, 0, ""};
  in_chunks.size_bytes = 2 * kObjectChunkBytes + 1;
  in_chunks.etag = "e-2";
  in_chunks.sha256 = counted_id<Digest>(0x40);
  in_chunks.chunks = {counted_id<ChunkId>(1), counted_id<ChunkId>(2), counted_id<ChunkId>(3)};
  ObjectEntry marker;
  marker.place = {"k", {0}, 0, "null"};
  marker.delete_marker = marker.latest = true;
  EXPECT_EQ(to_hex(as_bytes(encode_object(in_place).key)),
            "6100ff6200007ff99f25e0f667bf000000017631");
  EXPECT_EQ(to_hex(as_bytes(encode_object(in_chunks).key)), "70686f746f732f622e6a70670000");
  EXPECT_EQ(to_hex(as_bytes(encode_object(marker).key)), "6b00007fffffffffffffff000000006e756c6c");
  EXPECT_EQ(to_hex(encode_object(marker).value), "03");
  for (const auto& [name, entry] :
       {std::pair("object_inline", in_place), std::pair("object_chunks", in_chunks)}) {
    TreeEntry coded = encode_object(entry);
    check_golden(name, coded.value);
    coded.value = golden(name);
    const auto decoded = decode_object(coded);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, entry);
  }
}

// Where nodes end, and so the root, is part of the format: another root means that nothing is
// shared with what stores hold.
TEST(Golden, TreeShape) {
  ByteWriter roots;
  for (const bool encrypted : {false, true}) {
    const StoreKeys keys = encrypted ? StoreKeys(master()) : StoreKeys::unencrypted();
    for (const std::size_t entries : {1U, 100U, 10000U}) {
      test::MemoryNodes nodes(keys);
      test::Model model;
      for (std::size_t i = 0; i < entries; ++i) {
        const std::string key = region_key(i * i);
        model[key] = {
            key, counted_bytes(static_cast<std::uint8_t>(i)), {keys.chunk_id(as_bytes(key))}};
      }
      const TreeRoot root = test::build_tree(nodes, keys, model);
      roots.raw(root.id.view());
      roots.u8(root.level);
      roots.u64(root.entries);
    }
  }
  check_golden("tree_roots", roots.bytes());
}

PointRecord sample_record(const StoreKeys& keys) {
  PointRecord record;
  record.id = counted_id<PointId>(0x01);
  record.store = counted_id<StoreId>(0x30);
  record.site = "tokyo";
  record.asset = "rbd/rbd/vm-7";
  record.parent = counted_id<PointId>(0x71);
  record.set = "nightly";
  record.time = {1'795'339'800'123'456};
  record.root = {counted_id<ChunkId>(0x90), 2, 2560};
  record.size_bytes = 10ULL << 30;
  record.changed_bytes = 1 << 20;
  record.shipped_bytes = 654321;
  record.duration_ms = 4200;
  record.labels = {{"app", "db"}, {"tier", "gold"}};
  record.sealed_meta =
      seal_meta(R"({"image":"vm-7"})", record.id, keys, counted_id<MetaSalt>(0x50));
  return record;
}

TEST(Golden, PointRecords) {
  for (const bool encrypted : {false, true}) {
    const StoreKeys keys = encrypted ? StoreKeys(master()) : StoreKeys::unencrypted();
    const std::string name = encrypted ? "record_sealed" : "record_plain";
    PointRecord record = sample_record(keys);
    check_golden(name, encode(record, keys));
    const auto decoded = decode_point_record(golden(name));
    ASSERT_TRUE(decoded);
    EXPECT_TRUE(check_record_mac(*decoded, keys));
    EXPECT_EQ(open_meta(*decoded, keys), R"({"image":"vm-7"})");
  }
}

TEST(Golden, PointRecordsOfVersion1AreReadAndKeptAsTheyAre) {
  for (const bool encrypted : {false, true}) {
    const StoreKeys keys = encrypted ? StoreKeys(master()) : StoreKeys::unencrypted();
    const Bytes bytes = golden(encrypted ? "record_v1_sealed" : "record_v1_plain");
    auto decoded = decode_point_record(bytes);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->version, 1);
    EXPECT_TRUE(check_record_mac(*decoded, keys));
    EXPECT_EQ(open_meta(*decoded, keys), R"({"image":"vm-7"})");
    EXPECT_EQ(encode(*decoded, keys), bytes);
  }
  const auto committed = decode_committed_point(golden("committed_v1"));
  ASSERT_TRUE(committed);
  EXPECT_EQ(encode(*committed), golden("committed_v1"));
}

TEST(Golden, CommittedPoint) {
  const StoreKeys keys(master());
  CommittedPoint point;
  point.record = sample_record(keys);
  encode(point.record, keys);
  point.received = {1'795'339'801'000'000};
  point.sequence = 7;
  point.previous = counted_id<Digest>(0xc0);
  point.stored_bytes = 700000;
  check_golden("committed", encode(point));
  const auto decoded = decode_committed_point(golden("committed"));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(encode(*decoded), golden("committed"));
}

}  // namespace
}  // namespace tidemark
