// Requests to servers that are none of ours, and may be anything.
#include "transport/http_post.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <thread>

#include "tests/transport/fixture.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;

// Takes one connection after the other, reads what comes, and says what it is told to say.
class ScriptedServer {
 public:
  // Sends `answer` once `wait_for` was read; then closes, or keeps silent.
  ScriptedServer(std::string wait_for, std::string answer, bool closes = true)
      : wait_for_(std::move(wait_for)), answer_(std::move(answer)), closes_(closes) {
    auto listener = net::listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener);
    port_ = *net::local_port(listener->get());
    thread_ = std::jthread([this, fd = *std::move(listener)](const std::stop_token& stop) {
      while (!stop.stop_requested()) serve(fd.get(), stop);
    });
  }
  std::string url(const std::string& path = "/hook") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  std::string received() const {
    const std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  static bool readable(int fd) {
    pollfd what{fd, POLLIN, 0};
    return ::poll(&what, 1, 50) == 1;
  }
  void serve(int listener, const std::stop_token& stop) {
    if (!readable(listener)) return;
    const Fd connection(::accept(listener, nullptr, nullptr));
    std::string request;
    while (!stop.stop_requested() && request.find(wait_for_) == std::string::npos) {
      if (!readable(connection.get())) continue;
      std::array<char, 4096> some{};
      const auto n = ::recv(connection.get(), some.data(), some.size(), 0);
      if (n <= 0) break;
      request.append(some.data(), static_cast<std::size_t>(n));
    }
    {
      const std::lock_guard lock(mutex_);
      received_ = request;
    }
    static_cast<void>(::send(connection.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL));
    while (!closes_ && !stop.stop_requested()) ::usleep(20'000);
  }

  const std::string wait_for_, answer_;
  const bool closes_;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::string received_;
  std::jthread thread_;
};

HttpPost request_to(const std::string& url) {
  HttpPost request;
  request.url = url;
  request.body = R"({"a":"end"})";
  request.timeout = 5s;
  return request;
}

TEST(HttpPost, SendsOneDocumentAndTellsTheStatus) {
  const ScriptedServer server("end\"}", "HTTP/1.1 204 No Content\r\n\r\n");
  auto request = request_to(server.url("/a/b?c=d"));
  request.token = "t0ken";
  const auto status = http_post(request, {});
  ASSERT_TRUE(status) << status.error().describe();
  EXPECT_EQ(*status, 204U);
  const std::string got = server.received();
  EXPECT_TRUE(got.starts_with("POST /a/b?c=d HTTP/1.1\r\n")) << got;
  EXPECT_NE(got.find("\r\nContent-Length: 11\r\n"), std::string::npos);
  EXPECT_NE(got.find("\r\nContent-Type: application/json\r\n"), std::string::npos);
  EXPECT_NE(got.find("\r\nAuthorization: Bearer t0ken\r\n"), std::string::npos);
  EXPECT_TRUE(got.ends_with("\r\n\r\n{\"a\":\"end\"}"));
}

TEST(HttpPost, AnAddressWithoutAPathIsTheRoot) {
  const ScriptedServer server("end\"}", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  for (const std::string path : {"", "?x=1"}) {
    ASSERT_TRUE(http_post(request_to(server.url(path)), {}));
    EXPECT_TRUE(server.received().starts_with("POST /" + path + " ")) << server.received();
  }
}

TEST(HttpPost, OtherAnswersAreNoErrorsAndRedirectsAreNotFollowed) {
  for (const unsigned code : {301U, 404U, 500U}) {
    const ScriptedServer server("end\"}", "HTTP/1.1 " + std::to_string(code) +
                                              " X\r\nLocation: http://127.0.0.1:1/\r\n"
                                              "Content-Length: 2\r\n\r\nno");
    const auto status = http_post(request_to(server.url()), {});
    ASSERT_TRUE(status) << status.error().describe();
    EXPECT_EQ(*status, code);
  }
}

// Wherever the answer's head is cut, there is no status.
TEST(HttpPost, AnAnswerThatIsCutIsAnError) {
  const std::string whole = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const ScriptedServer server("end\"}", whole.substr(0, length));
    EXPECT_FALSE(http_post(request_to(server.url()), {})) << length;
  }
}

TEST(HttpPost, WhatIsNoHttpOrTooLargeIsAnError) {
  for (const std::string& answer :
       {std::string("SSH-2.0-x\r\n\r\n"), std::string("HTTP/1.1 abc\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nX: " + std::string(1 << 20, 'x') + "\r\n\r\n"}) {
    const ScriptedServer server("end\"}", answer);
    EXPECT_FALSE(http_post(request_to(server.url()), {})) << answer.substr(0, 20);
  }
}

TEST(HttpPost, AServerThatIsSilentOrSlowCostsNoMoreThanTheLimit) {
  for (const std::string answer : {"", "HTTP/1.1 200 OK\r\n"}) {
    const ScriptedServer server("end\"}", answer, false);
    auto request = request_to(server.url());
    request.timeout = 300ms;
    const auto begin = net::uptime();
    const auto status = http_post(request, {});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::deadline_exceeded);
    EXPECT_LT(net::uptime() - begin, 4s);
  }
}

TEST(HttpPost, CanBeCalledOff) {
  const ScriptedServer server("end\"}", "", false);
  std::stop_source stop;
  std::jthread later([&] {
    ::usleep(100'000);
    stop.request_stop();
  });
  auto request = request_to(server.url());
  request.timeout = 20s;
  const auto status = http_post(request, stop.get_token());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::cancelled);
}

TEST(HttpPost, ErrorsNameTheHostAndNothingElseOfTheAddress) {
  std::vector<HttpPost> requests = {request_to("http://127.0.0.1:1/s3cret?s3cret=1"),
                                    request_to("ftp://127.0.0.1/s3cret"),
                                    request_to("http://127.0.0.1/s3cret with blanks"),
                                    request_to("http://u:s3cret@127.0.0.1/")};
  requests.push_back(request_to("http://127.0.0.1:1/"));
  requests.back().token = "s3cret\r\nX: y";
  for (const HttpPost& request : requests) {
    const auto status = http_post(request, {});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().describe().find("s3cret"), std::string::npos)
        << status.error().describe();
  }
}

TEST(HttpPost, AServerWhoseCertificateNobodyKnowsIsRefused) {
  const Pki pki;
  HttpServerOptions options;
  options.tls = pki.issue("osaka");
  const auto server = start_server(options, echo);
  const auto request = request_to("https://127.0.0.1:" + std::to_string(server->port()) + "/x");
  const auto status = http_post(request, {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::permission_denied) << status.error().describe();
}

}  // namespace
}  // namespace tidemark::testing
