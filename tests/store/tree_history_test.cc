// Histories of a tree against a model: whatever order changes came in, the tree is the one that
// would be built from scratch, and a small change costs a path.
#include <xxhash.h>

#include <algorithm>

#include "store/volume.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Model;
using test::Rng;

bool ends_node(const std::string& key, std::uint8_t level) {
  return XXH64(key.data(), key.size(), level) % kNodeItemsTarget == 0;
}

// How the keys and values of a history look.
struct Shape {
  const char* name;
  std::size_t entries_max;
  std::string (*key)(Rng&);
  std::size_t value_bytes_max;
  std::size_t refs_max;
};

std::string random_letters(Rng& rng, std::size_t size) {
  std::string out(size, 'a');
  for (char& c : out) c = static_cast<char>('a' + rng.below(26));
  return out;
}
std::string region_number_key(Rng& rng) { return region_key(rng.below(30000)); }
std::string any_bytes_key(Rng& rng) {
  const Bytes bytes = rng.bytes(rng.below(40));
  return std::string(as_text(bytes));
}
std::string long_prefix_key(Rng& rng) {
  std::string key(rng.between(1000, 1010), 'p');
  return key + random_letters(rng, rng.below(6));
}
// Only forced cuts end these nodes.
std::string never_ends_key(Rng& rng) {
  while (true) {
    std::string key = random_letters(rng, 6);
    const auto ends = [&](std::uint8_t level) { return ends_node(key, level); };
    if (!ends(0) && !ends(1) && !ends(2) && !ends(3)) return key;
  }
}
// Every entry is a leaf of its own.
std::string always_ends_key(Rng& rng) {
  while (true) {
    std::string key = random_letters(rng, 6);
    if (ends_node(key, 0)) return key;
  }
}
// The tree is as deep as it gets.
std::string ends_two_levels_key(Rng& rng) {
  while (true) {
    std::string key = random_letters(rng, 6);
    if (ends_node(key, 0) && ends_node(key, 1)) return key;
  }
}
// Keys that fill inner nodes by their bytes.
std::string huge_key(Rng& rng) {
  return random_letters(rng, 4) + std::string(kTreeKeyBytesMax - 4, 'k');
}

constexpr Shape kShapes[] = {
    {"Regions", 20000, region_number_key, 24, 3},
    {"AnyBytes", 20000, any_bytes_key, 40, 2},
    {"LongSharedPrefixes", 3000, long_prefix_key, 10, 1},
    {"NeverABoundary", 8000, never_ends_key, 10, 0},
    {"AlwaysABoundary", 6000, always_ends_key, 10, 1},
    {"BoundariesOnTwoLevels", 700, ends_two_levels_key, 4, 1},
    {"ValuesThatFillNodes", 400, any_bytes_key, 30000, 200},
    {"KeysThatFillNodes", 1500, huge_key, 10, 1},
};

TreeEntry random_entry(Rng& rng, const Shape& shape, std::string key) {
  TreeEntry entry;
  entry.key = std::move(key);
  entry.value = rng.bytes(rng.below(shape.value_bytes_max + 1));
  // Few different chunks, so that entries share them.
  for (std::size_t i = rng.below(shape.refs_max + 1); i > 0; --i)
    entry.refs.push_back(ChunkId::from(sha256(as_bytes(std::to_string(rng.below(500)))).view()));
  return entry;
}

void add_random(Rng& rng, const Shape& shape, Model& model, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    TreeEntry entry = random_entry(rng, shape, shape.key(rng));
    model[entry.key] = std::move(entry);
  }
}

Model::iterator random_place(Rng& rng, Model& model) {
  return model.empty() ? model.end()
                       : model.lower_bound(rng.chance(50)
                                               ? model.rbegin()->first
                                               : std::string(1, static_cast<char>(rng.below(256))));
}

