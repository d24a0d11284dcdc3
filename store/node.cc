// The codec of tree nodes. A node's plain bytes are
//   clear: level u8 | number of references varint | references
//   body:  number of items varint | items, keys front-coded against the one before
#include <algorithm>
#include <map>

#include "base/assert.h"
#include "store/tree.h"

namespace tidemark {
namespace {

// A node is closed once it holds kNodeBytesSoftMax, of which a reference counts for more than its
// id: that many, and those of the entry that filled it. Bounds what a few bytes per reference
// decode to.
constexpr std::size_t kNodeRefsMax = kNodeBytesSoftMax / ChunkId::kSize + kTreeEntryRefsMax;

Error damaged(const char* what) {
  return Error(ErrorCode::corruption, std::string("tree node: ") + what);
}

std::size_t shared_prefix(std::string_view a, std::string_view b) {
  const auto [end, unused] = std::mismatch(
      a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin());
  return static_cast<std::size_t>(end - a.begin());
}

void write_key(ByteWriter& w, std::string_view previous, std::string_view key) {
  const std::size_t shared = shared_prefix(previous, key);
  w.varint(shared);
  w.sized(key.substr(shared));
}

// Reads a key; fails the reader where keys do not ascend.
std::string read_key(ByteReader& r, const std::string& previous, bool first) {
  const std::size_t shared = static_cast<std::size_t>(r.varint_max(previous.size()));
  std::string key = previous.substr(0, shared);
  key += r.sized_text(kTreeKeyBytesMax);
  const bool front_coded_fully = r.ok() && shared_prefix(previous, key) == shared;
  if (key.size() > kTreeKeyBytesMax || (!first && key <= previous) || !front_coded_fully) r.fail();
  return key;
}

void encode_leaf(const TreeNode& node, ByteWriter& clear, ByteWriter& body) {
  // Each id stands once, in the order of first use.
  std::vector<ChunkId> table;
  std::map<ChunkId, std::size_t> place;
  for (const TreeEntry& entry : node.entries)
    for (const ChunkId& id : entry.refs)
      if (place.emplace(id, table.size()).second) table.push_back(id);
  clear.varint(table.size());
  for (const ChunkId& id : table) clear.raw(id.view());
  std::string_view previous;
  for (const TreeEntry& entry : node.entries) {
    write_key(body, previous, entry.key);
    previous = entry.key;
    body.sized(entry.value);
    body.varint(entry.refs.size());
    for (const ChunkId& id : entry.refs) body.varint(place.at(id));
  }
}

void encode_inner(const TreeNode& node, ByteWriter& clear, ByteWriter& body) {
  clear.varint(node.children.size());
  for (const TreeChild& child : node.children) clear.raw(child.id.view());
  std::string_view previous;
  for (const TreeChild& child : node.children) {
    write_key(body, previous, child.first_key);
    previous = child.first_key;
    body.varint(child.entries);
  }
}

bool has_duplicates(std::vector<ChunkId> ids) {
  std::sort(ids.begin(), ids.end());
  return std::adjacent_find(ids.begin(), ids.end()) != ids.end();
}

void decode_leaf(ByteReader& r, const std::vector<ChunkId>& table, TreeNode& node) {
  const std::size_t items = r.count(4);
  if (items > kNodeItemsMax || has_duplicates(table)) return r.fail();
  std::size_t refs_left = kNodeRefsMax;
  std::size_t used = 0;  // ids of the table, which stand in the order of first use
  std::string previous;
  for (std::size_t i = 0; i < items && r.ok(); ++i) {
    TreeEntry entry;
    entry.key = read_key(r, previous, i == 0);
    previous = entry.key;
    const ByteView value = r.sized(kTreeValueBytesMax);
    entry.value = copy_of(value);
    const std::size_t refs = r.count(1);
    if (refs > kTreeEntryRefsMax || refs > refs_left) return r.fail();
    refs_left -= refs;
    entry.refs.reserve(refs);
    for (std::size_t k = 0; k < refs && r.ok(); ++k) {
      const std::uint64_t at = r.varint();
      if (at >= table.size() || at > used) return r.fail();
      if (at == used) ++used;
      entry.refs.push_back(table[static_cast<std::size_t>(at)]);
    }
    node.entries.push_back(std::move(entry));
  }
  if (used != table.size()) r.fail();
}

void decode_inner(ByteReader& r, const std::vector<ChunkId>& table, TreeNode& node) {
  const std::size_t items = r.count(3);
  if (items != table.size() || items > kNodeItemsMax) return r.fail();
  std::string previous;
  for (std::size_t i = 0; i < items && r.ok(); ++i) {
    TreeChild child;
    child.first_key = read_key(r, previous, i == 0);
    previous = child.first_key;
    child.id = table[i];
    child.entries = r.varint();
    node.children.push_back(std::move(child));
  }
}

}  // namespace

EncodedNode encode_node(const TreeNode& node) {
  ByteWriter clear, body;
  clear.u8(node.level);
  body.varint(node.level == 0 ? node.entries.size() : node.children.size());
  if (node.level == 0) {
    encode_leaf(node, clear, body);
  } else {
    encode_inner(node, clear, body);
  }
  EncodedNode out;
  out.clear_size = clear.size();
  out.plain = clear.take();
  append(out.plain, body.bytes());
  return out;
}

Result<TreeNode> decode_node(ByteView plain) {
  ByteReader r(plain);
  TreeNode node;
  node.level = r.u8();
  if (node.level > kTreeLevelMax) return damaged("impossible level");
  const std::size_t refs = r.count(ChunkId::kSize);
  std::vector<ChunkId> table;
  table.reserve(refs);
  for (std::size_t i = 0; i < refs; ++i) table.push_back(ChunkId::read(r));
  if (node.level == 0) {
    decode_leaf(r, table, node);
  } else {
    decode_inner(r, table, node);
  }
  if (!r.done() || (node.entries.empty() && node.children.empty())) return damaged("damaged");
  return node;
}

}  // namespace tidemark
