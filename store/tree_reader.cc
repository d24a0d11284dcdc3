#include <algorithm>
#include <deque>
#include <variant>

#include "base/assert.h"
#include "store/tree.h"

namespace tidemark {
namespace {

constexpr std::size_t kPrefetchMax = 256;

// The last child whose first key is <= key; the first where none is.
std::size_t child_for(const TreeNode& node, std::string_view key) {
  const auto after = std::upper_bound(
      node.children.begin(), node.children.end(), key,
      [](std::string_view k, const TreeChild& child) { return k < child.first_key; });
  return after == node.children.begin()
             ? 0
             : static_cast<std::size_t>(after - node.children.begin()) - 1;
}

Error out_of_order() {
  return Error(ErrorCode::corruption, "tree: the keys of its nodes are not in order");
}

Status prefetch_from(TreeNodes& nodes, const TreeNode& node, std::size_t first) {
  std::vector<ChunkId> ids;
  for (std::size_t i = first; i < node.children.size() && ids.size() < kPrefetchMax; ++i)
    ids.push_back(node.children[i].id);
  return nodes.prefetch(ids);
}

}  // namespace

std::shared_ptr<const TreeNode> TreeNodes::find(const ChunkId& id) {
  std::lock_guard lock(mutex_);
  const auto it = index_.find(id);
  if (it == index_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, it->second);
  return it->second->second;
}

void TreeNodes::insert(const ChunkId& id, std::shared_ptr<const TreeNode> node) {
  std::lock_guard lock(mutex_);
  if (index_.contains(id)) return;
  recent_.emplace_front(id, std::move(node));
  index_[id] = recent_.begin();
  while (recent_.size() > cache_items_) {
    index_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

Result<std::shared_ptr<const TreeNode>> TreeNodes::get(const ChunkId& id, std::uint8_t level) {
  auto node = find(id);
  if (!node) {
    TM_TRY(const auto plain, source_.fetch_nodes(std::span(&id, 1)));
    TM_TRY(TreeNode decoded, decode_node(plain.front()));
    node = std::make_shared<const TreeNode>(std::move(decoded));
    insert(id, node);
  }
  if (node->level != level)
    return Error(ErrorCode::corruption, "tree node " + id.hex() + " is not of the level expected");
  return node;
}

Status TreeNodes::prefetch(std::span<const ChunkId> ids) {
  std::vector<ChunkId> missing;
  for (const ChunkId& id : ids)
    if (!find(id)) missing.push_back(id);
  if (missing.empty()) return {};
  TM_TRY(const auto plains, source_.fetch_nodes(missing));
  for (std::size_t i = 0; i < missing.size(); ++i) {
    TM_TRY(TreeNode decoded, decode_node(plains[i]));
    insert(missing[i], std::make_shared<const TreeNode>(std::move(decoded)));
  }
  return {};
}

Status TreeCursor::seek(std::string_view key) {
  path_.clear();
  leaf_ = nullptr;
  if (root_.id.is_null()) return {};
  TM_DO(descend(root_.id, root_.level, key));
  leaf_index_ = entry_at(*leaf_, key);
  return leaf_index_ == leaf_->entries.size() ? climb() : Status();
}

Status TreeCursor::descend(ChunkId id, std::uint8_t level, std::string_view key) {
  while (level > 0) {
    TM_TRY(auto node, nodes_.get(id, level));
    const std::size_t index = child_for(*node, key);
    id = node->children[index].id;
    if (level == 1 && ahead_) TM_DO(prefetch_from(nodes_, *node, index));
    path_.push_back({std::move(node), index});
    --level;
  }
  TM_TRY(leaf_, nodes_.get(id, 0));
  leaf_index_ = 0;
  return {};
}

Status TreeCursor::next() {
  TM_CHECK(valid());
  return ++leaf_index_ < leaf_->entries.size() ? Status() : climb();
}

// To the first entry of the next leaf, or past the end.
Status TreeCursor::climb() {
  const std::shared_ptr<const TreeNode> before = std::move(leaf_);
  leaf_ = nullptr;
  while (!path_.empty() && path_.back().index + 1 == path_.back().node->children.size())
    path_.pop_back();
  if (path_.empty()) return {};
  Frame& frame = path_.back();
  const TreeChild& child = frame.node->children[++frame.index];
  TM_DO(descend(child.id, static_cast<std::uint8_t>(frame.node->level - 1), ""));
  if (before->entries.back().key < leaf_->entries.front().key) return {};
  leaf_ = nullptr;
  return out_of_order();
}

std::size_t entry_at(const TreeNode& leaf, std::string_view key) {
  const auto at =
      std::lower_bound(leaf.entries.begin(), leaf.entries.end(), key,
                       [](const TreeEntry& entry, std::string_view k) { return entry.key < k; });
  return static_cast<std::size_t>(at - leaf.entries.begin());
}

Result<std::shared_ptr<const TreeNode>> find_leaf(TreeNodes& nodes, const TreeRoot& root,
                                                  std::string_view key) {
  if (root.id.is_null()) return std::shared_ptr<const TreeNode>();
  ChunkId id = root.id;
  for (std::uint8_t level = root.level; level > 0; --level) {
    TM_TRY(const auto node, nodes.get(id, level));
    id = node->children[child_for(*node, key)].id;
  }
  return nodes.get(id, 0);
}

Result<std::optional<TreeEntry>> find_entry(TreeNodes& nodes, const TreeRoot& root,
                                            std::string_view key) {
  TM_TRY(const auto leaf, find_leaf(nodes, root, key));
  if (leaf == nullptr) return std::optional<TreeEntry>();
  const std::size_t at = entry_at(*leaf, key);
  if (at == leaf->entries.size() || leaf->entries[at].key != key) return std::optional<TreeEntry>();
  return std::optional<TreeEntry>(leaf->entries[at]);
}

namespace {

// One side of a diff: what is left of its tree, as a row of subtrees and entries in order.
class DiffSide {
 public:
  DiffSide(TreeNodes& nodes, const TreeRoot& root) : nodes_(nodes) {
    if (!root.id.is_null()) items_.push_back(Subtree{{"", root.id, root.entries}, root.level});
  }
  bool empty() const { return items_.empty(); }
  bool at_entry() const { return std::holds_alternative<TreeEntry>(items_.front()); }
  const TreeEntry& entry() const { return std::get<TreeEntry>(items_.front()); }
  const ChunkId& subtree_id() const { return std::get<Subtree>(items_.front()).child.id; }
  int level() const { return std::get<Subtree>(items_.front()).level; }
  const std::string& first_key() const {
    return at_entry() ? entry().key : std::get<Subtree>(items_.front()).child.first_key;
  }
  void drop() { items_.pop_front(); }

  // Replaces the subtree in front by what it holds.
  Status expand() {
    const Subtree subtree = std::get<Subtree>(std::move(items_.front()));
    items_.pop_front();
    TM_TRY(const auto node, nodes_.get(subtree.child.id, subtree.level));
    const std::string& first =
        subtree.level == 0 ? node->entries.front().key : node->children.front().first_key;
    const std::string& last =
        subtree.level == 0 ? node->entries.back().key : node->children.back().first_key;
    const bool before_next = items_.empty() || last < first_key();
    if ((!is_root_ && first != subtree.child.first_key) || !before_next) return out_of_order();
    is_root_ = false;
    for (auto it = node->entries.rbegin(); it != node->entries.rend(); ++it) items_.push_front(*it);
    for (auto it = node->children.rbegin(); it != node->children.rend(); ++it)
      items_.push_front(Subtree{*it, static_cast<std::uint8_t>(subtree.level - 1)});
    return {};
  }

 private:
  struct Subtree {
    TreeChild child;
    std::uint8_t level;
  };
  TreeNodes& nodes_;
  std::deque<std::variant<Subtree, TreeEntry>> items_;
  bool is_root_ = true;  // whose first key nobody told
};

using DiffEach = std::function<Status(const TreeEntry*, const TreeEntry*)>;

Status step_entries(DiffSide& a, DiffSide& b, const DiffEach& each) {
  const int order = a.entry().key.compare(b.entry().key);
  if (order < 0) {
    TM_DO(each(&a.entry(), nullptr));
    a.drop();
  } else if (order > 0) {
    TM_DO(each(nullptr, &b.entry()));
    b.drop();
  } else {
    if (a.entry() != b.entry()) TM_DO(each(&a.entry(), &b.entry()));
    a.drop();
    b.drop();
  }
  return {};
}

// One step where both sides have something left.
Status step(DiffSide& a, DiffSide& b, const DiffEach& each) {
  if (a.at_entry() && b.at_entry()) return step_entries(a, b, each);
  if (a.at_entry()) {
    if (!(a.entry().key < b.first_key())) return b.expand();
    TM_DO(each(&a.entry(), nullptr));
    a.drop();
    return {};
  }
  if (b.at_entry()) {
    if (!(b.entry().key < a.first_key())) return a.expand();
    TM_DO(each(nullptr, &b.entry()));
    b.drop();
    return {};
  }
  if (a.subtree_id() == b.subtree_id()) {
    a.drop();
    b.drop();
    return {};
  }
  // The one that begins earlier has no equal on the other side, which is past it; the other one may
  // still meet its own. Of two that begin together the higher one may hold the other.
  if (a.first_key() < b.first_key()) return a.expand();
  if (b.first_key() < a.first_key()) return b.expand();
  if (a.level() != b.level()) return a.level() > b.level() ? a.expand() : b.expand();
  TM_DO(a.expand());
  return b.expand();
}

}  // namespace

Status diff_trees(TreeNodes& nodes, const TreeRoot& a_root, const TreeRoot& b_root,
                  const DiffEach& each) {
  DiffSide a(nodes, a_root), b(nodes, b_root);
  while (!a.empty() && !b.empty()) TM_DO(step(a, b, each));
  for (DiffSide* rest : {&a, &b}) {
    while (!rest->empty()) {
      if (!rest->at_entry()) {
        TM_DO(rest->expand());
        continue;
      }
      TM_DO(rest == &a ? each(&rest->entry(), nullptr) : each(nullptr, &rest->entry()));
      rest->drop();
    }
  }
  return {};
}

Status walk_nodes(TreeNodes& nodes, const TreeRoot& root,
                  const std::function<Status(const ChunkId&, const TreeNode&)>& each) {
  if (root.id.is_null()) return {};
  struct Todo {
    ChunkId id;
    std::uint8_t level;
  };
  std::vector<Todo> todo = {{root.id, root.level}};
  // Keys that ascend from leaf to leaf also mean that no node comes twice, so that a few nodes
  // which refer to each other in many ways cannot keep us here for ever.
  std::shared_ptr<const TreeNode> leaf_before;
  while (!todo.empty()) {
    const Todo at = todo.back();
    todo.pop_back();
    TM_TRY(const auto node, nodes.get(at.id, at.level));
    if (at.level == 0) {
      if (leaf_before && !(leaf_before->entries.back().key < node->entries.front().key))
        return out_of_order();
      leaf_before = node;
    }
    TM_DO(each(at.id, *node));
    if (at.level == 1) TM_DO(prefetch_from(nodes, *node, 0));
    for (auto it = node->children.rbegin(); it != node->children.rend(); ++it)
      todo.push_back({it->id, static_cast<std::uint8_t>(at.level - 1)});
  }
  return {};
}

TreeCuts::TreeCuts(TreeNodes& nodes, const TreeRoot& root, std::uint64_t entries)
    : nodes_(nodes), entries_max_(entries) {
  if (!root.id.is_null()) rest_.push_back({{"", root.id, root.entries}, root.level});
}

Result<std::optional<std::string>> TreeCuts::next() {
  while (!rest_.empty()) {
    const Subtree at = std::move(rest_.back());
    rest_.pop_back();
    if (at.level > 0 && at.child.entries > entries_max_) {
      TM_TRY(const auto node, nodes_.get(at.child.id, at.level));
      for (auto it = node->children.rbegin(); it != node->children.rend(); ++it)
        rest_.push_back({*it, static_cast<std::uint8_t>(at.level - 1)});
      continue;
    }
    const bool cut = run_ > 0 && run_ + at.child.entries > entries_max_;
    run_ = cut ? at.child.entries : run_ + at.child.entries;
    if (!cut) continue;
    if (at.child.first_key <= last_) return out_of_order();
    last_ = at.child.first_key;
    return std::optional(last_);
  }
  return std::optional<std::string>();
}

}  // namespace tidemark
