// A resource followed over time, through all the ways in which a watch ends.
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>

#include "tests/transport/kube_fixture.h"
#include "transport/kube/watch.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;

Json claim(const std::string& name, const std::string& version, const std::string& uid = "") {
  return {{"kind", "PersistentVolumeClaim"},
          {"metadata",
           {{"name", name},
            {"namespace", "shop"},
            {"uid", uid.empty() ? "uid-" + name : uid},
            {"resourceVersion", version}}}};
}

std::string list_of(const std::string& version, std::vector<Json> items) {
  return json_answer(200, {{"kind", "PersistentVolumeClaimList"},
                           {"apiVersion", "v1"},
                           {"metadata", {{"resourceVersion", version}}},
                           {"items", std::move(items)}});
}

std::string event(const std::string& type, const Json& object) {
  return chunk(Json{{"type", type}, {"object", object}}.dump() + "\n");
}

std::string bookmark(const std::string& version) {
  return event("BOOKMARK", {{"metadata", {{"resourceVersion", version}}}});
}

RawReply clean(const std::string& events) { return {stream_head() + events + kLastChunk}; }
RawReply cut(const std::string& events) { return {stream_head() + events, {}, true}; }
RawReply open_ended(const std::string& events) { return {stream_head() + events, {}, false, true}; }

// Writes down what it is told, and waits until enough was.
class Recorder final : public kube::WatchHandler {
 public:
  void on_changed(Json object) override {
    note("+" + kube::ref_of(object).name + "@" + kube::resource_version_of(object));
  }
  void on_gone(const std::string& uid, const kube::ObjectRef& ref, Json last) override {
    note("-" + ref.name + "/" + uid +
         (last.is_null() ? "" : "@" + kube::resource_version_of(last)));
  }
  void on_listed(std::size_t count) override { note("=" + std::to_string(count)); }
  void on_trouble(const kube::ApiError& error) override {
    note("!" + std::string(to_string(error.code())));
  }

  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  bool wait_for(const std::string& end, std::chrono::seconds limit = 20s) {
    std::unique_lock lock(mutex_);
    return noted_.wait_for(lock, limit, [&] { return text_.ends_with(end); });
  }

 private:
  void note(const std::string& what) {
    const std::lock_guard lock(mutex_);
    text_ += (text_.empty() ? "" : " ") + what;
    noted_.notify_all();
  }
  mutable std::mutex mutex_;
  std::condition_variable noted_;
  std::string text_;  // guarded by mutex_
};

// A watch that runs on its own thread against lists and watches in turn; the last ones stay.
class Followed {
 public:
  Followed(std::vector<RawReply> lists, std::vector<RawReply> watches,
           kube::WatchOptions options = quick())
      : lists_(std::move(lists)),
        watches_(std::move(watches)),
        server_([this](const SeenRequest& request, std::size_t) { return answer(request); }),
        client_(kube_client(server_.url())),
        watch_(*client_, kube::kPersistentVolumeClaims, std::move(options), recorder),
        thread_([this](const std::stop_token& stop) { ended_ = watch_.run(stop); }) {}

  static kube::WatchOptions quick() {
    kube::WatchOptions options;
    options.backoff_first = 5ms;
    options.backoff_max = 40ms;
    return options;
  }
  Status stop() {
    thread_.request_stop();
    return end();
  }
  Status end() {
    if (thread_.joinable()) thread_.join();
    return ended_;
  }
  std::vector<SeenRequest> seen(bool watches) const {
    std::vector<SeenRequest> some;
    for (SeenRequest& one : server_.seen())
      if (one.query().contains("watch") == watches) some.push_back(std::move(one));
    return some;
  }
  // The positions from which it watched.
  std::string positions() const {
    std::string text;
    for (const SeenRequest& one : seen(true))
      text += (text.empty() ? "" : " ") + one.query().find("resourceVersion")->second;
    return text;
  }

  Recorder recorder;

 private:
  RawReply answer(const SeenRequest& request) {
    const std::lock_guard lock(mutex_);
    const bool watch = request.query().contains("watch");
    std::size_t& next = watch ? next_watch_ : next_list_;
    const auto& replies = watch ? watches_ : lists_;
    return replies[std::min(next++, replies.size() - 1)];
  }

  const std::vector<RawReply> lists_, watches_;
  std::mutex mutex_;
  std::size_t next_list_ = 0, next_watch_ = 0;  // guarded by mutex_
  RawServer server_;
  std::unique_ptr<kube::Client> client_;
  kube::Watch watch_;
  Status ended_;
  std::jthread thread_;
};

const RawReply kSilence = open_ended("");

