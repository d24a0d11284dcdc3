// When a request may be sent again: one budget for each operation, and one for all that share a
// client, so that a server in trouble sees a trickle and not a storm.
#pragma once

#include <mutex>
#include <optional>
#include <stop_token>

#include "transport/socket.h"

namespace tidemark::net {

struct RetryOptions {
  unsigned attempts_max = 8;
  std::chrono::milliseconds backoff_first{100};
  std::chrono::milliseconds backoff_max{10'000};
  // No attempt begins later than this after the operation did.
  std::chrono::milliseconds time_max{60'000};
  // Of the client as a whole: repeats in a burst, and repeats per second after that.
  double tokens_max = 64;
  double tokens_per_second = 16;
};

// Repeats that all operations of a client share. Safe from any thread.
class RetryTokens {
 public:
  RetryTokens(double tokens_max, double tokens_per_second)
      : max_(tokens_max), per_second_(tokens_per_second), tokens_(tokens_max) {}
  // Takes a token, and how long to wait until it is there; nothing, and none taken, where that
  // would be longer than `wait_max`.
  std::optional<microseconds> take(microseconds wait_max);
  // A request succeeded: half a token comes back.
  void refund();

 private:
  void refill();
  const double max_, per_second_;
  std::mutex mutex_;
  double tokens_;                   // negative: promised ahead; guarded by mutex_
  microseconds filled_ = uptime();  // guarded by mutex_
};

// The attempts of one operation. Used by one thread.
class RetryBudget {
 public:
  RetryBudget(const RetryOptions& options, RetryTokens& tokens,
              std::optional<microseconds> deadline, std::stop_token stop);

  enum class Verdict {
    again,      // the wait is over: another attempt
    spent,      // there must be none
    cancelled,  // the stop token was set
  };
  // Waits before the next attempt: exponentially longer, with full jitter, at least `wait_min`.
  Verdict wait(microseconds wait_min);

  std::optional<microseconds> deadline() const { return deadline_; }
  const std::stop_token& stop() const { return stop_; }

 private:
  const RetryOptions& options_;
  RetryTokens& tokens_;
  const std::optional<microseconds> deadline_;
  const std::stop_token stop_;
  const microseconds last_start_;
  unsigned attempts_ = 1;
};

}  // namespace tidemark::net
