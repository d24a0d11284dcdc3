#include "agent/site/events.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/site/status.h"
#include "agent/site/webhook.h"
#include "base/files.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const Timestamp kNow{1'795'440'600'000'000};

std::vector<std::string> kinds(const std::vector<Condition>& conditions) {
  std::vector<std::string> out;
  for (const Condition& c : conditions)
    if (!c.unclear) out.push_back(c.kind + (c.subject.empty() ? "" : "/" + c.subject));
  return out;
}

SiteStatus well() {
  SiteStatus status;
  status.site = "tokyo";
  status.time = kNow;
  AssetStatus asset;
  asset.site = "tokyo";
  asset.asset = "rbd/rbd/a";
  asset.policy = "hourly";
  asset.to = "osaka";
  asset.rpo = hours(2);
  asset.newest = AssetStatus::Newest{"id", kNow + -hours(1), false};
  asset.counters.points = 1;
  status.assets.push_back(asset);
  status.store.emplace();
  status.store->space = BackendSpace{1000, 500};
  status.store->scrub = ScrubStatus{};
  status.store->scrub->completed = kNow + -hours(24);
  status.store->scrub_period = hours(24 * 30);
  status.certificate_end = kNow + hours(24 * 90);
  return status;
}

class ConditionsTest : public ::testing::Test {
 protected:
  std::vector<std::string> found() { return kinds(conditions_of(status_, config_)); }
  using Kinds = std::vector<std::string>;

  SiteStatus status_ = well();
  EventsConfig config_;
};

TEST_F(ConditionsTest, NothingIsSaidOfASiteThatIsWell) { EXPECT_EQ(found(), Kinds{}); }

TEST_F(ConditionsTest, AnObjectiveThatIsMissed) {
  status_.assets[0].newest->time = kNow + -hours(3);
  EXPECT_EQ(found(), Kinds{"objective_missed/rbd/rbd/a to osaka"});
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::critical);
  EXPECT_EQ(conditions_of(status_, config_)[0].patience, Duration::zero());
  status_.assets[0].newest.reset();
  EXPECT_EQ(found(), Kinds{"objective_missed/rbd/rbd/a to osaka"});
  EXPECT_EQ(conditions_of(status_, config_)[0].patience, hours(2)) << "a new asset has its time";
  status_.assets[0].policy.clear();  // another site's, which watches it
  EXPECT_EQ(found(), Kinds{});
}

TEST_F(ConditionsTest, ABackupThatFailsAgainAndAgain) {
  status_.assets[0].failures_in_a_row = 2;
  EXPECT_EQ(found(), Kinds{});
  status_.assets[0].failures_in_a_row = 3;
  status_.assets[0].last_error = "no way";
  EXPECT_EQ(found(), Kinds{"backup_failing/rbd/rbd/a to osaka"});
  EXPECT_NE(conditions_of(status_, config_)[0].message.find("no way"), std::string::npos);
}

TEST_F(ConditionsTest, WhatTheStoreHas) {
  status_.store->damaged_packs = 1;
  EXPECT_EQ(found(), Kinds{"damage"});
  status_ = well();
  status_.store->scrub->completed = kNow + -hours(24 * 61);
  EXPECT_EQ(found(), Kinds{"scrub_overdue"});
  status_ = well();
  status_.store->collect_error = "a tree cannot be followed";
  EXPECT_EQ(found(), Kinds{"collection_failing"});
  status_ = well();
  status_.store->clock_error = "the clock jumped";
  EXPECT_EQ(found(), Kinds{"clock_not_believed"});
  status_ = well();
  status_.store->quotas = {{"nagoya", 84, 100}, {"tokyo", 85, 100}};
  EXPECT_EQ(found(), Kinds{"quota_nearly_used/tokyo"});
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::warning);
  status_.store->quotas = {{"tokyo", 101, 100}};
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::critical);
  status_ = well();
  status_.store->space->free_bytes = 151;
  EXPECT_EQ(found(), Kinds{});
  status_.store->space->free_bytes = 150;
  EXPECT_EQ(found(), Kinds{"store_nearly_full"});
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::warning);
  status_.store->space->free_bytes = 10;
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::critical);
}

