// A small S3 server in this process that can be told to misbehave.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <thread>

#include "tests/fakes/s3_state.h"
#include "transport/byte_stream.h"
#include "transport/openssl.h"

namespace tidemark::testing {

enum class S3Fault {
  none,
  answer,       // `answer` instead of asking the state
  alter,        // `alter` on the true answer
  cut_half,     // half of the body under the whole length, then the end
  reset,        // the same with a reset
  too_long,     // bytes behind the stated length
  never,        // no answer at all
  drip,         // a byte every 100 ms
  drop_before,  // the connection ends; nothing was done
  drop_after,   // the connection ends; it was done
  garbage,      // no HTTP
  unframed,     // neither a length nor chunks, and a cut
};

struct S3Misdeed {
  S3Fault fault = S3Fault::none;
  std::function<bool(const S3Request&)> when;  // empty: always
  int times = 1;                               // how often; -1: for ever
  S3Answer answer;
  std::function<void(const S3Request&, S3Answer&)> alter;
};

struct S3ServerOptions {
  bool virtual_host = false;
  // PEM files of a server's certificate; empty: plain TCP.
  std::string certificate, key;
};

// Checks every signature, those of chunks too, Content-MD5, lengths and clocks. One thread for each
// connection. Safe from any thread.
class S3Server {
 public:
  explicit S3Server(S3ServerOptions options = {});
  ~S3Server();

  std::string endpoint() const;
  s3::Credentials credentials() const;
  void set_credentials(s3::Credentials credentials, std::string refusal = "InvalidAccessKeyId");
  // How far its clock is ahead of ours.
  void set_clock_ahead(std::chrono::seconds ahead) { ahead_s_ = ahead.count(); }
  // Misdeeds are asked in order; the first that fits is done.
  void misbehave(S3Misdeed misdeed);

  std::size_t requests() const { return requests_; }
  std::size_t connections() const { return connections_; }
  std::size_t connections_peak() const { return peak_; }
  // Ends all connections that wait for a request.
  void drop_idle();

 private:
  struct Exchange;
  void accept_loop();
  void serve(Fd socket);
  bool serve_one(Exchange& exchange);
  S3Answer respond(Exchange& exchange, const S3Misdeed& misdeed, const S3Request& request);
  std::optional<S3Answer> check(const Exchange& exchange, S3Request& request);
  bool send(Exchange& exchange, const S3Misdeed& misdeed, const S3Request& request,
            const S3Answer& answer);
  S3Misdeed take_misdeed(const S3Request& request);
  Timestamp now() const;

  const S3ServerOptions options_;
  S3State state_;
  std::unique_ptr<net::Event> cut_;
  std::shared_ptr<SSL_CTX> context_;
  Fd listener_;
  std::uint16_t port_ = 0;
  std::atomic<std::int64_t> ahead_s_ = 0;
  std::atomic<std::size_t> requests_ = 0, connections_ = 0, active_ = 0, peak_ = 0;
  std::mutex mutex_;
  s3::Credentials credentials_{"AKIDFAKE", "fakesecret", {}};  // guarded by mutex_
  std::string refusal_ = "InvalidAccessKeyId";                 // guarded by mutex_
  std::list<S3Misdeed> misdeeds_;                              // guarded by mutex_
  std::list<int> idle_;                                        // sockets; guarded by mutex_
  std::list<std::thread> threads_;                             // guarded by mutex_
  std::thread acceptor_;
};

}  // namespace tidemark::testing
