// Sockets that wait with a limit and can be called off: the only place that polls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "base/files.h"
#include "base/result.h"

namespace tidemark::net {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// A flag that wakes threads in wait_for(). Set once and never cleared. Safe from any thread.
class Event {
 public:
  static Result<std::unique_ptr<Event>> create();
  void set();
  bool is_set() const { return set_.load(std::memory_order_acquire); }
  int fd() const { return fd_.get(); }

 private:
  explicit Event(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
  std::atomic<bool> set_ = false;
};

// Monotonic time.
microseconds uptime();

// Waits until `fd` shows one of `events` (poll(2)) and returns what it shows. `deadline_exceeded`
// after `timeout`, `cancelled` where one of `stops` (null ones are skipped) is set.
Result<short> wait_for(int fd, short events, microseconds timeout,
                       std::initializer_list<const Event*> stops);

// A non-blocking listening socket. `port` 0 takes any free one.
Result<Fd> listen_tcp(const std::string& address, std::uint16_t port);
Result<std::uint16_t> local_port(int fd);

// A non-blocking connected socket without Nagle's delay. Tries the host's addresses in turn.
// `unavailable`, `deadline_exceeded` or `cancelled`; a slow resolver does not delay the last two.
Result<Fd> connect_tcp(const std::string& host, std::uint16_t port, microseconds timeout,
                       const Event& cancel);

void set_no_delay(int fd);
// Has a peer that is gone without a word found out within about two minutes.
void set_keep_alive(int fd);
// Has what arrives next acknowledged at once. A peer with Nagle's delay that writes an answer in
// two pieces, as radosgw does, else sends the second one when this end's delayed acknowledgement
// comes: 40 ms for each request. The kernel forgets it with the next bytes that are sent.
void acknowledge_at_once(int fd);
// "192.0.2.1:4711", for log lines.
std::string peer_address(int fd);
bool is_ip_address(const std::string& host);

}  // namespace tidemark::net