TEST_F(ConditionsTest, APolicyThatMatchesNothing) {
  status_.idle_policies = {"hourly"};
  EXPECT_EQ(found(), Kinds{"policy_matches_nothing/hourly"});
  EXPECT_EQ(conditions_of(status_, config_)[0].patience, minutes(10)) << "it may just be new";
}

TEST_F(ConditionsTest, AScrubThatHasNotReadItsStateYetIsNotOverdue) {
  status_.store->scrub->completed = Timestamp();
  EXPECT_EQ(found(), Kinds{});
}

TEST_F(ConditionsTest, WhatNobodyKnowsAfterAStartIsUnclear) {
  status_.assets[0].newest.reset();
  status_.assets[0].known = false;
  status_.assets[0].counters.points = 0;
  const auto conditions = conditions_of(status_, config_);
  ASSERT_EQ(conditions.size(), 2U);
  for (const Condition& c : conditions) EXPECT_TRUE(c.unclear) << c.kind;
}

TEST_F(ConditionsTest, ACertificateThatEndsAndOneThatHasEnded) {
  status_.certificate_end = kNow + hours(24 * 20);
  EXPECT_EQ(found(), Kinds{"certificate_ending"});
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::warning);
  status_.certificate_end = kNow + -seconds(1);
  EXPECT_EQ(conditions_of(status_, config_)[0].severity, Severity::critical);
}

TEST_F(ConditionsTest, ProblemsAreOneEachByWhatTheyAreAbout) {
  status_.problems = {"store osaka: refused", "store osaka: reset", "policy p: no such pool"};
  EXPECT_EQ(found(), (Kinds{"problem/policy p", "problem/store osaka"}));
  EXPECT_EQ(conditions_of(status_, config_)[0].patience, minutes(10));
}

// --- how events come and go

class EventLogTest : public ::testing::Test {
 protected:
  void SetUp() override { restart(); }
  void restart() {
    log_ = std::make_unique<EventLog>(scratch_.path());
    log_->open();
  }
  void pass(Duration d, const std::vector<Condition>& conditions) {
    now_ = now_ + d;
    must(log_->update(conditions, now_));
  }
  std::vector<Event> open() const {
    auto events = log_->events();
    std::erase_if(events, [](const Event& e) { return e.over.has_value(); });
    return events;
  }

  const Condition late_{"objective_missed", "rbd/rbd/a to osaka", Severity::critical, "late", {}};
  const Condition slow_{"problem", "store osaka", Severity::warning, "away", minutes(10)};
  Scratch scratch_;
  std::unique_ptr<EventLog> log_;
  Timestamp now_ = kNow;
};

TEST_F(EventLogTest, AConditionIsOneEventForAsLongAsItLasts) {
  for (int i = 0; i < 5; ++i) pass(minutes(1), {late_});
  ASSERT_EQ(open().size(), 1U);
  EXPECT_EQ(open()[0].since, kNow + minutes(1));
  EXPECT_EQ(open()[0].id.size(), 8U);
  auto later = late_;
  later.message = "later";
  pass(minutes(1), {later});
  EXPECT_EQ(open()[0].message, "later");
}

TEST_F(EventLogTest, WhatPassesBeforeItsPatienceIsOverIsNone) {
  pass(seconds(0), {slow_});
  pass(minutes(9), {slow_});
  pass(seconds(30), {});
  pass(seconds(30), {slow_});
  pass(minutes(9), {slow_});
  EXPECT_TRUE(log_->events().empty());
  pass(minutes(1), {slow_});
  EXPECT_EQ(open().size(), 1U);
}

TEST_F(EventLogTest, ItIsOverFiveMinutesAfterItWasSeenLast) {
  pass(seconds(0), {late_});
  pass(minutes(1), {});
  pass(minutes(4), {});
  pass(seconds(1), {late_});  // not gone, but flapping
  pass(minutes(1), {});
  pass(minutes(4), {});
  EXPECT_EQ(open().size(), 1U);
  pass(minutes(1), {});
  EXPECT_TRUE(open().empty());
  ASSERT_EQ(log_->events().size(), 1U);
  EXPECT_EQ(log_->events()[0].over, now_);
  pass(minutes(1), {late_});
  EXPECT_EQ(open().size(), 1U) << "it came back: another event";
  EXPECT_NE(open()[0].id, log_->events()[0].id);
}

