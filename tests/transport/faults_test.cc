// What networks, restarts and impatience do to requests under way.
#include <csignal>
#include <map>
#include <mutex>
#include <thread>

#include "base/crypto.h"
#include "base/queue.h"
#include "tests/transport/fixture.h"
#include "tests/transport/tcp_proxy.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

class Faults : public ::testing::Test {
 protected:
  Faults() : osaka_(pki_.issue("osaka")), tokyo_(pki_.issue("tokyo")) {}

  void start(HttpServer::Handler handler, HttpServerOptions options = {}) {
    options.tls = osaka_;
    server_ = start_server(options, std::move(handler));
  }
  std::unique_ptr<TcpProxy> proxy(TcpProxyOptions options) {
    options.to_port = server_->port();
    return *TcpProxy::start(options);
  }
  std::unique_ptr<HttpClient> client(std::uint16_t port, std::chrono::seconds stall = 30s) {
    HttpClientOptions options = client_options(tokyo_, port);
    options.stall_timeout = stall;
    return make_client(options);
  }

  Pki pki_;
  TlsFiles osaka_, tokyo_;
  std::unique_ptr<HttpServer> server_;
};

// The heart of the matter: wherever a connection is cut, and however, the server never takes half a
// body for a whole one, the client never half an answer, and a client that tries again gets
// through.
TEST_F(Faults, CutAtRandomBytesNoHalfBodyIsEverSeenAsWhole) {
  const std::uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  std::mutex mutex;
  std::map<std::string, Digest> accepted;
  start([&](HttpRequest& request) {
    const auto body = request.body->read_all(64 << 20);
    if (!body) return HttpResponse{.status = 500, .headers = {}, .body = {}};
    const std::lock_guard lock(mutex);
    const auto [at, fresh] = accepted.emplace(request.path, sha256(*body));
    EXPECT_EQ(at->second, sha256(*body)) << request.path;
    HttpResponse response;
    append(response.body, *body);
    return response;
  });
  int cut = 0;
  for (int i = 0; i < 60; ++i) {
    const Bytes body = random_body(random, 1 + random() % 400'000);
    TcpProxyOptions options;
    options.cut_random_max = 2 * body.size() + 8000;
    options.seed = random();
    options.mode = i % 2 == 0 ? CutMode::rst : CutMode::fin;
    options.cut_times = 1 + random() % 3;
    const auto between = proxy(options);
    const auto through = client(between->port());
    const std::string path = "/" + std::to_string(i);
    Result<HttpResponse> answer = Error(ErrorCode::internal, "");
    for (int attempt = 0; attempt < 10 && !answer; ++attempt) {
      answer = through->request("PUT", path, {}, body);
      if (!answer) {
        EXPECT_EQ(answer.error().code(), ErrorCode::unavailable) << answer.error().describe();
        ++cut;
      }
    }
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(answer->status, 200u);
    EXPECT_EQ(answer->body, body);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(accepted.at(path), sha256(body));
  }
  EXPECT_GT(cut, 10);
}

TEST_F(Faults, ABlackHoleIsNoticedByBothSides) {
  std::atomic<int> stalled = 0;
  HttpServerOptions options;
  options.stall_timeout = 1s;
  start(
      [&](HttpRequest& request) {
        const auto body = request.body->read_all(64 << 20);
        if (!body && body.error().code() == ErrorCode::deadline_exceeded) ++stalled;
        return HttpResponse{};
      },
      options);
  TcpProxyOptions hole;
  hole.mode = CutMode::blackhole;
  hole.cut_after_up = 1'000'000;
  const auto between = proxy(hole);
  const auto begin = SteadyClock::now();
  const auto answer = client(between->port(), 1s)->request("PUT", "/", {}, Bytes(32 << 20));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::deadline_exceeded) << answer.error().describe();
  EXPECT_LT(SteadyClock::now() - begin, 8s);
  server_->stop(10s);
  EXPECT_EQ(stalled, 1);
}

TEST_F(Faults, AHandshakeThatGoesNowhereEnds) {
  HttpServerOptions options;
  options.handshake_timeout = 1s;
  start(echo, options);
  TcpProxyOptions hole;
  hole.mode = CutMode::blackhole;
  hole.cut_after_total = 200;
  const auto between = proxy(hole);
  HttpClientOptions to = client_options(tokyo_, between->port());
  to.connect_timeout = 1s;
  const auto answer = make_client(to)->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::deadline_exceeded) << answer.error().describe();
  const auto begin = SteadyClock::now();
  server_->stop(20s);
  EXPECT_LT(SteadyClock::now() - begin, 8s);
}