// One step of a history.
void change_randomly(Rng& rng, const Shape& shape, Model& model) {
  const std::size_t few = rng.chance(50) ? 1 : rng.between(1, 50);
  switch (rng.below(9)) {
    case 0:  // values only
      for (auto it = random_place(rng, model); it != model.end() && rng.chance(95); ++it)
        it->second = random_entry(rng, shape, it->first);
      break;
    case 1:
      add_random(rng, shape, model, few);
      break;
    case 2:  // scattered deletions
      for (auto it = model.begin(); it != model.end();)
        it = rng.chance(5) ? model.erase(it) : std::next(it);
      break;
    case 3: {  // a stretch goes
      auto first = model.begin();
      if (!model.empty()) std::advance(first, static_cast<long>(rng.below(model.size())));
      auto last = first;
      for (std::size_t i = rng.below(2 + model.size() / 2); i > 0 && last != model.end(); --i)
        ++last;
      model.erase(first, last);
      break;
    }
    case 4: {  // before the first, behind the last
      const std::string first = model.empty() ? "m" : model.begin()->first;
      if (!first.empty())
        model[first.substr(0, first.size() - 1)] =
            random_entry(rng, shape, first.substr(0, first.size() - 1));
      const std::string last = model.empty() ? "m" : model.rbegin()->first;
      if (last.size() < kTreeKeyBytesMax) model[last + "~"] = random_entry(rng, shape, last + "~");
      break;
    }
    case 5:  // the last ones go
      for (std::size_t i = 0; i < few && !model.empty(); ++i) model.erase(std::prev(model.end()));
      break;
    case 6:  // the first ones go
      for (std::size_t i = 0; i < few && !model.empty(); ++i) model.erase(model.begin());
      break;
    case 7:
      if (rng.chance(30)) model.clear();
      break;
    default:
      add_random(rng, shape, model, rng.below(shape.entries_max / 4 + 1));
  }
}

class TreeHistory : public testing::TestWithParam<Shape> {};

TEST_P(TreeHistory, EndsInTheTreeThatWouldBeBuiltFromScratch) {
  const Shape shape = GetParam();
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (const bool encrypted : {false, true}) {
    const StoreKeys keys = encrypted ? StoreKeys(test::fixed_key(1)) : StoreKeys::unencrypted();
    test::MemoryNodes nodes(keys);
    Model model;
    add_random(rng, shape, model, rng.below(shape.entries_max + 1));
    TreeRoot root = test::build_tree(nodes, keys, model);
    for (std::size_t i = 0; i < test::rounds(25); ++i) {
      SCOPED_TRACE("step " + std::to_string(i));
      Model changed = model;
      change_randomly(rng, shape, changed);
      auto changes = test::changes_between(model, changed);
      // Dropping what is not there changes nothing.
      if (!changed.contains("absent") && !model.contains("absent")) {
        changes.push_back({"absent", std::nullopt});
        std::ranges::sort(changes, {}, &TreeChange::key);
      }
      root = test::change_tree(nodes, keys, root, std::move(changes));
      test::MemoryNodes fresh(keys);
      ASSERT_EQ(root, test::build_tree(fresh, keys, changed));
      ASSERT_EQ(root.entries, changed.size());
      ASSERT_EQ(root.id.is_null(), changed.empty());
      model = std::move(changed);
    }
    EXPECT_EQ(test::read_tree(nodes, root), model);
  }
}

TEST_P(TreeHistory, LeadsBackFromEmptyToEmpty) {
  const Shape shape = GetParam();
  Rng rng;
  SCOPED_TRACE(rng.trace());
  const StoreKeys keys = StoreKeys::unencrypted();
  test::MemoryNodes nodes(keys);
  Model model;
  add_random(rng, shape, model, std::min<std::size_t>(shape.entries_max, 2000));
  const TreeRoot built = test::build_tree(nodes, keys, model);
  const TreeRoot grown = test::change_tree(nodes, keys, {}, test::changes_between({}, model));
  EXPECT_EQ(grown, built);
  EXPECT_EQ(test::change_tree(nodes, keys, grown, test::changes_between(model, {})), TreeRoot{});
}

