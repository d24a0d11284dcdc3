#include "tests/transport/tcp_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <list>
#include <mutex>
#include <random>
#include <thread>

#include "base/files.h"

namespace tidemark::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kQueuedBytesMax = 4 * 1024 * 1024;
// With a limited rate little is taken in advance, so that the sender feels it.
constexpr std::size_t kQueuedBytesMaxSlow = 64 * 1024;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void make_non_blocking(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void set_small_buffers(int fd) {
  const int bytes = static_cast<int>(kQueuedBytesMaxSlow);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

// One direction: what was read and is not yet due, or not yet taken.
struct Pipe {
  int from = -1, to = -1;
  std::optional<std::uint64_t> cut_after;
  std::atomic<std::uint64_t>* counter = nullptr;
  struct Piece {
    Clock::time_point due;
    std::string bytes;
  };
  std::deque<Piece> queue;
  std::size_t queued = 0;
  std::uint64_t moved = 0;
  bool read_end = false, end_sent = false;
  Clock::time_point next_send = Clock::time_point::min();

  std::size_t queued_max = kQueuedBytesMax;

  bool wants_read() const { return !read_end && queued < queued_max; }
  Clock::time_point send_time() const { return std::max(next_send, queue.front().due); }
};

class Proxy;

class Link {
 public:
  Link(Proxy& proxy, Fd client, Fd server, std::optional<std::uint64_t> cut_after_total);
  void run(int stop_fd);
  std::atomic<bool> cut_wanted = false;
  std::atomic<bool> finished = false;
  std::thread thread;

 private:
  bool step(int stop_fd);
  bool read_into(Pipe& pipe, std::chrono::milliseconds delay);
  bool send_from(Pipe& pipe, std::uint64_t rate);
  std::uint64_t allowance(const Pipe& pipe) const;
  bool cut_due() const;
  void cut(int stop_fd);

  Proxy& proxy_;
  Fd client_, server_;
  Pipe up_, down_;
  std::optional<std::uint64_t> cut_after_total_;
};

class Proxy final : public TcpProxy {
 public:
  explicit Proxy(TcpProxyOptions given) : options(std::move(given)), random_(options.seed) {}
  ~Proxy() override;
  Status listen();
  std::uint16_t port() const override { return port_; }
  std::uint64_t bytes_up() const override { return up; }
  std::uint64_t bytes_down() const override { return down; }
  std::uint64_t connections() const override { return accepted_; }
  std::uint64_t cuts() const override { return cut_count; }
  void cut_now() override;

  const TcpProxyOptions options;
  std::atomic<std::uint64_t> up = 0, down = 0, cut_count = 0;

 private:
  void accept_loop();
  void accept_one();

  Fd listener_, stop_;
  std::uint16_t port_ = 0;
  std::atomic<std::uint64_t> accepted_ = 0;
  std::mt19937_64 random_;  // used by the acceptor only
  std::mutex mutex_;
  std::list<Link> links_;  // guarded by mutex_
  std::thread acceptor_;
};

Link::Link(Proxy& proxy, Fd client, Fd server, std::optional<std::uint64_t> cut_after_total)
    : proxy_(proxy),
      client_(std::move(client)),
      server_(std::move(server)),
      cut_after_total_(cut_after_total) {
  up_.from = down_.to = client_.get();
  up_.to = down_.from = server_.get();
  up_.cut_after = proxy.options.cut_after_up;
  down_.cut_after = proxy.options.cut_after_down;
  up_.counter = &proxy.up;
  down_.counter = &proxy.down;
  if (proxy.options.rate_bytes == 0) return;
  up_.queued_max = down_.queued_max = kQueuedBytesMaxSlow;
}

// How many more bytes a direction may forward before a cut is due.
std::uint64_t Link::allowance(const Pipe& pipe) const {
  std::uint64_t left = UINT64_MAX;
  if (proxy_.cut_count >= proxy_.options.cut_times) return left;
  if (pipe.cut_after) left = *pipe.cut_after - std::min(*pipe.cut_after, pipe.moved);
  if (cut_after_total_)
    left = std::min(left, *cut_after_total_ - std::min(*cut_after_total_, up_.moved + down_.moved));
  return left;
}

bool Link::cut_due() const { return cut_wanted || allowance(up_) == 0 || allowance(down_) == 0; }

bool Link::read_into(Pipe& pipe, std::chrono::milliseconds delay) {
  std::string bytes(kReadBytes, '\0');
  const ssize_t n = ::recv(pipe.from, bytes.data(), bytes.size(), 0);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) {
    pipe.read_end = true;
    return true;
  }
  bytes.resize(static_cast<std::size_t>(n));
  pipe.queued += bytes.size();
  pipe.queue.push_back({Clock::now() + delay, std::move(bytes)});
  return true;
}

bool Link::send_from(Pipe& pipe, std::uint64_t rate) {
  std::string& bytes = pipe.queue.front().bytes;
  std::size_t size =
      static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), allowance(pipe)));
  // With a limited rate, pieces of at most a tenth of a second.
  if (rate > 0)
    size = std::min(size, static_cast<std::size_t>(std::max<std::uint64_t>(rate / 10, 1)));
  const ssize_t n = ::send(pipe.to, bytes.data(), size, MSG_NOSIGNAL);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  const auto sent = static_cast<std::size_t>(n);
  pipe.moved += sent;
  pipe.queued -= sent;
  *pipe.counter += sent;
  if (rate > 0)
    pipe.next_send = std::max(Clock::now(), pipe.next_send) +
                     std::chrono::nanoseconds(sent * 1'000'000'000ULL / rate);
  bytes.erase(0, sent);
  if (bytes.empty()) pipe.queue.pop_front();
  return true;
}

