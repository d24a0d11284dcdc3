#include <xxhash.h>

#include "base/assert.h"
#include "store/tree.h"

namespace tidemark {
namespace {

// A hash of the key alone decides, so that a changed value never moves a boundary. The level is the
// seed: the same key must not end nodes on all levels at once.
bool ends_node(std::string_view key, std::uint8_t level) {
  return XXH64(key.data(), key.size(), level) % kNodeItemsTarget == 0;
}

std::size_t bytes_of(const TreeEntry& entry) {
  return entry.key.size() + entry.value.size() + entry.refs.size() * (ChunkId::kSize + 1) + 4;
}
std::size_t bytes_of(const TreeChild& child) { return child.first_key.size() + ChunkId::kSize + 4; }

std::uint64_t entries_below(const TreeNode& node) {
  if (node.level == 0) return node.entries.size();
  std::uint64_t sum = 0;
  for (const TreeChild& child : node.children) sum += child.entries;
  return sum;
}

const std::string& first_key_of(const TreeNode& node) {
  return node.level == 0 ? node.entries.front().key : node.children.front().first_key;
}

std::size_t items_of(const TreeNode& node) {
  return node.level == 0 ? node.entries.size() : node.children.size();
}

// Looks one change ahead in the stream.
class ChangeStream {
 public:
  explicit ChangeStream(const std::function<Result<std::optional<TreeChange>>()>& next)
      : next_(next) {}

  // True where the next change's key is below `upper` (any, where there is no upper bound).
  Result<bool> has_below(const std::optional<std::string>& upper) {
    if (!loaded_) {
      std::string previous = change_ ? std::move(change_->key) : std::string();
      const bool first = !change_ && !started_;
      TM_TRY(change_, next_());
      if (change_ && !first && change_->key <= previous)
        return Error(ErrorCode::internal, "tree changes are not in ascending order");
      loaded_ = started_ = true;
    }
    return change_ && (!upper || change_->key < *upper);
  }
  const std::string& key() const { return change_->key; }
  // REQUIRES: has_below() was true. The key stays readable for the order check.
  std::optional<TreeEntry> take() {
    loaded_ = false;
    return std::move(change_->entry);
  }

 private:
  const std::function<Result<std::optional<TreeChange>>()>& next_;
  std::optional<TreeChange> change_;
  bool loaded_ = false, started_ = false;
};

class Updater {
 public:
  Updater(TreeNodes& nodes, TreeBuilder& builder, ChangeStream& changes)
      : nodes_(nodes), builder_(builder), changes_(changes) {}

  // Merges one old subtree with the changes below `upper`.
  Status merge(const TreeChild& child, std::uint8_t level,
               const std::optional<std::string>& upper) {
    TM_TRY(const bool changed, changes_.has_below(upper));
    if (!changed && builder_.can_splice(level)) {
      TM_DO(advance_to(child.first_key));
      return builder_.splice(level, child);
    }
    TM_TRY(const auto node, nodes_.get(child.id, level));
    if (level == 0) return merge_leaf(*node, upper);
    for (std::size_t i = 0; i < node->children.size(); ++i) {
      const bool last = i + 1 == node->children.size();
      TM_DO(merge(node->children[i], static_cast<std::uint8_t>(level - 1),
                  last ? upper : std::optional(node->children[i + 1].first_key)));
    }
    return {};
  }

  Status add_rest(const std::optional<std::string>& upper) {
    while (true) {
      TM_TRY(const bool more, changes_.has_below(upper));
      if (!more) return {};
      TM_DO(apply());
    }
  }

 private:
  Status merge_leaf(const TreeNode& leaf, const std::optional<std::string>& upper) {
    for (const TreeEntry& old : leaf.entries) {
      bool replaced = false;
      while (!replaced) {
        TM_TRY(const bool more, changes_.has_below(upper));
        if (!more || changes_.key() > old.key) break;
        replaced = changes_.key() == old.key;
        TM_DO(apply());
      }
      if (!replaced) TM_DO(put(old));
    }
    return add_rest(upper);
  }

  Status apply() {
    auto entry = changes_.take();
    if (!entry) return {};
    if (entry->key != changes_.key())
      return Error(ErrorCode::internal, "a tree change carries an entry of another key");
    return put(std::move(*entry));
  }

  Status put(TreeEntry entry) {
    TM_DO(advance_to(entry.key));
    return builder_.add(std::move(entry));
  }

  // The old tree comes from outside: where its nodes contradict each other, keys do not ascend.
  Status advance_to(std::string_view key) {
    if (last_key_ && key <= *last_key_)
      return Error(ErrorCode::corruption, "tree: the keys of its nodes are not in order");
    last_key_ = key;
    return {};
  }

