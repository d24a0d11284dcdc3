// Leader election, against a server that keeps one Lease as the API server does.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/transport/kube_fixture.h"
#include "transport/kube/lease.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;

// What a fault does to one write: `late` has it done, unanswered, after the next read.
enum class Fault { none, lost_before, lost_after, late, busy };

bool is_micro_time(const std::string& text) {
  const std::string form = "0000-00-00T00:00:00.000000Z";
  if (text.size() != form.size()) return false;
  for (std::size_t i = 0; i < form.size(); ++i)
    if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i]) return false;
  return true;
}

class LeaseServer {
 public:
  LeaseServer()
      : server_([this](const SeenRequest& request, std::size_t) { return answer(request); }) {}
  std::string url() const { return server_.url(); }
  Json lease() const {
    const std::lock_guard lock(mutex_);
    return lease_;
  }
  std::string holder() const { return lease().value("/spec/holderIdentity"_json_pointer, ""); }
  void fail_next_write(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
  }
  void be_away(bool away) {
    const std::lock_guard lock(mutex_);
    away_ = away;
  }
  // Somebody else writes it.
  void set(const std::string& holder, int seconds) {
    const std::lock_guard lock(mutex_);
    store({{"metadata", {{"name", "agent"}, {"namespace", "tidemark"}}},
           {"spec",
            {{"holderIdentity", holder}, {"leaseDurationSeconds", seconds}, {"unknown", "kept"}}}});
  }
  std::size_t writes() const {
    const std::lock_guard lock(mutex_);
    return writes_;
  }

 private:
  void store(Json lease) {
    lease["metadata"]["resourceVersion"] = std::to_string(++version_);
    lease["metadata"]["uid"] = "one";
    lease_ = std::move(lease);
  }
  RawReply answer(const SeenRequest& request) {
    const std::lock_guard lock(mutex_);
    if (away_) return {"", {}, true};
    if (request.method == "GET") {
      RawReply reply = {lease_.is_null() ? exchange("160").response : json_answer(200, lease_)};
      if (!late_.is_null()) store(std::exchange(late_, nullptr));
      return reply;
    }
    ++writes_;
    const Fault fault = std::exchange(fault_, Fault::none);
    if (fault == Fault::lost_before) return {"", {}, true};
    if (fault == Fault::late) {
      late_ = Json::parse(request.body);
      return {"", {}, true};
    }
    if (fault == Fault::busy) return {text_answer(429, "busy", "Retry-After: 0\r\n")};
    const Json lease = Json::parse(request.body);
    for (const char* const key : {"renewTime", "acquireTime"})
      if (lease["spec"].contains(key) && !is_micro_time(lease["spec"].value(key, "")))
        return {exchange("167").response};
    if (request.method == "POST" && !lease_.is_null()) return {exchange("162").response};
    if (request.method == "PUT" &&
        (lease_.is_null() || kube::resource_version_of(lease) != kube::resource_version_of(lease_)))
      return {exchange("165").response};
    store(lease);
    if (fault == Fault::lost_after) return {"", {}, true};
    return {json_answer(request.method == "POST" ? 201 : 200, lease_)};
  }

  mutable std::mutex mutex_;
  Json lease_ = nullptr;       // guarded by mutex_
  Json late_ = nullptr;        // a write that is done after the next read; guarded by mutex_
  int version_ = 0;            // guarded by mutex_
  std::size_t writes_ = 0;     // guarded by mutex_
  Fault fault_ = Fault::none;  // guarded by mutex_
  bool away_ = false;          // guarded by mutex_
  RawServer server_;
};

kube::LeaseOptions options_of(const std::string& identity) {
  kube::LeaseOptions options;
  options.ns = "tidemark";
  options.name = "agent";
  options.identity = identity;
  return options;
}

class KubeLease : public ::testing::Test {
 protected:
  bool step(kube::LeaseElection& election) {
    const auto held = election.step({});
    return held && *held;
  }
  LeaseServer server_;
  HandClock clock_;
  std::unique_ptr<kube::Client> client_ = kube_client(server_.url());
  kube::LeaseElection a_{*client_, options_of("a"), clock_};
  kube::LeaseElection b_{*client_, options_of("b"), clock_};
};

TEST_F(KubeLease, TheFirstOneGetsItAndKeepsItWhileItRenews) {
  EXPECT_TRUE(step(a_));
  EXPECT_FALSE(step(b_));
  EXPECT_EQ(b_.holder(), "a");
  const Json begin = server_.lease()["spec"];
  EXPECT_EQ(begin["leaseTransitions"], 0);
  EXPECT_EQ(begin["leaseDurationSeconds"], 15);
  for (int i = 0; i < 20; ++i) {
    clock_.advance(5s);
    EXPECT_TRUE(step(a_));
    EXPECT_TRUE(a_.is_held());
    EXPECT_FALSE(step(b_));
  }
  EXPECT_EQ(server_.lease()["spec"]["acquireTime"], begin["acquireTime"]);
  EXPECT_NE(server_.lease()["spec"]["renewTime"], begin["renewTime"]);
}

