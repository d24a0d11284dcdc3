// Requests and answers that go well.
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "base/crypto.h"
#include "tests/transport/fixture.h"
#include "tests/transport/tcp_proxy.h"

namespace tidemark::testing {
namespace {

class RoundTrip : public ::testing::Test {
 protected:
  void start(HttpServer::Handler handler = echo) {
    server_ = start_server(server_options(pki_.issue("osaka")), std::move(handler));
    client_ = make_client(client_options(pki_.issue("tokyo"), server_->port()));
  }
  Pki pki_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpClient> client_;
};

TEST_F(RoundTrip, BodiesOfEverySizeComeBackUnchanged) {
  start();
  std::mt19937_64 random(test_seed());
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{16383}, std::size_t{16384},
        std::size_t{16385}, std::size_t{131072}, std::size_t{1000003}, std::size_t{8} << 20,
        std::size_t{64} << 20}) {
    const Bytes body = random_body(random, size);
    const auto answer = client_->request("PUT", "/packs/x", {}, body);
    ASSERT_TRUE(answer) << size << ": " << answer.error().describe();
    EXPECT_EQ(answer->status, 200u);
    EXPECT_EQ(sha256(answer->body), sha256(body)) << size;
    EXPECT_EQ(answer->headers.at("x-site"), "tokyo");
  }
}

TEST_F(RoundTrip, PathQueryAndHeadersArriveDecoded) {
  start([](HttpRequest& request) {
    HttpResponse response = echo(request);
    response.headers["x-custom"] = request.headers.at("x-custom");
    return response;
  });
  const std::string asset = "rbd/pool/im age+ü%41";
  const auto answer = client_->request(
      "GET", "/v1/" + url_encode(asset) + "?name=" + url_encode("a&b=c+d") + "&flag",
      {{"x-custom", "one, two"}}, {});
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(answer->headers.at("x-path"), url_encode("/v1/" + asset));
  EXPECT_EQ(answer->headers.at("x-query-name"), url_encode("a&b=c+d"));
  EXPECT_EQ(answer->headers.at("x-query-flag"), "");
  EXPECT_EQ(answer->headers.at("x-custom"), "one, two");
}

TEST_F(RoundTrip, ConnectionsAreKeptAndUsedAgain) {
  start();
  TcpProxyOptions options;
  options.to_port = server_->port();
  auto proxy = TcpProxy::start(options);
  ASSERT_TRUE(proxy);
  const auto client = make_client(client_options(pki_.files("tokyo"), (*proxy)->port()));
  for (int i = 0; i < 50; ++i) {
    const std::string text = "request " + std::to_string(i);
    const auto answer = client->request(i % 2 == 0 ? "PUT" : "POST", "/x", {}, as_bytes(text));
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(as_text(answer->body), text);
  }
  EXPECT_EQ((*proxy)->connections(), 1u);
}

TEST_F(RoundTrip, ManyThreadsGetTheirOwnAnswers) {
  start();
  const std::uint64_t seed = test_seed();
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 16; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      for (int i = 0; i < 40; ++i) {
        const Bytes body = random_body(random, random() % 300000);
        const auto answer = client_->request("PUT", "/x", {}, body);
        if (answer && answer->body == body) ++good;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16 * 40);
}

TEST_F(RoundTrip, HeadHasTheLengthAndNoBody) {
  start([](HttpRequest& request) {
    HttpResponse response;
    if (request.path == "/stated")
      response.headers["content-length"] = "123456789";
    else
      append(response.body, as_bytes("hello"));
    return response;
  });
  for (int i = 0; i < 2; ++i) {
    auto answer = client_->request("HEAD", "/x", {}, {});
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(answer->headers.at("content-length"), "5");
    EXPECT_TRUE(answer->body.empty());
    answer = client_->request("HEAD", "/stated", {}, {});
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(answer->headers.at("content-length"), "123456789");
    answer = client_->request("GET", "/x", {}, {});
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(as_text(answer->body), "hello");
  }
}

TEST_F(RoundTrip, AnswersWithoutABodyKeepTheConnectionInStep) {
  start([](HttpRequest& request) {
    HttpResponse response;
    response.status = request.path == "/none" ? 204 : 200;
    append(response.body, as_bytes(response.status == 200 ? "body" : ""));
    return response;
  });
  for (int i = 0; i < 3; ++i) {
    const auto none = client_->request("DELETE", "/none", {}, {});
    ASSERT_TRUE(none);
    EXPECT_EQ(none->status, 204u);
    EXPECT_TRUE(none->body.empty());
    const auto some = client_->request("GET", "/some", {}, {});
    ASSERT_TRUE(some);
    EXPECT_EQ(as_text(some->body), "body");
  }
}

TEST_F(RoundTrip, AnUnreadBodyIsDroppedAndTheNextRequestIsServed) {
  start([](HttpRequest& request) {
    HttpResponse response;
    response.status = request.path == "/refuse" ? 409 : 200;
    return response;
  });
  std::mt19937_64 random(test_seed());
  for (const std::size_t size :
       {std::size_t{10}, std::size_t{60000}, std::size_t{70000}, std::size_t{40} << 20}) {
    const auto refused = client_->request("PUT", "/refuse", {}, random_body(random, size));
    ASSERT_TRUE(refused) << size << ": " << refused.error().describe();
    EXPECT_EQ(refused->status, 409u);
    const auto next = client_->request("POST", "/x", {}, as_bytes("x"));
    ASSERT_TRUE(next) << size << ": " << next.error().describe();
    EXPECT_EQ(next->status, 200u);
  }
}