  TreeNodes& nodes_;
  TreeBuilder& builder_;
  ChangeStream& changes_;
  std::optional<std::string> last_key_;  // put last, or the first key of the subtree spliced last
};

}  // namespace

TreeBuilder::Level& TreeBuilder::level_at(std::uint8_t level) {
  while (levels_.size() <= level) {
    Level fresh;
    fresh.pending.level = static_cast<std::uint8_t>(levels_.size());
    levels_.push_back(std::move(fresh));
  }
  return levels_[level];
}

Status TreeBuilder::add(TreeEntry entry) {
  TM_CHECK(entry.key.size() <= kTreeKeyBytesMax && entry.value.size() <= kTreeValueBytesMax &&
           entry.refs.size() <= kTreeEntryRefsMax);
  Level& leaf = level_at(0);
  TM_CHECK(leaf.pending.entries.empty() || leaf.pending.entries.back().key < entry.key);
  leaf.pending_bytes += bytes_of(entry);
  const bool ends = ends_node(entry.key, 0);
  leaf.pending.entries.push_back(std::move(entry));
  if (ends || leaf.pending.entries.size() >= kNodeItemsMax ||
      leaf.pending_bytes >= kNodeBytesSoftMax)
    return close_node(0);
  return {};
}

bool TreeBuilder::can_splice(std::uint8_t level) const {
  for (std::size_t i = 0; i < levels_.size() && i <= level; ++i)
    if (items_of(levels_[i].pending) != 0) return false;
  return true;
}

Status TreeBuilder::splice(std::uint8_t level, TreeChild child) {
  TM_CHECK(can_splice(level));
  ++level_at(level).nodes;
  level_at(level).spliced = true;
  return add_child(static_cast<std::uint8_t>(level + 1), std::move(child));
}

Status TreeBuilder::add_child(std::uint8_t level, TreeChild child) {
  if (level > kTreeLevelMax) return Error(ErrorCode::corruption, "tree: too deep");
  Level& inner = level_at(level);
  inner.pending_bytes += bytes_of(child);
  const bool ends = ends_node(child.first_key, level);
  inner.pending.children.push_back(std::move(child));
  // An inner node of a single child would be a link in a chain that never narrows.
  const std::size_t items = inner.pending.children.size();
  if (items >= 2 && (ends || items >= kNodeItemsMax || inner.pending_bytes >= kNodeBytesSoftMax))
    return close_node(level);
  return {};
}

Status TreeBuilder::close_node(std::uint8_t level) {
  Level& at = levels_[level];
  TreeNode node;
  node.level = level;
  std::swap(node, at.pending);
  at.pending.level = level;
  at.pending_bytes = 0;
  ++at.nodes;
  at.spliced = false;
  EncodedNode encoded = encode_node(node);
  TreeChild child{first_key_of(node), keys_.chunk_id(encoded.plain), entries_below(node)};
  TM_DO(sink_(child.id, std::move(encoded), level));
  return add_child(static_cast<std::uint8_t>(level + 1), std::move(child));
}

Result<TreeRoot> TreeBuilder::finish(TreeNodes* nodes) {
  for (std::uint8_t level = 0; level < levels_.size(); ++level) {
    const TreeNode& pending = levels_[level].pending;
    const bool top = level + 1U == levels_.size();
    const bool is_root =
        level > 0 && top && levels_[level].nodes == 0 && pending.children.size() == 1;
    if (!is_root) {
      if (items_of(pending) != 0) TM_DO(close_node(level));
      continue;
    }
    TreeRoot root{pending.children[0].id, static_cast<std::uint8_t>(level - 1),
                  pending.children[0].entries};
    // A spliced subtree may be a chain of single children: the root is where it first branches.
    // What was built here is none, and perhaps nobody can read it yet.
    const bool spliced = levels_[root.level].spliced;
    while (spliced && root.level > 0 && nodes != nullptr) {
      TM_TRY(const auto node, nodes->get(root.id, root.level));
      if (node->children.size() != 1) break;
      root.id = node->children[0].id;
      --root.level;
    }
    return root;
  }
  return TreeRoot{};
}

Result<TreeRoot> update_tree(TreeNodes& nodes, const TreeRoot& base, TreeBuilder& builder,
                             const std::function<Result<std::optional<TreeChange>>()>& next) {
  ChangeStream changes(next);
  Updater updater(nodes, builder, changes);
  if (base.id.is_null()) {
    TM_DO(updater.add_rest(std::nullopt));
  } else {
    TM_DO(updater.merge(TreeChild{"", base.id, base.entries}, base.level, std::nullopt));
  }
  return builder.finish(&nodes);
}

}  // namespace tidemark