TEST_F(Faults, ASlowNetworkIsNotAStall) {
  start(echo);
  TcpProxyOptions slow;
  slow.rate_bytes = 400'000;
  slow.delay = 20ms;
  const auto between = proxy(slow);
  std::mt19937_64 random(test_seed());
  const Bytes body = random_body(random, 900'000);
  const auto begin = SteadyClock::now();
  const auto answer = client(between->port(), 1s)->request("PUT", "/", {}, body);
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(answer->body, body);
  EXPECT_GT(SteadyClock::now() - begin, 3s);
}

TEST_F(Faults, CancellingEndsARequestAtOnceWhereverItIs) {
  HttpServerOptions options;
  options.stall_timeout = 30s;
  std::atomic<bool> released = false;
  start(
      [&](HttpRequest& request) {
        while (request.path != "/" && !released) std::this_thread::sleep_for(10ms);
        return HttpResponse{};
      },
      options);
  TcpProxyOptions hole;
  hole.mode = CutMode::blackhole;
  hole.cut_after_total = 100;
  const auto between = proxy(hole);
  struct Case {
    std::uint16_t port;
    const char* path;
    std::size_t bytes;
  };
  // Waiting for the answer; writing to a server that does not read; in the handshake.
  for (const Case& at : {Case{server_->port(), "/slow", 0},
                         Case{server_->port(), "/deaf", 64 << 20}, Case{between->port(), "/", 0}}) {
    const auto asking = client(at.port);
    std::stop_source stop;
    SteadyClock::time_point begin;
    std::thread impatient([&] {
      std::this_thread::sleep_for(500ms);
      begin = SteadyClock::now();
      stop.request_stop();
    });
    const Bytes body(at.bytes);
    const auto answer = asking->request("PUT", at.path, {}, body, stop.get_token());
    const auto end = SteadyClock::now();
    impatient.join();
    ASSERT_FALSE(answer) << at.path;
    EXPECT_EQ(answer.error().code(), ErrorCode::cancelled) << answer.error().describe();
    EXPECT_LT(end - begin, 2s) << at.path;
    EXPECT_EQ(asking->request("GET", "/", {}, {}, stop.get_token()).error().code(),
              ErrorCode::cancelled);
  }
  released = true;
  EXPECT_TRUE(client(server_->port())->request("GET", "/", {}, {}));
  server_.reset();
}

TEST_F(Faults, AKeptConnectionThatWasClosedIsReplaced) {
  start(echo);
  const auto between = proxy({});
  const auto through = client(between->port());
  for (const char* method : {"GET", "PUT", "POST"}) {
    ASSERT_TRUE(through->request("GET", "/", {}, {}));
    between->cut_now();
    std::this_thread::sleep_for(200ms);
    // The end has arrived: it is seen before anything is sent, so even a POST gets through.
    const auto answer = through->request(method, "/", {}, {});
    EXPECT_TRUE(answer) << method << answer.error().describe();
  }
  EXPECT_EQ(between->connections(), 4u);
}

// The server closes a kept connection when it sees the next request, before it answers: a request
// that is safe to repeat is repeated once, any other is not.
TEST_F(Faults, OnlyRequestsThatAreSafeToRepeatAreRepeated) {
  std::atomic<int> handled = 0;
  start([&](HttpRequest&) {
    ++handled;
    return HttpResponse{};
  });
  for (const std::string method : {"GET", "PUT", "POST", "DELETE"}) {
    const auto warm_up_bytes = [&] {
      const auto between = proxy({});
      EXPECT_TRUE(client(between->port())->request("GET", "/", {}, {}));
      return between->bytes_up();
    }();
    TcpProxyOptions options;
    options.cut_after_up = warm_up_bytes + 40;
    options.cut_times = 1;
    const auto between = proxy(options);
    const auto through = client(between->port());
    ASSERT_TRUE(through->request("GET", "/", {}, {}));
    const int before = handled;
    const auto answer = through->request(method, "/", {{"x-padding", std::string(500, 'x')}}, {});
    const bool repeatable = method == "GET" || method == "PUT";
    EXPECT_EQ(answer.has_value(), repeatable) << method;
    EXPECT_EQ(handled - before, repeatable ? 1 : 0) << method;
    EXPECT_EQ(between->connections(), repeatable ? 2u : 1u) << method;
    EXPECT_EQ(between->cuts(), 1u);
  }
}

TEST_F(Faults, ARequestOnAFreshConnectionIsNeverRepeated) {
  std::atomic<int> handled = 0;
  start([&](HttpRequest& request) {
    ++handled;
    return echo(request);
  });
  TcpProxyOptions options;
  options.cut_after_down = 1500;
  const auto between = proxy(options);
  const auto answer = client(between->port())->request("PUT", "/", {}, Bytes(100'000));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::unavailable);
  EXPECT_EQ(between->connections(), 1u);
  EXPECT_LE(handled, 1);
}

TEST_F(Faults, StoppingWaitsForRequestsUnderWayAndTakesNoMore) {
  std::atomic<bool> began = false;
  start([&](HttpRequest& request) {
    began = true;
    std::this_thread::sleep_for(500ms);
    return echo(request);
  });
  const auto asking = client(server_->port());
  const auto idle = client(server_->port());
  Result<HttpResponse> answer = Error(ErrorCode::internal, "");
  std::thread request([&] { answer = asking->request("PUT", "/", {}, as_bytes("x")); });
  while (!began) std::this_thread::sleep_for(1ms);
  const auto begin = SteadyClock::now();
  server_->stop(10s);
  EXPECT_LT(SteadyClock::now() - begin, 5s);
  request.join();
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(answer->headers.at("connection"), "close");
  const auto late = idle->request("GET", "/", {}, {});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::unavailable);
  server_->stop(10s);
}

TEST_F(Faults, StoppingCutsWhatOutlastsTheGrace) {
  std::atomic<int> cancelled = 0;
  std::atomic<int> began = 0;
  start([&](HttpRequest& request) {
    ++began;
    Bytes buffer(100);
    while (true) {
      const auto n = request.body->read(buffer);
      if (!n) cancelled += n.error().code() == ErrorCode::cancelled ? 1 : 0;
      if (!n || *n == 0) return HttpResponse{};
    }
  });
  std::vector<std::unique_ptr<RawTls>> stuck;
  for (int i = 0; i < 5; ++i) {
    stuck.push_back(std::make_unique<RawTls>(server_->port(), &tokyo_));
    ASSERT_TRUE(stuck.back()->send("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"));
  }
  const RawTls idle(server_->port(), &tokyo_);
  while (began < 5) std::this_thread::sleep_for(1ms);
  std::vector<std::thread> stopping;
  const auto begin = SteadyClock::now();
  for (int i = 0; i < 3; ++i) stopping.emplace_back([&] { server_->stop(300ms); });
  for (std::thread& thread : stopping) thread.join();
  EXPECT_GE(SteadyClock::now() - begin, 300ms);
  EXPECT_LT(SteadyClock::now() - begin, 3s);
  EXPECT_EQ(cancelled, 5);
}

TEST_F(Faults, AServerStartedAgainIsFoundAgain) {
  start(echo);
  const std::uint16_t port = server_->port();
  const auto asking = client(port);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(asking->request("PUT", "/", {}, as_bytes("x")));
    server_.reset();
    const auto down = asking->request("GET", "/", {}, {});
    ASSERT_FALSE(down);
    EXPECT_EQ(down.error().code(), ErrorCode::unavailable) << down.error().describe();
    HttpServerOptions options;
    options.port = port;
    start(echo, options);
  }
  EXPECT_TRUE(asking->request("PUT", "/", {}, as_bytes("x")));
}

// A name server that does not answer would hold a request for many seconds.
TEST_F(Faults, ANameThatDoesNotResolveIsUnavailable) {
  HttpClientOptions options = client_options(tokyo_, 1);
  options.url = "https://no-such-host.invalid:1";
  options.connect_timeout = 2s;
  const auto begin = SteadyClock::now();
  const auto answer = make_client(options)->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_TRUE(answer.error().retryable()) << answer.error().describe();
  EXPECT_LT(SteadyClock::now() - begin, 4s);
}

}  // namespace
}  // namespace tidemark::testing
