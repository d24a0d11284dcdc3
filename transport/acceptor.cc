#include "transport/acceptor.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/log.h"

namespace tidemark::net {
namespace {

constexpr int kListenBacklog = 64;
// After a failure to accept (no descriptors left), so that the thread does not spin.
constexpr milliseconds kAcceptPause{100};

Result<sockaddr_un> unix_address(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof address.sun_path)
    return Error(ErrorCode::invalid_argument, "a socket's path has 1 to " +
                                                  std::to_string(sizeof address.sun_path - 1) +
                                                  " bytes: " + text);
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

std::uint64_t inode_of(const std::filesystem::path& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

// Removes a socket on which nobody listens any more.
Status remove_stale(const std::filesystem::path& path, const sockaddr_un& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return {};
  if (!S_ISSOCK(st.st_mode))
    return Error(ErrorCode::refused, path.string() + " exists and is no socket");
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe) return errno_error(errno, "socket");
  if (::connect(probe.get(), generic(address), sizeof address) == 0 || errno != ECONNREFUSED)
    return Error(ErrorCode::refused, path.string() + " is in use");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return errno_error(errno, "remove " + path.string());
  return {};
}

}  // namespace

bool ServeAddress::is_local() const {
  return !socket.empty() || host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && is_ip_address(host));
}

std::string ServeAddress::text() const {
  if (!socket.empty()) return socket.string();
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<std::unique_ptr<Acceptor>> Acceptor::start(const ServeAddress& address,
                                                  std::size_t connections_max, Serve serve) {
  std::unique_ptr<Acceptor> acceptor(new Acceptor(address, connections_max, std::move(serve)));
  TM_TRY(acceptor->stop_, Event::create());
  TM_DO(acceptor->listen());
  try {
    acceptor->acceptor_ = std::thread([raw = acceptor.get()] { raw->accept_loop(); });
  } catch (const std::system_error& error) {
    return Error(ErrorCode::resource_exhausted, std::string("start a thread: ") + error.what());
  }
  return acceptor;
}

Status Acceptor::listen() {
  if (!address_.socket.empty()) return listen_on_socket();
  TM_TRY(listener_, listen_tcp(address_.host, address_.port));
  TM_TRY(address_.port, local_port(listener_.get()));
  return {};
}

Status Acceptor::listen_on_socket() {
  TM_TRY(const sockaddr_un address, unix_address(address_.socket));
  TM_DO(remove_stale(address_.socket, address));
  listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener_) return errno_error(errno, "socket");
  // The file gets the mode of the descriptor (less the umask): there is no moment at which others
  // could connect.
  if (::fchmod(listener_.get(), 0600) != 0) return errno_error(errno, "fchmod");
  const std::string what = "listen on " + address_.socket.string();
  if (::bind(listener_.get(), generic(address), sizeof address) != 0)
    return errno_error(errno, what);
  socket_inode_ = inode_of(address_.socket);
  if (::listen(listener_.get(), kListenBacklog) != 0) return errno_error(errno, what);
  return {};
}

void Acceptor::accept_loop() {
  while (!stop_->is_set()) {
    const auto ready = wait_for(listener_.get(), POLLIN, std::chrono::hours(1), {stop_.get()});
    reap();
    if (!ready) continue;
    if (!accept_one())
      ignore_error(wait_for(stop_->fd(), POLLIN, kAcceptPause, {}), "only a pause");
  }
}

// False where accepting has to pause.
bool Acceptor::accept_one() {
  Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) {
    const bool harmless = errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    if (!harmless) log::error("{}", errno_error(errno, "accept a connection").message());
    return harmless;
  }
  try {
    start_worker(std::move(socket));
  } catch (const std::exception& error) {
    log::error("accept a connection: {}", error.what());
    return false;
  }
  return true;
}

void Acceptor::start_worker(Fd socket) {
  const std::lock_guard lock(mutex_);
  if (workers_.size() >= connections_max_) {
    log::warn("{}: closed, there are {} connections", address_.text(), workers_.size());
    return;
  }
  const auto worker = workers_.emplace(workers_.end());
  try {
    worker->thread = std::thread([this, worker, fd = std::move(socket)]() mutable {
      try {
        serve_(std::move(fd), *stop_);
      } catch (const std::exception& error) {
        log::error("a connection ended: {}", error.what());
      }
      const std::lock_guard done(mutex_);
      worker->finished = true;
    });
  } catch (...) {
    workers_.erase(worker);
    throw;
  }
}

void Acceptor::reap() {
  std::list<Worker> finished;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = workers_.begin(); at != workers_.end();) {
      const auto next = std::next(at);
      if (at->finished) finished.splice(finished.end(), workers_, at);
      at = next;
    }
  }
  for (Worker& worker : finished) worker.thread.join();
}

void Acceptor::stop() {
  if (stop_) stop_->set();
  if (acceptor_.joinable()) acceptor_.join();
  for (Worker& worker : workers_) worker.thread.join();
  workers_.clear();
  listener_.reset();
  if (socket_inode_ != 0 && inode_of(address_.socket) == socket_inode_)
    ::unlink(address_.socket.c_str());
  socket_inode_ = 0;
}

}  // namespace tidemark::net
