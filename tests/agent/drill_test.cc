// What drills leave behind: reports, how they are linked, notes; and which points they choose.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "agent/drill/book.h"
#include "agent/drill/points.h"
#include "agent/standby/failback.h"
#include "base/crypto.h"
#include "tests/agent/service_support.h"
#include "tests/base/source_path.h"

namespace tidemark::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Timestamp at(std::string_view text) { return must(parse_time(text, {})); }

DrillAsset sample_asset() {
  DrillAsset asset;
  asset.site = "tokyo";
  asset.asset = "rbd/rbd/vm-1";
  asset.method = "restore";
  asset.target = "rbd/dr/tidemark-drill.20261124T120000Z-1f0c.0";
  asset.result = DrillResult::passed;
  asset.point = std::string(32, 'a');
  asset.point_time = at("2026-11-24T11:00:00Z");
  asset.root = std::string(64, 'b');
  asset.record_hash = std::string(64, 'c');
  asset.size_bytes = 1 << 30;
  asset.rpo = {hours(2), hours(1)};
  asset.rto = {std::nullopt, milliseconds(1500)};
  asset.predicted = seconds(2);
  asset.predicted_from = "asset";
  asset.written_bytes = 3 << 20;
  asset.fetched_bytes = 1 << 20;
  asset.checks = {{"content", DrillCheck::Result::passed, milliseconds(250), "", 3 << 20},
                  {"fsck", DrillCheck::Result::skipped, {}, "no file system was found", 0}};
  asset.steps = {{"restore", milliseconds(10), milliseconds(1500)}};
  return asset;
}

DrillReport sample() {
  DrillReport report;
  report.id = "20261124T120000Z-1f0c";
  report.plan = "monthly";
  report.site = "osaka";
  report.store = std::string(32, '7');
  report.version = "0.1.0";
  report.trigger = "schedule";
  report.rule = "random";
  report.seed = 18446744073709551615ULL;
  report.started = at("2026-11-24T12:00:00Z");
  report.ended = at("2026-11-24T12:00:03Z");
  report.result = DrillResult::failed;
  report.assets.push_back(sample_asset());
  DrillAsset missing;
  missing.site = "tokyo";
  missing.asset = "s3/photos";
  missing.method = "restore";
  missing.rpo.objective = hours(2);
  missing.problem = "there is no point as of then";
  report.assets.push_back(missing);
  return report;
}

TEST(DrillReportTest, ReadsBackAsWritten) {
  DrillReport report = sample();
  EXPECT_EQ(must(decode_drill_report(encode(report))), report);
  report.seed.reset();
  report.problem = "stopped \"in\" the\nmiddle \xff";
  report.assets[0].left = {"image dr/x: busy"};
  const DrillReport read = must(decode_drill_report(encode(report)));
  EXPECT_EQ(read.assets, report.assets);
  EXPECT_FALSE(read.seed);
  EXPECT_EQ(encode(read), encode(must(decode_drill_report(encode(read)))));
}

// Auditors keep them for years.
TEST(DrillReportTest, Golden) {
  const fs::path golden = source_path("tests/golden/drill/report_v1.json");
  const std::string text = encode(sample());
  if (std::getenv("TM_WRITE_GOLDEN") != nullptr)
    must(write_file_durably(golden, as_bytes(text), 0644));
  EXPECT_EQ(as_text(must(read_file(golden, kMiB))), text);
}

TEST(DrillReportTest, NonsenseIsRefused) {
  const std::string good = encode(sample());
  const auto with = [&](const std::string& what, const std::string& other) {
    std::string text = good;
    EXPECT_NE(text.find(what), std::string::npos) << what;
    return text.replace(text.find(what), what.size(), other);
  };
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string(R"({"version":1})"),
        with("\"failed\"", "\"perhaps\""), with("\"plan\"", "\"plam\""), with("1.5", "-1.5"),
        with("1.5", "1e300"), with("2026-11-24T11:00:00Z", "yesterday"), with("1073741824", "-1"),
        with("\"id\": \"2026", "\"id\": null, \"x\": \"2026")}) {
    const auto read = decode_drill_report(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code(), ErrorCode::corruption);
  }
  EXPECT_EQ(code_of(decode_drill_report(with("\"version\": 1", "\"version\": 2"))),
            ErrorCode::unsupported);
}

TEST(DrillReportTest, ItsSummaryCountsWhatPassed) {
  DrillReport report = sample();
  EXPECT_THAT(summary(report), HasSubstr("failed: 1 of 2 assets in 3s"));
  report.problem = "no room";
  EXPECT_THAT(summary(report), ::testing::EndsWith("; no room"));
}

