#include "transport/kube/websocket.h"

#include <algorithm>
#include <utility>

#include "base/crypto.h"
#include "base/text.h"
#include "transport/base64.h"
#include "transport/http_text.h"

namespace tidemark::kube {
namespace {

using std::chrono::microseconds;

constexpr std::size_t kReadBytes = 64 * kKiB;
constexpr std::uint16_t kNoCode = 1005;
constexpr std::uint16_t kGoingAway = 1001;

std::string header(const HttpHeaders& headers, std::string_view name) {
  const auto at = headers.find(name);
  return at == headers.end() ? std::string() : at->second;
}

bool offers(const std::string& protocols, const std::string& chosen) {
  for (std::string one : split(protocols, ',')) {
    const auto begin = one.find_first_not_of(' ');
    if (begin != std::string::npos && one.substr(begin) == chosen) return true;
  }
  return false;
}

}  // namespace

Outcome<std::unique_ptr<WebSocket>> WebSocket::open(Requester& requester, ApiRequest request,
                                                    const std::string& protocols,
                                                    const Options& options, const Call& call) {
  std::array<std::uint8_t, 16> nonce{};
  random_bytes(nonce);
  const std::string key = net::to_base64(nonce);
  request.upgrade = true;
  request.headers["sec-websocket-version"] = "13";
  request.headers["sec-websocket-key"] = key;
  request.headers["sec-websocket-protocol"] = protocols;
  TM_TRY(Upgraded upgraded, requester.upgrade(request, call));
  const HttpHeaders& headers = upgraded.headers;
  const std::string chosen = header(headers, "sec-websocket-protocol");
  const bool proper = net::lower_case(header(headers, "upgrade")) == "websocket" &&
                      header(headers, "sec-websocket-accept") == accept_of(key) &&
                      header(headers, "sec-websocket-extensions").empty() &&
                      offers(protocols, chosen);
  if (!proper) {
    ApiError error(Error(ErrorCode::unavailable, "the server's WebSocket handshake is not proper"));
    error.status = 101;
    error.outcome_unknown = true;
    return error;
  }
  return std::unique_ptr<WebSocket>(new WebSocket(std::move(upgraded), chosen, options));
}

WebSocket::~WebSocket() {
  // Best effort, without waiting: nobody is there any more who wants the answer.
  lease_.channel().stream().set_deadline(net::uptime() + std::chrono::milliseconds(100));
  if (!close_sent_) ignore_error(close(kGoingAway), "the connection is given up either way");
}

void WebSocket::set_deadline(microseconds deadline) {
  deadline_ = deadline;
  lease_.channel().stream().set_deadline(deadline);
}

Status WebSocket::send_frame(Opcode opcode, ByteView payload) {
  FrameMask mask{};
  random_bytes(mask);
  return lease_.channel().stream().write(encode_frame(opcode, payload, mask));
}

Status WebSocket::send(ByteView data, const std::stop_token& stop) {
  const std::stop_callback on_stop(stop, [&event = lease_.cancel()] { event.set(); });
  return send_frame(Opcode::binary, data);
}

Status WebSocket::close(std::uint16_t code) {
  if (std::exchange(close_sent_, true)) return {};
  const std::array<std::uint8_t, 2> payload = {static_cast<std::uint8_t>(code >> 8),
                                               static_cast<std::uint8_t>(code)};
  return send_frame(Opcode::close, payload);
}

// Waits for bytes, with pings meanwhile.
Status WebSocket::read_more() {
  net::HttpChannel& channel = lease_.channel();
  while (!channel.raw_buffered()) {
    const microseconds left = deadline_ - net::uptime();
    const auto waited =
        channel.stream().wait_input(std::min(options_.ping_interval, left), nullptr);
    if (waited) break;
    const bool quiet = waited.error().code() == ErrorCode::deadline_exceeded;
    if (!quiet || net::uptime() >= deadline_) return waited.error();
    TM_DO(send_frame(Opcode::ping, {}));
  }
  Bytes buffer(kReadBytes);
  TM_TRY(const std::size_t n, channel.receive_raw(buffer));
  if (n == 0)
    return Error(ErrorCode::unavailable, "the connection was closed without a Close frame");
  parser_.feed(ByteView(buffer).first(n));
  return {};
}

// What a frame completes, if anything.
Result<std::optional<Message>> WebSocket::take(Frame frame) {
  Message message;
  switch (frame.opcode) {
    case Opcode::ping:
      if (!close_sent_) TM_DO(send_frame(Opcode::pong, frame.payload));
      return std::optional<Message>();
    case Opcode::pong:
      return std::optional<Message>();
    case Opcode::close:
      message.closed = true;
      message.close_code = kNoCode;
      if (frame.payload.size() == 1) return Error(ErrorCode::corruption, "half a close code");
      if (frame.payload.size() >= 2) {
        message.close_code = static_cast<std::uint16_t>(frame.payload[0] << 8 | frame.payload[1]);
        append(message.data, ByteView(frame.payload).subspan(2));
      }
      ignore_error(close(message.close_code == kNoCode ? 1000 : message.close_code),
                   "the server has said goodbye already");
      return std::optional<Message>(std::move(message));
    case Opcode::continuation:
      if (!partial_) return Error(ErrorCode::corruption, "a continuation of nothing");
      break;
    case Opcode::text:
    case Opcode::binary:
      if (partial_) return Error(ErrorCode::corruption, "a message within another one");
      partial_.emplace();
      break;
  }
  if (partial_->size() + frame.payload.size() > options_.message_bytes_max)
    return Error(ErrorCode::resource_exhausted, "WebSocket: a message above the limit");
  append(*partial_, frame.payload);
  if (!frame.final) return std::optional<Message>();
  message.data = std::move(*partial_);
  partial_.reset();
  return std::optional<Message>(std::move(message));
}

Result<Message> WebSocket::receive(const std::stop_token& stop) {
  const std::stop_callback on_stop(stop, [&event = lease_.cancel()] { event.set(); });
  while (true) {
    TM_TRY(auto frame, parser_.next());
    if (!frame) {
      TM_DO(read_more());
      continue;
    }
    TM_TRY(auto message, take(*std::move(frame)));
    if (message) return *std::move(message);
  }
}

}  // namespace tidemark::kube
