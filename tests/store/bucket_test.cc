// Entries of buckets: what is written is read, the order is S3's, and damage is refused.
#include "store/bucket.h"

#include <algorithm>
#include <tuple>

#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

// Few different bytes, those that matter among them, so that keys are often alike or nested.
std::string odd_key(Rng& rng, std::size_t size_max) {
  static constexpr std::string_view kBytes("\0\0\1/.a\xfe\xff", 8);
  std::string key;
  for (std::size_t i = rng.between(1, size_max); i > 0; --i) key += kBytes[rng.below(8)];
  return key;
}

std::string text(Rng& rng, std::size_t size_max) {
  const Bytes bytes = rng.bytes(rng.below(size_max + 1));
  return std::string(as_text(bytes));
}

ObjectPlace random_place(Rng& rng, bool versioned) {
  ObjectPlace place;
  place.key = rng.chance(5) ? odd_key(rng, kObjectKeyBytesMax) : odd_key(rng, 5);
  static constexpr std::int64_t kTimes[] = {-1, 0, 1, 1'795'339'800'000'000, INT64_MAX, INT64_MIN};
  place.modified.us = rng.chance(50) ? kTimes[rng.below(6)] : static_cast<std::int64_t>(rng.next());
  if (!versioned) return place;
  place.rank = static_cast<std::uint32_t>(rng.below(3));
  place.version_id = rng.chance(20) ? "null" : "v" + text(rng, 40);
  return place;
}

std::map<std::string, std::string> random_map(Rng& rng) {
  std::map<std::string, std::string> map;
  for (std::size_t i = rng.below(5); i > 0; --i) map[text(rng, 20)] = text(rng, 200);
  return map;
}

ObjectEntry random_entry(Rng& rng, bool versioned) {
  ObjectEntry entry;
  entry.place = random_place(rng, versioned);
  entry.latest = rng.chance(50);
  entry.delete_marker = versioned && rng.chance(20);
  if (entry.delete_marker) return entry;
  entry.size_bytes = rng.chance(50) ? rng.below(kInlineBytesMax + 2) : rng.below(100 * kMiB);
  entry.etag = to_hex(rng.bytes(16));
  entry.sha256 = rng.id<Digest>();
  if (rng.chance(30)) entry.storage_class = "STANDARD_IA";
  entry.owner = text(rng, 30);
  entry.acl = text(rng, 500);
  entry.headers = random_map(rng);
  entry.metadata = random_map(rng);
  entry.tags = random_map(rng);
  if (rng.chance(30)) entry.lock = ObjectLock{"GOVERNANCE", {5}, rng.chance(50)};
  if (rng.chance(30)) {
    const std::uint64_t first = entry.size_bytes / 3;
    entry.part_sizes = {first, entry.size_bytes - first};
  }
  if (entry.size_bytes <= kInlineBytesMax) {
    entry.inline_data = rng.bytes(static_cast<std::size_t>(entry.size_bytes));
  } else {
    for (std::uint64_t at = 0; at < entry.size_bytes; at += kObjectChunkBytes)
      entry.chunks.push_back(rng.id<ChunkId>());
  }
  return entry;
}

TEST(ObjectEntries, ReadBackAsTheyWereWritten) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(5000); ++i) {
    const ObjectEntry entry = random_entry(rng, rng.chance(50));
    const TreeEntry coded = encode_object(entry);
    ASSERT_LE(coded.key.size(), kTreeKeyBytesMax);
    const auto decoded = decode_object(coded);
    ASSERT_TRUE(decoded) << decoded.error().describe();
    ASSERT_EQ(*decoded, entry);
  }
}

// By key as bytes, then from the newest to the oldest.
bool listed_before(const ObjectPlace& a, const ObjectPlace& b) {
  const auto bytes = [](const std::string& text) {
    return std::vector<std::uint8_t>(text.begin(), text.end());
  };
  return std::tuple(bytes(a.key), b.modified, a.rank, a.version_id) <
         std::tuple(bytes(b.key), a.modified, b.rank, b.version_id);
}

