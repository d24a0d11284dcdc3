// One volume to any number of NBD clients, read-only.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "transport/acceptor.h"
#include "transport/block_view.h"
#include "transport/tls_door.h"

namespace tidemark::nbd {

struct Options {
  net::ServeAddress address;
  // With a door, nothing but the demand for TLS (STARTTLS) is said to a client outside of it.
  std::shared_ptr<net::TlsDoor> door;
  // The export's name; the empty one means it too.
  std::string name;
  std::string description;
  std::size_t connections_max = 32;
  std::chrono::seconds handshake_timeout{15};  // for all of the negotiation
  std::chrono::seconds stall_timeout{30};  // within a request, and of a client that reads nothing
};

// Fixed newstyle negotiation, TLS, structured replies, base:allocation, several connections, any
// number of requests under way (a few are worked on at once). Reads of holes are answered as holes;
// what writes is refused (EPERM). A read that fails is an error of that read; the connection lives.
// Whoever sends what is no NBD loses the connection. Memory per connection is bounded whatever is
// asked for. Connections may stay idle; dead peers are found by TCP's keep-alive.
class Server {
 public:
  // `view` must outlive the server.
  static Result<std::unique_ptr<Server>> start(BlockView& view, Options options);
  // With the port that was taken.
  const net::ServeAddress& address() const { return acceptor_->address(); }
  // As clients take it: "nbd://127.0.0.1:10809", "nbds://…", "nbd+unix:///?socket=/run/disk.sock".
  std::string uri() const;
  // Ends all connections. Idempotent.
  void stop() { acceptor_->stop(); }

 private:
  explicit Server(bool tls) : tls_(tls) {}
  const bool tls_;
  std::unique_ptr<net::Acceptor> acceptor_;
};

// Serves one connection on the calling thread until it ends: what the server does with each. Here
// for tests.
void serve_connection(BlockView& view, const Options& options, Fd socket, const net::Event& stop);

}  // namespace tidemark::nbd
