// The codec of tree nodes: one node has one encoding, and nothing else decodes.
#include "tests/store/allocation_meter.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

TreeNode random_leaf(Rng& rng, std::size_t items) {
  std::vector<ChunkId> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(rng.id<ChunkId>());
  std::map<std::string, TreeEntry> entries;
  while (entries.size() < items) {
    TreeEntry entry;
    entry.key = std::string(rng.below(4), 'k') + std::to_string(rng.below(10000));
    entry.value = rng.bytes(rng.below(20));
    for (std::size_t i = rng.below(5); i > 0; --i) entry.refs.push_back(ids[rng.below(6)]);
    entries[entry.key] = std::move(entry);
  }
  TreeNode node;
  for (auto& [key, entry] : entries) node.entries.push_back(std::move(entry));
  return node;
}

TreeNode random_inner(Rng& rng, std::size_t items) {
  std::set<std::string> keys;
  while (keys.size() < items) keys.insert("prefix/" + std::to_string(rng.below(10000)));
  TreeNode node;
  node.level = static_cast<std::uint8_t>(rng.between(1, kTreeLevelMax));
  for (const std::string& key : keys)
    node.children.push_back({key, rng.id<ChunkId>(), rng.next() >> rng.below(64)});
  return node;
}

void expect_equal(const TreeNode& a, const TreeNode& b) {
  EXPECT_EQ(a.level, b.level);
  EXPECT_EQ(a.entries, b.entries);
  EXPECT_EQ(a.children, b.children);
}

// Whatever decodes must encode to itself.
void expect_refused_or_canonical(ByteView bytes) {
  const auto node = decode_node(bytes);
  if (!node) {
    ASSERT_EQ(node.error().code(), ErrorCode::corruption);
    return;
  }
  ASSERT_EQ(to_hex(encode_node(*node).plain), to_hex(bytes));
}

TEST(TreeNodeCodec, ReadsWhatItWrote) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(300); ++i) {
    const std::size_t items = rng.between(1, kNodeItemsMax);
    const TreeNode node = rng.chance(50) ? random_leaf(rng, items) : random_inner(rng, items);
    const EncodedNode encoded = encode_node(node);
    const auto decoded = decode_node(encoded.plain);
    ASSERT_TRUE(decoded);
    expect_equal(*decoded, node);
  }
}

TEST(TreeNodeCodec, ClearPartNamesEveryReferenceOnce) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  const TreeNode leaf = random_leaf(rng, 50);
  const EncodedNode encoded = encode_node(leaf);
  ByteWriter stored;
  stored.sized(ByteView(encoded.plain).first(encoded.clear_size));
  const auto refs = parse_node_refs(stored.bytes());
  ASSERT_TRUE(refs);
  EXPECT_EQ(refs->level, 0);
  std::set<ChunkId> expected;
  for (const TreeEntry& entry : leaf.entries) expected.insert(entry.refs.begin(), entry.refs.end());
  EXPECT_EQ(refs->refs.size(), expected.size());
  EXPECT_EQ(std::set<ChunkId>(refs->refs.begin(), refs->refs.end()), expected);
}

TEST(TreeNodeCodec, EveryTruncationFails) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (const TreeNode& node : {random_leaf(rng, 12), random_inner(rng, 12)}) {
    const Bytes plain = encode_node(node).plain;
    for (std::size_t size = 0; size < plain.size(); ++size)
      EXPECT_EQ(test::code_of(decode_node(ByteView(plain).first(size))), ErrorCode::corruption);
    Bytes longer = plain;
    longer.push_back(0);
    EXPECT_EQ(test::code_of(decode_node(longer)), ErrorCode::corruption);
  }
}

TEST(TreeNodeCodec, EveryChangedByteFailsOrIsAnotherNodesOnlyEncoding) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  static constexpr unsigned kFlipStep = test::rounds(2) < 2 ? 6 : 1;
  for (int round = 0; round < 2; ++round) {
    const TreeNode node = round % 2 == 0 ? random_leaf(rng, 8) : random_inner(rng, 5);
    Bytes plain = encode_node(node).plain;
    for (std::size_t at = 0; at < plain.size(); ++at) {
      const std::uint8_t was = plain[at];
      for (unsigned flip = 1; flip < 256; flip += kFlipStep) {
        plain[at] = static_cast<std::uint8_t>(was ^ flip);
        ASSERT_NO_FATAL_FAILURE(expect_refused_or_canonical(plain));
      }
      plain[at] = was;
    }
  }
}

TEST(TreeNodeCodec, RandomDamageFailsOrIsCanonical) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (std::size_t i = 0; i < test::rounds(20000); ++i) {
    const TreeNode node =
        rng.chance(50) ? random_leaf(rng, rng.between(1, 6)) : random_inner(rng, rng.between(1, 6));
    Bytes plain = encode_node(node).plain;
    // Where references are few, damage hits what refers to them.
    for (std::size_t k = rng.between(1, 3); k > 0; --k)
      plain[rng.below(plain.size())] = static_cast<std::uint8_t>(rng.below(12));
    ASSERT_NO_FATAL_FAILURE(expect_refused_or_canonical(plain));
  }
}

