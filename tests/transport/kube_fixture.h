// A server of raw bytes on loopback, the recorded exchanges with a Kubernetes API server, and
// clients with short waits.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/transport/fixture.h"
#include "transport/kube/client.h"

namespace tidemark::testing {

// One request as a server sees it.
struct SeenRequest {
  std::string method, target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  std::string path() const;
  // Decoded, in order of name.
  std::multimap<std::string, std::string> query() const;
};
SeenRequest parse_request(const std::string& text);

// What the server does about one.
struct RawReply {
  std::string bytes;
  // How many bytes go out at once; empty: all. The last one is repeated.
  std::vector<std::size_t> pieces = {};
  bool close = false;  // hangs up afterwards
  bool hang = false;   // says nothing more, and does not hang up either
  // Takes the connection over after the bytes.
  std::function<void(int fd, const std::stop_token&)> then = {};
};

// A thread for each connection, over plain TCP. Ends with its threads.
class RawServer {
 public:
  using Handler = std::function<RawReply(const SeenRequest& request, std::size_t number)>;
  explicit RawServer(Handler handler);
  ~RawServer();
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::uint16_t port() const { return port_; }
  std::vector<SeenRequest> seen() const;
  std::size_t connections() const;

 private:
  void serve(int fd, const std::stop_token& stop);

  const Handler handler_;
  Fd listener_;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<SeenRequest> seen_;      // guarded by mutex_
  std::size_t connections_ = 0;        // guarded by mutex_
  std::vector<std::jthread> threads_;  // guarded by mutex_
  std::jthread acceptor_;
};

// Time is what it was set to. Safe from any thread.
class HandClock final : public Clock {
 public:
  Timestamp now() const override { return {us_.load()}; }
  std::chrono::microseconds uptime() const override { return std::chrono::microseconds(us_); }
  void advance(std::chrono::microseconds by) { us_ += by.count(); }

 private:
  std::atomic<std::int64_t> us_{1'700'000'000'000'000};
};

// False once the other end is gone or `stop` is set. Waits for bytes.
bool receive_some(int fd, std::string& into, const std::stop_token& stop);
bool send_all(int fd, std::string_view bytes);

// "HTTP/1.1 200 OK" with a JSON body.
std::string json_answer(unsigned status, const kube::Json& body, const std::string& more = "");
std::string text_answer(unsigned status, const std::string& body, const std::string& more = "");
// The head of a stream, and one of its chunks.
std::string stream_head();
std::string chunk(const std::string& data);
inline const std::string kLastChunk = "0\r\n\r\n";
kube::Json failure_status(unsigned code, const std::string& reason);

struct Exchange {
  std::string name;  // "042-pvc-dynamic-pending"
  SeenRequest request;
  std::string response;  // exact bytes
};
// All of them, in order of name.
const std::vector<Exchange>& exchanges();
const Exchange& exchange(const std::string& number);
// The response's body without its framing.
std::string body_of(const std::string& response);

// A client without patience: one attempt, unless `change` says otherwise.
std::unique_ptr<kube::Client> kube_client(
    const std::string& url, const std::function<void(kube::ClientOptions&)>& change = {});
// Several attempts with short waits.
void patient(kube::ClientOptions& options);

}  // namespace tidemark::testing
