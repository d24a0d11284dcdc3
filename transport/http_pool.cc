#include "transport/http_pool.h"

#include <algorithm>

#include "transport/tcp_stream.h"
#include "transport/tls_stream.h"

namespace tidemark::net {

HttpLease& HttpLease::operator=(HttpLease&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = std::exchange(other.pool_, nullptr);
  connection_ = std::move(other.connection_);
  kept_before_ = other.kept_before_;
  keep_ = other.keep_;
  return *this;
}

void HttpLease::release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->give_back(std::move(connection_), keep_);
}

Status HttpPool::take_place(std::optional<microseconds> deadline, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const auto there = [&] { return in_use_ < options_.connections_max; };
  const bool got = deadline ? place_.wait_for(lock, stop, *deadline - uptime(), there)
                            : place_.wait(lock, stop, there);
  if (stop.stop_requested()) {
    // A wake-up that was meant for somebody who stays.
    place_.notify_one();
    return Error(ErrorCode::cancelled, "cancelled");
  }
  if (!got) return Error(ErrorCode::deadline_exceeded, "all connections are in use");
  ++in_use_;
  return {};
}

void HttpPool::give_back_place() {
  {
    const std::lock_guard lock(mutex_);
    --in_use_;
  }
  place_.notify_one();
}

void HttpPool::give_back(std::unique_ptr<PooledConnection> connection, bool keep) {
  if (keep && !connection->cancel->is_set() && connection->channel->keepable()) {
    connection->idle_since = uptime();
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(connection));
  }
  connection.reset();
  give_back_place();
}

std::unique_ptr<PooledConnection> HttpPool::pop_kept() {
  const std::lock_guard lock(mutex_);
  if (kept_.empty()) return nullptr;
  auto connection = std::move(kept_.back());
  kept_.pop_back();
  return connection;
}

std::unique_ptr<PooledConnection> HttpPool::take_kept(std::uint64_t generation) {
  while (auto connection = pop_kept()) {
    const bool young = uptime() - connection->idle_since < options_.idle_time_max;
    if (young && connection->generation == generation && connection->channel->stream().is_quiet())
      return connection;
  }
  return nullptr;
}

Result<HttpLease> HttpPool::lease(bool fresh, std::optional<microseconds> deadline,
                                  std::stop_token stop) {
  TM_DO(take_place(deadline, stop));
  TlsContext context;
  if (options_.origin.tls) context = options_.contexts->current();
  if (!fresh) {
    if (auto kept = take_kept(context.generation)) return HttpLease(this, std::move(kept), true);
  }
  auto opened = open(std::move(context), deadline, stop);
  if (!opened) {
    give_back_place();
    return opened.error();
  }
  return HttpLease(this, *std::move(opened), false);
}

Status HttpPool::connect(PooledConnection& connection, const TlsContext& context,
                         microseconds deadline) {
  const Origin& origin = options_.origin;
  TM_TRY(Fd socket, connect_tcp(origin.host, origin.port, deadline - uptime(), *connection.cancel));
  if (options_.keep_alive) set_keep_alive(socket.get());
  if (!origin.tls) {
    connection.channel = std::make_unique<HttpChannel>(
        std::make_unique<TcpStream>(std::move(socket), *connection.cancel, options_.stall_timeout));
    return {};
  }
  TM_TRY(auto stream, TlsStream::create(context.context.get(), std::move(socket), false,
                                        *connection.cancel, options_.stall_timeout));
  TlsStream& tls = *stream;
  connection.channel = std::make_unique<HttpChannel>(std::move(stream));
  TM_DO(expect_host(tls.ssl(), options_.tls_name.empty() ? origin.host : options_.tls_name, true));
  return tls.handshake(deadline - uptime());
}

Result<std::unique_ptr<PooledConnection>> HttpPool::open(TlsContext context,
                                                         std::optional<microseconds> deadline,
                                                         std::stop_token stop) {
  auto connection = std::make_unique<PooledConnection>();
  TM_TRY(connection->cancel, Event::create());
  connection->generation = context.generation;
  // Not by way of `connection`, which has moved into the result when the callback ends.
  const std::stop_callback on_stop(stop, [&cancel = *connection->cancel] { cancel.set(); });
  const microseconds limit = uptime() + options_.connect_timeout;
  TM_DO(connect(*connection, context, deadline ? std::min(limit, *deadline) : limit));
  return connection;
}

}  // namespace tidemark::net
