// The tree: an immutable, content-addressed, ordered map from byte-string keys to values that refer
// to chunks. Format: docs/format/tree.md.
//
// Why not a plain B+tree: its shape depends on the order of insertions, so two trees with the same
// content differ, and a diff cannot skip what is equal. Here the shape is a function of the content
// alone: a node ends after an item whose key hashes to a boundary (on average after
// kNodeItemsTarget), or when it is full. So an update rewrites only the path to what changed, equal
// subtrees have equal ids wherever they came from, and a diff walks only where ids differ.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/keys.h"
#include "store/record.h"

namespace tidemark {

inline constexpr std::size_t kTreeKeyBytesMax = 4096;
inline constexpr std::size_t kTreeValueBytesMax = 256 * kKiB;
inline constexpr std::size_t kTreeEntryRefsMax = 16384;
inline constexpr std::size_t kNodeItemsTarget = 64;
inline constexpr std::size_t kNodeItemsMax = 512;
inline constexpr std::size_t kNodeBytesSoftMax = 64 * kKiB;
inline constexpr std::uint8_t kTreeLevelMax = 16;

// One mapping. `value` is opaque to the tree; it speaks of chunks by their place in `refs`.
struct TreeEntry {
  std::string key;
  Bytes value;
  std::vector<ChunkId> refs;
  bool operator==(const TreeEntry&) const = default;
};

// An inner node's item: the subtree that begins with first_key.
struct TreeChild {
  std::string first_key;
  ChunkId id;
  std::uint64_t entries = 0;
  bool operator==(const TreeChild&) const = default;
};

struct TreeNode {
  std::uint8_t level = 0;
  std::vector<TreeEntry> entries;   // level 0
  std::vector<TreeChild> children;  // above; each child is a node of level - 1
};

// A node's plain bytes; the first `clear_size` hold level and references and stay readable to a
// store without the key.
struct EncodedNode {
  Bytes plain;
  std::size_t clear_size = 0;
};
EncodedNode encode_node(const TreeNode& node);
// Checks structure, limits and the order of keys.
Result<TreeNode> decode_node(ByteView plain);

// Where nodes come from.
class NodeSource {
 public:
  virtual ~NodeSource() = default;
  // The plain bytes of each node in turn, authenticated and matching its id. Safe from any thread.
  virtual Result<std::vector<Bytes>> fetch_nodes(std::span<const ChunkId> ids) = 0;
};

// Decoded nodes with a bounded cache. Safe from any thread. `source` must outlive it.
class TreeNodes {
 public:
  explicit TreeNodes(NodeSource& source, std::size_t cache_items = 4096)
      : source_(source), cache_items_(cache_items) {}
  // `corruption` where the node is not of the level that its parent or root claims.
  Result<std::shared_ptr<const TreeNode>> get(const ChunkId& id, std::uint8_t level);
  // Brings nodes into the cache in one fetch.
  Status prefetch(std::span<const ChunkId> ids);

 private:
  using Cached = std::pair<ChunkId, std::shared_ptr<const TreeNode>>;
  std::shared_ptr<const TreeNode> find(const ChunkId& id);
  void insert(const ChunkId& id, std::shared_ptr<const TreeNode> node);

  NodeSource& source_;
  const std::size_t cache_items_;
  std::mutex mutex_;
  std::list<Cached> recent_;  // guarded by mutex_; most recently used first
  std::unordered_map<ChunkId, std::list<Cached>::iterator, IdHash> index_;  // guarded by mutex_
};

// Walks a tree in the order of keys. Used by one thread at a time. `nodes` must outlive it.
class TreeCursor {
 public:
  // With `ahead`, leaves are fetched many at once, before they are asked for; without, one by one:
  // for a few places of a large tree.
  TreeCursor(TreeNodes& nodes, TreeRoot root, bool ahead = true)
      : nodes_(nodes), root_(root), ahead_(ahead) {}

  // Moves to the first entry whose key is >= `key`.
  Status seek(std::string_view key);
  Status next();  // REQUIRES: valid()
  bool valid() const { return leaf_ != nullptr; }
  const TreeEntry& entry() const { return leaf_->entries[leaf_index_]; }  // REQUIRES: valid()

 private:
  struct Frame {
    std::shared_ptr<const TreeNode> node;
    std::size_t index = 0;
  };
  Status descend(ChunkId id, std::uint8_t level, std::string_view key);
  Status climb();

