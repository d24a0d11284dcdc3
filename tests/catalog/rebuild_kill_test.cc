// A rebuild is ended at each of its steps; whoever comes next must find one whole catalog, or be
// told that there is none.

#include <unistd.h>

#include "catalog/internal/rebuilder.h"
#include "child.h"
#include "test_store.h"

namespace tidemark {
namespace {

constexpr int kKilledAtStep = 42;
constexpr std::string_view kSteps[] = {"clear successor",
                                       "packs",
                                       "points",
                                       "trees",
                                       "flush",
                                       "mark complete",
                                       "rename current",
                                       "rename successor",
                                       "remove mark",
                                       "remove old",
                                       "end"};

std::unique_ptr<Backend> open_files(const std::filesystem::path& path) {
  BackendConfig config;
  config.path = path.string();
  return must(open_backend(config, true));
}

// In the child: rebuilds, and ends without a word before the step that it was given.
TEST(RebuildKillTest, DISABLED_Rebuilder) {
  const auto backend = open_files(child_argument(0));
  const std::string last_step = child_argument(2);
  const auto hook = [&](std::string_view step) {
    if (step == last_step) ::_exit(kKilledAtStep);
  };
  must(catalog::rebuild(*backend, child_argument(1), test_store(), {}, {}, hook));
}

class RebuildKillTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    const auto backend = open_files(store_path());
    TestStore store(*backend);
    store.add_point("rbd/rbd/a", {100}, 300);
    store.add_point("rbd/rbd/a", {200}, 300, 250);
  }
  std::filesystem::path store_path() const { return directory_.path() / "store"; }
  std::filesystem::path path() const { return directory_.path() / "catalog"; }
  void rebuild_until(std::string_view step) {
    Child child("RebuildKillTest.DISABLED_Rebuilder",
                {store_path().string(), path().string(), std::string(step)});
    EXPECT_EQ(child.wait(), kKilledAtStep);
  }
  void rebuild_in_full() {
    const auto backend = open_files(store_path());
    const RebuildReport report = must(rebuild_catalog(*backend, path(), test_store(), {}, {}));
    EXPECT_EQ(report.findings_total, 0U);
  }
  void expect_new() {
    const auto catalog = open_catalog(path());
    EXPECT_EQ(journal(*catalog).at(0).kind, "rebuild");
    EXPECT_EQ(points(*catalog).size(), 2U);
    EXPECT_THAT(must(catalog->check()), ::testing::IsEmpty());
  }
  TempDir directory_;
};

TEST_P(RebuildKillTest, TheOldOrTheNewCatalogIsThere) {
  must(open_catalog(path())->append_journal("note", "old", {1}));
  rebuild_until(GetParam());
  {
    const auto catalog = open_catalog(path());
    EXPECT_THAT(must(catalog->check()), ::testing::IsEmpty());
    const bool old = journal(*catalog).at(0).kind == "note";
    EXPECT_EQ(points(*catalog).size(), old ? 0U : 2U);
    EXPECT_FALSE(std::filesystem::exists(path().string() + ".rebuilding"));
  }
  rebuild_in_full();
  expect_new();
}

TEST_P(RebuildKillTest, TheNextRebuildSucceedsWithoutOpeningInBetween) {
  must(open_catalog(path())->append_journal("note", "old", {1}));
  rebuild_until(GetParam());
  rebuild_in_full();
  expect_new();
}

TEST_P(RebuildKillTest, WithoutAnOldCatalogAnEmptyOneNeverComesOfIt) {
  if (GetParam() == "rename current") return;  // there is none
  rebuild_until(GetParam());
  auto opened = Catalog::open(path(), test_store());
  if (!opened) {
    EXPECT_EQ(opened.error().code(), ErrorCode::corruption);
  } else if (GetParam() != "clear successor") {  // nothing had happened yet
    EXPECT_EQ(points(**opened).size(), 2U);
  }
  opened = Error(ErrorCode::internal, "closed");
  rebuild_in_full();
  expect_new();
}

// Each test starts processes: under a sanitizer, some steps have to do.
std::vector<std::string_view> chosen_steps() {
  std::vector<std::string_view> chosen;
  for (std::size_t i = 0; i < std::size(kSteps); i += kSanitized ? 3 : 1)
    chosen.push_back(kSteps[i]);
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Steps, RebuildKillTest, ::testing::ValuesIn(chosen_steps()),
                         [](const auto& step) {
                           std::string name(step.param);
                           std::ranges::replace(name, ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace tidemark
