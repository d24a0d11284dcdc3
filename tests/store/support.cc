#include "tests/store/support.h"

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "tests/base/source_path.h"

namespace tidemark::test {
namespace {

std::uint64_t choose_seed() {
  const char* given = std::getenv("TM_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

std::string golden_path(const std::string& name) {
  return source_path("tests/golden/store/" + name + ".hex");
}

}  // namespace

Rng::Rng() : Rng(choose_seed()) { std::cout << "[ SEED     ] " << trace() << std::endl; }

Bytes Rng::bytes(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t word = engine_();
    std::memcpy(out.data() + i, &word, std::min<std::size_t>(8, size - i));
  }
  return out;
}

Bytes Rng::text(std::size_t size) {
  static constexpr std::string_view kWords = "the quick brown fox jumps over the lazy dog ";
  Bytes out;
  while (out.size() < size) append(out, as_bytes(kWords.substr(below(kWords.size()))));
  out.resize(size);
  return out;
}

SecretKey fixed_key(std::uint8_t fill) {
  std::array<std::uint8_t, SecretKey::kSize> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(fill + i);
  return SecretKey(bytes);
}

Result<std::vector<Bytes>> MemoryNodes::fetch_nodes(std::span<const ChunkId> ids) {
  std::vector<Bytes> out;
  for (const ChunkId& id : ids) {
    fetched.push_back(id);
    const auto it = nodes_.find(id);
    if (it == nodes_.end()) return Error(ErrorCode::not_found, "no node " + id.hex());
    out.push_back(it->second);
  }
  return out;
}

TreeBuilder::Sink MemoryNodes::sink() {
  return [this](const ChunkId& id, EncodedNode node, std::uint8_t level) -> Status {
    ++emitted;
    EXPECT_EQ(id, keys_.chunk_id(node.plain));
    const auto decoded = decode_node(node.plain);
    EXPECT_TRUE(decoded);
    if (decoded) {
      EXPECT_EQ(decoded->level, level);
    }
    on_the_way_[id] = std::move(node.plain);
    return {};
  };
}

void MemoryNodes::settle() { nodes_.merge(on_the_way_); }

ChunkId MemoryNodes::put(const TreeNode& node) {
  Bytes plain = encode_node(node).plain;
  const ChunkId id = keys_.chunk_id(plain);
  nodes_[id] = std::move(plain);
  return id;
}

TreeRoot build_tree(MemoryNodes& nodes, const StoreKeys& keys, const Model& model) {
  TreeBuilder builder(keys, nodes.sink());
  for (const auto& [key, entry] : model) EXPECT_TRUE(builder.add(entry));
  const auto root = builder.finish(nullptr);
  EXPECT_TRUE(root);
  nodes.settle();
  return root.value_or(TreeRoot{});
}

Result<TreeRoot> try_change_tree(MemoryNodes& nodes, const StoreKeys& keys, const TreeRoot& base,
                                 std::vector<TreeChange> changes) {
  TreeNodes cache(nodes);
  TreeBuilder builder(keys, nodes.sink());
  std::size_t at = 0;
  auto root = update_tree(cache, base, builder, [&]() -> Result<std::optional<TreeChange>> {
    if (at == changes.size()) return std::optional<TreeChange>();
    return std::optional<TreeChange>(changes[at++]);
  });
  nodes.settle();
  return root;
}

TreeRoot change_tree(MemoryNodes& nodes, const StoreKeys& keys, const TreeRoot& base,
                     std::vector<TreeChange> changes) {
  const auto root = try_change_tree(nodes, keys, base, std::move(changes));
  EXPECT_TRUE(root) << root.error().describe();
  return root.value_or(TreeRoot{});
}

std::vector<TreeChange> changes_between(const Model& from, const Model& to) {
  std::vector<TreeChange> changes;
  auto a = from.begin();
  auto b = to.begin();
  while (a != from.end() || b != to.end()) {
    if (b == to.end() || (a != from.end() && a->first < b->first)) {
      changes.push_back({a->first, std::nullopt});
      ++a;
    } else if (a == from.end() || b->first < a->first) {
      changes.push_back({b->first, b->second});
      ++b;
    } else {
      if (a->second != b->second) changes.push_back({b->first, b->second});
      ++a, ++b;
    }
  }
  return changes;
}

Model read_tree(MemoryNodes& nodes, const TreeRoot& root) {
  TreeNodes cache(nodes);
  TreeCursor cursor(cache, root);
  Model model;
  EXPECT_TRUE(cursor.seek(""));
  while (cursor.valid()) {
    EXPECT_TRUE(model.emplace(cursor.entry().key, cursor.entry()).second);
    EXPECT_TRUE(cursor.next());
  }
  return model;
}

std::set<ChunkId> node_ids(MemoryNodes& nodes, const TreeRoot& root) {
  TreeNodes cache(nodes);
  std::set<ChunkId> ids;
  EXPECT_TRUE(walk_nodes(cache, root, [&](const ChunkId& id, const TreeNode&) -> Status {
    EXPECT_TRUE(ids.insert(id).second);
    return {};
  }));
  return ids;
}

Bytes golden(const std::string& name) {
  std::ifstream in(golden_path(name));
  EXPECT_TRUE(in) << golden_path(name);
  std::string digits, line;
  while (std::getline(in, line))
    if (!line.starts_with('#')) digits += line;
  const auto bytes = from_hex(digits);
  EXPECT_TRUE(bytes) << golden_path(name);
  return bytes.value_or(Bytes{});
}

void check_golden(const std::string& name, ByteView bytes) {
  const char* write = std::getenv("TM_WRITE_GOLDEN");
  if (write != nullptr && std::string_view(write) == "1") {
    const std::string digits = to_hex(bytes);
    std::ofstream out(golden_path(name));
    for (std::size_t at = 0; at < digits.size(); at += 64) out << digits.substr(at, 64) << "\n";
    EXPECT_TRUE(out.flush()) << golden_path(name);
  }
  EXPECT_EQ(to_hex(golden(name)), to_hex(bytes))
      << name << ": the format has changed; stores that exist cannot be read any more";
}

}  // namespace tidemark::test
