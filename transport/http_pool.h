// Connections to one HTTP server that is no site of ours: at most so many at once, kept alive
// between requests.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <vector>

#include "transport/http_channel.h"
#include "transport/origin.h"
#include "transport/tls_context.h"

namespace tidemark::net {

struct HttpPoolOptions {
  Origin origin;
  // Null: no TLS. REQUIRES: set where origin.tls is.
  std::shared_ptr<TlsContexts> contexts;
  // The name that the server's certificate must be for; empty: origin.host.
  std::string tls_name = {};
  std::size_t connections_max = 64;
  microseconds connect_timeout{0};
  microseconds stall_timeout{0};
  microseconds idle_time_max{0};
  // Whether the kernel looks after connections on which nothing moves (TCP keepalive).
  bool keep_alive = false;
};

struct PooledConnection {
  std::unique_ptr<Event> cancel;  // set once called off; the connection is then lost
  std::unique_ptr<HttpChannel> channel;
  std::uint64_t generation = 0;  // of the TLS context
  microseconds idle_since{0};
};

class HttpPool;

// A connection in use. Gives it back when destroyed: kept only where keep() was called.
class HttpLease {
 public:
  HttpLease() = default;
  HttpLease(HttpPool* pool, std::unique_ptr<PooledConnection> connection, bool kept_before)
      : pool_(pool), connection_(std::move(connection)), kept_before_(kept_before) {}
  ~HttpLease() { release(); }
  HttpLease(HttpLease&& other) noexcept { *this = std::move(other); }
  HttpLease& operator=(HttpLease&& other) noexcept;

  explicit operator bool() const { return pool_ != nullptr; }
  HttpChannel& channel() { return *connection_->channel; }
  Event& cancel() { return *connection_->cancel; }
  // Whether it served a request before: it may then have been closed by the server just now.
  bool kept_before() const { return kept_before_; }
  // The exchange ended well: another request may use the connection.
  void keep() { keep_ = true; }
  void release();

 private:
  HttpPool* pool_ = nullptr;
  std::unique_ptr<PooledConnection> connection_;
  bool kept_before_ = false;
  bool keep_ = false;
};

// Safe from any thread. Outlives its leases.
class HttpPool {
 public:
  explicit HttpPool(HttpPoolOptions options) : options_(std::move(options)) {}

  // A connection that was idle and looks alive, or (always where `fresh` is set) a new one; waits
  // while all that are allowed are in use, until `deadline` (uptime()). `cancelled`,
  // `deadline_exceeded`, or why connecting failed.
  Result<HttpLease> lease(bool fresh, std::optional<microseconds> deadline, std::stop_token stop);

 private:
  friend class HttpLease;
  Status take_place(std::optional<microseconds> deadline, std::stop_token stop);
  void give_back_place();
  std::unique_ptr<PooledConnection> take_kept(std::uint64_t generation);
  std::unique_ptr<PooledConnection> pop_kept();
  Result<std::unique_ptr<PooledConnection>> open(TlsContext context,
                                                 std::optional<microseconds> deadline,
                                                 std::stop_token stop);
  Status connect(PooledConnection& connection, const TlsContext& context, microseconds deadline);
  void give_back(std::unique_ptr<PooledConnection> connection, bool keep);

  const HttpPoolOptions options_;
  std::mutex mutex_;
  std::condition_variable_any place_;
  std::size_t in_use_ = 0;  // guarded by mutex_
  std::vector<std::unique_ptr<PooledConnection>>
      kept_;  // the last used one is at the end; by mutex_
};

}  // namespace tidemark::net