// Moves what can be moved. False where the connection is over.
bool Link::step(int stop_fd) {
  std::array<pollfd, 3> polled = {pollfd{client_.get(), 0, 0}, pollfd{server_.get(), 0, 0},
                                  pollfd{stop_fd, POLLIN, 0}};
  auto wake = Clock::now() + std::chrono::milliseconds(50);  // cut_now() is seen by then
  const std::array pipes = {&up_, &down_};
  for (std::size_t i = 0; i < 2; ++i) {
    Pipe& pipe = *pipes[i];
    if (pipe.wants_read()) polled[i].events |= POLLIN;
    if (!pipe.queue.empty()) {
      if (pipe.send_time() <= Clock::now())
        polled[1 - i].events |= POLLOUT;
      else
        wake = std::min(wake, pipe.send_time());
    } else if (pipe.read_end && !pipe.end_sent) {
      ::shutdown(pipe.to, SHUT_WR);
      pipe.end_sent = true;
    }
  }
  if (up_.end_sent && down_.end_sent) return false;
  // A descriptor without wishes is left out: its hang-up would wake the loop all the time.
  for (std::size_t i = 0; i < 2; ++i)
    if (polled[i].events == 0) polled[i].fd = -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(wake - Clock::now());
  ::poll(polled.data(), polled.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
  if (polled[2].revents != 0) return false;
  for (std::size_t i = 0; i < 2; ++i) {
    Pipe& pipe = *pipes[i];
    if ((polled[i].events & POLLIN) != 0 && (polled[i].revents & ~POLLOUT) != 0 &&
        !read_into(pipe, proxy_.options.delay))
      return false;
    if ((polled[1 - i].events & POLLOUT) != 0 && polled[1 - i].revents != 0 &&
        !pipe.queue.empty() && pipe.send_time() <= Clock::now() &&
        !send_from(pipe, proxy_.options.rate_bytes))
      return false;
    if (cut_due()) return true;
  }
  return true;
}

void Link::cut(int stop_fd) {
  ++proxy_.cut_count;
  const auto both = {&client_, &server_};
  if (proxy_.options.mode == CutMode::rst) {
    const linger reset{1, 0};
    for (Fd* fd : both) ::setsockopt(fd->get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return;  // closing resets now
  }
  if (proxy_.options.mode == CutMode::fin)
    for (Fd* fd : both) ::shutdown(fd->get(), SHUT_WR);
  std::array<bool, 2> ended{};
  std::string sink(kReadBytes, '\0');
  while (!ended[0] || !ended[1]) {
    // Closing with unread bytes would be a reset, so what comes is taken and dropped; a black hole
    // takes nothing and waits for the end.
    const bool drop = proxy_.options.mode == CutMode::fin;
    const short events = drop ? POLLIN : 0;
    std::array<pollfd, 3> polled = {pollfd{ended[0] || !drop ? -1 : client_.get(), events, 0},
                                    pollfd{ended[1] || !drop ? -1 : server_.get(), events, 0},
                                    pollfd{stop_fd, POLLIN, 0}};
    ::poll(polled.data(), polled.size(), -1);
    if (polled[2].revents != 0) return;
    for (std::size_t i = 0; i < 2; ++i)
      if (polled[i].revents != 0 && ::recv(polled[i].fd, sink.data(), sink.size(), 0) <= 0)
        ended[i] = true;
  }
}

void Link::run(int stop_fd) {
  bool alive = true;
  while (alive && !cut_due()) alive = step(stop_fd);
  if (alive) cut(stop_fd);
  if (!alive) {
    // An end that is not orderly is passed on as one that is not orderly.
    const linger reset{1, 0};
    if (!up_.end_sent || !down_.end_sent)
      for (Fd* fd : {&client_, &server_})
        ::setsockopt(fd->get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  client_.reset();
  server_.reset();
  finished = true;
}

Status Proxy::listen() {
  listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  stop_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const int on = 1;
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (options.rate_bytes > 0) set_small_buffers(listener_.get());
  sockaddr_in address = loopback(options.listen_port);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_.get(), generic, size) != 0 || ::listen(listener_.get(), 256) != 0 ||
      ::getsockname(listener_.get(), generic, &size) != 0)
    return errno_error(errno, "listen");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
  return {};
}

void Proxy::accept_one() {
  Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) return;
  Fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (options.rate_bytes > 0) set_small_buffers(server.get());
  const sockaddr_in to = loopback(options.to_port);
  if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return;
  make_non_blocking(client.get());
  make_non_blocking(server.get());
  ++accepted_;
  std::optional<std::uint64_t> total = options.cut_after_total;
  if (!total && options.cut_random_max > 0)
    total = std::uniform_int_distribution<std::uint64_t>(1, options.cut_random_max)(random_);
  const std::lock_guard lock(mutex_);
  for (auto at = links_.begin(); at != links_.end();) {
    const auto next = std::next(at);
    if (at->finished) {
      at->thread.join();
      links_.erase(at);
    }
    at = next;
  }
  Link& link = links_.emplace_back(*this, std::move(client), std::move(server), total);
  link.thread = std::thread([this, &link] { link.run(stop_.get()); });
}

void Proxy::accept_loop() {
  while (true) {
    std::array<pollfd, 2> polled = {pollfd{listener_.get(), POLLIN, 0},
                                    pollfd{stop_.get(), POLLIN, 0}};
    ::poll(polled.data(), polled.size(), -1);
    if (polled[1].revents != 0) return;
    if (polled[0].revents != 0) accept_one();
  }
}

void Proxy::cut_now() {
  const std::lock_guard lock(mutex_);
  for (Link& link : links_) link.cut_wanted = true;
}

Proxy::~Proxy() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_.get(), &one, sizeof one);
  if (acceptor_.joinable()) acceptor_.join();
  for (Link& link : links_) link.thread.join();
}

}  // namespace

Result<std::unique_ptr<TcpProxy>> TcpProxy::start(TcpProxyOptions options) {
  auto proxy = std::make_unique<Proxy>(std::move(options));
  TM_DO(proxy->listen());
  return std::unique_ptr<TcpProxy>(std::move(proxy));
}

std::optional<CutMode> parse_cut_mode(const std::string& text) {
  if (text == "rst") return CutMode::rst;
  if (text == "fin") return CutMode::fin;
  if (text == "blackhole") return CutMode::blackhole;
  return std::nullopt;
}

}  // namespace tidemark::testing