  TreeNodes& nodes_;
  TreeRoot root_;
  const bool ahead_;
  std::vector<Frame> path_;
  std::shared_ptr<const TreeNode> leaf_;
  std::size_t leaf_index_ = 0;
};

// The one leaf that can hold this key; null where the tree is empty.
Result<std::shared_ptr<const TreeNode>> find_leaf(TreeNodes& nodes, const TreeRoot& root,
                                                  std::string_view key);
// The place of a leaf's first entry whose key is >= `key`; entries.size() where none is.
std::size_t entry_at(const TreeNode& leaf, std::string_view key);
// The entry with exactly this key.
Result<std::optional<TreeEntry>> find_entry(TreeNodes& nodes, const TreeRoot& root,
                                            std::string_view key);

// Calls `each` for every key whose entry differs, in order of keys; null stands for "absent". Reads
// only nodes that the other tree does not share, and the two roots.
Status diff_trees(TreeNodes& nodes, const TreeRoot& a, const TreeRoot& b,
                  const std::function<Status(const TreeEntry* a, const TreeEntry* b)>& each);

// Calls `each` for every node of the tree once, parents first, leaves in the order of their keys.
// `corruption` where the nodes contradict each other.
Status walk_nodes(TreeNodes& nodes, const TreeRoot& root,
                  const std::function<Status(const ChunkId& id, const TreeNode& node)>& each);

// Cuts a tree into runs of at most about `entries` entries (or one leaf). Reads only nodes of more,
// none twice, as far as it is asked. Used by one thread at a time. `nodes` must outlive it.
class TreeCuts {
 public:
  TreeCuts(TreeNodes& nodes, const TreeRoot& root, std::uint64_t entries);
  // The first key of the next run, in ascending order; that of the very first is not told. Nothing
  // at the end. `corruption` where keys do not ascend.
  Result<std::optional<std::string>> next();

 private:
  struct Subtree {
    TreeChild child;
    std::uint8_t level = 0;
  };
  TreeNodes& nodes_;
  const std::uint64_t entries_max_;
  std::vector<Subtree> rest_;  // the next one is at the end
  std::uint64_t run_ = 0;      // entries since the last cut
  std::string last_;
};

// Builds a tree from entries and whole subtrees in ascending order. Used by one thread.
class TreeBuilder {
 public:
  // Takes a finished node. The builder never emits the same node twice in a row, but may emit one
  // that the store has.
  using Sink = std::function<Status(const ChunkId& id, EncodedNode node, std::uint8_t level)>;

  // `keys` must outlive the builder.
  TreeBuilder(const StoreKeys& keys, Sink sink) : keys_(keys), sink_(std::move(sink)) {}

  // REQUIRES: entry.key is above every key added before.
  Status add(TreeEntry entry);
  // True where a node of `level` taken from another tree fits in here without reading it: all nodes
  // below and at its level are complete.
  bool can_splice(std::uint8_t level) const;
  // REQUIRES: can_splice(level), child.first_key above every key added before; the child is not the
  // last of its tree, or nothing will be added after it.
  Status splice(std::uint8_t level, TreeChild child);
  // Ends the tree. The builder must not be used afterwards. A root of one child is never left:
  // where a spliced node is the only one of its level, `nodes` is asked for it; never for what the
  // sink took.
  Result<TreeRoot> finish(TreeNodes* nodes);

 private:
  struct Level {
    TreeNode pending;
    std::size_t pending_bytes = 0;
    std::uint64_t nodes = 0;  // nodes of this level so far, spliced ones included
    bool spliced = false;     // the last of them came from another tree
  };
  Level& level_at(std::uint8_t level);
  Status add_child(std::uint8_t level, TreeChild child);
  Status close_node(std::uint8_t level);

  const StoreKeys& keys_;
  Sink sink_;
  std::vector<Level> levels_;
};

// One change to a tree: an entry to put, or (where absent) a key to drop.
struct TreeChange {
  std::string key;
  std::optional<TreeEntry> entry;
};

// Makes the tree that `base` becomes by a stream of changes in ascending order of keys, reading and
// writing only the paths that change. `next` gives the changes one by one, nothing at the end; it
// may block. The result equals the tree built from scratch out of the same entries. `corruption`
// where the nodes of `base` contradict each other.
Result<TreeRoot> update_tree(TreeNodes& nodes, const TreeRoot& base, TreeBuilder& builder,
                             const std::function<Result<std::optional<TreeChange>>()>& next);

}  // namespace tidemark