TEST_P(TreeHistory, OneEntryAtATimeMakesTheSameTree) {
  const Shape shape = GetParam();
  Rng rng;
  SCOPED_TRACE(rng.trace());
  const StoreKeys keys = StoreKeys::unencrypted();
  test::MemoryNodes nodes(keys);
  Model model;
  TreeRoot root;
  for (std::size_t i = 0; i < test::rounds(150); ++i) {
    Model changed = model;
    add_random(rng, shape, changed, 1);
    root = test::change_tree(nodes, keys, root, test::changes_between(model, changed));
    model = std::move(changed);
    test::MemoryNodes fresh(keys);
    ASSERT_EQ(root, test::build_tree(fresh, keys, model));
  }
  while (!model.empty()) {
    Model changed = model;
    changed.erase(std::next(changed.begin(), static_cast<long>(rng.below(changed.size()))));
    root = test::change_tree(nodes, keys, root, test::changes_between(model, changed));
    model = std::move(changed);
    test::MemoryNodes fresh(keys);
    ASSERT_EQ(root, test::build_tree(fresh, keys, model));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TreeHistory, testing::ValuesIn(kShapes),
                         [](const auto& shape) { return std::string(shape.param.name); });

// The last inner node of a level may have a single child. Where all before it goes, the root is
// what that chain leads to, as in a tree built from scratch.
TEST(TreeUpdate, NoChainIsLeftAboveTheRoot) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  const StoreKeys keys = StoreKeys::unencrypted();
  std::set<std::string> chosen;
  while (chosen.size() < 700) chosen.insert(always_ends_key(rng));
  Model model;
  int chains = 0;
  for (const std::string& key : chosen) {
    model[key] = {key, {}, {}};
    test::MemoryNodes nodes(keys);
    const TreeRoot root = test::build_tree(nodes, keys, model);
    if (root.level != 2) continue;
    TreeNodes cache(nodes);
    const auto top = cache.get(root.id, 2);
    ASSERT_TRUE(top);
    const auto last = cache.get((*top)->children.back().id, 1);
    ASSERT_TRUE(last);
    if ((*last)->children.size() != 1) continue;
    ++chains;
    const Model rest(model.lower_bound((*last)->children[0].first_key), model.end());
    test::MemoryNodes fresh(keys);
    const TreeRoot expected = test::build_tree(fresh, keys, rest);
    EXPECT_EQ(expected.level, 0);
    EXPECT_EQ(test::change_tree(nodes, keys, root, test::changes_between(model, rest)), expected);
  }
  EXPECT_GT(chains, 0);
}

class TreeCost : public testing::Test {
 protected:
  TreeCost() {
    for (std::uint64_t i = 0; i < 20000; ++i)
      model_[region_key(2 * i)] = random_entry(rng_, kShapes[0], region_key(2 * i));
    root_ = test::build_tree(nodes_, keys_, model_);
  }
  // Nodes written and read for one change.
  std::pair<std::size_t, std::size_t> cost(TreeChange change) {
    nodes_.emitted = 0;
    nodes_.fetched.clear();
    test::change_tree(nodes_, keys_, root_, {std::move(change)});
    return {nodes_.emitted, nodes_.fetched.size()};
  }

  Rng rng_;
  StoreKeys keys_ = StoreKeys::unencrypted();
  test::MemoryNodes nodes_{keys_};
  Model model_;
  TreeRoot root_;
};

TEST_F(TreeCost, ChangingOneValueRewritesOnePath) {
  ASSERT_GE(root_.level, 2);
  for (std::size_t i = 0; i < test::rounds(200); ++i) {
    const std::string key = region_key(2 * rng_.below(20000));
    const auto [written, read] = cost({key, random_entry(rng_, kShapes[0], key)});
    EXPECT_LE(written, root_.level + 1U);
    EXPECT_LE(read, root_.level + 1U);
  }
}

TEST_F(TreeCost, AddingOrDroppingOneEntryCostsAFewPaths) {
  SCOPED_TRACE(rng_.trace());
  std::size_t written_sum = 0, read_sum = 0;
  static constexpr std::size_t kRuns = test::rounds(400);
  for (std::size_t i = 0; i < kRuns; ++i) {
    const std::string key = region_key(rng_.below(40000));
    const bool drop = model_.contains(key);
    const auto [written, read] =
        cost({key, drop ? std::nullopt : std::optional(random_entry(rng_, kShapes[0], key))});
    written_sum += written;
    read_sum += read;
    EXPECT_LE(written, 20U * (root_.level + 1U));
  }
  EXPECT_LE(written_sum, kRuns * 2 * (root_.level + 1U));
  EXPECT_LE(read_sum, kRuns * 2 * (root_.level + 1U));
}

