// Commands within containers: frames, channels, ends.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/transport/kube_fixture.h"
#include "transport/kube/exec.h"
#include "transport/kube/websocket.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;
using kube::Opcode;

// A frame as a server sends it: not masked. `first` is its first byte.
std::string server_frame(unsigned first, const std::string& payload) {
  std::string out(1, static_cast<char>(first));
  const std::size_t size = payload.size();
  const int bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
  out += static_cast<char>(bytes == 0 ? size : bytes == 2 ? 126 : 127);
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(size >> (8 * i));
  return out + payload;
}
std::string message(char channel, const std::string& data) {
  return server_frame(0x82, std::string(1, channel) + data);
}
std::string status(const Json& json) { return message(3, json.dump()); }
const Json kSuccess = {{"metadata", Json::object()}, {"status", "Success"}};
Json exit_status(const std::string& code) {
  Json json = failure_status(500, "NonZeroExitCode");
  json["details"]["causes"] = {{{"reason", "ExitCode"}, {"message", code}}};
  return json;
}
const std::string kGoodbye = server_frame(0x88, std::string("\x03\xe8", 2));

std::string accepted(const SeenRequest& request,
                     const std::string& protocol = "v5.channel.k8s.io") {
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Accept: " +
         kube::accept_of(request.headers.at("sec-websocket-key")) +
         "\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n";
}

struct ClientFrame {
  unsigned opcode = 0;
  bool masked = false;
  std::string mask, payload;
};
// The frames that a client sent; what is not whole is left out.
std::vector<ClientFrame> client_frames(std::string bytes) {
  std::vector<ClientFrame> all;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes.at(i)); };
  while (bytes.size() >= 6) {
    ClientFrame frame;
    frame.opcode = byte(0) & 15U;
    frame.masked = (byte(1) & 0x80U) != 0;
    std::size_t size = byte(1) & 0x7fU, at = 2;
    if (size == 126) {
      size = static_cast<std::size_t>(byte(2) << 8 | byte(3));
      at = 4;
    }
    if (bytes.size() < at + 4 + size) break;
    frame.mask = bytes.substr(at, 4);
    frame.payload = bytes.substr(at + 4, size);
    for (std::size_t i = 0; i < size; ++i)
      frame.payload[i] = static_cast<char>(frame.payload[i] ^ frame.mask[i % 4]);
    all.push_back(frame);
    bytes.erase(0, at + 4 + size);
  }
  return all;
}

// Accepts, sends `frames`, and keeps what comes until the client hangs up.
class ExecServer {
 public:
  explicit ExecServer(std::string frames, std::string protocol = "v5.channel.k8s.io",
                      bool stays = true)
      : server_([this, frames = std::move(frames), protocol = std::move(protocol), stays](
                    const SeenRequest& request, std::size_t) {
          RawReply reply{accepted(request, protocol) + frames};
          reply.then = [this, stays](int fd, const std::stop_token& stop) {
            std::string got;
            while (stays && receive_some(fd, got, stop)) keep(got);
          };
          return reply;
        }) {}
  kube::Outcome<kube::ExecResult> exec(kube::ExecRequest request, std::stop_token stop = {}) const {
    request.pod = {"shop", "db-0"};
    if (request.command.empty()) request.command = {"sh", "-c", "echo a & b"};
    return kube::exec(*kube_client(server_.url()), request, stop);
  }
  std::vector<ClientFrame> frames() const {
    const std::lock_guard lock(mutex_);
    return client_frames(got_);
  }
  std::vector<SeenRequest> seen() const { return server_.seen(); }
  std::string url() const { return server_.url(); }

 private:
  void keep(const std::string& got) {
    const std::lock_guard lock(mutex_);
    got_ = got;
  }
  mutable std::mutex mutex_;
  std::string got_;  // guarded by mutex_
  RawServer server_;
};

TEST(KubeExec, ACommandGetsItsInputAndGivesItsOutput) {
  const ExecServer server(message(3, "") + message(1, "") + message(1, "out") + message(2, "err") +
                          message(1, "put") + status(kSuccess) + kGoodbye);
  kube::ExecRequest request;
  request.container = "db";
  request.input.emplace("freeze\n");
  const auto result = server.exec(request);
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_EQ(result->out, "output");
  EXPECT_EQ(result->err, "err");
  EXPECT_FALSE(result->out_cut);
  EXPECT_EQ(server.seen()[0].target,
            "/api/v1/namespaces/shop/pods/db-0/exec?command=sh&command=-c&command=echo%20a%20%26"
            "%20b&container=db&stdin=true&stdout=true&stderr=true");
  while (server.frames().size() < 3) ::usleep(1000);
  const auto frames = server.frames();
  EXPECT_EQ(frames[0].payload, std::string("\0freeze\n", 8));
  EXPECT_EQ(frames[1].payload, std::string("\xff\0", 2));
  EXPECT_EQ(frames[2].opcode, 8U);
  for (const ClientFrame& frame : frames) EXPECT_TRUE(frame.masked);
  EXPECT_NE(frames[0].mask, frames[1].mask);
}

