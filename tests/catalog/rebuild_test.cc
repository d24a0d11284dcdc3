#include "catalog/rebuild.h"

#include "test_store.h"
#include "tests/fakes/faulty_backend.h"
#include "tests/fakes/memory_backend.h"

namespace tidemark {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RebuildTest : public ::testing::Test {
 protected:
  Result<RebuildReport> rebuild(Backend& backend) {
    return rebuild_catalog(backend, path(), test_store(), {}, {});
  }
  RebuildReport rebuild() { return must(rebuild(backend_)); }
  std::filesystem::path path() const { return directory_.path() / "catalog"; }
  // What every rebuilt catalog must come up to.
  std::unique_ptr<Catalog> open_whole() {
    auto catalog = open_catalog(path());
    EXPECT_THAT(must(catalog->check()), IsEmpty());
    return catalog;
  }
  void fill() {
    store_.add_point("rbd/rbd/a", {100}, 3000);
    store_.add_point("rbd/rbd/b", {150}, 50);
    store_.add_point("rbd/rbd/a", {200}, 3000, 2900);
    store_.add_point("rbd/rbd/empty", {250}, 0);
  }

  TempDir directory_;
  MemoryBackend backend_;
  TestStore store_{backend_};
};

TEST_F(RebuildTest, AnEmptyStoreGivesAnEmptyCatalogWithAJournal) {
  const RebuildReport report = rebuild();
  EXPECT_EQ(report.packs, 0U);
  EXPECT_EQ(report.findings_total, 0U);
  const auto catalog = open_whole();
  EXPECT_TRUE(points(*catalog).empty());
  ASSERT_EQ(journal(*catalog).size(), 1U);
  EXPECT_EQ(journal(*catalog)[0].kind, "rebuild");
}

TEST_F(RebuildTest, EverythingThatTheStoreHoldsIsThereAgain) {
  fill();
  const RebuildReport report = rebuild();
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_EQ(report.packs, store_.packs());
  EXPECT_EQ(report.points, 4U);
  EXPECT_EQ(report.incomplete_points, 0U);
  const auto catalog = open_whole();
  for (const PointRow& row : store_.points())
    EXPECT_TRUE(same_row(*must(catalog->find_point(row.point.record.id)), row));
  EXPECT_EQ(must(catalog->last_point())->record_hash, store_.points().back().record_hash);
  ASSERT_GT(store_.nodes().size(), 50U);
  for (const auto& row : must(catalog->find_chunks(store_.nodes()))) {
    ASSERT_TRUE(row);
    EXPECT_TRUE(row->closed);
  }
  // And the next point can be committed.
  commit(*catalog, 99, "tokyo", "rbd/rbd/a", {900});
  EXPECT_THAT(must(catalog->check()), IsEmpty());
}

TEST_F(RebuildTest, ReplacesTheOldCatalogAndKeepsItAside) {
  fill();
  must(open_catalog(path())->append_journal("note", "old", {1}));
  rebuild();
  EXPECT_EQ(journal(*open_whole())[0].kind, "rebuild");
  EXPECT_EQ(journal(*open_catalog(path().string() + ".old-1"))[0].text, "old");
  rebuild();
  EXPECT_FALSE(std::filesystem::exists(path().string() + ".old-1"));
  EXPECT_EQ(journal(*open_catalog(path().string() + ".old-2"))[0].kind, "rebuild");
  EXPECT_FALSE(std::filesystem::exists(path().string() + ".rebuilding"));
}

TEST_F(RebuildTest, MarksRestoreWhatWasDecided) {
  fill();
  const auto id = [&](std::size_t i) { return store_.points()[i].point.record.id; };
  store_.mark(id(0), ".pin", {5});
  store_.mark(id(1), ".deleted", {777});
  store_.mark(id(2), ".pin", {5});
  store_.mark(id(2), ".deleted", {6});
  must(backend_.create("marks/" + id(3).hex() + ".deleted", as_bytes("short")));
  must(backend_.create("marks/else", {}));
  store_.mark(nth<PointId>(50), ".pin", {5});
  const RebuildReport report = rebuild();
  EXPECT_THAT(report.findings, Contains(HasSubstr("pinned and as deleted")));
  EXPECT_THAT(report.findings, Contains(HasSubstr("listed as not deleted")));
  EXPECT_THAT(report.findings, Contains(HasSubstr("not the name of a mark")));
  EXPECT_THAT(report.findings, Contains(HasSubstr(nth<PointId>(50).hex())));
  EXPECT_EQ(report.findings_total, 4U);
  const auto catalog = open_whole();
  const auto row = [&](std::size_t i) { return *must(catalog->find_point(id(i))); };
  EXPECT_TRUE(row(0).pinned);
  EXPECT_EQ(row(1).deleted, Timestamp{777});
  EXPECT_TRUE(row(2).pinned);
  EXPECT_FALSE(row(2).deleted);
  EXPECT_FALSE(row(3).deleted);
  EXPECT_EQ(points(*catalog).size(), 3U);
}

TEST_F(RebuildTest, AMissingPointIsReportedAsAGap) {
  fill();
  must(backend_.remove(point_blob_name(store_.points()[1].point.record.id)));
  const RebuildReport report = rebuild();
  EXPECT_EQ(report.points, 3U);
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_THAT(report.findings[0], HasSubstr("missing"));
  EXPECT_EQ(points(*open_whole()).size(), 3U);
}

TEST_F(RebuildTest, ADamagedPointIsReportedAndTheOthersAreListed) {
  fill();
  backend_.medium().flip(point_blob_name(store_.points()[1].point.record.id), 150);
  const RebuildReport report = rebuild();
  EXPECT_EQ(report.points, 3U);
  EXPECT_EQ(report.damaged_points, 1U);
  EXPECT_EQ(points(*open_whole()).size(), 3U);
}

TEST_F(RebuildTest, APointOfAnotherStoreOrNameIsReported) {
  fill();
  const Bytes blob = encode(store_.points()[0].point);
  must(backend_.create(point_blob_name(nth<PointId>(70)), blob));
  PointRow foreign = make_point(71, "tokyo", "rbd/rbd/x", {1}, std::nullopt);
  foreign.point.record.store = nth<StoreId>(8);
  must(backend_.create(point_blob_name(nth<PointId>(71)), encode(foreign.point)));
  const RebuildReport report = rebuild();
  EXPECT_EQ(report.damaged_points, 2U);
  EXPECT_THAT(report.findings, Contains(HasSubstr("another point")));
  EXPECT_THAT(report.findings, Contains(HasSubstr("another store")));
  EXPECT_EQ(points(*open_whole()).size(), 4U);
}

TEST_F(RebuildTest, AWrongLinkIsReportedAndThePointIsListed) {
  fill();
  PointRow forged = make_point(90, "tokyo", "rbd/rbd/a", {300}, store_.points().back());
  forged.point.previous = nth<Digest>(3);
  must(backend_.create(point_blob_name(nth<PointId>(90)), encode(forged.point)));
  // And one that claims the number of another.
  PointRow twin = make_point(91, "tokyo", "rbd/rbd/a", {300}, store_.points()[0]);
  must(backend_.create(point_blob_name(nth<PointId>(91)), encode(twin.point)));
  const RebuildReport report = rebuild();
  EXPECT_THAT(report.findings, Contains(HasSubstr("does not link")));
  EXPECT_THAT(report.findings, Contains(HasSubstr("has the number of point")));
  EXPECT_EQ(report.points, 6U);
  EXPECT_EQ(points(*open_catalog(path())).size(), 6U);
}

TEST_F(RebuildTest, DamagedPacksAreSkippedAndTheirPointsNamed) {
  fill();
  const PackId chunks = store_.chunk_packs()[1];  // of point 2 alone
  const std::uint64_t size = must(backend_.size(pack_blob_name(chunks)));
  backend_.medium().flip(pack_blob_name(chunks), size - 100);
  const RebuildReport report = rebuild();
  EXPECT_EQ(report.damaged_packs, 1U);
  EXPECT_EQ(report.incomplete_points, 1U);
  EXPECT_THAT(report.findings,
              Contains(AllOf(HasSubstr(nth<PointId>(2).hex()), HasSubstr("is incomplete"))));
  const auto catalog = open_whole();
  EXPECT_EQ(points(*catalog).size(), 4U);
  EXPECT_FALSE(must(catalog->find_pack(chunks)));
  std::size_t closed = 0;
  for (const auto& row : must(catalog->find_chunks(store_.nodes())))
    closed += row->closed ? 1U : 0U;
  EXPECT_LT(closed, store_.nodes().size());
  EXPECT_GT(closed, 0U);
}

TEST_F(RebuildTest, NodesThatAreGoneMakeEveryPointAboveThemIncomplete) {
  fill();
  must(backend_.remove(pack_blob_name(store_.node_packs()[0])));
  const RebuildReport report = rebuild();
  // Point 3 shares nodes with point 1 that were in its pack alone, or has its own copies of all.
  EXPECT_EQ(report.incomplete_points, 1U);
  EXPECT_EQ(report.points, 4U);
  EXPECT_FALSE(must(open_whole()->find_point(nth<PointId>(1)))->deleted);
}

TEST_F(RebuildTest, EveryCutOfAPackIsDamageOfThatPackOnly) {
  store_.add_point("rbd/rbd/a", {100}, 20);
  store_.add_point("rbd/rbd/b", {100}, 20);
  const std::string name = pack_blob_name(store_.chunk_packs()[0]);
  std::uint64_t size = must(backend_.size(name));
  while (size > 0) {
    size = size > 300 ? size - 300 : 0;
    backend_.medium().truncate(name, size);
    const RebuildReport report = rebuild();
    EXPECT_EQ(report.damaged_packs, 1U);
    EXPECT_EQ(report.incomplete_points, 1U);
    EXPECT_EQ(report.points, 2U);
  }
}

TEST_F(RebuildTest, AnIndexLargerThanTheFirstReadIsReadInFull) {
  store_.add_point("rbd/rbd/a", {100}, 5000);
  const RebuildReport report = rebuild();
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_EQ(must(open_whole()->find_pack(store_.chunk_packs()[0]))->entries, 5000U);
}

TEST_F(RebuildTest, BlobsThatAreNoPacksAreReported) {
  fill();
  must(backend_.create("packs/zz/notapack", as_bytes("x")));
  EXPECT_THAT(rebuild().findings, Contains(HasSubstr("not the name of a pack")));
}

// Whatever the backend fails to tell, the old catalog stays; a smaller one never takes its place.
TEST_F(RebuildTest, AnErrorOfTheBackendEndsTheRebuildAndLeavesTheOldCatalog) {
  store_.add_point("rbd/rbd/a", {100}, 200);
  store_.add_point("rbd/rbd/b", {150}, 200, 190);
  store_.mark(nth<PointId>(1), ".deleted", {5});
  for (const BackendOp op :
       {BackendOp::list, BackendOp::list_item, BackendOp::read, BackendOp::size}) {
    const std::string old = "before " + std::string(to_string(op));
    must(open_catalog(path())->append_journal("note", old, {1}));
    int failures = 0;
    for (std::uint64_t nth_call = 1; nth_call < 200; ++nth_call) {
      FaultyBackend faulty(backend_);
      faulty.fail(op, nth_call, Error(ErrorCode::unavailable, "cut"));
      const auto result = rebuild(faulty);
      if (faulty.log().empty()) break;
      ++failures;
      ASSERT_EQ(code_of(result), ErrorCode::unavailable) << to_string(op) << " " << nth_call;
      ASSERT_EQ(journal(*open_catalog(path())).back().text, old);
    }
    EXPECT_GT(failures, 0) << to_string(op);
  }
}

TEST_F(RebuildTest, StopsWhenAskedAndLeavesTheOldCatalog) {
  fill();
  must(open_catalog(path())->append_journal("note", "old", {1}));
  for (const std::string_view stage : {"packs", "points", "trees"}) {
    std::stop_source source;
    const auto progress = [&](const RebuildProgress& p) {
      EXPECT_LE(p.done, p.total);
      if (p.stage == stage) source.request_stop();
    };
    const auto result =
        rebuild_catalog(backend_, path(), test_store(), progress, source.get_token());
    EXPECT_EQ(code_of(result), ErrorCode::cancelled) << stage;
    EXPECT_EQ(journal(*open_catalog(path()))[0].text, "old");
  }
}

TEST_F(RebuildTest, IsRefusedWhileTheCatalogIsOpen) {
  const auto catalog = open_catalog(path());
  EXPECT_EQ(code_of(rebuild(backend_)), ErrorCode::refused);
}

TEST_F(RebuildTest, FencesStayAboveThoseGivenBefore) {
  SessionRow row;
  row.site = "tokyo";
  row.asset = "rbd/rbd/a";
  const std::uint64_t before = must(open_catalog(path())->open_session(row)).fence;
  rebuild();
  const auto catalog = open_whole();
  EXPECT_GT(must(catalog->newest_fence("tokyo", "rbd/rbd/a")), before);
  EXPECT_GT(must(catalog->open_session(row)).fence, before);
  EXPECT_THAT(must(catalog->check()), IsEmpty());
}

TEST_F(RebuildTest, ADamagedCatalogIsReplaced) {
  fill();
  open_catalog(path());
  std::filesystem::remove(path() / "rocksdb" / "CURRENT");
  EXPECT_EQ(code_of(Catalog::open(path(), test_store())), ErrorCode::corruption);
  rebuild();
  EXPECT_EQ(points(*open_whole()).size(), 4U);
}

}  // namespace
}  // namespace tidemark