TEST_F(EventLogTest, ARestartAtAnyStepLosesAndRepeatsNothing) {
  pass(seconds(0), {late_});
  const std::string id = open()[0].id;
  restart();
  EXPECT_EQ(log_->untold().size(), 1U) << "told once more rather than never";
  must(log_->told(log_->untold()[0]));
  restart();
  EXPECT_TRUE(log_->untold().empty());
  pass(minutes(1), {late_});
  ASSERT_EQ(log_->events().size(), 1U);
  EXPECT_EQ(open()[0].id, id);
  pass(minutes(1), {});
  restart();
  pass(seconds(1), {});
  pass(minutes(5), {});
  EXPECT_TRUE(open().empty());
  restart();
  ASSERT_EQ(log_->untold().size(), 1U);
  EXPECT_TRUE(log_->untold()[0].over);
  must(log_->told(log_->untold()[0]));
  restart();
  EXPECT_TRUE(log_->untold().empty());
}

TEST_F(EventLogTest, WhatIsUnclearBeginsNothingAndEndsNothing) {
  auto unclear = late_;
  unclear.unclear = true;
  unclear.message = "";
  pass(minutes(1), {unclear});
  EXPECT_TRUE(log_->events().empty());
  pass(minutes(1), {late_});
  restart();
  for (int i = 0; i < 20; ++i) pass(minutes(1), {unclear});
  ASSERT_EQ(open().size(), 1U);
  EXPECT_EQ(open()[0].message, "late");
}

TEST_F(EventLogTest, AnAcknowledgementIsGoneOnlyOnceItIsKept) {
  pass(seconds(0), {late_});
  const std::string id = open()[0].id;
  must(acknowledge_event(scratch_.path(), id, "x"));
  // No file can take the place of a directory.
  std::filesystem::remove(scratch_.path() / "events.json");
  std::filesystem::create_directories(scratch_.path() / "events.json" / "in the way");
  EXPECT_FALSE(log_->update({late_}, now_ + seconds(1)));
  EXPECT_TRUE(std::filesystem::exists(scratch_.path() / "acks" / id));
  std::filesystem::remove_all(scratch_.path() / "events.json");
  pass(seconds(2), {late_});
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() / "acks" / id));
  restart();
  EXPECT_EQ(open()[0].note, "x");
}

TEST_F(EventLogTest, AnAcknowledgedOneIsNoAlarmUntilItComesBack) {
  pass(seconds(0), {late_});
  EXPECT_TRUE(open()[0].alarms());
  must(acknowledge_event(scratch_.path(), open()[0].id.substr(0, 4), "I know"));
  pass(seconds(2), {late_});
  ASSERT_EQ(open().size(), 1U);
  EXPECT_FALSE(open()[0].alarms());
  EXPECT_EQ(open()[0].note, "I know");
  restart();
  pass(hours(100), {late_});
  EXPECT_EQ(open().size(), 1U);
  EXPECT_FALSE(open()[0].alarms());
  pass(minutes(1), {});
  pass(minutes(5), {});
  pass(minutes(1), {late_});
  EXPECT_TRUE(open()[0].alarms());
}

TEST_F(EventLogTest, AcknowledgingNeedsNoRunningAgent) {
  pass(seconds(0), {late_});
  const std::string id = open()[0].id;
  log_.reset();
  must(acknowledge_event(scratch_.path(), id, ""));
  EXPECT_EQ(acknowledge_event(scratch_.path(), "zz", "").error().code(), ErrorCode::not_found);
  EXPECT_EQ(acknowledge_event(scratch_.path(), "", "").error().code(), ErrorCode::not_found);
  EXPECT_EQ(acknowledge_event(scratch_.path(), id, std::string(5000, 'x')).error().code(),
            ErrorCode::invalid_argument);
  restart();
  pass(seconds(1), {late_});
  EXPECT_FALSE(open()[0].alarms());
}

