// Connections to one S3 endpoint: at most so many at once, kept alive between requests.
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

namespace tidemark::s3 {

struct PoolOptions {
  net::Origin origin;
  std::filesystem::path ca_file;  // empty: the system's roots
  std::size_t connections_max = 64;
  std::chrono::microseconds connect_timeout{0};
  std::chrono::microseconds stall_timeout{0};
  std::chrono::microseconds idle_time_max{0};
};

struct Connection {
  std::unique_ptr<net::Event> cancel;  // set once called off; the connection is then lost
  std::unique_ptr<net::HttpChannel> channel;
  std::uint64_t generation = 0;  // of the CA file's content
  std::chrono::microseconds idle_since{0};
};

class Pool;

// A connection in use. Gives it back when destroyed: kept only where keep() was called.
class Lease {
 public:
  Lease() = default;
  Lease(Pool* pool, std::unique_ptr<Connection> connection, bool kept_before)
      : pool_(pool), connection_(std::move(connection)), kept_before_(kept_before) {}
  ~Lease() { release(); }
  Lease(Lease&& other) noexcept { *this = std::move(other); }
  Lease& operator=(Lease&& other) noexcept;

  explicit operator bool() const { return pool_ != nullptr; }
  net::HttpChannel& channel() { return *connection_->channel; }
  net::Event& cancel() { return *connection_->cancel; }
  // Whether it served a request before: it may then have been closed by the server just now.
  bool kept_before() const { return kept_before_; }
  // The exchange ended well: another request may use the connection.
  void keep() { keep_ = true; }
  void release();

 private:
  Pool* pool_ = nullptr;
  std::unique_ptr<Connection> connection_;
  bool kept_before_ = false;
  bool keep_ = false;
};

// Safe from any thread. Outlives its leases.
class Pool {
 public:
  static Result<std::unique_ptr<Pool>> create(PoolOptions options);

  // A connection that was idle and looks alive, or (always where `fresh` is set) a new one; waits
  // while all that are allowed are in use, until `deadline` (uptime()). `cancelled`,
  // `deadline_exceeded`, or why connecting failed.
  Result<Lease> lease(bool fresh, std::optional<net::microseconds> deadline, std::stop_token stop);

 private:
  friend class Lease;
  explicit Pool(PoolOptions options) : options_(std::move(options)) {}
  Status take_place(std::optional<net::microseconds> deadline, std::stop_token stop);
  void give_back_place();
  std::unique_ptr<Connection> take_kept(std::uint64_t generation);
  std::unique_ptr<Connection> pop_kept();
  Result<std::unique_ptr<Connection>> open(net::TlsContext context,
                                           std::optional<net::microseconds> deadline,
                                           std::stop_token stop);
  Status connect(Connection& connection, const net::TlsContext& context,
                 net::microseconds deadline);
  void give_back(std::unique_ptr<Connection> connection, bool keep);

  const PoolOptions options_;
  std::unique_ptr<net::TlsContexts> contexts_;  // null without TLS
  std::mutex mutex_;
  std::condition_variable_any place_;
  std::size_t in_use_ = 0;                         // guarded by mutex_
  std::vector<std::unique_ptr<Connection>> kept_;  // the last used one is at the end; by mutex_
};

}  // namespace tidemark::s3
