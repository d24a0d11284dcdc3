// Reading trees: cursors, single entries, walks and diffs against a model; trees that contradict
// themselves.
#include <xxhash.h>

#include <algorithm>

#include "store/volume.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Model;
using test::Rng;

TreeEntry entry_of(Rng& rng, std::string key) {
  TreeEntry entry{std::move(key), rng.bytes(rng.below(30)), {}};
  for (std::size_t i = rng.below(3); i > 0; --i) entry.refs.push_back(rng.id<ChunkId>());
  return entry;
}

bool ends_node(const std::string& key, std::uint8_t level) {
  return XXH64(key.data(), key.size(), level) % kNodeItemsTarget == 0;
}

std::string random_key(Rng& rng) {
  // Few letters, so that keys are prefixes of each other.
  std::string key(rng.below(9), 'a');
  for (char& c : key) c = static_cast<char>('a' + rng.below(5));
  return key;
}

Model random_model(Rng& rng, std::size_t entries) {
  Model model;
  for (std::size_t i = 0; i < entries; ++i) {
    const std::string key = random_key(rng);
    model[key] = entry_of(rng, key);
  }
  return model;
}

class TreeReading : public testing::Test {
 protected:
  Rng rng_;
  StoreKeys keys_ = StoreKeys::unencrypted();
  test::MemoryNodes nodes_{keys_};
};

TEST_F(TreeReading, SeekFindsTheLowerBoundWhateverTheCacheHolds) {
  SCOPED_TRACE(rng_.trace());
  for (const std::size_t entries : {0U, 1U, 2U, 63U, 700U, 9000U}) {
    const Model model = random_model(rng_, entries);
    const TreeRoot root = test::build_tree(nodes_, keys_, model);
    for (const std::size_t cache_items : {0U, 3U, 4096U}) {
      TreeNodes cache(nodes_, cache_items);
      TreeCursor cursor(cache, root);
      EXPECT_FALSE(cursor.valid());
      for (std::size_t i = 0; i < test::rounds(100); ++i) {
        const std::string key = i == 0 ? "" : i == 1 ? "zzz" : random_key(rng_);
        ASSERT_TRUE(cursor.seek(key));
        auto expected = model.lower_bound(key);
        for (std::size_t steps = rng_.below(150); steps > 0 && expected != model.end(); --steps) {
          ASSERT_TRUE(cursor.valid());
          ASSERT_EQ(cursor.entry(), expected->second);
          ASSERT_TRUE(cursor.next());
          ++expected;
        }
        ASSERT_EQ(cursor.valid(), expected != model.end());
        const auto found = find_entry(cache, root, key);
        ASSERT_TRUE(found);
        ASSERT_EQ(found->has_value(), model.contains(key));
        if (*found) {
          ASSERT_EQ(**found, model.at(key));
        }
      }
    }
  }
}

TEST_F(TreeReading, EveryKeyIsFoundAndSoughtAlsoWhereANodeBegins) {
  SCOPED_TRACE(rng_.trace());
  const Model model = random_model(rng_, 5000);
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  ASSERT_GE(root.level, 1);
  TreeNodes cache(nodes_);
  TreeCursor cursor(cache, root);
  for (const auto& [key, entry] : model) {
    const auto found = find_entry(cache, root, key);
    ASSERT_TRUE(found);
    ASSERT_EQ(*found, entry);
    ASSERT_TRUE(cursor.seek(key));
    ASSERT_EQ(cursor.entry(), entry);
  }
}

