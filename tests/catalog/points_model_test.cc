// Random operations on a catalog and on a plain model of it must give the same answers, also after
// the catalog was closed and opened again.

#include "support.h"

namespace tidemark {
namespace {

struct Model {
  std::map<PointId, PointRow> points;
  std::vector<PointId> order;              // by sequence
  std::map<std::uint64_t, PackId> chunks;  // where each is
  std::map<PackId, std::vector<std::uint64_t>> packs;
  std::set<PackId> damaged;
  std::size_t journal = 0;
};

class ModelTest : public ::testing::Test {
 protected:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
  bool is_present(std::uint64_t chunk) const {
    const auto at = model_.chunks.find(chunk);
    return at != model_.chunks.end() && !model_.damaged.contains(at->second);
  }

  void step();
  void commit_one();
  void add_one_pack();
  void mend_one();
  void damage_one();
  void pin_one();
  void delete_one();
  void compare();
  void compare_as_of();
  void compare_last();
  std::vector<PointId> expected_points(std::string_view site, std::string_view asset) const;

  std::mt19937_64 random_{test_seed()};
  const std::vector<std::string> sites_ = {"tokyo", "tokyo2", "osaka"};
  const std::vector<std::string> assets_ = {"rbd/rbd/a", "rbd/rbd/a1", "s3/b", "rbd/p/n/i"};
  TempDir directory_;
  std::unique_ptr<Catalog> catalog_;
  Model model_;
};

void ModelTest::commit_one() {
  const auto last =
      model_.order.empty() ? std::nullopt : std::optional(model_.points.at(model_.order.back()));
  const Timestamp time{static_cast<std::int64_t>(below(50)) - 5};
  const PointRow row = make_point(model_.order.size() + 1, pick(sites_), pick(assets_), time, last);
  must(catalog_->commit_point(row, {}, std::nullopt));
  model_.points.emplace(row.point.record.id, row);
  model_.order.push_back(row.point.record.id);
  ++model_.journal;
}

void ModelTest::add_one_pack() {
  std::vector<std::uint64_t> chunks;
  for (std::uint64_t i = below(20); i > 0; --i) chunks.push_back(below(300));
  const TestPack pack = make_pack(model_.packs.size() + 1, chunks);
  must(add(*catalog_, pack));
  model_.packs[pack.row.id] = chunks;
  for (const std::uint64_t chunk : chunks)
    if (!is_present(chunk)) model_.chunks[chunk] = pack.row.id;
}

void ModelTest::mend_one() {
  if (model_.damaged.empty()) return;
  const PackId id = *model_.damaged.begin();
  std::uint64_t number = 1;
  while (nth<PackId>(number) != id) ++number;
  const std::vector<std::uint64_t>& chunks = model_.packs.at(id);
  must(add(*catalog_, make_pack(number, chunks)));
  for (const std::uint64_t chunk : chunks)
    if (!is_present(chunk)) model_.chunks[chunk] = id;
  model_.damaged.erase(id);
}

void ModelTest::damage_one() {
  const PackId id = nth<PackId>(below(model_.packs.size() + 2));
  const Status marked = catalog_->mark_pack_damaged(id);
  ASSERT_EQ(marked.has_value(), model_.packs.contains(id));
  if (marked) model_.damaged.insert(id);
}

void ModelTest::pin_one() {
  if (model_.order.empty()) return;
  PointRow& row = model_.points.at(pick(model_.order));
  const bool pinned = below(2) == 0;
  const Status set = catalog_->set_pinned(row.point.record.id, pinned, {1});
  ASSERT_EQ(set.has_value(), !(pinned && row.deleted));
  if (!set || row.pinned == pinned) return;
  row.pinned = pinned;
  ++model_.journal;
}

void ModelTest::delete_one() {
  if (model_.order.empty()) return;
  PointRow& row = model_.points.at(pick(model_.order));
  std::optional<Timestamp> deleted;
  if (below(3) > 0) deleted = Timestamp{static_cast<std::int64_t>(below(3))};
  const Status set = catalog_->set_deleted(row.point.record.id, deleted, {1});
  ASSERT_EQ(set.has_value(), !(deleted && row.pinned));
  if (!set || row.deleted == deleted) return;
  row.deleted = deleted;
  ++model_.journal;
}

void ModelTest::step() {
  switch (below(20)) {
    case 0:
      return damage_one();
    case 1:
    case 2:
    case 3:
      return delete_one();
    case 4:
    case 5:
      return pin_one();
    case 6:
    case 7:
    case 8:
    case 9:
      return add_one_pack();
    case 10:
    case 11:
    case 12:
      return compare_as_of();
    case 13:
      return mend_one();
    default:
      return commit_one();
  }
}

void ModelTest::compare_as_of() {
  const std::string& site = pick(sites_);
  const std::string& asset = pick(assets_);
  const Timestamp time{static_cast<std::int64_t>(below(60)) - 10};
  const PointRow* best = nullptr;
  for (const PointId& id : model_.order) {
    const PointRow& row = model_.points.at(id);
    const PointRecord& record = row.point.record;
    if (record.site != site || record.asset != asset || row.deleted || record.time > time) continue;
    // In the order of sequence: of equal times, the later one wins.
    if (best == nullptr || record.time >= best->point.record.time) best = &row;
  }
  const auto found = must(catalog_->find_point_as_of(site, asset, time));
  ASSERT_EQ(found.has_value(), best != nullptr);
  if (found) {
    EXPECT_TRUE(same_row(*found, *best));
  }
}

std::vector<PointId> ModelTest::expected_points(std::string_view site,
                                                std::string_view asset) const {
  std::vector<const PointRow*> rows;
  for (const auto& [id, row] : model_.points) {
    const PointRecord& record = row.point.record;
    if (row.deleted || (!site.empty() && record.site != site)) continue;
    if (asset.empty() || record.asset == asset) rows.push_back(&row);
  }
  std::ranges::sort(rows, {}, [](const PointRow* row) {
    const PointRecord& record = row->point.record;
    return std::tuple(record.site, record.asset, record.time, row->point.sequence);
  });
  std::vector<PointId> ids;
  for (const PointRow* row : rows) ids.push_back(row->point.record.id);
  return ids;
}

// The last of each asset, by the store's order and by time.
void ModelTest::compare_last() {
  std::map<std::pair<std::string, std::string>, PointId> latest;
  must(catalog_->each_latest_point([&](const PointRow& row) -> Status {
    const PointRecord& record = row.point.record;
    EXPECT_TRUE(latest.emplace(std::pair(record.site, record.asset), record.id).second);
    return {};
  }));
  std::vector<PointId> all;
  must(catalog_->each_point_id([&](const PointId& id) -> Status {
    all.push_back(id);
    return {};
  }));
  EXPECT_TRUE(
      std::ranges::equal(all, model_.points, {}, {}, [](const auto& p) { return p.first; }));
  for (const std::string& site : sites_) {
    for (const std::string& asset : assets_) {
      const auto ids = expected_points(site, asset);
      EXPECT_EQ(latest.contains({site, asset}), !ids.empty());
      if (!ids.empty()) {
        EXPECT_EQ((latest[{site, asset}]), ids.back());
      }
      const auto newest = must(catalog_->find_newest_point(site, asset));
      ASSERT_EQ(newest.has_value(), !ids.empty());
      for (const PointId& id : ids)
        EXPECT_LE(model_.points.at(id).point.sequence, newest->point.sequence);
    }
  }
}

void ModelTest::compare() {
  compare_last();
  EXPECT_THAT(must(catalog_->check()), ::testing::IsEmpty());
  for (const std::string& site : {std::string(), sites_[0], sites_[1]}) {
    for (const std::string& asset : {std::string(), assets_[0], assets_[1]}) {
      std::vector<PointId> ids;
      for (const PointRow& row : points(*catalog_, site, asset)) ids.push_back(row.point.record.id);
      EXPECT_EQ(ids, expected_points(site, asset));
    }
  }
  for (const auto& [id, row] : model_.points)
    EXPECT_TRUE(same_row(*must(catalog_->find_point(id)), row));
  for (std::uint64_t chunk = 0; chunk < 300; ++chunk) {
    const auto row = find_chunk(*catalog_, chunk);
    ASSERT_EQ(row.has_value(), is_present(chunk)) << chunk;
    if (row) {
      EXPECT_EQ(row->location.pack, model_.chunks.at(chunk));
    }
  }
  const CatalogStats stats = must(catalog_->stats());
  EXPECT_EQ(stats.points, expected_points("", "").size());
  EXPECT_EQ(stats.packs, model_.packs.size());
  EXPECT_EQ(stats.chunks, model_.chunks.size());
  EXPECT_EQ(journal(*catalog_).size(), model_.journal);
}

TEST_F(ModelTest, AnswersAsThePlainModelDoes) {
  catalog_ = open_catalog(directory_.path() / "catalog");
  for (int i = 0; i < rounds(1500) && !HasFailure(); ++i) {
    step();
    if (i % 100 == 99) compare();
    if (i % 150 == 149) {
      catalog_.reset();
      catalog_ = open_catalog(directory_.path() / "catalog");
      compare();
    }
  }
}

TEST_F(ModelTest, SurvivesReopeningAfterEveryStep) {
  for (int i = 0; i < rounds(60) && !HasFailure(); ++i) {
    catalog_.reset();
    catalog_ = open_catalog(directory_.path() / "catalog");
    step();
  }
  compare();
}

}  // namespace
}  // namespace tidemark
