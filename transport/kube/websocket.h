// WebSocket (RFC 6455) as a client speaks it: frames as pure functions, and messages over a
// connection that the server has switched.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "transport/kube/request.h"

namespace tidemark::kube {

enum class Opcode : std::uint8_t {
  continuation = 0,
  text = 1,
  binary = 2,
  close = 8,
  ping = 9,
  pong = 10,
};

struct Frame {
  Opcode opcode = Opcode::binary;
  bool final = true;
  Bytes payload;
};

using FrameMask = std::array<std::uint8_t, 4>;

// A frame as a client sends it: always masked, in one piece.
Bytes encode_frame(Opcode opcode, ByteView payload, const FrameMask& mask);

// A server's bytes, cut anywhere, as frames. Used by one thread; after an error it is of no further
// use.
class FrameParser {
 public:
  // `payload_bytes_max`: of one frame.
  explicit FrameParser(std::size_t payload_bytes_max) : payload_bytes_max_(payload_bytes_max) {}

  void feed(ByteView bytes) { append(buffer_, bytes); }
  // The next whole frame, or nothing yet. `corruption` for what a server must not send: masks,
  // reserved bits and opcodes, long or split control frames, lengths that are not minimal;
  // `resource_exhausted` above the limit, before any of the payload is kept.
  Result<std::optional<Frame>> next();

 private:
  const std::size_t payload_bytes_max_;
  Bytes buffer_;
  std::size_t begin_ = 0;  // of what is not parsed yet
};

// The value of Sec-WebSocket-Accept that answers `key`.
std::string accept_of(std::string_view key);

struct Message {
  bool closed = false;           // the server's Close; nothing follows
  std::uint16_t close_code = 0;  // 1005 where it gives none
  Bytes data;                    // of a message, or the reason of a Close
};

// Used by one thread. Answers pings, and sends them where nothing comes for a while, since servers
// and proxies cut connections on which nothing moves.
class WebSocket {
 public:
  struct Options {
    std::size_t message_bytes_max = 4 * kMiB;
    std::chrono::microseconds ping_interval = std::chrono::seconds(20);
  };

  // Sends `request` (GET, with path and query) as an upgrade that offers `protocols`, the preferred
  // one first. An answer that is no proper acceptance is `unavailable`; others as any request, and
  // `outcome_unknown` as for a write.
  static Outcome<std::unique_ptr<WebSocket>> open(Requester& requester, ApiRequest request,
                                                  const std::string& protocols,
                                                  const Options& options, const Call& call);
  // Says goodbye where that was not done, and hangs up.
  ~WebSocket();

  // The one of those offered that the server has chosen.
  const std::string& protocol() const { return protocol_; }

  // All that follows ends with `deadline_exceeded` at this point of uptime().
  void set_deadline(std::chrono::microseconds deadline);
  // Sends one message.
  Status send(ByteView data, const std::stop_token& stop);
  // The next message, put together where it came in parts, or the server's Close. `unavailable`
  // where the connection ends without one.
  Result<Message> receive(const std::stop_token& stop);
  // Sends a Close; receive() still gets what comes before the server's own.
  Status close(std::uint16_t code);

 private:
  WebSocket(Upgraded upgraded, std::string protocol, const Options& options)
      : options_(options),
        protocol_(std::move(protocol)),
        lease_(std::move(upgraded.lease)),
        parser_(options.message_bytes_max) {}
  Status send_frame(Opcode opcode, ByteView payload);
  Status read_more();
  Result<std::optional<Message>> take(Frame frame);

  const Options options_;
  const std::string protocol_;
  net::HttpLease lease_;
  FrameParser parser_;
  std::chrono::microseconds deadline_ = std::chrono::microseconds::max();
  std::optional<Bytes> partial_;  // of a message in parts
  bool close_sent_ = false;
};

}  // namespace tidemark::kube