TEST_F(RoundTrip, AHandlerThatThrowsIsAnAnswer500AndNoCrash) {
  start([](HttpRequest&) -> HttpResponse { throw std::runtime_error("broken"); });
  for (int i = 0; i < 2; ++i) {
    const auto answer = client_->request("GET", "/", {}, {});
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(answer->status, 500u);
    EXPECT_EQ(as_text(answer->body),
              "{\"error\":{\"code\":\"internal\",\"message\":\"internal error\"}}\n");
  }
}

TEST_F(RoundTrip, AHandlersHeaderCannotForgeAnotherOne) {
  start([](HttpRequest& request) {
    HttpResponse response;
    response.headers["x-echo"] = request.query["v"].empty() ? "a\r\nx-forged: 1" : "fine";
    return response;
  });
  const auto forged = client_->request("GET", "/", {}, {});
  ASSERT_TRUE(forged);
  EXPECT_EQ(forged->status, 500u);
  EXPECT_FALSE(forged->headers.contains("x-forged"));
  const auto fine = client_->request("GET", "/?v=1", {}, {});
  ASSERT_TRUE(fine);
  EXPECT_EQ(fine->status, 200u);
}

TEST_F(RoundTrip, TheClientRefusesWhatCannotBeWritten) {
  start();
  const std::pair<std::string, std::string> bad_targets[] = {
      {"GET", "x"}, {"GET", "/a b"}, {"GET", "/a\r\nx: y"}, {"G T", "/"}, {"GET", "/ü"}, {"", "/"}};
  for (const auto& [method, target] : bad_targets) {
    const auto answer = client_->request(method, target, {}, {});
    ASSERT_FALSE(answer) << target;
    EXPECT_EQ(answer.error().code(), ErrorCode::invalid_argument);
  }
  const HttpHeaders bad_headers[] = {{{"content-length", "1"}},
                                     {{"transfer-encoding", "chunked"}},
                                     {{"a b", "c"}},
                                     {{"a", "b\nc: d"}},
                                     {{"host", "other"}}};
  for (const HttpHeaders& headers : bad_headers)
    EXPECT_FALSE(client_->request("GET", "/", headers, {})) << headers.begin()->first;
  for (const char* url : {"http://a:1", "https://", "https://a:0", "https://a:99999", "https://a/b",
                          "https://u@a:1", "https://[zz]:1", "https://a:1x", "a:1"}) {
    HttpClientOptions options = client_options(pki_.files("tokyo"), 1);
    options.url = url;
    const auto client = HttpClient::create(options);
    ASSERT_FALSE(client) << url;
    EXPECT_EQ(client.error().code(), ErrorCode::invalid_argument);
  }
}

TEST_F(RoundTrip, AHostNameAndIpv6WorkAsWellAsAnAddress) {
  start();
  HttpClientOptions options = client_options(pki_.files("tokyo"), server_->port());
  options.url = "https://localhost:" + std::to_string(server_->port()) + "/";
  const auto answer = make_client(options)->request("GET", "/", {}, {});
  ASSERT_TRUE(answer) << answer.error().describe();

  HttpServerOptions on_six = server_options(pki_.files("osaka"));
  on_six.address = "::1";
  auto six = HttpServer::start(on_six, echo);
  if (!six) GTEST_SKIP() << "no IPv6 here: " << six.error().describe();
  options.url = "https://[::1]:" + std::to_string((*six)->port());
  const auto over_six = make_client(options)->request("GET", "/", {}, {});
  ASSERT_TRUE(over_six) << over_six.error().describe();
}

TEST_F(RoundTrip, AnAnswerLargerThanTheLimitIsAnError) {
  start();
  HttpClientOptions options = client_options(pki_.files("tokyo"), server_->port());
  options.response_bytes_max = 1000;
  const auto client = make_client(options);
  const Bytes body(1001);
  EXPECT_TRUE(client->request("PUT", "/", {}, ByteView(body).first(1000)));
  EXPECT_FALSE(client->request("PUT", "/", {}, body));
  EXPECT_TRUE(client->request("PUT", "/", {}, ByteView(body).first(1000)));
}

// 300 connections come and go: neither descriptors nor threads may stay behind.
TEST_F(RoundTrip, ConnectionsLeaveNothingBehind) {
  start();
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}) +
           std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
  };
  ASSERT_TRUE(client_->request("GET", "/", {}, {}));
  const auto before = count();
  for (int i = 0; i < 300; ++i) {
    const auto client = make_client(client_options(pki_.files("tokyo"), server_->port()));
    ASSERT_TRUE(client->request("GET", "/", {}, {}));
  }
  for (int i = 0; i < 100 && count() > before + 4; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(count(), before + 4);
}

}  // namespace
}  // namespace tidemark::testing
