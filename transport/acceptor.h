// Listens on a TCP address or a Unix socket and gives every connection a thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "transport/socket.h"

namespace tidemark::net {

// Where a server listens: a socket of this machine, or a host and a port.
struct ServeAddress {
  std::filesystem::path socket;  // empty: host and port count
  std::string host;              // without the brackets of an IPv6 address
  std::uint16_t port = 0;        // 0: any free one

  // Whether nobody but this machine can connect.
  bool is_local() const;
  // "/run/disk.sock", "127.0.0.1:10809", "[::1]:10809".
  std::string text() const;
};

class Acceptor {
 public:
  // Runs on the connection's thread and returns once `stop` is set. Must not throw.
  using Serve = std::function<void(Fd socket, const Event& stop)>;

  // Connections beyond `connections_max` are closed at once. A Unix socket gets mode 0600 and is
  // removed at the end; one that a dead process left is replaced, and one where somebody listens is
  // `refused`.
  static Result<std::unique_ptr<Acceptor>> start(const ServeAddress& address,
                                                 std::size_t connections_max, Serve serve);
  ~Acceptor() { stop(); }

  // With the port that was taken.
  const ServeAddress& address() const { return address_; }
  // Ends all connections and waits for them. Idempotent; called by the owner's thread.
  void stop();

 private:
  struct Worker {
    std::thread thread;
    bool finished = false;
  };

  Acceptor(ServeAddress address, std::size_t connections_max, Serve serve)
      : address_(std::move(address)), connections_max_(connections_max), serve_(std::move(serve)) {}
  Status listen();
  Status listen_on_socket();
  void accept_loop();
  bool accept_one();
  void start_worker(Fd socket);
  void reap();

  ServeAddress address_;
  const std::size_t connections_max_;
  const Serve serve_;
  std::unique_ptr<Event> stop_;
  Fd listener_;
  std::uint64_t socket_inode_ = 0;
  std::mutex mutex_;
  std::list<Worker> workers_;  // guarded by mutex_
  std::thread acceptor_;       // uses all of the above
};

}  // namespace tidemark::net
