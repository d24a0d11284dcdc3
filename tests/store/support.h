// What the tests of the store share: seeded randomness, nodes in memory, model trees, golden files.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "store/pack.h"
#include "store/tree.h"

namespace tidemark::test {

// Random numbers that can be had again: seeded from TM_SEED, else from the machine; says which.
class Rng {
 public:
  Rng();
  explicit Rng(std::uint64_t seed) : engine_(seed), seed_(seed) {}

  std::uint64_t seed() const { return seed_; }
  // "TM_SEED=…", for SCOPED_TRACE.
  std::string trace() const { return "TM_SEED=" + std::to_string(seed_); }
  std::uint64_t next() { return engine_(); }
  std::size_t below(std::size_t end) { return static_cast<std::size_t>(engine_() % end); }
  std::size_t between(std::size_t first, std::size_t last) {
    return first + below(last - first + 1);
  }
  bool chance(unsigned percent) { return below(100) < percent; }
  Bytes bytes(std::size_t size);
  // Bytes that compress well.
  Bytes text(std::size_t size);
  template <class Id>
  Id id() {
    return Id::from(bytes(Id::kSize));
  }

 private:
  std::mt19937_64 engine_;
  std::uint64_t seed_ = 0;
};

// How many rounds of a random test: fewer where a sanitizer makes each of them slow.
constexpr std::size_t rounds(std::size_t wanted) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return wanted / 5 + 1;
#else
  return wanted;
#endif
}

// A key that every run of the tests has alike.
SecretKey fixed_key(std::uint8_t fill);

// Tree nodes in memory. Its sink checks each node that it takes.
class MemoryNodes final : public NodeSource {
 public:
  explicit MemoryNodes(const StoreKeys& keys) : keys_(keys) {}

  Result<std::vector<Bytes>> fetch_nodes(std::span<const ChunkId> ids) override;
  TreeBuilder::Sink sink();
  // Makes readable what the sink took since: a store does not give out what is still on its way.
  void settle();
  // Puts a node that no builder would make.
  ChunkId put(const TreeNode& node);
  void remove(const ChunkId& id) { nodes_.erase(id); }
  std::size_t size() const { return nodes_.size(); }

  std::size_t emitted = 0;       // nodes that the sink took
  std::vector<ChunkId> fetched;  // what was asked for, in order

 private:
  const StoreKeys& keys_;
  std::map<ChunkId, Bytes> nodes_;
  std::map<ChunkId, Bytes> on_the_way_;
};

using Model = std::map<std::string, TreeEntry>;

// The tree built from scratch.
TreeRoot build_tree(MemoryNodes& nodes, const StoreKeys& keys, const Model& model);
// Fails the test where anything goes wrong.
TreeRoot change_tree(MemoryNodes& nodes, const StoreKeys& keys, const TreeRoot& base,
                     std::vector<TreeChange> changes);
Result<TreeRoot> try_change_tree(MemoryNodes& nodes, const StoreKeys& keys, const TreeRoot& base,
                                 std::vector<TreeChange> changes);
// What turns one model into the other.
std::vector<TreeChange> changes_between(const Model& from, const Model& to);
Model read_tree(MemoryNodes& nodes, const TreeRoot& root);
std::set<ChunkId> node_ids(MemoryNodes& nodes, const TreeRoot& root);

// tests/golden/store/NAME.hex. A check writes the file where TM_WRITE_GOLDEN=1.
Bytes golden(const std::string& name);
void check_golden(const std::string& name, ByteView bytes);

// For EXPECT_…: the code of what failed; nothing where it did not fail.
template <class T>
std::optional<ErrorCode> code_of(const Result<T>& result) {
  return result ? std::nullopt : std::optional(result.error().code());
}

}  // namespace tidemark::test