TEST_F(TreeReading, WholeWalkFetchesEveryNodeOnceAndParentsFirst) {
  SCOPED_TRACE(rng_.trace());
  const Model model = random_model(rng_, 20000);
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  nodes_.fetched.clear();
  TreeNodes cache(nodes_);
  std::set<ChunkId> announced = {root.id};
  std::uint64_t entries = 0;
  ASSERT_TRUE(walk_nodes(cache, root, [&](const ChunkId& id, const TreeNode& node) -> Status {
    EXPECT_EQ(announced.count(id), 1U);
    for (const TreeChild& child : node.children) EXPECT_TRUE(announced.insert(child.id).second);
    entries += node.entries.size();
    return {};
  }));
  EXPECT_EQ(entries, model.size());
  EXPECT_EQ(announced.size(), nodes_.size());
  EXPECT_EQ(nodes_.fetched.size(), nodes_.size());
  std::ranges::sort(nodes_.fetched);
  EXPECT_TRUE(std::ranges::adjacent_find(nodes_.fetched) == nodes_.fetched.end());
}

TEST_F(TreeReading, InnerNodesCountTheEntriesBelow) {
  SCOPED_TRACE(rng_.trace());
  const TreeRoot root = test::build_tree(nodes_, keys_, random_model(rng_, 5000));
  TreeNodes cache(nodes_);
  ASSERT_TRUE(walk_nodes(cache, root, [&](const ChunkId& id, const TreeNode& node) -> Status {
    std::uint64_t sum = node.entries.size();
    for (const TreeChild& child : node.children) sum += child.entries;
    if (id == root.id) {
      EXPECT_EQ(sum, root.entries);
    }
    for (const TreeChild& child : node.children) {
      const auto below = cache.get(child.id, static_cast<std::uint8_t>(node.level - 1));
      EXPECT_TRUE(below);
      EXPECT_EQ(child.first_key,
                (*below)->level == 0 ? (*below)->entries[0].key : (*below)->children[0].first_key);
    }
    return {};
  }));
}

TEST_F(TreeReading, CutsMakeRunsOfAboutTheWantedSizeAndReadNoLeaves) {
  SCOPED_TRACE(rng_.trace());
  Model model;
  for (int i = 0; i < 20000; ++i) {
    const std::string key = std::to_string(rng_.next());
    model[key] = entry_of(rng_, key);
  }
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  for (const std::uint64_t wanted : {1U, 500U, 5000U, 1'000'000U}) {
    nodes_.fetched.clear();
    TreeNodes cache(nodes_);
    TreeCuts cuts(cache, root, wanted);
    auto from = model.begin();
    std::size_t count = 0;
    while (true) {
      const auto cut = cuts.next();
      ASSERT_TRUE(cut);
      const auto to = *cut ? model.find(**cut) : model.end();
      ASSERT_TRUE(!*cut || to != model.end()) << "a cut is a key";
      const auto run = std::distance(from, to);
      ASSERT_GT(run, 0) << "cuts ascend";
      ASSERT_LE(static_cast<std::uint64_t>(run), std::max<std::uint64_t>(wanted, kNodeItemsMax));
      from = to;
      ++count;
      if (!*cut) break;
    }
    EXPECT_GE(count * std::max<std::uint64_t>(wanted, kNodeItemsMax), model.size());
    if (wanted >= kNodeItemsMax) {
      EXPECT_LE(count, 2 * model.size() / wanted + 1) << "and not many more than that";
    }
    std::set<ChunkId> read(nodes_.fetched.begin(), nodes_.fetched.end());
    EXPECT_EQ(read.size(), nodes_.fetched.size());
    for (const ChunkId& id : read) {
      const auto plain = nodes_.fetch_nodes(std::span(&id, 1));
      ASSERT_TRUE(plain);
      EXPECT_GT(decode_node(plain->front())->level, 0);
    }
  }
  TreeNodes cache(nodes_);
  EXPECT_EQ(*TreeCuts(cache, TreeRoot{}, 100).next(), std::nullopt);
}

struct Difference {
  std::optional<TreeEntry> a, b;
  bool operator==(const Difference&) const = default;
};

std::vector<Difference> model_diff(const Model& a, const Model& b) {
  std::vector<Difference> out;
  for (const TreeChange& change : test::changes_between(a, b)) {
    const auto old = a.find(change.key);
    out.push_back({old == a.end() ? std::nullopt : std::optional(old->second), change.entry});
  }
  return out;
}