TEST(KubeWatch, AWatchThatWasCutGoesOn) {
  Followed followed(
      {{list_of("10", {claim("a", "4"), claim("b", "5")})}},
      {cut(event("MODIFIED", claim("a", "11"))),
       clean(event("ADDED", claim("c", "12")) + event("DELETED", claim("b", "13"))), kSilence});
  EXPECT_TRUE(followed.recorder.wait_for("-b/uid-b@13")) << followed.recorder.text();
  while (followed.seen(true).size() < 3) ::usleep(1000);
  EXPECT_TRUE(followed.stop());
  EXPECT_EQ(followed.recorder.text(), "+a@4 +b@5 =2 +a@11 !unavailable +c@12 -b/uid-b@13");
  EXPECT_EQ(followed.positions(), "10 11 13");
  EXPECT_EQ(followed.seen(false).size(), 1U);
}

// Within an event as well: what is half is not delivered, and comes again.
TEST(KubeWatch, AnEventThatIsCutIsNotDelivered) {
  const std::string whole = event("MODIFIED", claim("a", "11"));
  for (std::size_t size = 0; size + 4 < whole.size(); size += 9) {
    Followed followed({{list_of("10", {})}},
                      {cut(whole.substr(0, size)), open_ended(event("ADDED", claim("z", "12")))});
    ASSERT_TRUE(followed.recorder.wait_for("+z@12")) << followed.recorder.text();
    EXPECT_TRUE(followed.stop());
    EXPECT_EQ(followed.recorder.text(), "=0 !unavailable +z@12") << size;
    EXPECT_EQ(followed.positions(), "10 10");
  }
}

TEST(KubeWatch, BookmarksMoveThePosition) {
  Followed followed({{list_of("10", {})}}, {clean(bookmark("20")), cut(bookmark("30")),
                                            open_ended(event("ADDED", claim("z", "31")))});
  EXPECT_TRUE(followed.recorder.wait_for("+z@31")) << followed.recorder.text();
  EXPECT_TRUE(followed.stop());
  EXPECT_EQ(followed.positions(), "10 20 30");
}

TEST(KubeWatch, APositionThatIsTooOldIsListedAnewAndWhatVanishedIsTold) {
  const std::vector<RawReply> both = {
      {exchange("013").response}, {exchange("035").response}, {exchange("036").response}};
  for (const RawReply& too_old : both) {
    // "a" has a namesake now, "b" is gone.
    Followed followed({{list_of("10", {claim("a", "4"), claim("b", "5"), claim("c", "6")})},
                       {list_of("90", {claim("a", "80", "uid-other"), claim("c", "6")})}},
                      {too_old, kSilence});
    EXPECT_TRUE(followed.recorder.wait_for("=2")) << followed.recorder.text();
    while (followed.seen(true).size() < 2) ::usleep(1000);
    EXPECT_TRUE(followed.stop());
    EXPECT_EQ(followed.recorder.text(),
              "+a@4 +b@5 +c@6 =3 !unavailable +a@80 +c@6 -a/uid-a -b/uid-b =2");
    EXPECT_EQ(followed.positions(), "10 90");
  }
}

TEST(KubeWatch, ALostPositionAfterProgressIsNoTrouble) {
  Followed followed(
      {{list_of("10", {})}, {list_of("20", {claim("z", "19")})}},
      {clean(bookmark("15") + event("ERROR", failure_status(410, "Expired"))), kSilence});
  EXPECT_TRUE(followed.recorder.wait_for("=1")) << followed.recorder.text();
  EXPECT_TRUE(followed.stop());
  EXPECT_EQ(followed.recorder.text(), "=0 +z@19 =1");
}

TEST(KubeWatch, AnotherErrorEventIsWaitedOutAndTheWatchGoesOn) {
  Followed followed({{list_of("10", {})}},
                    {clean(event("ADDED", claim("a", "11")) +
                           event("ERROR", failure_status(500, "InternalError"))),
                     open_ended(event("ADDED", claim("z", "12")))});
  EXPECT_TRUE(followed.recorder.wait_for("+z@12")) << followed.recorder.text();
  EXPECT_TRUE(followed.stop());
  EXPECT_EQ(followed.recorder.text(), "=0 +a@11 !unavailable +z@12");
  EXPECT_EQ(followed.positions(), "10 11");
}

// Each end without an event is followed by a longer pause, not by a storm.
TEST(KubeWatch, EndsWithoutProgressAreMetWithPauses) {
  auto options = Followed::quick();
  options.backoff_first = 40ms;
  options.backoff_max = 10s;
  Followed followed({{list_of("10", {})}}, {clean("")}, options);
  const auto begin = net::uptime();
  while (followed.seen(true).size() < 4) ::usleep(1000);
  // At least half of 40, 80 and 160 ms.
  EXPECT_GE(net::uptime() - begin, 140ms);
  EXPECT_TRUE(followed.stop());
}

TEST(KubeWatch, APositionThatGetsNowhereIsForgotten) {
  Followed followed({{list_of("99", {})}, {list_of("10", {claim("z", "9")})}},
                    {{exchange("018").response},
                     {exchange("026").response},
                     {exchange("018").response},
                     {exchange("026").response},
                     {exchange("018").response},
                     kSilence});
  EXPECT_TRUE(followed.recorder.wait_for("+z@9 =1")) << followed.recorder.text();
  while (followed.seen(true).size() < 6) ::usleep(1000);
  EXPECT_TRUE(followed.stop());
  EXPECT_EQ(followed.positions(), "99 99 99 99 99 10");
}

