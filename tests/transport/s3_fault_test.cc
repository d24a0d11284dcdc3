// The client against a server that misbehaves.
#include <atomic>
#include <fstream>
#include <thread>

#include "tests/transport/fixture.h"
#include "tests/transport/s3_fixture.h"
#include "transport/s3/md5.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

auto is(std::string method, std::string query = {}) {
  return [=](const S3Request& request) {
    return request.method == method && (query.empty() || request.query.contains(query));
  };
}

class S3Faults : public ::testing::Test {
 protected:
  S3Faults() { start({}); }
  void start(S3ServerOptions options, std::function<void(s3::ClientOptions&)> change = {}) {
    client_.reset();
    server_ = std::make_unique<S3Server>(options);
    s3::ClientOptions to = s3_options(server_->endpoint(), server_->credentials());
    to.stall_timeout = 1s;
    if (change) change(to);
    client_ = s3_client(std::move(to));
    ASSERT_TRUE(client_->create_bucket("b"));
  }
  void put(const std::string& key, ByteView body) {
    TM_ASSERT_OK(client_->put_bytes("b", key, body));
  }
  Result<Bytes> get(const std::string& key, s3::GetOptions options = {}, s3::Call call = {}) {
    TM_TRY(const auto reader, client_->get("b", key, std::move(options), std::move(call)));
    return read_object(*reader);
  }
  void misbehave(S3Fault fault, std::function<bool(const S3Request&)> when, int times = 1) {
    S3Misdeed misdeed;
    misdeed.fault = fault;
    misdeed.when = std::move(when);
    misdeed.times = times;
    server_->misbehave(std::move(misdeed));
  }
  void answer(S3Answer with, std::function<bool(const S3Request&)> when, int times = 1) {
    S3Misdeed misdeed;
    misdeed.fault = S3Fault::answer;
    misdeed.when = std::move(when);
    misdeed.times = times;
    misdeed.answer = std::move(with);
    server_->misbehave(std::move(misdeed));
  }
  void alter(std::function<void(const S3Request&, S3Answer&)> how,
             std::function<bool(const S3Request&)> when, int times = -1) {
    S3Misdeed misdeed;
    misdeed.fault = S3Fault::alter;
    misdeed.when = std::move(when);
    misdeed.times = times;
    misdeed.alter = std::move(how);
    server_->misbehave(std::move(misdeed));
  }

