// A TCP proxy on loopback that does to a connection what networks do.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace tidemark::testing {

enum class CutMode {
  rst,        // both ends are reset
  fin,        // both ends see an orderly end of TCP
  blackhole,  // nothing moves any more, both ends stay open
};

struct TcpProxyOptions {
  std::uint16_t listen_port = 0;  // 0: any free one
  std::uint16_t to_port = 0;
  CutMode mode = CutMode::rst;
  // A connection is cut after exactly so many bytes: sent by the client, by the server, or by both.
  std::optional<std::uint64_t> cut_after_up, cut_after_down, cut_after_total;
  // Else, where not 0: after a random number of bytes by both, at most this, drawn from `seed`.
  std::uint64_t cut_random_max = 0;
  std::uint64_t seed = 1;
  // After so many cuts everything passes.
  std::uint64_t cut_times = UINT64_MAX;
  std::chrono::milliseconds delay{0};  // each way
  std::uint64_t rate_bytes = 0;        // per second, connection and direction; 0: unlimited
};

// Forwards on one thread per connection until it is destroyed. Safe from any thread.
class TcpProxy {
 public:
  static Result<std::unique_ptr<TcpProxy>> start(TcpProxyOptions options);
  virtual ~TcpProxy() = default;
  virtual std::uint16_t port() const = 0;
  virtual std::uint64_t bytes_up() const = 0;    // client to server, forwarded
  virtual std::uint64_t bytes_down() const = 0;  // server to client, forwarded
  virtual std::uint64_t connections() const = 0;
  virtual std::uint64_t cuts() const = 0;
  // Does to all present connections, now, what the mode says.
  virtual void cut_now() = 0;
};

std::optional<CutMode> parse_cut_mode(const std::string& text);

}  // namespace tidemark::testing