std::vector<Difference> tree_diff(test::MemoryNodes& nodes, const TreeRoot& a, const TreeRoot& b) {
  std::vector<Difference> out;
  TreeNodes cache(nodes);
  EXPECT_TRUE(diff_trees(cache, a, b, [&](const TreeEntry* x, const TreeEntry* y) -> Status {
    out.push_back({x == nullptr ? std::nullopt : std::optional(*x),
                   y == nullptr ? std::nullopt : std::optional(*y)});
    return {};
  }));
  return out;
}

Model changed(Rng& rng, Model model) {
  switch (rng.below(6)) {
    case 0:
      for (int i = 0; i < 3 && !model.empty(); ++i) model.erase(model.begin());
      break;
    case 1:
      model.erase(model.lower_bound(random_key(rng)), model.end());
      break;
    case 2:
      model.erase(model.begin(), model.lower_bound(random_key(rng)));
      break;
    case 3:
      if (rng.chance(30)) model = random_model(rng, rng.below(3000));
      break;
    default:
      for (std::size_t i = rng.between(1, 20); i > 0; --i) {
        const std::string key = random_key(rng);
        if (rng.chance(30)) {
          model.erase(key);
        } else {
          model[key] = entry_of(rng, key);
        }
      }
  }
  return model;
}

TEST_F(TreeReading, DiffEqualsTheModelsAndReadsOnlyWhatIsNotShared) {
  SCOPED_TRACE(rng_.trace());
  for (std::size_t i = 0; i < test::rounds(60); ++i) {
    const Model a = random_model(rng_, rng_.below(i % 10 == 5 ? 20000 : 3000));
    const Model b = changed(rng_, a);
    const TreeRoot a_root = test::build_tree(nodes_, keys_, a);
    const TreeRoot b_root = test::change_tree(nodes_, keys_, a_root, test::changes_between(a, b));
    const std::set<ChunkId> a_nodes = test::node_ids(nodes_, a_root);
    const std::set<ChunkId> b_nodes = test::node_ids(nodes_, b_root);
    for (const bool swap : {false, true}) {
      nodes_.fetched.clear();
      ASSERT_EQ(swap ? tree_diff(nodes_, b_root, a_root) : tree_diff(nodes_, a_root, b_root),
                swap ? model_diff(b, a) : model_diff(a, b));
      for (const ChunkId& id : nodes_.fetched) {
        const bool shared = a_nodes.contains(id) && b_nodes.contains(id);
        EXPECT_TRUE(!shared || id == a_root.id || id == b_root.id) << id.hex();
      }
    }
  }
}

TEST_F(TreeReading, DiffSkipsSharedInnerNodesBehindAnInsertion) {
  SCOPED_TRACE(rng_.trace());
  Model model;
  for (std::uint64_t i = 0; i < 20000; ++i) model[region_key(i)] = entry_of(rng_, region_key(i));
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  ASSERT_EQ(root.level, 2);
  TreeNodes cache(nodes_);
  const auto top = cache.get(root.id, 2);
  ASSERT_TRUE(top);
  // Two leaves of one key each come to stand between two inner nodes, as an inner node of their
  // own.
  const std::string next = (*top)->children[1].first_key;
  const std::string before = std::prev(model.find(next))->first;
  Model more = model;
  int suffix = 1000000;
  for (const bool ends_inner_node : {false, true}) {
    std::string key;
    do {
      key = before + std::to_string(suffix++);
    } while (!ends_node(key, 0) || (ends_inner_node && !ends_node(key, 1)));
    more[key] = entry_of(rng_, key);
  }
  const TreeRoot other = test::change_tree(nodes_, keys_, root, test::changes_between(model, more));
  const std::set<ChunkId> old_nodes = test::node_ids(nodes_, root);
  const std::set<ChunkId> new_nodes = test::node_ids(nodes_, other);
  for (const bool swap : {false, true}) {
    nodes_.fetched.clear();
    EXPECT_EQ(tree_diff(nodes_, swap ? other : root, swap ? root : other).size(), 2U);
    for (const ChunkId& id : nodes_.fetched)
      EXPECT_FALSE(old_nodes.contains(id) && new_nodes.contains(id));
  }
}