  std::unique_ptr<S3Server> server_;
  std::unique_ptr<s3::Client> client_;
  const Bytes body_ = patterned(500'000);
};

TEST_F(S3Faults, SlowDownIsTriedAgainAndNotForEver) {
  answer(s3_error(503, "SlowDown"), is("PUT"), 3);
  put("k", body_);
  EXPECT_EQ(*get("k"), body_);
  answer(s3_error(503, "SlowDown"), is("GET"), -1);
  const std::size_t before = server_->requests();
  TM_EXPECT_ERROR(ErrorCode::unavailable, get("k"));
  EXPECT_EQ(server_->requests() - before, 5u);
}

TEST_F(S3Faults, RetryAfterIsObeyed) {
  S3Answer later = s3_error(503, "SlowDown");
  later.headers["retry-after"] = "1";
  put("k", body_);
  answer(later, is("GET"));
  const auto begin = SteadyClock::now();
  EXPECT_EQ(*get("k"), body_);
  EXPECT_GE(SteadyClock::now() - begin, 990ms);
}

TEST_F(S3Faults, ServerErrorsWithoutXmlAreTriedAgain) {
  put("k", body_);
  answer({502, {}, "<html>bad gateway"}, is("GET"));
  answer({500, {}, ""}, is("GET"));
  EXPECT_EQ(*get("k"), body_);
}

TEST_F(S3Faults, ABodyThatIsCutGoesOnWhereItEnded) {
  put("k", body_);
  misbehave(S3Fault::cut_half, is("GET"));
  misbehave(S3Fault::reset, is("GET"));
  EXPECT_EQ(*get("k"), body_);
  s3::GetOptions once;
  once.resume = false;
  misbehave(S3Fault::cut_half, is("GET"));
  TM_EXPECT_ERROR(ErrorCode::unavailable, get("k", once));
  s3::GetOptions range;
  range.offset = 1000;
  range.length = 300'000;
  misbehave(S3Fault::cut_half, is("GET"));
  EXPECT_EQ(*get("k", range), copy_of(ByteView(body_).subspan(1000, 300'000)));
}

TEST_F(S3Faults, ABodyThatIsAlwaysCutIsAnError) {
  put("k", body_);
  misbehave(S3Fault::cut_half, is("GET"), -1);
  TM_EXPECT_ERROR(ErrorCode::unavailable, get("k"));
}

TEST_F(S3Faults, AnErrorThatIsCutOffTellsNothing) {
  // Of a 404, the code in the body tells a missing document from a missing bucket.
  for (const S3Fault fault : {S3Fault::cut_half, S3Fault::reset}) {
    misbehave(fault, is("GET"));
    const auto tags = client_->document("b", s3::BucketDocument::tagging);
    TM_ASSERT_OK(tags);
    EXPECT_FALSE(tags->has_value());
  }
  misbehave(S3Fault::cut_half, is("GET"), -1);
  TM_EXPECT_ERROR(ErrorCode::unavailable, client_->document("b", s3::BucketDocument::tagging));
}

TEST_F(S3Faults, AnObjectThatIsOverwrittenWhileItIsReadIsRefused) {
  put("k", body_);
  misbehave(S3Fault::cut_half, is("GET"));
  const auto reader = client_->get("b", "k");
  TM_ASSERT_OK(reader);
  put("k", patterned(500'000, 9));
  TM_EXPECT_ERROR(ErrorCode::refused, read_object(**reader));
}

TEST_F(S3Faults, BytesThatDoNotMatchTheEtagAreCorruption) {
  put("k", body_);
  alter([](const S3Request&, S3Answer& a) { a.body[1234] ^= 1; }, is("GET"));
  TM_EXPECT_ERROR(ErrorCode::corruption, get("k"));
  s3::GetOptions unchecked;
  unchecked.check_md5 = false;
  EXPECT_TRUE(get("k", unchecked));
}

TEST_F(S3Faults, AShorterBodyUnderItsOwnLengthIsCorruption) {
  put("k", body_);
  alter([](const S3Request&, S3Answer& a) { a.body.resize(1000); }, is("GET"));
  TM_EXPECT_ERROR(ErrorCode::corruption, get("k"));
  s3::GetOptions range;
  range.offset = 10;
  range.length = 5000;
  TM_EXPECT_ERROR(ErrorCode::corruption, get("k", range));
}

TEST_F(S3Faults, AnotherRangeThanAskedForIsCorruption) {
  put("k", body_);
  alter([](const S3Request&, S3Answer& a) { a.headers["content-range"] = "bytes 11-5010/500000"; },
        is("GET"), 1);
  s3::GetOptions range;
  range.offset = 10;
  range.length = 5000;
  TM_EXPECT_ERROR(ErrorCode::corruption, get("k", range));
  alter([](const S3Request&, S3Answer& a) { a.status = 200; }, is("GET"), 1);
  TM_EXPECT_ERROR(ErrorCode::corruption, get("k", range));
}

TEST_F(S3Faults, BytesBehindAnAnswerPoisonNoOther) {
  put("k", body_);
  misbehave(S3Fault::too_long, is("GET"));
  EXPECT_EQ(*get("k"), body_);
  EXPECT_EQ(*get("k"), body_);
}

TEST_F(S3Faults, AnAnswerOfUnknownLengthIsNoAnswer) {
  put("k", body_);
  misbehave(S3Fault::unframed, is("GET"), -1);
  TM_EXPECT_ERROR(ErrorCode::unavailable, get("k"));
}

TEST_F(S3Faults, GarbageIsTriedAgain) {
  put("k", body_);
  misbehave(S3Fault::garbage, is("GET"));
  EXPECT_EQ(*get("k"), body_);
}

TEST_F(S3Faults, AServerThatNeverAnswersIsNoticed) {
  put("k", body_);
  misbehave(S3Fault::never, is("GET"));
  const auto begin = SteadyClock::now();
  EXPECT_EQ(*get("k"), body_);
  EXPECT_LT(SteadyClock::now() - begin, 4s);
  EXPECT_GE(SteadyClock::now() - begin, 990ms);
}

TEST_F(S3Faults, ASlowDripIsNotAStallButADeadlineEndsIt) {
  put("k", patterned(20));
  misbehave(S3Fault::drip, is("GET"), 2);
  EXPECT_EQ(*get("k"), patterned(20));
  s3::Call call;
  call.deadline = Clock::system().uptime() + 500ms;
  const auto begin = SteadyClock::now();
  TM_EXPECT_ERROR(ErrorCode::deadline_exceeded, get("k", {}, call));
  EXPECT_LT(SteadyClock::now() - begin, 1900ms);
}

TEST_F(S3Faults, AStopEndsEveryCallAtOnce) {
  put("k", body_);
  start({}, [](s3::ClientOptions& options) { options.stall_timeout = 25s; });
  misbehave(S3Fault::never, is("GET"), -1);
  std::stop_source stop;
  s3::Call call;
  call.stop = stop.get_token();
  std::thread later([&] {
    std::this_thread::sleep_for(200ms);
    stop.request_stop();
  });
  const auto begin = SteadyClock::now();
  TM_EXPECT_ERROR(ErrorCode::cancelled, client_->list_objects("b", {}, call)->next_page());
  EXPECT_LT(SteadyClock::now() - begin, 5s);
  later.join();
}

TEST_F(S3Faults, RedirectsAreReportedAndNotFollowed) {
  S3Answer moved = s3_error(301, "PermanentRedirect");
  moved.headers["location"] = "http://127.0.0.1:1/";
  moved.headers["x-amz-bucket-region"] = "eu-tide-1";
  answer(moved, is("GET"));
  const auto listed = client_->list_objects("b", {})->next_page();
  TM_EXPECT_ERROR(ErrorCode::invalid_argument, listed);
  EXPECT_NE(listed.error().describe().find("eu-tide-1"), std::string::npos);
}

TEST_F(S3Faults, AnEtagThatIsNotThatOfTheBytesIsCorruption) {
  alter([](const S3Request&, S3Answer& a) { a.headers["etag"] = '"' + std::string(32, 'a') + '"'; },
        is("PUT"), 1);
  TM_EXPECT_ERROR(ErrorCode::corruption, client_->put_bytes("b", "k", body_));
  // No MD5: nothing to compare.
  alter([](const S3Request&, S3Answer& a) { a.headers["etag"] = "\"abc-1\""; }, is("PUT"), 1);
  TM_ASSERT_OK(client_->put_bytes("b", "k", body_));
}

TEST_F(S3Faults, ADigestThatTheServerRefusesIsCorruption) {
  s3::PutOptions options;
  options.md5 = s3::md5(as_bytes("other")).bytes;
  TM_EXPECT_ERROR(ErrorCode::corruption, client_->put_bytes("b", "k", body_, options));
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head("b", "k"));
}

TEST_F(S3Faults, AKeptConnectionThatDiedIsReplacedWithoutARetry) {
  start({}, [](s3::ClientOptions& options) { options.retry.attempts_max = 1; });
  put("k", body_);
  for (int i = 0; i < 20; ++i) {
    server_->drop_idle();
    s3::BytesSource source(body_);
    TM_ASSERT_OK(client_->put("b", "k", source));
  }
  misbehave(S3Fault::drop_before, is("GET"));
  EXPECT_EQ(*get("k"), body_);
}

TEST_F(S3Faults, ARequestThatMustNotBeRepeatedIsNot) {
  s3::Call once;
  once.repeat = false;
  misbehave(S3Fault::drop_after, is("PUT"));
  const std::size_t before = server_->requests();
  TM_EXPECT_ERROR(ErrorCode::unavailable, client_->put_bytes("b", "k", body_, {}, once));
  EXPECT_EQ(server_->requests() - before, 1u);
  answer(s3_error(503, "SlowDown"), is("PUT"));
  TM_ASSERT_OK(client_->put_bytes("b", "k", body_, {}, once));
}

TEST_F(S3Faults, AClockThatIsWrongIsCorrectedOnce) {
  server_->set_clock_ahead(3h);
  put("k", body_);
  const std::size_t before = server_->requests();
  put("k", body_);
  EXPECT_EQ(server_->requests() - before, 1u);
  server_->set_clock_ahead(-2h);
  EXPECT_EQ(*get("k"), body_);
  answer(s3_error(403, "RequestTimeTooSkewed"), is("GET"), -1);
  TM_EXPECT_ERROR(ErrorCode::permission_denied, get("k"));
}

TEST_F(S3Faults, KeysThatWereRotatedArePickedUp) {
  std::mutex mutex;
  s3::Credentials now = server_->credentials(), next = {"AKIDNEW", "newsecret", {}};
  bool rotated = false;
  start({}, [&](s3::ClientOptions& options) {
    options.credentials = [&]() -> Result<s3::Credentials> {
      const std::lock_guard lock(mutex);
      // The file changes only after the old keys were refused once.
      if (server_->credentials().access_key == next.access_key && std::exchange(rotated, true))
        now = next;
      return now;
    };
  });
  put("k", body_);
  server_->set_credentials(next, "ExpiredToken");
  EXPECT_EQ(*get("k"), body_);
  server_->set_credentials({"AKIDOTHER", "x", {}}, "ExpiredToken");
  TM_EXPECT_ERROR(ErrorCode::permission_denied, get("k"));
}

TEST_F(S3Faults, ListingsThatLoopSkipOrLieAreCorruption) {
  for (int i = 0; i < 9; ++i) put("k" + std::to_string(i), {});
  s3::ListOptions options;
  options.page_size = 3;
  const auto list_all = [&]() -> Result<std::size_t> {
    const auto listing = client_->list_objects("b", options);
    std::size_t n = 0;
    while (true) {
      TM_TRY(const auto page, listing->next_page());
      if (page.empty()) return n;
      n += page.size();
    }
  };
  EXPECT_EQ(*list_all(), 9u);
  const auto replaced = [&](std::string from, std::string to) {
    alter(
        [=](const S3Request&, S3Answer& a) {
          const auto at = a.body.find(from);
          if (at != std::string::npos) a.body.replace(at, from.size(), to);
        },
        is("GET", "list-type"), 3);
    const auto listed = list_all();
    const bool corrupt = !listed && listed.error().code() == ErrorCode::corruption;
    EXPECT_TRUE(corrupt) << from << " -> " << to;
    start({});
    for (int i = 0; i < 9; ++i) put("k" + std::to_string(i), {});
  };
  replaced("<Key>k4<", "<Key>k1<");                 // goes back
  replaced("<Key>k1<", "<Key>k0<");                 // twice
  replaced("<IsTruncated>true</IsTruncated>", "");  // does not say
  replaced("<Key>k0<", "<Key><");                   // nothing
  replaced("<Key>k0<", "<Key>%zz<");                // not what it says
  replaced("</ListBucketResult>", "");              // cut
  replaced("<Size>0<", "<Size>-1<");
  replaced("<LastModified>", "<LastModified>soon");
  replaced("ListBucketResult", "ListBukketResult");
}

TEST_F(S3Faults, AnEmptyPageThatIsNotTheLastIsCorruption) {
  answer({200, {}, "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"},
         is("GET", "list-type"), -1);
  TM_EXPECT_ERROR(ErrorCode::corruption, client_->list_objects("b", {})->next_page());
  answer({200, {}, "<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>"},
         is("GET", "versions"), -1);
  TM_EXPECT_ERROR(ErrorCode::corruption, client_->list_versions("b", "")->next_page());
}

TEST_F(S3Faults, AVersionListingThatGoesRoundWithinAKeyIsCorruption) {
  ASSERT_TRUE(client_->set_versioning("b", true));
  for (int i = 0; i < 4; ++i) put("k", as_bytes(std::to_string(i)));
  S3Answer first;
  alter(
      [&](const S3Request& request, S3Answer& a) {
        if (!request.query.contains("key-marker")) first = a;
        a = first;
      },
      is("GET", "versions"));
  const auto listing = client_->list_versions("b", "", {}, {}, 2);
  TM_ASSERT_OK(listing->next_page());
  TM_EXPECT_ERROR(ErrorCode::corruption, listing->next_page());
}

TEST_F(S3Faults, AListingThatIsCutOrRefusedIsReadAgain) {
  put("k", {});
  misbehave(S3Fault::cut_half, is("GET", "list-type"));
  answer(s3_error(500, "InternalError"), is("GET", "list-type"));
  EXPECT_EQ(client_->list_objects("b", {})->next_page()->size(), 1u);
  const auto listing = client_->list_objects("b", {});
  misbehave(S3Fault::cut_half, is("GET", "list-type"), 5);
  TM_EXPECT_ERROR(ErrorCode::unavailable, listing->next_page());
  EXPECT_EQ(listing->next_page()->size(), 1u);
}

TEST_F(S3Faults, HugeXmlIsRefusedUnread) {
  alter([](const S3Request&, S3Answer& a) { a.body.assign(17 << 20, ' '); }, is("GET", "list-type"),
        1);
  TM_EXPECT_ERROR(ErrorCode::corruption, client_->list_objects("b", {})->next_page());
}

class S3Completion : public S3Faults {
 protected:
  void begin() {
    id_ = *client_->create_upload("b", "k");
    s3::BytesSource source(body_);
    parts_ = {*client_->upload_part("b", "k", id_, 1, source)};
  }
  Result<s3::PutResult> complete() { return client_->complete_upload("b", "k", id_, parts_); }
  std::size_t completions() const { return *seen_; }
  void count() {
    alter([seen = seen_](const S3Request&, S3Answer&) { ++*seen; }, is("POST", "uploadId"));
  }
  std::string id_;
  std::vector<s3::Part> parts_;
  std::shared_ptr<std::size_t> seen_ = std::make_shared<std::size_t>(0);
};

TEST_F(S3Completion, ALostAnswerIsLookedForAndNeverSentAgain) {
  begin();
  misbehave(S3Fault::drop_after, is("POST", "uploadId"));
  count();
  const auto done = complete();
  TM_ASSERT_OK(done);
  EXPECT_TRUE(done->etag.ends_with("-1"));
  EXPECT_EQ(completions(), 0u);
}

TEST_F(S3Completion, WhatWasNotExecutedStaysUnclear) {
  begin();
  answer(s3_error(500, "InternalError"), is("POST", "uploadId"));
  count();
  TM_EXPECT_ERROR(ErrorCode::unavailable, complete());
  EXPECT_EQ(completions(), 0u);
}

TEST_F(S3Completion, AnErrorUnderSuccessIsAnError) {
  begin();
  answer({200, {}, "  <Error><Code>InternalError</Code></Error>"}, is("POST", "uploadId"));
  TM_EXPECT_ERROR(ErrorCode::unavailable, complete());
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head("b", "k"));
}

TEST_F(S3Completion, AnAnswerThatSaysLaterIsSentAgain) {
  begin();
  answer(s3_error(503, "SlowDown"), is("POST", "uploadId"), 2);
  TM_ASSERT_OK(complete());
}

TEST_F(S3Faults, ADeadServerIsNotHammered) {
  start({}, [](s3::ClientOptions& options) {
    options.retry.tokens_max = 10;
    options.retry.tokens_per_second = 5;
    options.retry.time_max = 1s;
  });
  answer(s3_error(503, "SlowDown"), is("GET"), -1);
  const std::size_t before = server_->requests();
  std::vector<std::thread> threads;
  for (int t = 0; t < 40; ++t)
    threads.emplace_back([&] {
      TM_EXPECT_ERROR(ErrorCode::unavailable, client_->list_objects("b", {})->next_page());
    });
  for (std::thread& thread : threads) thread.join();
  // 40 first tries; then ten at once and five a second.
  EXPECT_LE(server_->requests() - before, 40u + 10u + 10u);
}

TEST_F(S3Faults, NobodyThereIsUnavailable) {
  const auto gone = server_->endpoint();
  const auto keys = server_->credentials();
  server_.reset();
  TM_EXPECT_ERROR(ErrorCode::unavailable, s3_client(s3_options(gone, keys))->head_bucket("b"));
}

TEST_F(S3Faults, ConnectionsAreLimitedAndKept) {
  start({}, [](s3::ClientOptions& options) { options.connections_max = 8; });
  std::vector<std::thread> threads;
  for (int t = 0; t < 64; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const Bytes body = patterned(static_cast<std::size_t>(t * 100 + i), 3);
        const std::string key = std::to_string(t) + "/" + std::to_string(i);
        EXPECT_TRUE(client_->put_bytes("b", key, body));
        EXPECT_EQ(get(key).value_or(Bytes()), body);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(server_->connections_peak(), 8u);
  EXPECT_LE(server_->connections(), 20u);
}

TEST_F(S3Faults, AReaderThatIsDroppedGivesItsConnectionBack) {
  start({}, [](s3::ClientOptions& options) {
    options.connections_max = 1;
    options.stall_timeout = 20s;
  });
  put("k", patterned(5'000'000));
  for (int i = 0; i < 3; ++i) {
    const auto reader = client_->get("b", "k");
    TM_ASSERT_OK(reader);
    Bytes piece(10);
    EXPECT_TRUE((*reader)->read(piece));
  }
  TM_ASSERT_OK(client_->head("b", "k"));
}

TEST_F(S3Faults, VirtualHostStyleSignsAndFinds) {
  S3ServerOptions options;
  options.virtual_host = true;
  start(options, [](s3::ClientOptions& to) { to.virtual_host = true; });
  put("a//b c", body_);
  EXPECT_EQ(*get("a//b c"), body_);
  TM_EXPECT_ERROR(ErrorCode::invalid_argument, client_->head_bucket("Not_A_Host"));
}

TEST_F(S3Faults, OverTlsTheServerMustProveItsName) {
  const Pki pki;
  const TlsFiles good = pki.issue("osaka");
  S3ServerOptions tls;
  tls.certificate = good.certificate;
  tls.key = good.key;
  const auto trust = [&](s3::ClientOptions& to) { to.ca_file = good.ca; };
  start(tls, trust);
  put("k", body_);
  EXPECT_EQ(*get("k"), body_);
  start(tls, [&](s3::ClientOptions& to) {
    to.ca_file = good.ca;
    to.payload = s3::PayloadSigning::streaming;
  });
  put("k", body_);
  EXPECT_EQ(*get("k"), body_);
  // The system's roots do not know our CA.
  auto options = s3_options(server_->endpoint(), server_->credentials());
  TM_EXPECT_ERROR(ErrorCode::permission_denied, s3_client(options)->head_bucket("b"));
  const TlsFiles elsewhere = pki.issue_odd({"elsewhere", "DNS:elsewhere.example"});
  server_ =
      std::make_unique<S3Server>(S3ServerOptions{false, elsewhere.certificate, elsewhere.key});
  options = s3_options(server_->endpoint(), server_->credentials());
  options.ca_file = good.ca;
  TM_EXPECT_ERROR(ErrorCode::permission_denied, s3_client(options)->head_bucket("b"));
}

TEST_F(S3Faults, QuotaAndOtherCodesMeanWhatTheySay) {
  const auto expect = [&](ErrorCode code, unsigned status, const char* said) {
    answer(s3_error(status, said), is("PUT"), 1);
    const auto put = client_->put_bytes("b", "k", as_bytes("x"));
    TM_EXPECT_ERROR(code, put);
  };
  expect(ErrorCode::resource_exhausted, 403, "QuotaExceeded");
  expect(ErrorCode::permission_denied, 403, "AccessDenied");
  expect(ErrorCode::not_found, 404, "NoSuchBucket");
  expect(ErrorCode::invalid_argument, 400, "EntityTooLarge");
  expect(ErrorCode::unsupported, 501, "NotImplemented");
  expect(ErrorCode::refused, 409, "SomethingElse");
}

TEST_F(S3Faults, ABucketThatIsGoneIsNotABucketWithoutPolicy) {
  EXPECT_FALSE(client_->document("b", s3::BucketDocument::policy)->has_value());
  answer(s3_error(404, "NoSuchBucket"), is("GET", "policy"));
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->document("b", s3::BucketDocument::policy));
}

// What radosgw 16 does: the bucket is listed, and DELETE would remove it.
TEST_F(S3Faults, ASubResourceThatIsNotKnownIsNeverDeleted) {
  std::atomic<int> deletes = 0;
  alter(
      [](const S3Request&, S3Answer& a) {
        a = {200, {}, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"};
      },
      is("GET", "encryption"));
  alter([&](const S3Request&, S3Answer&) { ++deletes; }, is("DELETE"));
  EXPECT_FALSE(client_->document("b", s3::BucketDocument::encryption)->has_value());
  TM_ASSERT_OK(client_->remove_document("b", s3::BucketDocument::encryption));
  TM_EXPECT_ERROR(ErrorCode::unsupported,
                  client_->set_document("b", s3::BucketDocument::encryption, "<x/>"));
  EXPECT_EQ(deletes, 0);
}

}  // namespace
}  // namespace tidemark::testing
