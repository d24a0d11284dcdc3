#include "transport/tcp_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace tidemark::net {
namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

Error broken(int error) {
  return Error(ErrorCode::unavailable, std::string("the connection broke: ") + ::strerror(error));
}

}  // namespace

Result<std::size_t> TcpStream::read_some(ByteSpan into) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    if (cancel().is_set()) return Error(ErrorCode::cancelled, "cancelled");
    const ssize_t n = ::recv(fd_.get(), into.data() + filled, into.size() - filled, 0);
    if (n > 0) {
      filled += static_cast<std::size_t>(n);
      continue;
    }
    // An end or an error behind bytes that did arrive is found again by the next call.
    if (n == 0 || filled > 0) break;
    if (errno == EINTR) continue;
    if (!would_block(errno)) return broken(errno);
    TM_TRY([[maybe_unused]] const short shown, wait(POLLIN));
  }
  return filled;
}

Result<bool> TcpStream::send(ByteView data, bool more, bool stop_for_input) {
  while (!data.empty()) {
    if (cancel().is_set()) return Error(ErrorCode::cancelled, "cancelled");
    const ssize_t n =
        ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n >= 0) {
      data = data.subspan(static_cast<std::size_t>(n));
    } else if (would_block(errno)) {
      TM_TRY(const bool go_on, wait_to_write(stop_for_input));
      if (!go_on) return false;
    } else if (errno != EINTR) {
      return broken(errno);
    }
  }
  return true;
}

Status TcpStream::write(ByteView data, bool more) {
  TM_TRY([[maybe_unused]] const bool all, send(data, more, false));
  return {};
}

Result<bool> TcpStream::write_unless_answered(ByteView data) { return send(data, false, true); }

Result<int> TcpStream::peek() {
  while (true) {
    char byte = 0;
    const ssize_t n = ::recv(fd_.get(), &byte, 1, MSG_PEEK);
    if (n > 0) return 1;
    if (n == 0) return Error(ErrorCode::unavailable, "the connection was closed by the other end");
    if (would_block(errno)) return 0;
    if (errno != EINTR) return broken(errno);
  }
}

void TcpStream::close(microseconds linger) {
  drain_until(uptime() + linger);
  fd_.reset();
}

}  // namespace tidemark::net