TEST_F(TreeReading, DiffOfEqualTreesReadsNothing) {
  const TreeRoot root = test::build_tree(nodes_, keys_, random_model(rng_, 3000));
  nodes_.fetched.clear();
  EXPECT_TRUE(tree_diff(nodes_, root, root).empty());
  EXPECT_TRUE(tree_diff(nodes_, {}, {}).empty());
  EXPECT_TRUE(nodes_.fetched.empty());
}

TEST_F(TreeReading, SmallDiffOfABigTreeReadsTwoPaths) {
  SCOPED_TRACE(rng_.trace());
  Model model;
  for (std::uint64_t i = 0; i < 20000; ++i) model[region_key(i)] = entry_of(rng_, region_key(i));
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  const std::string key = region_key(rng_.below(20000));
  const TreeRoot other =
      test::change_tree(nodes_, keys_, root, {{key, TreeEntry{key, rng_.bytes(31), {}}}});
  nodes_.fetched.clear();
  EXPECT_EQ(tree_diff(nodes_, root, other).size(), 1U);
  EXPECT_LE(nodes_.fetched.size(), 2U * (root.level + 1U));
}

TEST_F(TreeReading, PassesOnWhatTheCallerFailsWith) {
  const Model model = random_model(rng_, 500);
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  TreeNodes cache(nodes_);
  const Error full(ErrorCode::resource_exhausted, "full");
  EXPECT_EQ(test::code_of(walk_nodes(
                cache, root, [&](const ChunkId&, const TreeNode&) -> Status { return full; })),
            ErrorCode::resource_exhausted);
  EXPECT_EQ(
      test::code_of(diff_trees(cache, {}, root,
                               [&](const TreeEntry*, const TreeEntry*) -> Status { return full; })),
      ErrorCode::resource_exhausted);
}

TEST_F(TreeReading, MissingNodeIsAnErrorEverywhere) {
  SCOPED_TRACE(rng_.trace());
  const Model model = random_model(rng_, 3000);
  const TreeRoot root = test::build_tree(nodes_, keys_, model);
  const std::set<ChunkId> ids = test::node_ids(nodes_, root);
  nodes_.remove(*std::next(ids.begin(), static_cast<long>(rng_.below(ids.size()))));
  TreeNodes cache(nodes_);
  const auto walked =
      walk_nodes(cache, root, [](const ChunkId&, const TreeNode&) -> Status { return {}; });
  EXPECT_EQ(test::code_of(walked), ErrorCode::not_found);
  const auto diffed =
      diff_trees(cache, root, {}, [](const TreeEntry*, const TreeEntry*) -> Status { return {}; });
  EXPECT_EQ(test::code_of(diffed), ErrorCode::not_found);
  TreeCursor cursor(cache, root);
  Status status = cursor.seek("");
  while (status && cursor.valid()) status = cursor.next();
  EXPECT_EQ(test::code_of(status), ErrorCode::not_found);
}