TEST_F(TreeCost, NoChangeReadsAndWritesNothing) {
  nodes_.emitted = 0;
  nodes_.fetched.clear();
  EXPECT_EQ(test::change_tree(nodes_, keys_, root_, {}), root_);
  EXPECT_EQ(nodes_.emitted, 0U);
  EXPECT_LE(nodes_.fetched.size(), 1U);
}

TEST(TreeUpdate, RefusesChangesThatAreNotInOrder) {
  const StoreKeys keys = StoreKeys::unencrypted();
  test::MemoryNodes nodes(keys);
  const std::vector<TreeChange> backwards = {{"b", TreeEntry{"b", {}, {}}}, {"a", std::nullopt}};
  const std::vector<TreeChange> twice = {{"a", TreeEntry{"a", {}, {}}}, {"a", std::nullopt}};
  const std::vector<TreeChange> another_key = {{"a", TreeEntry{"b", {}, {}}}};
  for (const auto& changes : {backwards, twice, another_key})
    EXPECT_EQ(test::code_of(test::try_change_tree(nodes, keys, {}, changes)), ErrorCode::internal);
}

TEST(TreeUpdate, PassesOnWhatTheStreamFailsWith) {
  const StoreKeys keys = StoreKeys::unencrypted();
  test::MemoryNodes nodes(keys);
  TreeNodes cache(nodes);
  TreeBuilder builder(keys, nodes.sink());
  const auto root = update_tree(cache, {}, builder, []() -> Result<std::optional<TreeChange>> {
    return Error(ErrorCode::unavailable, "the source is gone");
  });
  EXPECT_EQ(test::code_of(root), ErrorCode::unavailable);
}

TEST(TreeBuilder, PassesOnWhatTheSinkFailsWith) {
  const StoreKeys keys = StoreKeys::unencrypted();
  TreeBuilder builder(keys, [](const ChunkId&, EncodedNode, std::uint8_t) -> Status {
    return Error(ErrorCode::resource_exhausted, "full");
  });
  EXPECT_TRUE(builder.add({"a", {}, {}}));
  EXPECT_EQ(test::code_of(builder.finish(nullptr)), ErrorCode::resource_exhausted);
}

TEST(TreeBuilder, NodesStayWithinTheirLimits) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  for (const Shape& shape : kShapes) {
    const StoreKeys keys = StoreKeys::unencrypted();
    test::MemoryNodes nodes(keys);
    Model model;
    add_random(rng, shape, model, shape.entries_max / 4);
    const TreeRoot root = test::build_tree(nodes, keys, model);
    TreeNodes cache(nodes);
    EXPECT_TRUE(walk_nodes(cache, root, [&](const ChunkId& id, const TreeNode& node) -> Status {
      EXPECT_LE(node.entries.size(), kNodeItemsMax);
      EXPECT_LE(node.children.size(), kNodeItemsMax);
      if (id == root.id && node.level > 0) {
        EXPECT_GE(node.children.size(), 2U);
      }
      EXPECT_LE(encode_node(node).plain.size(),
                kNodeBytesSoftMax + kTreeValueBytesMax + kTreeKeyBytesMax + 40 * kTreeEntryRefsMax);
      return {};
    }));
  }
}

TEST(TreeBuilder, LargestEntryThatIsAllowedCanBeReadAgain) {
  const StoreKeys keys = StoreKeys::unencrypted();
  test::MemoryNodes nodes(keys);
  Rng rng;
  Model model;
  for (int i = 0; i < 3; ++i) {
    TreeEntry entry;
    entry.key = std::string(kTreeKeyBytesMax - 1, 'k') + static_cast<char>('a' + i);
    entry.value = rng.bytes(kTreeValueBytesMax);
    for (std::size_t k = 0; k < kTreeEntryRefsMax; ++k) entry.refs.push_back(rng.id<ChunkId>());
    model[entry.key] = entry;
  }
  EXPECT_EQ(test::read_tree(nodes, test::build_tree(nodes, keys, model)), model);
}

}  // namespace
}  // namespace tidemark
