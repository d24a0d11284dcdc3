#include "transport/s3/pool.h"

#include <algorithm>

#include "transport/tcp_stream.h"
#include "transport/tls_stream.h"

namespace tidemark::s3 {

using namespace net;

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = std::exchange(other.pool_, nullptr);
  connection_ = std::move(other.connection_);
  kept_before_ = other.kept_before_;
  keep_ = other.keep_;
  return *this;
}

void Lease::release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->give_back(std::move(connection_), keep_);
}

Result<std::unique_ptr<Pool>> Pool::create(PoolOptions options) {
  std::unique_ptr<Pool> pool(new Pool(std::move(options)));
  if (pool->options_.origin.tls) {
    TM_TRY(pool->contexts_,
           TlsContexts::load({{}, {}, pool->options_.ca_file}, TlsSide::web_client));
  }
  return pool;
}

Status Pool::take_place(std::optional<microseconds> deadline, std::stop_token stop) {
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

void Pool::give_back_place() {
  {
    const std::lock_guard lock(mutex_);
    --in_use_;
  }
  place_.notify_one();
}

void Pool::give_back(std::unique_ptr<Connection> connection, bool keep) {
  if (keep && !connection->cancel->is_set() && connection->channel->keepable()) {
    connection->idle_since = uptime();
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(connection));
  }
  connection.reset();
  give_back_place();
}

std::unique_ptr<Connection> Pool::pop_kept() {
  const std::lock_guard lock(mutex_);
  if (kept_.empty()) return nullptr;
  auto connection = std::move(kept_.back());
  kept_.pop_back();
  return connection;
}

std::unique_ptr<Connection> Pool::take_kept(std::uint64_t generation) {
  while (auto connection = pop_kept()) {
    const bool young = uptime() - connection->idle_since < options_.idle_time_max;
    if (young && connection->generation == generation && connection->channel->stream().is_quiet())
      return connection;
  }
  return nullptr;
}

Result<Lease> Pool::lease(bool fresh, std::optional<microseconds> deadline, std::stop_token stop) {
  TM_DO(take_place(deadline, stop));
  TlsContext context;
  if (contexts_ != nullptr) context = contexts_->current();
  if (!fresh) {
    if (auto kept = take_kept(context.generation)) return Lease(this, std::move(kept), true);
  }
  auto opened = open(std::move(context), deadline, stop);
  if (!opened) {
    give_back_place();
    return opened.error();
  }
  return Lease(this, *std::move(opened), false);
}

Status Pool::connect(Connection& connection, const TlsContext& context, microseconds deadline) {
  const Origin& origin = options_.origin;
  TM_TRY(Fd socket, connect_tcp(origin.host, origin.port, deadline - uptime(), *connection.cancel));
  if (!origin.tls) {
    connection.channel = std::make_unique<HttpChannel>(
        std::make_unique<TcpStream>(std::move(socket), *connection.cancel, options_.stall_timeout));
    return {};
  }
  TM_TRY(auto stream, TlsStream::create(context.context.get(), std::move(socket), false,
                                        *connection.cancel, options_.stall_timeout));
  TlsStream& tls = *stream;
  connection.channel = std::make_unique<HttpChannel>(std::move(stream));
  TM_DO(expect_host(tls.ssl(), origin.host, true));
  return tls.handshake(deadline - uptime());
}

Result<std::unique_ptr<Connection>> Pool::open(TlsContext context,
                                               std::optional<microseconds> deadline,
                                               std::stop_token stop) {
  auto connection = std::make_unique<Connection>();
  TM_TRY(connection->cancel, Event::create());
  connection->generation = context.generation;
  const std::stop_callback on_stop(stop, [&] { connection->cancel->set(); });
  const microseconds limit = uptime() + options_.connect_timeout;
  TM_DO(connect(*connection, context, deadline ? std::min(limit, *deadline) : limit));
  return connection;
}

}  // namespace tidemark::s3
