#include "transport/nbd/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/log.h"
#include "transport/http.h"
#include "transport/nbd/connection.h"
#include "transport/nbd/handshake.h"
#include "transport/nbd/protocol.h"
#include "transport/tcp_stream.h"

namespace tidemark::nbd {
namespace {

// How long a connection that we close may go on sending before it is reset.
constexpr net::microseconds kLinger = std::chrono::milliseconds(200);

// A client may be idle for days; one whose machine is gone must not be kept for as long.
void keep_alive(int fd) {
  const int on = 1, idle_s = 60, interval_s = 10, count = 6;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

}  // namespace

void serve_connection(BlockView& view, const Options& options, Fd socket, const net::Event& stop) {
  net::set_no_delay(socket.get());
  keep_alive(socket.get());
  const std::string from =
      options.address.socket.empty() ? net::peer_address(socket.get()) : "a client of this machine";
  std::unique_ptr<net::ByteStream> stream =
      std::make_unique<net::TcpStream>(std::move(socket), stop, options.stall_timeout);
  auto agreed = negotiate(stream, view.size(), options, stop);
  if (!agreed) {
    const bool denied = agreed.error().code() == ErrorCode::permission_denied;
    const log::Level level = denied ? log::Level::warn : log::Level::info;
    if (log::enabled(level))
      log::write(level, "nbd: " + from + ": not served: " + agreed.error().describe());
  } else if (*agreed) {
    log::info("nbd: {} is connected", from);
    const Status ended = serve_requests(view, **agreed, *stream, stop);
    log::info("nbd: {} is gone{}", from, ended ? "" : ": " + ended.error().message());
  }
  stream->close(kLinger);
}

Result<std::unique_ptr<Server>> Server::start(BlockView& view, Options options) {
  if (options.name.size() > kNameBytesMax || options.description.size() > kNameBytesMax)
    return Error(ErrorCode::invalid_argument, "too long a name for an NBD export");
  std::unique_ptr<Server> server(new Server(options.door != nullptr));
  const net::ServeAddress address = options.address;
  const std::size_t connections_max = options.connections_max;
  TM_TRY(server->acceptor_,
         net::Acceptor::start(
             address, connections_max,
             [&view, options = std::move(options)](Fd socket, const net::Event& stop) {
               serve_connection(view, options, std::move(socket), stop);
             }));
  return server;
}

std::string Server::uri() const {
  const net::ServeAddress& at = address();
  const std::string scheme = tls_ ? "nbds" : "nbd";
  if (at.socket.empty()) return scheme + "://" + at.text();
  std::string path;
  for (const char c : at.socket.string()) path += c == '/' ? "/" : url_encode({&c, 1});
  return scheme + "+unix:///?socket=" + path;
}

}  // namespace tidemark::nbd
