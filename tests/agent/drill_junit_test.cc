// Drill reports as JUnit XML.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/drill/junit.h"

namespace tidemark::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

DrillReport report_of(DrillAsset asset) {
  DrillReport report;
  report.id = "20261124T120000Z-1f0c";
  report.plan = "monthly";
  report.ended.us = 3'000'000;
  asset.site = "tokyo";
  asset.asset = "rbd/rbd/a";
  report.assets.push_back(std::move(asset));
  return report;
}

TEST(DrillJunitTest, WholeOfAPassedAsset) {
  DrillAsset asset;
  asset.result = DrillResult::passed;
  asset.rto = {minutes(30), milliseconds(1500)};
  asset.checks = {{"content", DrillCheck::Result::passed, milliseconds(250), "", 7},
                  {"fsck", DrillCheck::Result::skipped, {}, "no file system", 0}};
  EXPECT_EQ(junit_of(report_of(asset)),
            R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="monthly 20261124T120000Z-1f0c" time="3.000000">
  <testsuite name="tokyo:rbd/rbd/a" tests="5" failures="0" errors="0" skipped="1" time="3.250000">
    <testcase classname="tokyo:rbd/rbd/a" name="recovery" time="1.500000"/>
    <testcase classname="tokyo:rbd/rbd/a" name="rto" time="1.500000"/>
    <testcase classname="tokyo:rbd/rbd/a" name="check content" time="0.250000"/>
    <testcase classname="tokyo:rbd/rbd/a" name="check fsck" time="0.000000">
      <skipped message="no file system"/>
    </testcase>
    <testcase classname="tokyo:rbd/rbd/a" name="clean up" time="0.000000"/>
  </testsuite>
</testsuites>
)");
}

TEST(DrillJunitTest, EachThingThatWentWrongIsAFailure) {
  DrillAsset asset;
  asset.problem = "the pool is <full>";
  asset.rpo = {seconds(60), seconds(61)};
  asset.rto = {seconds(60), std::nullopt};
  asset.checks = {{"command", DrillCheck::Result::failed, seconds(1), "exit 1\n\xff", 0}};
  asset.left = {"image dr/x: busy", "bucket b: away"};
  const std::string text = junit_of(report_of(asset));
  EXPECT_THAT(text, HasSubstr("tests=\"5\" failures=\"5\""));
  EXPECT_THAT(text, HasSubstr("<failure message=\"the pool is &lt;full&gt;\"/>"));
  EXPECT_THAT(text, HasSubstr("measured was 1m1s"));
  EXPECT_THAT(text, HasSubstr("measured was nothing"));
  EXPECT_THAT(text, HasSubstr("exit 1&#10;\xEF\xBF\xBD"));
  EXPECT_THAT(text, HasSubstr("image dr/x: busy; bucket b: away"));
}

// A build server shows an empty report as a success.
TEST(DrillJunitTest, ADrillThatFoundNothingIsNotGreen) {
  DrillReport report;
  report.problem = "the store has no point of what the plan names";
  EXPECT_THAT(junit_of(report), HasSubstr("<failure message=\"the store has no point"));
  report.problem.clear();
  EXPECT_THAT(junit_of(report), HasSubstr("<failure"));
  report.result = DrillResult::passed;
  EXPECT_THAT(junit_of(report), Not(HasSubstr("<failure")));
}

}  // namespace
}  // namespace tidemark::test