TEST(ObjectTreeKeys, AreOrderedAsListingsAre) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(20000); ++i) {
    const bool versioned = rng.chance(50);
    ObjectPlace a = random_place(rng, versioned), b = random_place(rng, versioned);
    if (rng.chance(30)) b.key = a.key;
    if (rng.chance(30)) b.modified = a.modified;
    if (!versioned) a.modified = b.modified = {};
    ASSERT_EQ(object_tree_key(a) < object_tree_key(b), listed_before(a, b));
    const auto read = object_of_tree_key(object_tree_key(a));
    ASSERT_TRUE(read);
    ASSERT_EQ(*read, a);
  }
}

TEST(ObjectTreeKeys, BeginWithThePrefixWhereTheKeyDoes) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(20000); ++i) {
    const ObjectPlace place = random_place(rng, rng.chance(50));
    const std::string prefix =
        rng.chance(50) ? place.key.substr(0, rng.below(place.key.size() + 1)) : odd_key(rng, 3);
    ASSERT_EQ(object_tree_key(place).starts_with(object_tree_prefix(prefix)),
              place.key.starts_with(prefix));
  }
}

TEST(ObjectTreeKeys, OfOneObjectStayWhereTheBucketHasNoVersions) {
  ObjectPlace place{"a", {1}, 0, ""};
  const std::string before = object_tree_key(place);
  place.modified = {2};
  EXPECT_EQ(object_tree_key(place), before);
}

TEST(ObjectEntries, AreRefusedWhereCutOff) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(100); ++i) {
    const bool versioned = rng.chance(50);
    const TreeEntry coded = encode_object(random_entry(rng, versioned));
    for (std::size_t size = 0; size < coded.value.size(); ++size) {
      TreeEntry cut = coded;
      cut.value.resize(size);
      ASSERT_FALSE(decode_object(cut)) << size;
    }
    TreeEntry longer = coded;
    longer.value.push_back(0);
    ASSERT_FALSE(decode_object(longer));
    longer = coded;
    longer.refs.emplace_back();
    ASSERT_FALSE(decode_object(longer));
  }
}

TEST(ObjectEntries, ThatDecodeAfterDamageAreWrittenTheSameWay) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(20000); ++i) {
    TreeEntry coded = encode_object(random_entry(rng, rng.chance(50)));
    if (rng.chance(70)) {
      coded.value[rng.below(coded.value.size())] = static_cast<std::uint8_t>(rng.next());
    } else {
      coded.key[rng.below(coded.key.size())] = static_cast<char>(rng.next());
    }
    const auto decoded = decode_object(coded);
    if (!decoded) continue;
    ASSERT_EQ(encode_object(*decoded), coded);
  }
}

TEST(ObjectTreeKeys, AreRefusedWhereNoPlaceHasThem) {
  using namespace std::string_literals;
  const std::string place = "\0\0\0\0\0\0\0\0\0\0\0\0"s;
  for (const std::string& key :
       {""s, "a"s, "a\0"s, "\0\0"s, "a\0\1\0\0"s, "a\0\xff"s, "a\0\0"s + place, "a\0\0v"s,
        std::string(kObjectKeyBytesMax + 1, 'a') + "\0\0"s,
        "a\0\0"s + place + std::string(kVersionIdBytesMax + 1, 'v')})
    EXPECT_EQ(test::code_of(object_of_tree_key(key)), ErrorCode::corruption);
}

TEST(ObjectEntries, AreAlikeByPlaceETagAndSize) {
  ObjectEntry a;
  a.place = {"k", {1}, 0, "v"};
  a.etag = "e";
  a.size_bytes = 1;
  ObjectEntry b = a;
  b.latest = true;
  b.owner = "o";
  EXPECT_TRUE(a.listed_alike(b));
  b.etag = "f";
  EXPECT_FALSE(a.listed_alike(b));
  b = a;
  b.place.modified = {2};
  EXPECT_FALSE(a.listed_alike(b));
  b = a;
  b.size_bytes = 2;
  EXPECT_FALSE(a.listed_alike(b));
}

}  // namespace
}  // namespace tidemark