// Trees that no builder makes: their ids are right, what they say is not.
class ContradictoryTree : public TreeReading {
 protected:
  ChunkId leaf(std::vector<std::string> keys) {
    TreeNode node;
    for (std::string& key : keys) node.entries.push_back({std::move(key), {}, {}});
    return nodes_.put(node);
  }
  ChunkId inner(std::uint8_t level, std::vector<std::pair<std::string, ChunkId>> children) {
    TreeNode node;
    node.level = level;
    for (auto& [key, id] : children) node.children.push_back({std::move(key), id, 1});
    return nodes_.put(node);
  }
  // Reads the tree in every way there is; the ways that called it damaged.
  int ways_refused(const TreeRoot& root) {
    TreeNodes cache(nodes_);
    TreeCursor cursor(cache, root);
    Status read = cursor.seek("");
    while (read && cursor.valid()) read = cursor.next();
    const Status walked =
        walk_nodes(cache, root, [](const ChunkId&, const TreeNode&) -> Status { return {}; });
    const Status diffed = diff_trees(
        cache, root, {}, [](const TreeEntry*, const TreeEntry*) -> Status { return {}; });
    // Where nothing changes, an update does not look.
    const auto updated = test::try_change_tree(
        nodes_, keys_, root, {{"b", TreeEntry{"b", {}, {}}}, {"zz", TreeEntry{"zz", {}, {}}}});
    int refused = 0;
    for (const auto code : {test::code_of(read), test::code_of(walked), test::code_of(diffed),
                            test::code_of(updated)}) {
      refused += code == ErrorCode::corruption;
      EXPECT_TRUE(!code || code == ErrorCode::corruption);
    }
    return refused;
  }
};

TEST_F(ContradictoryTree, LeavesOutOfOrderAreDamage) {
  const ChunkId root = inner(1, {{"a", leaf({"a", "m"})}, {"c", leaf({"c", "d"})}});
  EXPECT_EQ(ways_refused({root, 1, 4}), 4);
}

TEST_F(ContradictoryTree, NodeOfAnotherLevelIsDamage) {
  const ChunkId root = inner(2, {{"a", leaf({"a"})}, {"c", leaf({"c"})}});
  EXPECT_EQ(ways_refused({root, 2, 2}), 4);
  EXPECT_EQ(ways_refused({root, 1, 2}), 4);
  EXPECT_EQ(ways_refused({leaf({"a"}), 255, 1}), 4);
}

TEST_F(ContradictoryTree, SameNodeOverAndOverEndsSoon) {
  ChunkId id = leaf({"a"});
  for (std::uint8_t level = 1; level <= kTreeLevelMax; ++level) {
    std::vector<std::pair<std::string, ChunkId>> children;
    for (int i = 0; i < 500; ++i) children.push_back({"a" + std::to_string(1000 + i), id});
    id = inner(level, std::move(children));
  }
  nodes_.fetched.clear();
  // 500 to the 16th leaves.
  EXPECT_EQ(ways_refused({id, kTreeLevelMax, 1}), 4);
  EXPECT_LE(nodes_.fetched.size(), 400U);
}

TEST_F(ContradictoryTree, NodeThatBeginsElsewhereThanItsParentSaysDoesNotMisleadADiff) {
  const ChunkId lying = inner(1, {{"a", leaf({"a"})}, {"c", leaf({"b", "x"})}});
  const ChunkId other = inner(1, {{"a", leaf({"a"})}, {"b", leaf({"b", "y"})}});
  TreeNodes cache(nodes_);
  const auto diffed = diff_trees(cache, {lying, 1, 3}, {other, 1, 3},
                                 [](const TreeEntry*, const TreeEntry*) -> Status { return {}; });
  EXPECT_EQ(test::code_of(diffed), ErrorCode::corruption);
}

TEST_F(TreeReading, CacheKeepsWhatWasUsedLast) {
  std::vector<ChunkId> ids;
  for (int i = 0; i < 5; ++i) {
    TreeNode node;
    node.entries.push_back({std::to_string(i), {}, {}});
    ids.push_back(nodes_.put(node));
  }
  TreeNodes cache(nodes_, 2);
  ASSERT_TRUE(cache.get(ids[0], 0) && cache.get(ids[1], 0) && cache.get(ids[0], 0));
  ASSERT_TRUE(cache.get(ids[2], 0));  // drops 1
  nodes_.fetched.clear();
  ASSERT_TRUE(cache.get(ids[0], 0) && cache.get(ids[2], 0));
  EXPECT_TRUE(nodes_.fetched.empty());
  ASSERT_TRUE(cache.get(ids[1], 0));
  EXPECT_EQ(nodes_.fetched.size(), 1U);
}

}  // namespace
}  // namespace tidemark