TEST_F(EventLogTest, WhatWasRaisedEndsWithItsAcknowledgementOrAfterAWeek) {
  const Condition unusual{"unusual_change", "rbd/rbd/a to osaka", Severity::critical, "much", {}};
  for (const bool acknowledged : {true, false}) {
    log_->raise(unusual, now_);
    log_->raise(unusual, now_);
    pass(hours(1), {});
    ASSERT_EQ(open().size(), 1U);
    if (acknowledged) must(acknowledge_event(scratch_.path(), open()[0].id, ""));
    pass(acknowledged ? Duration(seconds(2)) : Duration(hours(24 * 7)), {});
    EXPECT_TRUE(open().empty()) << acknowledged;
  }
}

TEST_F(EventLogTest, AClockThatIsSetBackEndsNothingEarly) {
  pass(seconds(0), {late_, slow_});
  pass(-hours(10), {late_, slow_});
  EXPECT_EQ(open().size(), 1U);
  pass(minutes(9), {late_, slow_});
  EXPECT_EQ(open().size(), 1U);
  pass(minutes(1), {late_, slow_});
  EXPECT_EQ(open().size(), 2U);
  pass(seconds(1), {});
  pass(-hours(10), {});
  pass(minutes(4), {});
  EXPECT_EQ(open().size(), 2U);
}

TEST_F(EventLogTest, OfWhatIsOverTheNewestStay) {
  for (int i = 0; i < 230; ++i) {
    auto condition = late_;
    condition.subject = std::to_string(i);
    pass(seconds(1), {condition});
    pass(minutes(1), {});
    pass(minutes(5), {});
  }
  EXPECT_EQ(log_->events().size(), 230U) << "nobody was told yet";
  for (const Event& event : log_->untold()) must(log_->told(event));
  pass(seconds(1), {});
  ASSERT_EQ(log_->events().size(), 200U);
  EXPECT_EQ(log_->events().back().subject, "229");
}

TEST_F(EventLogTest, AFileThatCannotBeUnderstoodIsSetAside) {
  pass(seconds(0), {late_});
  for (const std::string text :
       {"", "{", "[]", R"({"version":2,"events":[]})", R"({"version":1,"events":[{"id":"x"}]})"}) {
    must(write_file_durably(scratch_.path() / "events.json", as_bytes(text)));
    restart();
    EXPECT_TRUE(log_->events().empty()) << text;
    EXPECT_EQ(as_text(must(read_file(scratch_.path() / "events.json.damaged", 1000))), text);
    pass(seconds(1), {late_});
    EXPECT_EQ(must(read_events(scratch_.path())).size(), 1U);
  }
}

TEST_F(EventLogTest, AFullDiskLosesNoEventOfThisProcess) {
  const auto directory = scratch_.path() / "gone";
  must(write_file_durably(directory, {}));  // in its way
  EventLog log(directory);
  log.open();
  EXPECT_FALSE(log.update({late_}, now_));
  EXPECT_EQ(log.events().size(), 1U);
  std::filesystem::remove(directory);
  std::filesystem::create_directories(directory);
  must(log.update({late_}, now_ + seconds(2)));
  EXPECT_EQ(must(read_events(directory)).size(), 1U);
}

TEST_F(EventLogTest, WithoutAWebhookEventsCountAsTold) {
  pass(seconds(0), {late_});
  const auto config = std::make_shared<const Config>();
  Webhook webhook(*log_, [&] { return config; }, {});
  EXPECT_TRUE(webhook.tell());
  EXPECT_TRUE(log_->untold().empty());
}

TEST_F(EventLogTest, AWebhookThatIsAwayIsToldLater) {
  pass(seconds(0), {late_});
  auto config = std::make_shared<Config>();
  config->events.webhook.emplace().url = "http://127.0.0.1:1/secret-path";
  Webhook webhook(*log_, [&] { return config; }, {});
  EXPECT_FALSE(webhook.tell());
  EXPECT_FALSE(webhook.tell());
  EXPECT_EQ(webhook.failures(), 2U);
  EXPECT_EQ(log_->untold().size(), 1U);
}

}  // namespace
}  // namespace tidemark::test
