#include "transport/byte_stream.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace tidemark::net {

// Bytes that we wrote and the peer acknowledges are progress too: over a slow line they are on
// their way for longer than a stall may last. What is under way is looked at often, so that a last
// acknowledgement right after the start does not count as progress at the end.
Result<short> ByteStream::wait(short events, std::optional<microseconds> stall) {
  static constexpr microseconds kLook = std::chrono::seconds(1);
  const microseconds stall_max = stall.value_or(stall_);
  int under_way = bytes_under_way();
  if ((events & POLLIN) != 0) acknowledge_at_once(fd());
  microseconds moved = uptime();
  while (true) {
    const microseconds left = stall_max - (uptime() - moved);
    const microseconds limit =
        deadline_ ? std::min({left, kLook, *deadline_ - uptime()}) : std::min(left, kLook);
    auto shown = wait_for(fd(), events, std::max(limit, microseconds(0)), {cancel_});
    if (shown || shown.error().code() != ErrorCode::deadline_exceeded) return shown;
    if (deadline_ && *deadline_ <= uptime()) return shown;
    const int now_under_way = bytes_under_way();
    if (now_under_way < under_way) moved = uptime();
    under_way = now_under_way;
    if (uptime() - moved >= stall_max) return shown;
  }
}

int ByteStream::bytes_under_way() const {
  int bytes = 0;
  return ::ioctl(fd(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

Result<bool> ByteStream::wait_to_write(bool stop_for_input) {
  const short events = stop_for_input ? POLLIN | POLLOUT : POLLOUT;
  TM_TRY(const short shown, wait(events));
  if (!stop_for_input || (shown & POLLIN) == 0) return true;
  TM_TRY(const int there, peek());
  return there == 0;
}

Status ByteStream::wait_input(microseconds timeout, const Event* also) {
  const microseconds until = uptime() + timeout;
  while (true) {
    TM_TRY(const int there, peek());
    if (there == 1) return {};
    const auto shown = wait_for(fd(), POLLIN, until - uptime(), {cancel_, also});
    if (!shown) return shown.error();
  }
}

bool ByteStream::is_quiet() {
  const auto there = peek();
  return there && *there == 0;
}

void ByteStream::drain_until(microseconds until) {
  ::shutdown(fd(), SHUT_WR);
  std::array<char, 64 * kKiB> sink;
  while (uptime() < until) {
    const ssize_t n = ::recv(fd(), sink.data(), sink.size(), 0);
    const bool nothing_yet = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (n == 0 || (n < 0 && errno != EINTR && !nothing_yet)) break;
    if (nothing_yet && !wait_for(fd(), POLLIN, until - uptime(), {cancel_})) break;
  }
}

}  // namespace tidemark::net