TEST(DrillReportTest, WhatWasNotMeasuredDoesNotMeetAnObjective) {
  EXPECT_TRUE((DrillMeasure{std::nullopt, std::nullopt}.met()));
  EXPECT_FALSE((DrillMeasure{hours(1), std::nullopt}.met()));
  EXPECT_TRUE((DrillMeasure{hours(1), hours(1)}.met()));
  EXPECT_FALSE((DrillMeasure{hours(1), hours(1) + std::chrono::microseconds(1)}.met()));
}

class DrillBookTest : public ::testing::Test {
 protected:
  DrillReport add(const std::string& id) {
    DrillReport report = sample();
    report.id = id;
    hashes_.push_back(must(book_.add(report)));
    return report;
  }
  fs::path file(const std::string& name) const { return scratch_.path() / "drills" / name; }

  Scratch scratch_;
  DrillBook book_{scratch_.path() / "drills"};
  // Makes the directory, as every run does.
  Fd lock_ = must(book_.lock_plan("monthly"));
  std::vector<Digest> hashes_;
};

TEST_F(DrillBookTest, APlanRunsOnce) {
  EXPECT_EQ(code_of(book_.lock_plan("monthly")), ErrorCode::refused);
  EXPECT_TRUE(book_.lock_plan("weekly"));
  lock_ = Fd();
  EXPECT_TRUE(book_.lock_plan("monthly"));
}

TEST_F(DrillBookTest, ReportsNameTheOneBefore) {
  EXPECT_EQ(add("20260101T000000Z-0001").previous, "");
  EXPECT_EQ(add("20260102T000000Z-0002").previous, hashes_[0].hex());
  must(book_.add_link("20260102T000000Z-0002", {7, "aa", "bb"}));
  const auto all = must(book_.all());
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].hash, hashes_[0]);
  EXPECT_FALSE(all[0].link);
  EXPECT_EQ(all[1].link, (JournalLink{7, "aa", "bb"}));
  EXPECT_EQ(sha256(as_bytes(all[1].text)), hashes_[1]);
}

// A drill that was killed is reported later than those that began after it.
TEST_F(DrillBookTest, TheChainIsInTheOrderOfWriting) {
  add("20260102T000000Z-0002");
  EXPECT_EQ(add("20260101T000000Z-0001").previous, hashes_[0].hex());
  EXPECT_EQ(add("20260102T000000Z-0001").previous, hashes_[1].hex());
  EXPECT_EQ(add("20260103T000000Z-0001").previous, hashes_[2].hex());
  EXPECT_TRUE(book_.verify_chain());
  ASSERT_TRUE(std::filesystem::remove(file("20260101T000000Z-0001.json")));
  EXPECT_EQ(code_of(book_.verify_chain()), ErrorCode::corruption);
}

TEST_F(DrillBookTest, ReportsOfSeveralThreadsAreOneChain) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([this, i] {
      for (int j = 0; j < 5; ++j) {
        DrillReport report = sample();
        report.id = "2026010" + std::to_string(j) + "T000000Z-000" + std::to_string(i);
        must(book_.add(report));
      }
    });
  threads.clear();
  EXPECT_THAT(must(book_.all()), SizeIs(20));
  EXPECT_TRUE(book_.verify_chain());
}

TEST_F(DrillBookTest, AReportIsFoundByHowItsIdBegins) {
  add("20260101T000000Z-0001");
  add("20260102T000000Z-0002");
  EXPECT_EQ(must(book_.find("20260102")).report.id, "20260102T000000Z-0002");
  EXPECT_EQ(code_of(book_.find("2026")), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(book_.find("")), ErrorCode::not_found);
  EXPECT_EQ(code_of(book_.find("../20260102")), ErrorCode::not_found);
}

// One that was changed does not keep others from being read, and is not hidden by the next one.
TEST_F(DrillBookTest, AnAlteredReportBreaksTheChain) {
  add("20260101T000000Z-0001");
  must(write_file_durably(file("20260101T000000Z-0001.json"), as_bytes("{}"), 0644));
  EXPECT_THAT(must(book_.all()), IsEmpty());
  EXPECT_FALSE(book_.verify_chain());
  const DrillReport next = add("20260102T000000Z-0002");
  EXPECT_NE(next.previous, hashes_[0].hex());
  EXPECT_EQ(next.previous, sha256(as_bytes("{}")).hex());
  EXPECT_THAT(must(book_.all()), SizeIs(1));
}

