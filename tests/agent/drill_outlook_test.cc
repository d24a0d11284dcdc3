// What is made of earlier drills: predictions, how plans stand, and what a drill may take and
// remove.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent/drill/drill_status.h"
#include "agent/drill/predict.h"
#include "agent/drill/recovery.h"
#include "base/bytes.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::seconds;
using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Timestamp kStart = Timestamp{} + hours(24 * 20000);

DrillAsset recovered(std::string name, std::string method, Duration took, std::uint64_t written) {
  DrillAsset asset;
  asset.site = "tokyo";
  asset.asset = std::move(name);
  asset.method = std::move(method);
  asset.result = DrillResult::passed;
  asset.rto.measured = took;
  asset.written_bytes = written;
  return asset;
}

DrillReport report_of(std::vector<DrillAsset> assets, Duration after = {},
                      DrillResult result = DrillResult::passed) {
  DrillReport report;
  report.started = kStart + after;
  report.id = format_time(report.started);
  report.plan = "weekly";
  report.result = result;
  report.assets = std::move(assets);
  return report;
}

TEST(PredictorTest, AnAssetIsJudgedByItsOwnRate) {
  const std::vector<DrillReport> reports = {
      report_of({recovered("a", "restore", seconds(10), 100 * kMiB),
                 recovered("b", "restore", seconds(1), 100 * kMiB)})};
  const Predictor predictor(reports);
  const Prediction own = predictor.predict("tokyo", "a", "restore", 50 * kMiB);
  EXPECT_EQ(own.from, "asset");
  EXPECT_EQ(own.time, seconds(5));
  const Prediction of_others = predictor.predict("tokyo", "new", "restore", 110 * kMiB);
  EXPECT_EQ(of_others.from, "others");
  EXPECT_EQ(of_others.time, seconds(2));  // the median of 10 and 100 MiB/s
  EXPECT_EQ(predictor.predict("kyoto", "a", "restore", 1).from, "others");
  EXPECT_EQ(predictor.predict("tokyo", "a", "file", 1).from, "assumed");
}

TEST(PredictorTest, OnlyTheLastFiveCount) {
  std::vector<DrillReport> reports;
  for (int i = 0; i < 20; ++i)
    reports.push_back(report_of({recovered("a", "restore", seconds(100), 100 * kMiB)}));
  for (int i = 0; i < 5; ++i)
    reports.push_back(report_of({recovered("a", "restore", seconds(1), 100 * kMiB)}));
  EXPECT_EQ(Predictor(reports).predict("tokyo", "a", "restore", 100 * kMiB).time, seconds(1));
}

TEST(PredictorTest, WhatIsUsableAtOnceDoesNotGrowWithItsBytes) {
  const std::vector<DrillReport> reports = {
      report_of({recovered("a", "instant", seconds(2), 100 * kMiB)}),
      report_of({recovered("a", "instant", seconds(4), kMiB)})};
  EXPECT_EQ(Predictor(reports).predict("tokyo", "a", "instant", 1000 * kMiB).time, seconds(3));
}

TEST(PredictorTest, WhatDidNotComeToItsEndIsNoMeasure) {
  DrillAsset failed = recovered("a", "restore", seconds(1), kMiB);
  failed.problem = "the pool is full";
  DrillAsset nothing = recovered("a", "restore", seconds(1), 0);
  const std::vector<DrillReport> reports = {report_of({failed, nothing})};
  EXPECT_EQ(Predictor(reports).predict("tokyo", "a", "restore", kMiB).from, "assumed");
}

TEST(PredictorTest, EarlierPredictionsAreHeldAgainstWhatWasMeasured) {
  std::vector<DrillAsset> assets;
  for (const int took : {1, 2, 6}) {
    assets.push_back(recovered("a", "restore", seconds(took), kMiB));
    assets.back().predicted = seconds(2);
    assets.back().predicted_from = "asset";
  }
  assets.push_back(recovered("a", "restore", seconds(100), kMiB));
  assets.back().predicted = seconds(1);
  assets.back().predicted_from = "assumed";  // no prediction at all
  const std::vector<DrillReport> reports = {report_of(assets)};
  const PredictionRecord record = Predictor(reports).record("restore");
  EXPECT_EQ(record.count, 3U);
  EXPECT_THAT(record.median, DoubleEq(1));
  EXPECT_THAT(record.worst, DoubleEq(3));
  EXPECT_EQ(Predictor(reports).record("file").count, 0U);
}

