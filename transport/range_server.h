// One volume over HTTP: GET and HEAD with ranges, for clients that know nothing else.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "transport/acceptor.h"
#include "transport/block_view.h"
#include "transport/tls_door.h"

namespace tidemark {

struct RangeServerOptions {
  net::ServeAddress address;
  std::shared_ptr<net::TlsDoor> door;  // without one: plain HTTP
  std::string name;                    // "/", "/<name>" and "/<name>.raw" are the volume
  std::string etag;                    // of its content, without quotes
  std::size_t connections_max = 32;
  std::chrono::seconds idle_timeout{60};  // between requests
  std::chrono::seconds stall_timeout{30};
};

// HTTP/1.1 with kept connections. A Range of one part is answered with 206 or 416; of several, with
// everything, as RFC 9110 allows. A read that fails before the answer began is 500 or 503; later it
// ends the connection, so that a body is complete or an error. Plain HTTP on TCP answers only to
// names of this machine (Host), so that no web page can have a browser read the volume for it.
class RangeServer {
 public:
  // `view` must outlive the server.
  static Result<std::unique_ptr<RangeServer>> start(BlockView& view, RangeServerOptions options);
  // With the port that was taken.
  const net::ServeAddress& address() const { return acceptor_->address(); }
  // "http://127.0.0.1:8080/", "https://…"; of a Unix socket "unix:/run/disk.sock".
  std::string url() const;
  // Ends all connections. Idempotent.
  void stop() { acceptor_->stop(); }

 private:
  explicit RangeServer(bool tls) : tls_(tls) {}
  const bool tls_;
  std::unique_ptr<net::Acceptor> acceptor_;
};

// Serves the requests of one connection until it ends: what the server does with each. Here for
// tests.
void serve_ranges(BlockView& view, const RangeServerOptions& options, net::ByteStream& stream,
                  const net::Event& stop);

// What a Range header asks for of `size` bytes.
struct ByteRange {
  std::uint64_t first = 0, length = 0;  // length 0: nothing can be given (416)
  bool operator==(const ByteRange&) const = default;
};
// Nothing where the header is to be ignored: malformed, another unit, more than one part.
std::optional<ByteRange> parse_range(std::string_view header, std::uint64_t size);

}  // namespace tidemark
