// What the server makes of requests that are wrong, too large, too many or hostile.
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "tests/transport/fixture.h"
#include "tests/transport/tcp_proxy.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;

class Limits : public ::testing::Test {
 protected:
  Limits() : osaka_(pki_.issue("osaka")), tokyo_(pki_.issue("tokyo")) {}

  void start(HttpServerOptions options = {}) {
    options.tls = osaka_;
    options.stall_timeout = 1s;
    server_ = start_server(options, [this](HttpRequest& request) {
      ++handled_;
      return echo(request);
    });
  }
  // What comes back for these bytes until the server closes.
  std::string ask(std::string_view text) {
    RawTls raw(server_->port(), &tokyo_);
    raw.send(text);
    return raw.receive_all();
  }
  bool serves() {
    const auto answer = make_client(client_options(tokyo_, server_->port()))
                            ->request("PUT", "/x", {}, as_bytes("ok"));
    return answer && as_text(answer->body) == "ok";
  }

  Pki pki_;
  TlsFiles osaka_, tokyo_;
  std::atomic<int> handled_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Limits, RequestsThatAreWrongGetAnErrorAndNoHandler) {
  start();
  struct Case {
    const char* text;
    const char* status;
  };
  const std::string host = "host: x\r\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"nonsense\r\n\r\n", "400"},
      {"GET /\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n\r\n", "400"},                     // no host
      {"GET / HTTP/1.1\r\n" + host + host + "\r\n", "400"},  // two
      {"GET / HTTP/2.0\r\n" + host + "\r\n", "505"},
      {"GET /../etc/passwd HTTP/1.1\r\n" + host + "\r\n", "400"},
      {"GET /%2e%2e/x HTTP/1.1\r\n" + host + "\r\n", "400"},
      {"GET /a%00b HTTP/1.1\r\n" + host + "\r\n", "400"},
      {"GET https://x/ HTTP/1.1\r\n" + host + "\r\n", "400"},
      {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "400"},
      {"GET / HTTP/1.1\r\n" + host + "a : b\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n" + host + "a: b\x01\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n" + host + "a: \xff\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n" + host + "expect: wonders\r\n\r\n", "417"},
      // Two statements of where the body ends.
      {"PUT / HTTP/1.1\r\n" + host +
           "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
       "400"},
      {"PUT / HTTP/1.1\r\n" + host +
           "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
       "400"},
      {"PUT / HTTP/1.1\r\n" + host + "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "400"},
      {"PUT / HTTP/1.1\r\n" + host + "content-length: 3\r\ncontent-length: 3\r\n\r\nabc", "400"},
      {"PUT / HTTP/1.1\r\n" + host + "content-length: 3, 3\r\n\r\nabc", "400"},
      {"PUT / HTTP/1.1\r\n" + host + "content-length: -1\r\n\r\n", "400"},
      {"PUT / HTTP/1.1\r\n" + host + "content-length: 0x3\r\n\r\nabc", "400"},
      {"PUT / HTTP/1.1\r\n" + host + "content-length: 99999999999999999999\r\n\r\n", "400"},
      {"PUT / HTTP/1.1\r\n" + host + "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"},
      {"PUT / HTTP/1.1\r\n" + host + "transfer-encoding: identity\r\n\r\n", "501"},
      {"PUT / HTTP/1.1\r\n" + host + "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", "501"},
      {"PUT / HTTP/1.1\r\n" + host +
           "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
       "400"},
      {"PUT / HTTP/1.0\r\n" + host + "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "501"},
  };
  for (const auto& [text, status] : cases) {
    const std::string got = ask(text);
    EXPECT_TRUE(got.starts_with("HTTP/1.1 " + status)) << text << "\ngot: " << got;
    EXPECT_NE(got.find("connection: close"), std::string::npos) << text;
    EXPECT_NE(got.find("{\"error\":{\"code\":\""), std::string::npos) << text;
    EXPECT_EQ(handled_, 0) << text;
  }
  EXPECT_TRUE(serves());
}

TEST_F(Limits, AHeaderThatIsTooLargeGets431) {
  HttpServerOptions options;
  options.header_bytes_max = 8 * 1024;
  start(options);
  EXPECT_TRUE(ask("GET / HTTP/1.1\r\nhost: x\r\na: " + std::string(9000, 'a') + "\r\n\r\n")
                  .starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(ask("GET /" + std::string(200000, 'a') + " HTTP/1.1\r\nhost: x\r\n\r\n")
                  .starts_with("HTTP/1.1 431"));
  std::string many = "GET / HTTP/1.1\r\nhost: x\r\n";
  for (int i = 0; i < 150; ++i) many += "h" + std::to_string(i) + ": x\r\n";
  EXPECT_TRUE(ask(many + "\r\n").starts_with("HTTP/1.1 431"));
  EXPECT_EQ(handled_, 0);
  EXPECT_TRUE(serves());
}

TEST_F(Limits, ABodyThatIsTooLargeGets413) {
  HttpServerOptions options;
  options.body_bytes_max = 1'000'000;
  start(options);
  const auto client = make_client(client_options(tokyo_, server_->port()));
  const Bytes body(1'000'001);
  const auto fits = client->request("PUT", "/", {}, ByteView(body).first(1'000'000));
  ASSERT_TRUE(fits);
  EXPECT_EQ(fits->status, 200u);
  handled_ = 0;
  for (const std::size_t size : {std::size_t{1'000'001}, std::size_t{64} << 20}) {
    const auto large = client->request("PUT", "/", {}, Bytes(size));
    ASSERT_TRUE(large) << large.error().describe();
    EXPECT_EQ(large->status, 413u);
  }
  EXPECT_EQ(handled_, 0);
  std::string chunked = "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
  for (int i = 0; i < 17; ++i) chunked += "10000\r\n" + std::string(65536, 'x') + "\r\n";
  EXPECT_TRUE(ask(chunked + "0\r\n\r\n").starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(serves());
}

TEST_F(Limits, ChunkedBodiesAndPipelinedRequestsAreUnderstood) {
  start();
  const std::string got =
      ask("PUT /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
          "5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\ntrailer: x\r\n\r\n"
          "PUT /b HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nsecond"
          "GET /c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  const auto first = got.find("hello world"), second = got.find("second");
  EXPECT_NE(first, std::string::npos) << got;
  EXPECT_NE(second, std::string::npos) << got;
  EXPECT_LT(first, second);
  EXPECT_NE(got.find("x-path: %2Fc"), std::string::npos) << got;
  EXPECT_EQ(handled_, 3);
}

TEST_F(Limits, ADamagedChunkIsAnErrorForTheHandler) {
  start();
  for (const char* body : {"zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n",
                           "ffffffffffffffffff\r\nhello", "-1\r\n"}) {
    const std::string got =
        ask(std::string("PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n") + body);
    EXPECT_TRUE(got.starts_with("HTTP/1.1 4")) << body << "\ngot: " << got;
  }
  EXPECT_TRUE(serves());
}

// However a body ends early, the handler sees an error and never a short success.
TEST_F(Limits, ABodyThatEndsEarlyIsAnError) {
  std::mutex mutex;
  std::vector<Error> errors;  // guarded by mutex
  std::atomic<int> wholes = 0, began = 0;
  HttpServerOptions options = server_options(osaka_);
  options.stall_timeout = 1s;
  server_ = start_server(options, [&](HttpRequest& request) {
    ++began;
    const auto body = request.body->read_all(1 << 20);
    const std::lock_guard lock(mutex);
    if (!body) errors.push_back(body.error());
    if (body) ++wholes;
    return HttpResponse{};
  });
  const std::string stated = "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
  const std::string chunked = "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
  for (const std::string& text :
       {stated + std::string(99, 'x'), stated, chunked, chunked + "5\r\nhello\r\n",
        chunked + "5\r\nhel", chunked + "5\r\nhello\r\n0\r\n"}) {
    for (const int end : {0, 1, 2}) {
      RawTls raw(server_->port(), &tokyo_);
      const int before = began;
      ASSERT_TRUE(raw.send(text));
      for (int i = 0; i < 500 && began == before; ++i) std::this_thread::sleep_for(10ms);
      if (end == 0) raw.end_writing();
      if (end == 1) raw.drop(false);
      if (end == 2) raw.drop(true);
      if (end == 0) raw.receive_all();
    }
  }
  server_->stop(5s);
  EXPECT_EQ(wholes, 0);
  ASSERT_EQ(errors.size(), 18u);
  for (const Error& error : errors)
    EXPECT_EQ(error.code(), ErrorCode::unavailable) << error.describe();
}

TEST_F(Limits, AClientThatStallsIsCutOff) {
  HttpServerOptions options;
  options.handshake_timeout = 1s;
  options.idle_timeout = 1s;
  start(options);
  // Not one byte; half a header; a header that is dripped; half a body; nothing after an answer.
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(ask(""), "");
  EXPECT_TRUE(ask("GET / HTT").starts_with("HTTP/1.1 408"));
  RawTls dripping(server_->port(), &tokyo_);
  std::string dripped = "GET / HTTP/1.1\r\nhost: x\r\na: ";
  for (int i = 0; i < 50 && dripping.send(dripped); ++i) {
    dripped = "b";
    std::this_thread::sleep_for(100ms);
    if (SSL_pending(dripping.ssl()) > 0) break;
  }
  EXPECT_EQ(ask("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhello"), "");
  EXPECT_NE(ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").find("200 OK"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 15s);
  EXPECT_TRUE(serves());
}

TEST_F(Limits, ADrippedHeaderEndsInTimeAllTheSame) {
  start();
  RawTls raw(server_->port(), &tokyo_);
  ASSERT_TRUE(raw.send("GET / HTTP/1.1\r\nhost: x\r\na: "));
  const auto begin = std::chrono::steady_clock::now();
  int sent = 0;
  while (raw.send("b") && std::chrono::steady_clock::now() - begin < 20s) {
    ++sent;
    std::this_thread::sleep_for(50ms);
  }
  // One second for the header and two for lingering.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_GT(sent, 5);
  EXPECT_EQ(handled_, 0);
}

TEST_F(Limits, AClientThatDoesNotReadIsCutOff) {
  HttpServerOptions options = server_options(osaka_);
  options.stall_timeout = 1s;
  server_ = start_server(options, [](HttpRequest&) {
    HttpResponse response;
    response.body.resize(64 << 20);
    return response;
  });
  RawTls raw(server_->port(), &tokyo_);
  ASSERT_TRUE(raw.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  std::this_thread::sleep_for(200ms);
  const auto begin = std::chrono::steady_clock::now();
  server_->stop(20s);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(Limits, MoreConnectionsThanAllowedAreTold) {
  HttpServerOptions options;
  options.connections_max = 4;
  start(options);
  std::vector<std::unique_ptr<RawTls>> kept;
  for (int i = 0; i < 4; ++i) {
    kept.push_back(std::make_unique<RawTls>(server_->port(), &tokyo_));
    ASSERT_TRUE(kept.back()->send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    ASSERT_NE(kept.back()->receive_until("\r\n\r\n").find("200 OK"), std::string::npos);
  }
  const auto client = make_client(client_options(tokyo_, server_->port()));
  const auto refused = client->request("PUT", "/", {}, Bytes(4 << 20));
  ASSERT_TRUE(refused) << refused.error().describe();
  EXPECT_EQ(refused->status, 503u);
  // Far too many: nothing is queued, each is answered or closed, and the four go on.
  std::vector<std::thread> threads;
  std::atomic<int> turned_away = 0;
  for (int i = 0; i < 60; ++i)
    threads.emplace_back([&] {
      const auto other = make_client(client_options(tokyo_, server_->port()));
      const auto answer = other->request("GET", "/", {}, {});
      if (!answer || answer->status == 503) ++turned_away;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turned_away, 60);
  for (const auto& raw : kept) {
    ASSERT_TRUE(raw->send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    EXPECT_NE(raw->receive_until("\r\n\r\n").find("200 OK"), std::string::npos);
  }
  kept.clear();
  bool back = false;
  for (int i = 0; i < 100 && !back; ++i) {
    const auto answer = client->request("GET", "/", {}, {});
    back = answer && answer->status == 200;
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_TRUE(back);
}

// Bytes that look like requests and are not, over good TLS and in place of TLS: the server lives on
// and no handler gets a body that was not sent.
TEST_F(Limits, FuzzedRequestsDoNoHarm) {
  start();
  std::mt19937_64 random(test_seed());
  const std::string seeds[] = {
      "PUT /a/b?c=d HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
      "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      "GET /%41%2f?x=%20 HTTP/1.0\r\nhost: x\r\nexpect: 100-continue\r\n\r\n"};
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int i = 0; i < 300; ++i) {
    std::string text = seeds[pick(std::size(seeds))] + seeds[pick(std::size(seeds))];
    for (std::size_t n = 1 + pick(6); n > 0; --n) {
      const std::size_t at = pick(text.size());
      switch (pick(4)) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + pick(10));
          break;
        case 2:
          text.insert(at, text.substr(pick(text.size()), pick(30)));
          break;
        default:
          text.insert(at, std::string(1, "\r\n:;% \t\0"[pick(8)]));
          break;
      }
      if (text.empty()) text = "x";
    }
    RawTls raw(server_->port(), &tokyo_);
    ASSERT_TRUE(raw.connected()) << i;
    raw.send(text);
    raw.end_writing();
    for (const std::string& got = raw.receive_all(); !got.empty();) {
      EXPECT_TRUE(got.starts_with("HTTP/1.1 ")) << text;
      break;
    }
  }
  EXPECT_TRUE(serves());
}

}  // namespace
}  // namespace tidemark::testing