TEST_F(KubeLease, ASilentHolderIsFollowedAfterItsTimeByOurOwnClock) {
  server_.set("other", 20);
  EXPECT_FALSE(step(a_));  // however old it is: it was seen just now
  clock_.advance(19s);
  EXPECT_FALSE(step(a_));
  server_.set("other", 20);
  clock_.advance(5s);
  EXPECT_FALSE(step(a_));  // it has changed
  clock_.advance(20s);
  EXPECT_TRUE(step(a_));
  const Json spec = server_.lease()["spec"];
  EXPECT_EQ(spec["holderIdentity"], "a");
  EXPECT_EQ(spec["leaseTransitions"], 1);
  EXPECT_EQ(spec["unknown"], "kept");
}

TEST_F(KubeLease, AHolderThatWasOvertakenLosesAtItsNextRenewal) {
  EXPECT_TRUE(step(a_));
  server_.set("other", 15);
  const auto held = a_.step({});
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_FALSE(*held);
  EXPECT_FALSE(a_.is_held());
  EXPECT_EQ(server_.holder(), "other");
}

TEST_F(KubeLease, ARenewalThatGetsNoAnswerIsLostAtOurOwnDeadline) {
  EXPECT_TRUE(step(a_));
  server_.be_away(true);
  clock_.advance(9s);
  EXPECT_FALSE(step(a_));
  EXPECT_TRUE(a_.is_held());
  clock_.advance(1s);
  EXPECT_FALSE(a_.is_held());
}

// Counted from when it was asked for: others may have seen it since then.
TEST_F(KubeLease, AWriteWhoseAnswerWasLostCountsOnceItIsSeenDone) {
  EXPECT_TRUE(step(a_));
  clock_.advance(5s);
  server_.fail_next_write(Fault::lost_after);
  EXPECT_FALSE(step(a_));
  const std::size_t writes = server_.writes();
  clock_.advance(4s);
  EXPECT_TRUE(step(a_));
  EXPECT_EQ(server_.writes(), writes);
  clock_.advance(5999ms);
  EXPECT_TRUE(a_.is_held());
  clock_.advance(1ms);
  EXPECT_FALSE(a_.is_held());
}

TEST_F(KubeLease, AWriteThatWasNotDoneIsDoneAgain) {
  EXPECT_TRUE(step(a_));
  clock_.advance(5s);
  server_.fail_next_write(Fault::lost_before);
  EXPECT_FALSE(step(a_));
  clock_.advance(4s);
  EXPECT_TRUE(step(a_));
  clock_.advance(9s);
  EXPECT_TRUE(a_.is_held());
}

TEST_F(KubeLease, ACreationWhoseAnswerWasLostIsRecognised) {
  server_.fail_next_write(Fault::lost_after);
  EXPECT_FALSE(step(a_));
  EXPECT_FALSE(a_.is_held());
  EXPECT_TRUE(step(a_));
  EXPECT_FALSE(step(b_));
}

// It may be of another run that still goes on.
TEST_F(KubeLease, OurNameInALeaseThatWeDidNotWriteIsNotOurs) {
  server_.set("a", 15);
  EXPECT_FALSE(step(a_));
  clock_.advance(15s);
  EXPECT_TRUE(step(a_));
}

TEST_F(KubeLease, WhatIsReleasedIsTakenAtOnce) {
  EXPECT_TRUE(step(a_));
  EXPECT_FALSE(step(b_));
  EXPECT_TRUE(a_.release());
  EXPECT_FALSE(a_.is_held());
  EXPECT_EQ(server_.holder(), "");
  EXPECT_TRUE(step(b_));
  EXPECT_FALSE(step(a_));
  // Releasing what is not held touches nothing.
  const std::size_t writes = server_.writes();
  EXPECT_TRUE(a_.release());
  EXPECT_EQ(server_.writes(), writes);
}

// The request to stop ends a renewal that is under way, and the next thing is the release.
TEST_F(KubeLease, WhatIsReleasedAfterAWriteThatWasCutShortIsTakenAtOnce) {
  for (const Fault fault : {Fault::lost_before, Fault::lost_after, Fault::late}) {
    SCOPED_TRACE(static_cast<int>(fault));
    EXPECT_TRUE(step(a_));
    EXPECT_FALSE(step(b_));
    server_.fail_next_write(fault);
    EXPECT_FALSE(step(a_));
    EXPECT_TRUE(a_.release());
    EXPECT_FALSE(a_.is_held());
    EXPECT_EQ(server_.holder(), "");
    EXPECT_TRUE(step(b_));
    EXPECT_TRUE(b_.release());
  }
}

