#include "transport/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "base/clock.h"

namespace tidemark::net {
namespace {

constexpr int kListenBacklog = 256;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<std::vector<Address>> look_up(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0)
    return Error(ErrorCode::unavailable, "resolve " + host + ": " + ::gai_strerror(error));
  std::vector<Address> addresses;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    Address address;
    address.size = std::min<socklen_t>(at->ai_addrlen, sizeof address.storage);
    std::memcpy(&address.storage, at->ai_addr, address.size);
    addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  return addresses;
}

// getaddrinfo cannot be called off, so names are looked up on a thread that may outlive the caller.
// It owns what it touches.
Result<std::vector<Address>> resolve(const std::string& host, std::uint16_t port,
                                     microseconds timeout, const Event& cancel) {
  if (is_ip_address(host)) return look_up(host, port, AI_NUMERICHOST);
  struct Lookup {
    std::unique_ptr<Event> done;
    Result<std::vector<Address>> answer = Error(ErrorCode::internal, "not looked up");
  };
  auto lookup = std::make_shared<Lookup>();
  TM_TRY(lookup->done, Event::create());
  try {
    std::thread([lookup, host, port] {
      lookup->answer = look_up(host, port, AI_ADDRCONFIG);
      if (!lookup->answer) lookup->answer = look_up(host, port, 0);
      lookup->done->set();
    }).detach();
  } catch (const std::system_error& error) {
    return Error(ErrorCode::resource_exhausted, std::string("start a thread: ") + error.what());
  }
  const auto waited = wait_for(lookup->done->fd(), POLLIN, timeout, {&cancel});
  if (!waited) return waited.error().context("resolve " + host);
  // poll() tells us when; only this load orders what the thread wrote before what is read here.
  TM_CHECK(lookup->done->is_set());
  return std::move(lookup->answer);
}

Result<Fd> connect_one(const Address& address, microseconds timeout, const Event& cancel) {
  Fd fd(::socket(address.get()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "socket");
  if (::connect(fd.get(), address.get(), address.size) != 0) {
    if (errno != EINPROGRESS) return Error(ErrorCode::unavailable, ::strerror(errno));
    const auto waited = wait_for(fd.get(), POLLOUT, timeout, {&cancel});
    if (!waited) return waited.error();
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return Error(ErrorCode::unavailable, ::strerror(error));
  }
  set_no_delay(fd.get());
  return fd;
}

}  // namespace

Result<std::unique_ptr<Event>> Event::create() {
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return errno_error(errno, "eventfd");
  return std::unique_ptr<Event>(new Event(std::move(fd)));
}

void Event::set() {
  if (set_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  // The counter is never read, so that the descriptor stays readable for everybody who waits on it.
  [[maybe_unused]] const ssize_t n = ::write(fd_.get(), &one, sizeof one);
}

microseconds uptime() { return Clock::system().uptime(); }

Result<short> wait_for(int fd, short events, microseconds timeout,
                       std::initializer_list<const Event*> stops) {
  std::array<pollfd, 4> polled{};
  std::size_t count = 0;
  polled[count++] = {fd, events, 0};
  for (const Event* stop : stops)
    if (stop != nullptr && count < polled.size()) polled[count++] = {stop->fd(), POLLIN, 0};
  const microseconds deadline = uptime() + std::max(timeout, microseconds(0));
  while (true) {
    const auto left = std::max(deadline - uptime(), microseconds(0));
    const auto left_ms = std::chrono::ceil<milliseconds>(left).count();
    const int limit = static_cast<int>(std::min<std::int64_t>(left_ms, 1 << 30));
    const int n = ::poll(polled.data(), count, limit);
    if (n < 0 && errno != EINTR) return errno_error(errno, "poll");
    if (n < 0) continue;
    for (std::size_t i = 1; i < count; ++i)
      if (polled[i].revents != 0) return Error(ErrorCode::cancelled, "cancelled");
    if (polled[0].revents != 0) return polled[0].revents;
    if (left <= microseconds(0))
      return Error(ErrorCode::deadline_exceeded,
                   "nothing moved for " + format_duration(std::max(timeout, microseconds(0))));
  }
}

Result<Fd> listen_tcp(const std::string& address, std::uint16_t port) {
  auto found = look_up(address, port, AI_PASSIVE);
  if (!found) return found.error().context("listen");
  const std::string where = address + ":" + std::to_string(port);
  Error last(ErrorCode::invalid_argument, "listen on " + where + ": no such address");
  for (const Address& at : *found) {
    Fd fd(::socket(at.get()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return errno_error(errno, "socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.get(), at.get(), at.size) == 0 && ::listen(fd.get(), kListenBacklog) == 0)
      return fd;
    last = errno_error(errno, "listen on " + where);
  }
  return last;
}

Result<std::uint16_t> local_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return errno_error(errno, "getsockname");
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

Result<Fd> connect_tcp(const std::string& host, std::uint16_t port, microseconds timeout,
                       const Event& cancel) {
  const microseconds deadline = uptime() + timeout;
  TM_TRY(const auto addresses, resolve(host, port, timeout, cancel));
  Error last(ErrorCode::unavailable, "resolve " + host + ": no addresses");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    // An address that swallows packets must not use up the time of those behind it.
    const auto shares = static_cast<std::int64_t>(addresses.size() - i);
    auto fd = connect_one(addresses[i], (deadline - uptime()) / shares, cancel);
    if (fd) return fd;
    last = fd.error().context("connect");
    if (last.code() == ErrorCode::cancelled) break;
  }
  return last;
}

void set_no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void set_keep_alive(int fd) {
  const int on = 1, idle_s = 60, interval_s = 15, probes = 4;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

void acknowledge_at_once(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

std::string peer_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> service{};
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::getpeername(fd, generic, &size) != 0 ||
      ::getnameinfo(generic, size, host.data(), host.size(), service.data(), service.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "unknown";
  return std::string(host.data()) + ":" + service.data();
}

bool is_ip_address(const std::string& host) {
  in6_addr scratch{};
  return ::inet_pton(AF_INET, host.c_str(), &scratch) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &scratch) == 1;
}

}  // namespace tidemark::net
