// A volume over HTTP: ranges, what is refused, and what clients that keep no rules get.
#include "transport/range_server.h"

#include <gtest/gtest.h>

#include <charconv>

#include "base/log.h"
#include "tests/transport/fixture.h"
#include "tests/transport/nbd_support.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;

TEST(Ranges, OneRangeIsUnderstoodAndOthersAreLeftAlone) {
  constexpr std::uint64_t kSize = 1000;
  const std::vector<std::pair<const char*, std::optional<ByteRange>>> cases = {
      {"bytes=0-0", ByteRange{0, 1}},
      {"bytes=0-999", ByteRange{0, 1000}},
      {"bytes=10-", ByteRange{10, 990}},
      {"bytes=900-5000", ByteRange{900, 100}},
      {"bytes=-1", ByteRange{999, 1}},
      {"bytes=-5000", ByteRange{0, 1000}},
      {"Bytes=1-2", ByteRange{1, 2}},
      {"bytes=1000-", ByteRange{}},
      {"bytes=1000-2000", ByteRange{}},
      {"bytes=-0", ByteRange{1000, 0}},
      {"", std::nullopt},
      {"bytes=", std::nullopt},
      {"bytes=-", std::nullopt},
      {"bytes=5", std::nullopt},
      {"bytes=5-4", std::nullopt},
      {"bytes=0-1,5-6", std::nullopt},
      {"bytes=a-b", std::nullopt},
      {"bytes=1-2x", std::nullopt},
      {"lines=1-2", std::nullopt},
      {"bytes=+1-2", std::nullopt},
      {"bytes=99999999999999999999-", std::nullopt},
  };
  for (const auto& [header, want] : cases) EXPECT_EQ(parse_range(header, kSize), want) << header;
  EXPECT_EQ(parse_range("bytes=0-", 0), ByteRange{});
}

class Range : public ::testing::Test {
 protected:
  Range() : random_(test_seed()), view_(random_body(random_, 3 * kMiB + 77)) {
    log::set_level(log::Level::off);
  }
  ~Range() override { log::set_level(log::Level::info); }

  void start(std::chrono::seconds patience = 5s) {
    RangeServerOptions options;
    options.address.host = "127.0.0.1";
    options.name = "disk";
    options.etag = "abc";
    options.idle_timeout = options.stall_timeout = patience;
    auto server = RangeServer::start(view_, options);
    ASSERT_TRUE(server) << server.error().describe();
    server_ = *std::move(server);
    cancel_ = *net::Event::create();
    socket_ = *net::connect_tcp("127.0.0.1", server_->address().port, 5s, *cancel_);
  }
  void send(std::string_view text) {
    ASSERT_EQ(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // All that comes until the server closes.
  std::string rest() {
    std::string out;
    std::array<char, 65536> piece;
    while (net::wait_for(socket_.get(), POLLIN, 10s, {})) {
      const ssize_t n = ::recv(socket_.get(), piece.data(), piece.size(), 0);
      if (n <= 0) return out;
      out.append(piece.data(), static_cast<std::size_t>(n));
    }
    return out + "(not closed)";
  }
  std::string ask(const std::string& first_line, const std::string& headers = "") {
    start();
    send(first_line + "\r\nhost: localhost\r\nconnection: close\r\n" + headers + "\r\n");
    return rest();
  }
  std::string body_of(const std::string& answer) {
    return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
  }
  std::string part(std::uint64_t offset, std::size_t size) {
    return std::string(as_text(ByteView(view_.bytes).subspan(offset, size)));
  }

  std::mt19937_64 random_;
  MemoryView view_;
  std::unique_ptr<net::Event> cancel_;
  std::unique_ptr<RangeServer> server_;
  Fd socket_;
};

TEST_F(Range, TheWholeVolumeAndPartsOfIt) {
  std::string answer = ask("GET / HTTP/1.1");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer.substr(0, 100);
  EXPECT_NE(answer.find("accept-ranges: bytes\r\n"), std::string::npos);
  EXPECT_TRUE(body_of(answer) == part(0, view_.size()));
  answer = ask("GET /disk.raw HTTP/1.1", "range: bytes=1000000-2999999\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 206 "));
  EXPECT_NE(answer.find("content-range: bytes 1000000-2999999/3145805\r\n"), std::string::npos);
  EXPECT_TRUE(body_of(answer) == part(1'000'000, 2'000'000));
  answer = ask("GET /disk HTTP/1.1", "range: bytes=4000000-\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 416 "));
  EXPECT_NE(answer.find("content-range: bytes */3145805\r\n"), std::string::npos);
}