TEST(DrillStatusTest, LastSuccessOfEachAsset) {
  DrillAsset failed = recovered("a", "restore", seconds(3), 1);
  failed.result = DrillResult::failed;
  const std::vector<DrillReport> reports = {
      report_of(
          {recovered("b", "restore", seconds(1), 1), recovered("a", "restore", seconds(2), 1)}),
      report_of({failed, recovered("b", "restore", seconds(5), 1)}, hours(1), DrillResult::failed)};
  DrillStatus status = drill_status_of("weekly", reports);
  EXPECT_EQ(status.last, reports[1].id);
  EXPECT_EQ(status.last_result, DrillResult::failed);
  EXPECT_THAT(status.assets,
              ElementsAre(DrillAssetStatus{"tokyo", "a", kStart, seconds(2)},
                          DrillAssetStatus{"tokyo", "b", kStart + hours(1), seconds(5)}));
  status.overdue_after = hours(2);
  EXPECT_THAT(status.overdue(kStart + hours(2)), IsEmpty());
  EXPECT_THAT(status.overdue(kStart + hours(2) + seconds(1)), ElementsAre("tokyo:a"));
  EXPECT_THAT(drill_status_of("other", reports).assets, IsEmpty());
}

TEST(DrillStatusTest, WhatIsNoPartOfThePlanAnyMoreIsNotOverdue) {
  const std::vector<DrillReport> reports = {
      report_of(
          {recovered("a", "restore", seconds(1), 1), recovered("b", "restore", seconds(1), 1)}),
      report_of({recovered("b", "restore", seconds(1), 1)}, hours(1)),
      report_of({}, hours(2), DrillResult::failed)};  // it never came to an asset
  const DrillStatus status = drill_status_of("weekly", reports);
  ASSERT_THAT(status.assets, SizeIs(1));
  EXPECT_EQ(status.assets[0].asset, "b");
  EXPECT_EQ(status.last, reports[2].id);
}

TEST(DrillStatusTest, APlanThatNeverHadAnAssetIsOverdueItself) {
  DrillStatus status = drill_status_of("weekly", {});
  status.known_since = kStart;
  status.overdue_after = hours(1);
  EXPECT_THAT(status.overdue(kStart + hours(1)), IsEmpty());
  EXPECT_THAT(status.overdue(kStart + hours(2)), ElementsAre(""));
}

TEST(DrillLimitsTest, RoomIsWhatIsFreeWithoutThePartToKeep) {
  EXPECT_TRUE(check_room(50, 60, 100, 0.1));
  const Status full = check_room(51, 60, 100, 0.1);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::resource_exhausted);
  EXPECT_FALSE(check_room(200, 100, 1000, 0));
  EXPECT_TRUE(check_room(0, 0, 0, 0));
}

TEST(DrillRemovalTest, OnlyWhatADrillNamedIsRemoved) {
  const Scratch scratch;
  const fs::path& dir = scratch.path();
  const fs::path others = dir / "data", ours = dir / drill_name("x.0");
  fs::create_directories(others);
  fs::create_directories(ours / "deep");
  std::ofstream(ours / "deep" / "file") << "x";
  const DrillTools tools;
  for (const auto kind :
       {DrillThing::Kind::image, DrillThing::Kind::directory, DrillThing::Kind::bucket}) {
    const Status removed = remove_drill_thing(tools, {kind, others.string(), ""}, {});
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code(), ErrorCode::refused);
  }
  EXPECT_TRUE(fs::exists(others));
  // A name of ours in the middle is not enough.
  EXPECT_FALSE(
      remove_drill_thing(tools, {DrillThing::Kind::directory, (ours / "deep").string(), ""}, {}));
  const DrillThing thing{DrillThing::Kind::directory, ours.string(), ""};
  EXPECT_TRUE(remove_drill_thing(tools, thing, {}));
  EXPECT_FALSE(fs::exists(ours));
  EXPECT_TRUE(remove_drill_thing(tools, thing, {})) << "what is gone is removed";
}

TEST(DrillRemovalTest, WithoutAClusterNothingIsSaidToBeGone) {
  const DrillTools tools;
  for (const auto kind : {DrillThing::Kind::image, DrillThing::Kind::bucket}) {
    const Status removed = remove_drill_thing(tools, {kind, "rbd/tidemark-drill.x", ""}, {});
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code(), ErrorCode::unavailable);
  }
}

}  // namespace
}  // namespace tidemark::test