// A store that was restored from a backup: positions of the future get no answer at all.
TEST(KubeWatch, AWatchOverWhichNotEvenABookmarkComesIsListedAnew) {
  auto options = Followed::quick();
  options.timeout_min = options.timeout_max = 1s;
  RawReply silent{stream_head()};
  silent.then = [](int fd, const std::stop_token&) {
    ::usleep(1'000'000);
    send_all(fd, kLastChunk);
  };
  Followed followed({{list_of("100547", {})}, {list_of("10", {claim("z", "9")})}},
                    {silent, kSilence}, options);
  EXPECT_TRUE(followed.recorder.wait_for("+z@9 =1")) << followed.recorder.text();
  EXPECT_TRUE(followed.stop());
}

TEST(KubeWatch, AConnectionThatDiedWithoutAWordIsGivenUp) {
  auto options = Followed::quick();
  options.timeout_min = options.timeout_max = 1s;
  options.grace = 200ms;
  const auto begin = net::uptime();
  Followed followed({{list_of("10", {})}},
                    {open_ended(bookmark("11")), open_ended(event("ADDED", claim("z", "12")))},
                    options);
  EXPECT_TRUE(followed.recorder.wait_for("+z@12")) << followed.recorder.text();
  EXPECT_GE(net::uptime() - begin, 1200ms);
  EXPECT_TRUE(followed.stop());
  EXPECT_EQ(followed.recorder.text(), "=0 !deadline_exceeded +z@12");
}

TEST(KubeWatch, MissingRightsAndMissingApisAreWaitedFor) {
  Followed followed({{exchange("143").response},
                     {exchange("101").response},
                     {exchange("141").response},
                     {list_of("10", {claim("z", "9")})}},
                    {{exchange("157").response}, {exchange("202").response}, kSilence});
  EXPECT_TRUE(followed.recorder.wait_for("+z@9 =1 !permission_denied !unavailable"))
      << followed.recorder.text();
  EXPECT_TRUE(followed.stop());
  EXPECT_TRUE(followed.recorder.text().starts_with(
      "!permission_denied !not_found !permission_denied +z@9 =1"));
}

TEST(KubeWatch, ASelectorThatTheServerDoesNotTakeEndsIt) {
  Followed followed({{exchange("020").response}}, {kSilence});
  const auto ended = followed.end();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::invalid_argument);
}

TEST(KubeWatch, ItAsksForBookmarksAndADrawnEnd) {
  auto options = Followed::quick();
  options.ns = "shop";
  options.label_selector = "tidemark=protect";
  Followed followed({{list_of("10", {})}}, {kSilence}, options);
  while (followed.seen(true).empty()) ::usleep(1000);
  const SeenRequest watch = followed.seen(true)[0];
  const auto query = watch.query();
  EXPECT_EQ(watch.path(), "/api/v1/namespaces/shop/persistentvolumeclaims");
  EXPECT_EQ(query.find("allowWatchBookmarks")->second, "true");
  EXPECT_EQ(query.find("labelSelector")->second, "tidemark=protect");
  const int seconds = std::stoi(query.find("timeoutSeconds")->second);
  EXPECT_GE(seconds, 300);
  EXPECT_LE(seconds, 600);
  // It does not wait for the silence to end.
  const auto begin = net::uptime();
  EXPECT_TRUE(followed.stop());
  EXPECT_LT(net::uptime() - begin, 5s);
}

TEST(KubeWatch, ARecordedDayOfClaimsIsFollowedToItsEnd) {
  Followed followed({{list_of("326", {})}}, {{exchange("030").response, {1000}}, kSilence});
  while (followed.seen(true).size() < 2) ::usleep(1000);
  EXPECT_TRUE(followed.stop());
  const std::string text = followed.recorder.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '+'), 33);
  EXPECT_EQ(std::count(text.begin(), text.end(), '!'), 0);
  EXPECT_EQ(followed.positions(), "326 400");
}

TEST(KubeWatch, WhatIsNoEventIsRefusedAndNothingGrowsWithoutLimit) {
  const auto take = [](kube::WatchEvent) { return Status(); };
  for (const char* const text : {"x\n", "{\n", "[]\n", "{}\n", "{\"type\":\"ADDED\"}\n",
                                 "{\"type\":\"ADDED\",\"object\":[]}\n"}) {
    kube::EventParser parser(100);
    const auto fed = parser.feed(as_bytes(text), take);
    ASSERT_FALSE(fed) << text;
    EXPECT_EQ(fed.error().code(), ErrorCode::corruption);
  }
  kube::EventParser parser(100);
  EXPECT_TRUE(parser.feed(as_bytes(std::string(100, ' ')), take));
  const auto over = parser.feed(as_bytes(" "), take);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code(), ErrorCode::resource_exhausted);
}

}  // namespace
}  // namespace tidemark::testing