TEST_F(Range, HeadSaysTheSizeAndNoMore) {
  const std::string answer = ask("HEAD / HTTP/1.1", "range: bytes=0-9\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_NE(answer.find("content-length: 3145805\r\n"), std::string::npos);
  EXPECT_EQ(body_of(answer), "");
  EXPECT_EQ(body_of(ask("HEAD /other HTTP/1.1")), "");
}

TEST_F(Range, ARangeOfAnotherVersionIsEverything) {
  EXPECT_TRUE(ask("GET / HTTP/1.1", "range: bytes=0-9\r\nif-range: \"abc\"\r\n")
                  .starts_with("HTTP/1.1 206 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1", "range: bytes=0-9\r\nif-range: \"xyz\"\r\n")
                  .starts_with("HTTP/1.1 200 "));
}

TEST_F(Range, AConnectionServesManyRequests) {
  start();
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t offset = random_() % (view_.size() - 5000);
    send("GET / HTTP/1.1\r\nhost: 127.0.0.1:80\r\nrange: bytes=" + std::to_string(offset) + "-" +
         std::to_string(offset + 4999) + "\r\n\r\n");
    std::string answer;
    std::array<char, 8192> piece;
    while (answer.find("\r\n\r\n") == std::string::npos || body_of(answer).size() < 5000) {
      ASSERT_TRUE(net::wait_for(socket_.get(), POLLIN, 5s, {}));
      const ssize_t n = ::recv(socket_.get(), piece.data(), piece.size(), 0);
      ASSERT_GT(n, 0);
      answer.append(piece.data(), static_cast<std::size_t>(n));
    }
    ASSERT_TRUE(body_of(answer) == part(offset, 5000));
  }
}

TEST_F(Range, WhatIsNotServedIsSaid) {
  EXPECT_TRUE(ask("PUT / HTTP/1.1").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(ask("GET /etc/passwd HTTP/1.1").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(ask("GET /../disk HTTP/1.1").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/2.0").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("nonsense").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1", "host: x\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1", "content-length: 5\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1", "transfer-encoding: chunked\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1", "no colon\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1", "x: " + std::string(20'000, 'x') + "\r\n")
                  .starts_with("HTTP/1.1 431 "));
}

TEST_F(Range, AWebPageCannotHaveABrowserAsk) {
  start();
  send("GET / HTTP/1.1\r\nhost: evil.example:8080\r\n\r\n");
  EXPECT_TRUE(rest().starts_with("HTTP/1.1 403 "));
  EXPECT_EQ(view_.reads, 0);
}

TEST_F(Range, AReadThatFailsIsAnErrorOrNoBody) {
  view_.bad_at = 2 * kMiB;
  EXPECT_TRUE(ask("GET / HTTP/1.1", "range: bytes=2097152-\r\n").starts_with("HTTP/1.1 500 "));
  EXPECT_TRUE(body_of(ask("GET / HTTP/1.1")) == part(0, 2 * kMiB));  // of 3 MiB: cut
}

TEST_F(Range, ClientsThatSayNothingOrReadNothingAreLeft) {
  start(1s);
  EXPECT_EQ(rest(), "");
  start(1s);
  send("GET / HT");
  EXPECT_EQ(rest(), "");
}

TEST_F(Range, RandomBytesNeverHangOrBreakAnything) {
  for (int i = 0; i < 100; ++i) {
    start(1s);
    std::string text = "GET / HTTP/1.1\r\nhost: localhost\r\nrange: bytes=0-99\r\n\r\n";
    for (auto flips = random_() % 6; flips > 0; --flips)
      text[random_() % text.size()] = static_cast<char>(random_());
    send(text);
    ::shutdown(socket_.get(), SHUT_WR);
    const std::string answer = rest();
    EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 ")) << answer.substr(0, 100);
  }
}

}  // namespace
}  // namespace tidemark::testing
