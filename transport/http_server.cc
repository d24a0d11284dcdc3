#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.h"
#include "transport/http_connection.h"

namespace tidemark {
namespace {

using namespace net;

// Connections beyond the limit that are told so (503), at the same time. More are closed at once.
constexpr std::size_t kSurplusMax = 8;
// After a failure to accept (no descriptors left), so that the thread does not spin.
constexpr milliseconds kAcceptPause{100};

class Server final : public HttpServer {
 public:
  explicit Server(ServerShared shared) : shared_(std::move(shared)) {}
  ~Server() override { stop(milliseconds(0)); }

  Status listen();
  std::uint16_t port() const override { return port_; }
  void stop(milliseconds grace) override;

 private:
  struct Worker {
    std::thread thread;
    bool finished = false;
  };

  void accept_loop();
  bool accept_one();
  void start_worker(Fd socket);
  void reap();

  ServerShared shared_;
  Fd listener_;
  std::uint16_t port_ = 0;
  std::mutex stop_mutex_;  // taken before mutex_
  bool stopped_ = false;   // guarded by stop_mutex_
  std::mutex mutex_;
  std::condition_variable idle_;
  std::size_t active_ = 0;     // guarded by mutex_
  std::list<Worker> workers_;  // guarded by mutex_
  std::thread acceptor_;       // uses all of the above
};

Status Server::listen() {
  TM_TRY(listener_, listen_tcp(shared_.options.address, shared_.options.port));
  TM_TRY(port_, local_port(listener_.get()));
  try {
    acceptor_ = std::thread([this] { accept_loop(); });
  } catch (const std::system_error& error) {
    return Error(ErrorCode::resource_exhausted, std::string("start a thread: ") + error.what());
  }
  return {};
}

void Server::accept_loop() {
  while (!shared_.draining->is_set()) {
    const auto ready = wait_for(listener_.get(), POLLIN, std::chrono::hours(1),
                                {shared_.draining.get(), shared_.cut.get()});
    reap();
    if (!ready) continue;
    // Time goes by in wait_for() on something that never becomes ready: the pause ends with a stop.
    if (!accept_one())
      ignore_error(wait_for(shared_.draining->fd(), POLLIN, kAcceptPause, {}), "only a pause");
  }
}

// False where accepting has to pause.
bool Server::accept_one() {
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

void Server::start_worker(Fd socket) {
  const std::lock_guard lock(mutex_);
  const bool surplus = active_ >= shared_.options.connections_max;
  if (active_ >= shared_.options.connections_max + kSurplusMax) return;
  const auto worker = workers_.emplace(workers_.end());
  ++active_;
  try {
    worker->thread = std::thread([this, worker, surplus, fd = std::move(socket)]() mutable {
      try {
        serve_connection(shared_, std::move(fd), surplus);
      } catch (const std::exception& error) {
        log::error("a connection ended: {}", error.what());
      }
      const std::lock_guard done(mutex_);
      worker->finished = true;
      --active_;
      idle_.notify_all();
    });
  } catch (...) {
    --active_;
    workers_.erase(worker);
    throw;
  }
}

void Server::reap() {
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

void Server::stop(milliseconds grace) {
  const std::lock_guard stopping(stop_mutex_);
  if (stopped_) return;
  stopped_ = true;
  shared_.draining->set();
  if (acceptor_.joinable()) acceptor_.join();
  listener_.reset();
  {
    std::unique_lock lock(mutex_);
    idle_.wait_for(lock, grace, [&] { return active_ == 0; });
  }
  shared_.cut->set();
  for (Worker& worker : workers_) worker.thread.join();
  workers_.clear();
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, Handler handler) {
  ServerShared shared;
  TM_TRY(shared.contexts, TlsContexts::load(options.tls, TlsSide::server));
  TM_TRY(shared.draining, Event::create());
  TM_TRY(shared.cut, Event::create());
  shared.options = std::move(options);
  shared.handler = std::move(handler);
  auto server = std::make_unique<Server>(std::move(shared));
  TM_DO(server->listen());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace tidemark