TEST_F(DrillBookTest, NotesSayWhatIsToBeRemoved) {
  DrillNote note;
  note.id = "20260101T000000Z-0001";
  note.plan = "monthly";
  note.started = {5};
  note.things = {{DrillThing::Kind::image, "dr/x", std::string(32, 'a')},
                 {DrillThing::Kind::bucket, "b", ""}};
  must(book_.write_note(note));
  note.things.push_back({DrillThing::Kind::directory, "/x/y", ""});
  note.reported = true;
  must(book_.write_note(note));
  EXPECT_EQ(must(book_.notes()), std::vector<DrillNote>{note});
  must(write_file_durably(file("20260102T000000Z-0002.running"), as_bytes("nonsense"), 0600));
  EXPECT_THAT(must(book_.notes()), SizeIs(1)) << "what cannot be read hides nothing else";
  must(book_.remove_note(note.id));
  must(book_.remove_note(note.id));
  EXPECT_THAT(must(book_.notes()), IsEmpty());
}

TEST(DrillNoteTest, NonsenseIsRefused) {
  for (const char* text :
       {"", "[]", R"({"version":1})",
        R"({"version":1,"id":"../x","plan":"p","started_us":1,"things":[]})",
        R"({"version":1,"id":"x","plan":"p","started_us":1,"things":[{"kind":"king","name":"a"}]})",
        R"({"version":1,"id":"x","plan":"p","started_us":1,"things":[{"kind":"image"}]})"})
    EXPECT_FALSE(decode_drill_note(text)) << text;
  EXPECT_EQ(code_of(decode_drill_note(R"({"version":2})")), ErrorCode::unsupported);
}

class DrillPointsTest : public ::testing::Test {
 protected:
  DrillPointsTest() { plan_.assets = {"tokyo:rbd/rbd/*"}; }
  PointId add(const std::string& asset, std::int64_t hour,
              const std::map<std::string, std::string>& labels = {}) {
    StoreService& service = store_.service();
    const UploadSession session = must(service.begin("tokyo", asset, {}));
    PointRecord record = store_.record(session, "tokyo", asset, TreeRoot{});
    record.time = Timestamp{hour * 3'600'000'000};
    for (const auto& [key, value] : labels) record.labels[key] = value;
    return must(service.commit(session, store_.sealed(record))).point.record.id;
  }
  Result<DrillChoices> choose(std::uint64_t seed = 0) {
    return choose_drill_points(store_.service(), plan_, Timestamp{100 * 3'600'000'000LL}, seed);
  }
  PointId chosen(std::uint64_t seed = 0) {
    const DrillChoices choices = must(choose(seed));
    EXPECT_THAT(choices.assets, SizeIs(1));
    return choices.assets.at(0).point.value().point.record.id;
  }

  TestService store_;
  DrillConfig plan_;
};

TEST_F(DrillPointsTest, TheNewestTheOneAsOfATimeOrOneByChance) {
  std::vector<PointId> ids;
  for (const int hour : {10, 20, 30}) ids.push_back(add("rbd/rbd/a", hour));
  add("s3/not-of-the-plan", 40);
  EXPECT_EQ(chosen(), ids[2]);
  plan_.point = "-75h";
  EXPECT_EQ(chosen(), ids[1]);
  plan_.point = "random";
  std::set<PointId> drawn;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    drawn.insert(chosen(seed));
    EXPECT_EQ(chosen(seed), chosen(seed));
  }
  EXPECT_EQ(drawn, std::set<PointId>(ids.begin(), ids.end()));
}

TEST_F(DrillPointsTest, AnAssetWithoutSuchAPointIsNamedAllTheSame) {
  add("rbd/rbd/a", 50);
  plan_.point = "-90h";
  const DrillChoices choices = must(choose());
  ASSERT_THAT(choices.assets, SizeIs(1));
  EXPECT_FALSE(choices.assets[0].point);
  EXPECT_EQ(choices.assets[0].newest.us, 50 * 3'600'000'000LL);
}

TEST_F(DrillPointsTest, WhatAFailbackDiscardedOrWasDeletedIsNotChosen) {
  const PointId good = add("rbd/rbd/a", 10);
  add("rbd/rbd/a", 20, {{std::string(kDiscardedLabel), "1"}});
  must(store_.service().remove(add("rbd/rbd/a", 30)));
  plan_.point = "random";
  for (std::uint64_t seed = 0; seed < 16; ++seed) EXPECT_EQ(chosen(seed), good);
}

TEST_F(DrillPointsTest, APlanThatMatchesNothingIsAnError) {
  EXPECT_EQ(code_of(choose()), ErrorCode::not_found);
  add("rbd/other/a", 1);
  EXPECT_EQ(code_of(choose()), ErrorCode::not_found);
  add("rbd/rbd/a", 1);
  plan_.set = true;
  EXPECT_EQ(code_of(choose()), ErrorCode::not_found) << "no set";
}

}  // namespace
}  // namespace tidemark::test