// A leaf written by hand, to break one rule at a time.
struct LeafByHand {
  std::vector<ChunkId> table;
  ByteWriter items;
  std::uint64_t count = 0;

  void item(std::uint64_t shared, std::string_view rest, std::vector<std::uint64_t> refs) {
    items.varint(shared);
    items.sized(rest);
    items.sized(std::string_view("v"));
    items.varint(refs.size());
    for (const std::uint64_t ref : refs) items.varint(ref);
    ++count;
  }
  bool decodes() const {
    ByteWriter w;
    w.u8(0);
    w.varint(table.size());
    for (const ChunkId& id : table) w.raw(id.view());
    w.varint(count);
    w.raw(items.bytes());
    return decode_node(w.bytes()).has_value();
  }
};

TEST(TreeNodeCodec, RefusesWhatNoEncoderWrites) {
  Rng rng;
  const ChunkId a = rng.id<ChunkId>(), b = rng.id<ChunkId>();
  const auto leaf = [](std::vector<ChunkId> table, auto... items) {
    LeafByHand out;
    out.table = std::move(table);
    (out.item(std::get<0>(items), std::get<1>(items), std::get<2>(items)), ...);
    return out.decodes();
  };
  using Refs = std::vector<std::uint64_t>;
  const auto item = [](std::uint64_t shared, const char* rest, Refs refs) {
    return std::tuple(shared, std::string_view(rest), std::move(refs));
  };
  EXPECT_TRUE(leaf({a, b}, item(0, "k", {0, 1, 0}), item(1, "m", {1})));
  EXPECT_FALSE(leaf({a, b}, item(0, "k", {1, 0})));                // not in order of first use
  EXPECT_FALSE(leaf({a, b}, item(0, "k", {0})));                   // unused
  EXPECT_FALSE(leaf({a, a}, item(0, "k", {0, 1})));                // twice
  EXPECT_FALSE(leaf({a}, item(0, "k", {1})));                      // not in the table
  EXPECT_FALSE(leaf({a}, item(0, "k", {0}), item(1, "", {0})));    // the same key again
  EXPECT_FALSE(leaf({a}, item(0, "k", {0}), item(0, "j", {0})));   // backwards
  EXPECT_FALSE(leaf({a}, item(0, "k", {0}), item(0, "km", {0})));  // shares more than it says
  EXPECT_FALSE(leaf({a}, item(0, "k", {0}), item(2, "m", {0})));   // shares more than there is
  EXPECT_FALSE(leaf({}));                                          // empty
  EXPECT_TRUE(leaf({}, item(0, "", {})));
  const std::string longest(kTreeKeyBytesMax, 'x');
  EXPECT_TRUE(leaf({}, item(0, longest.c_str(), {})));
  EXPECT_FALSE(leaf({}, item(0, (longest + "x").c_str(), {})));
  EXPECT_FALSE(leaf({}, item(0, longest.c_str(), {}), item(kTreeKeyBytesMax, "x", {})));
}

TEST(TreeNodeCodec, RefusesMoreItemsThanANodeHas) {
  TreeNode node;
  for (std::size_t i = 0; i <= kNodeItemsMax; ++i)
    node.entries.push_back({"key" + std::to_string(1000 + i), {}, {}});
  EXPECT_FALSE(decode_node(encode_node(node).plain));
  node.entries.pop_back();
  EXPECT_TRUE(decode_node(encode_node(node).plain));
}

TEST(TreeNodeCodec, RefusesDeepLevels) {
  TreeNode node;
  node.level = kTreeLevelMax + 1;
  node.children.push_back({"a", {}, 1});
  EXPECT_FALSE(decode_node(encode_node(node).plain));
}

TEST(TreeNodeCodec, CountsAreNotBelieved) {
  for (const std::uint64_t count : {1ULL << 20, 1ULL << 32, 1ULL << 63, ~0ULL}) {
    ByteWriter refs, items, inner;
    refs.u8(0);
    refs.varint(count);
    items.u8(0);
    items.varint(0);
    items.varint(count);
    inner.u8(1);
    inner.varint(count);
    for (const ByteWriter* w : {&refs, &items, &inner}) {
      Bytes bytes = w->bytes();
      bytes.resize(bytes.size() + 100, 0);
      test::AllocationMeter meter;
      EXPECT_EQ(test::code_of(decode_node(bytes)), ErrorCode::corruption);
      EXPECT_LE(meter.peak_bytes(), 4 * kKiB);
    }
  }
}

TEST(TreeNodeCodec, OneByteReferencesDoNotBecomeMegabytes) {
  // As many entries and references as fit into the largest blob, each reference a byte.
  LeafByHand leaf;
  Rng rng(1);
  leaf.table = {rng.id<ChunkId>()};
  const std::vector<std::uint64_t> refs(kTreeEntryRefsMax, 0);
  for (std::size_t i = 0; i < kNodeItemsMax; ++i)
    leaf.item(0, "k" + std::to_string(1000 + i), refs);
  test::AllocationMeter meter;
  EXPECT_FALSE(leaf.decodes());
  EXPECT_LE(meter.peak_bytes(), 32 * kMiB);
}

}  // namespace
}  // namespace tidemark