TEST(KubeExec, ACommandThatFailsIsASuccessWithItsCode) {
  const ExecServer server(message(2, "no") + status(exit_status("7")));
  const auto result = server.exec({});
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_EQ(result->err, "no");
}

TEST(KubeExec, OlderServersSpeakVersionFourWithoutInput) {
  const ExecServer server(message(1, "") + message(1, "a") + status(kSuccess), "v4.channel.k8s.io");
  const auto result = server.exec({});
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(result->out, "a");
  EXPECT_EQ(server.seen()[0].headers.at("sec-websocket-protocol"),
            "v5.channel.k8s.io, v4.channel.k8s.io");
  // Where there is input, its end matters: v4 is not offered then, and not taken.
  kube::ExecRequest request;
  request.input.emplace("x");
  const auto refused = server.exec(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(server.seen()[1].headers.at("sec-websocket-protocol"), "v5.channel.k8s.io");
}

TEST(KubeExec, AStreamWithoutAStatusHasAnUnknownOutcome) {
  for (const std::string& end :
       {message(1, "out") + kGoodbye, message(1, "out"), message(3, "") + kGoodbye,
        status(kSuccess).substr(0, 20), std::string("\x80\x01x", 3), message(3, "[]")}) {
    const ExecServer server(end, "v5.channel.k8s.io", false);
    const auto result = server.exec({});
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().code() == ErrorCode::unavailable ||
                result.error().code() == ErrorCode::corruption)
        << result.error().describe();
    EXPECT_TRUE(result.error().outcome_unknown);
    EXPECT_EQ(server.seen().size(), 1U);
  }
}

TEST(KubeExec, AHandshakeThatIsNotProperIsRefused) {
  const auto with = [](const std::string& from, const std::string& to) {
    return [=](const SeenRequest& request, std::size_t) {
      std::string head = accepted(request);
      head.replace(head.find(from), from.size(), to);
      return RawReply{head + status(kSuccess), {}, true};
    };
  };
  for (const auto& [from, to] :
       {std::pair<std::string, std::string>{"Accept: ", "Accept: x"},
        {"Upgrade: websocket\r\n", ""},
        {"v5.channel.k8s.io", "v9.channel.k8s.io"},
        {"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n", ""},
        {"Upgrade: websocket", "Sec-WebSocket-Extensions: x\r\nUpgrade: websocket"}}) {
    const RawServer server(with(from, to));
    kube::ExecRequest request;
    request.pod = {"shop", "db-0"};
    request.command = {"true"};
    const auto result = kube::exec(*kube_client(server.url()), request);
    ASSERT_FALSE(result) << from << to;
    EXPECT_EQ(result.error().code(), ErrorCode::unavailable);
    EXPECT_TRUE(result.error().outcome_unknown);
  }
}

TEST(KubeExec, AServerThatIsBusyIsAskedAgain) {
  const RawServer server([](const SeenRequest& request, std::size_t number) {
    if (number == 0) return RawReply{text_answer(429, "busy", "Retry-After: 0\r\n")};
    return RawReply{accepted(request) + status(kSuccess), {}, true};
  });
  kube::ExecRequest request;
  request.pod = {"shop", "db-0"};
  request.command = {"true"};
  EXPECT_TRUE(kube::exec(*kube_client(server.url(), patient), request));
  EXPECT_EQ(server.seen().size(), 2U);
}

TEST(KubeExec, PingsAreAnsweredAndMessagesPutTogether) {
  const ExecServer server(server_frame(0x02,
                                       "\x01"
                                       "a") +
                          server_frame(0x89, "are you there") + server_frame(0x00, "b") +
                          server_frame(0x8a, "unasked") + server_frame(0x80, "c") +
                          status(kSuccess));
  const auto result = server.exec({});
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(result->out, "abc");
  while (server.frames().size() < 2) ::usleep(1000);
  EXPECT_EQ(server.frames()[0].opcode, 10U);
  EXPECT_EQ(server.frames()[0].payload, "are you there");
}

TEST(KubeExec, TheEndOfALongOutputIsKept) {
  std::string frames, all;
  for (int i = 0; i < 50; ++i) {
    const std::string part(4000, static_cast<char>('a' + i % 26));
    frames += message(1, part);
    all += part;
  }
  const ExecServer server(frames + message(2, "short") + status(kSuccess));
  const auto result = server.exec({});
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(result->out, all.substr(all.size() - 64 * kKiB));
  EXPECT_TRUE(result->out_cut);
  EXPECT_FALSE(result->err_cut);
}