TEST_F(KubeLease, AFirstWriteThatWasCutShortIsReleasedToo) {
  server_.fail_next_write(Fault::lost_after);
  EXPECT_FALSE(step(a_));
  EXPECT_EQ(server_.holder(), "a");
  EXPECT_TRUE(a_.release());
  EXPECT_EQ(server_.holder(), "");
}

TEST_F(KubeLease, AReleaseThatIsCutShortIsDoneAgain) {
  for (const Fault fault : {Fault::lost_before, Fault::lost_after}) {
    SCOPED_TRACE(static_cast<int>(fault));
    EXPECT_TRUE(step(a_));
    server_.fail_next_write(fault);
    EXPECT_TRUE(a_.release());
    EXPECT_EQ(server_.holder(), "");
  }
}

TEST_F(KubeLease, WhatAnotherOneTookMeanwhileIsNotReleased) {
  EXPECT_TRUE(step(a_));
  server_.fail_next_write(Fault::lost_before);
  EXPECT_FALSE(step(a_));
  server_.set("other", 15);
  EXPECT_TRUE(a_.release());
  EXPECT_EQ(server_.holder(), "other");
}

TEST(KubeLeaseTimes, TheyHaveSixDecimals) {
  EXPECT_EQ(kube::micro_time({0}), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(kube::micro_time({1'000'042}), "1970-01-01T00:00:01.000042Z");
  EXPECT_EQ(kube::micro_time({1'795'364'100'500'000}), "2026-11-22T16:15:00.500000Z");
}

kube::LeaseOptions quick(const std::string& identity) {
  auto options = options_of(identity);
  options.duration = 1s;
  options.renew_deadline = 600ms;
  options.retry_period = 30ms;
  return options;
}

// One after the other leads and ends, while the connections of all are cut now and then.
TEST(KubeLeaseRun, NeverTwoLeadAtOnceAndOneFollowsTheOther) {
  std::mt19937_64 random(test_seed());
  LeaseServer server;
  std::atomic<int> leading = 0, terms = 0, together = 0;
  std::vector<std::jthread> candidates;
  for (const char* const name : {"a", "b", "c"})
    candidates.emplace_back([&, name](const std::stop_token& stop) {
      const auto client = kube_client(server.url());
      kube::LeaseElection election(*client, quick(name), Clock::system());
      const auto ended = election.run(
          stop,
          [&] {
            if (++leading > 1) ++together;
            ++terms;
          },
          [&] { --leading; });
      EXPECT_TRUE(ended) << ended.error().describe();
    });
  for (int round = 0; round < 3; ++round) {
    const auto until = net::uptime() + 20s;
    while (terms <= round && net::uptime() < until) ::usleep(1000);
    ASSERT_GT(terms, round);
    for (int i = 0; i < 10; ++i) {
      constexpr Fault kFaults[] = {Fault::lost_before, Fault::lost_after, Fault::busy};
      server.fail_next_write(kFaults[random() % 3]);
      ::usleep(20'000);
    }
    const std::string holder = server.holder();
    if (!holder.empty()) candidates[static_cast<std::size_t>(holder[0] - 'a')].request_stop();
  }
  candidates.clear();
  EXPECT_EQ(together, 0);
  EXPECT_EQ(leading, 0);
}

TEST(KubeLeaseRun, AServerThatGoesAwayEndsTheLeadInTime) {
  LeaseServer server;
  const auto client = kube_client(server.url());
  kube::LeaseElection election(*client, quick("a"), Clock::system());
  std::atomic<bool> leads = false;
  std::jthread run([&](const std::stop_token& stop) {
    const auto ended = election.run(
        stop, [&] { leads = true; }, [&] { leads = false; });
    EXPECT_TRUE(ended);
  });
  while (!leads) ::usleep(1000);
  server.be_away(true);
  const auto begin = net::uptime();
  while (leads) ::usleep(1000);
  EXPECT_LT(net::uptime() - begin, 900ms);
  server.be_away(false);
  const auto until = net::uptime() + 20s;
  while (!leads && net::uptime() < until) ::usleep(1000);
  EXPECT_TRUE(leads);
}

TEST(KubeLeaseRun, TimesThatDoNotFitTogetherAreRefused) {
  LeaseServer server;
  const auto client = kube_client(server.url());
  auto options = quick("a");
  options.renew_deadline = options.duration;
  kube::LeaseElection election(*client, options, Clock::system());
  const auto ended = election.run(
      {}, [] {}, [] {});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace tidemark::testing
