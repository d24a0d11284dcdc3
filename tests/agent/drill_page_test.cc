// Drill reports as a page for people.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "agent/drill/page.h"
#include "base/crypto.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

DrillReport sample() {
  DrillReport report;
  report.id = "20261124T120000Z-1f0c";
  report.plan = "monthly";
  report.site = "osaka";
  report.rule = "random";
  report.seed = 42;
  report.ended.us = 95'000'000;
  DrillAsset asset;
  asset.site = "tokyo";
  asset.asset = "rbd/rbd/<script>";
  asset.method = "restore";
  asset.target = "rbd/dr/tidemark-drill.0";
  asset.point = std::string(32, 'a');
  asset.root = std::string(64, 'b');
  asset.rpo = {hours(2), hours(1)};
  asset.rto = {minutes(1), seconds(90)};
  asset.checks = {{"content", DrillCheck::Result::passed, milliseconds(250), "", 3 << 20},
                  {"command", DrillCheck::Result::failed, seconds(1), "a\n<b>\x01", 0}};
  asset.steps = {{"restore", seconds(1), seconds(90)}, {"check content", seconds(91), seconds(1)}};
  report.assets.push_back(asset);
  return report;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
    ++found;
  return found;
}

TEST(DrillPageTest, ShowsWhatWasFoundAndWhatProvesIt) {
  DrillProof proof{sha256(as_bytes("the report")), JournalLink{17, "f00d", "cafe"}};
  const std::string page = page_of(sample(), proof);
  if (const char* const keep = std::getenv("TM_KEEP_PAGE"); keep != nullptr)
    std::ofstream(keep) << page;
  for (const std::string& text :
       {std::string("monthly"), std::string("drawn with seed 42"), std::string(32, 'a'),
        std::string(64, 'b'), proof.hash.hex(), std::string("f00d"), std::string("cafe"),
        std::string("1m30s"), std::string("class=\"over\"")})
    EXPECT_THAT(page, HasSubstr(text));
  proof.link.reset();
  EXPECT_THAT(page_of(sample(), proof), HasSubstr("the store was not told"));
}

TEST(DrillPageTest, NeedsNothingBesideItAndRunsNothing) {
  const std::string page = page_of(sample(), {});
  for (const char* text :
       {"<script", "http:", "https:", "src=", "href=", "url(", "@import", "\x01"})
    EXPECT_THAT(page, Not(HasSubstr(text)));
  EXPECT_THAT(page, HasSubstr("rbd/rbd/&lt;script&gt;"));
  for (const std::string element :
       {"table", "svg", "tr", "td", "th", "p", "h2", "pre", "body", "html"})
    EXPECT_EQ(count(page, "<" + element + ">") + count(page, "<" + element + " "),
              count(page, "</" + element + ">"))
        << element;
}

// A green page of a drill that looked at nothing would be believed.
TEST(DrillPageTest, WhatWasNotCheckedAndWhatIsLeftIsSaid) {
  DrillReport report = sample();
  report.assets[0].checks.clear();
  report.assets[0].left = {"image dr/x: busy"};
  report.assets[0].problem = "no room";
  const std::string page = page_of(report, {});
  EXPECT_THAT(page, HasSubstr("Nothing was checked."));
  EXPECT_THAT(page, HasSubstr("not removed: image dr/x: busy"));
  EXPECT_THAT(page, HasSubstr("<p class=\"failed\">no room</p>"));
  report.assets.clear();
  EXPECT_THAT(page_of(report, {}), HasSubstr("failed: 0 of 0 assets"));
}

}  // namespace
}  // namespace tidemark::test