TEST(KubeExec, ACommandThatHangsIsLeftAtItsLimit) {
  const ExecServer server(message(1, "begun"));
  kube::ExecRequest request;
  request.timeout = 300ms;
  const auto begin = net::uptime();
  const auto late = server.exec(request);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::deadline_exceeded) << late.error().describe();
  EXPECT_TRUE(late.error().outcome_unknown);
  std::stop_source stop;
  const std::jthread stopper([&] {
    while (server.seen().size() < 2) ::usleep(1000);
    stop.request_stop();
  });
  request.timeout = 60s;
  const auto stopped = server.exec(request, stop.get_token());
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::cancelled) << stopped.error().describe();
  EXPECT_LT(net::uptime() - begin, 10s);
}

TEST(KubeExec, ASilentStreamIsKeptAliveByPings) {
  const ExecServer server("");
  const auto client = kube_client(server.url());
  kube::ApiRequest request;
  request.path = "/exec";
  kube::WebSocket::Options options;
  options.ping_interval = 20ms;
  auto socket =
      kube::WebSocket::open(client->requester(), request, "v5.channel.k8s.io", options, {});
  ASSERT_TRUE(socket) << socket.error().describe();
  (*socket)->set_deadline(net::uptime() + 500ms);
  EXPECT_FALSE((*socket)->receive({}));
  ASSERT_GE(server.frames().size(), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.frames()[static_cast<std::size_t>(i)].opcode, 9U);
}

std::string parsed(kube::FrameParser& parser) {
  std::string text;
  while (true) {
    auto frame = parser.next();
    if (!frame) return text + "!";
    if (!*frame) return text;
    text += std::to_string(static_cast<int>((*frame)->opcode)) + ((*frame)->final ? "." : "+") +
            std::to_string((*frame)->payload.size()) + " ";
  }
}

TEST(KubeExec, FramesDoNotDependOnWhereTheyAreCut) {
  const std::string stream = server_frame(0x82, "") + server_frame(0x02, std::string(125, 'a')) +
                             server_frame(0x89, "x") + server_frame(0x80, std::string(126, 'b')) +
                             server_frame(0x82, std::string(65536, 'c')) + kGoodbye;
  const std::string whole = "2.0 2+125 9.1 0.126 2.65536 8.2 ";
  for (std::size_t cut = 0; cut <= stream.size(); cut += cut < 300 || cut > 65500 ? 1 : 501) {
    kube::FrameParser parser(kMiB);
    parser.feed(as_bytes(std::string_view(stream).substr(0, cut)));
    std::string text = parsed(parser);
    parser.feed(as_bytes(std::string_view(stream).substr(cut)));
    ASSERT_EQ(text + parsed(parser), whole) << cut;
  }
  kube::FrameParser parser(kMiB);
  std::string text;
  for (const char c : stream) {
    parser.feed(as_bytes(std::string_view(&c, 1)));
    text += parsed(parser);
  }
  EXPECT_EQ(text, whole);
}

TEST(KubeExec, FramesThatNoServerMaySendAreRefused) {
  const std::vector<std::string> bad = {
      std::string("\x82\x80\0\0\0\0", 6),  // masked
      std::string("\xc2\x00", 2),
      std::string("\xa2\x00", 2),  // reserved bits
      std::string("\x83\x00", 2),
      std::string("\x8b\x00", 2),          // unknown opcodes
      std::string("\x09\x00", 2),          // a ping in parts
      std::string("\x89\x7e\x00\x7e", 4),  // a long ping
      std::string("\x82\x7e\x00\x7d", 4),  // lengths that are not minimal
      std::string("\x82\x7f\0\0\0\0\0\0\xff\xff", 10),
      std::string("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10)};  // nobody has that much
  for (const std::string& bytes : bad) {
    kube::FrameParser parser(kMiB);
    parser.feed(as_bytes(bytes));
    EXPECT_EQ(parsed(parser), "!") << to_hex(as_bytes(bytes));
  }
}

TEST(KubeExec, WhatIsSentIsMaskedAndOfMinimalLength) {
  const kube::FrameMask mask{1, 2, 3, 4};
  for (const std::size_t size : {0UL, 1UL, 125UL, 126UL, 65535UL}) {
    const Bytes frame = kube::encode_frame(Opcode::binary, Bytes(size, 'x'), mask);
    const auto read = client_frames(std::string(as_text(frame)));
    ASSERT_EQ(read.size(), 1U);
    EXPECT_TRUE(read[0].masked);
    EXPECT_EQ(read[0].payload, std::string(size, 'x'));
    EXPECT_EQ(frame.size(), size + (size < 126 ? 6 : 8));
  }
  EXPECT_EQ(kube::encode_frame(Opcode::binary, Bytes(65536, 'x'), mask).size(), 65536U + 14);
}

// RFC 6455, section 1.3.
TEST(KubeExec, TheAcceptedKeyIsThatOfTheProtocol) {
  EXPECT_EQ(kube::accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

}  // namespace
}  // namespace tidemark::testing
