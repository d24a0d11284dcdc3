// Paces what a policy sends.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>

#include "base/clock.h"
#include "base/result.h"

namespace tidemark {

// Shared by all backups of a policy; safe from any thread. Who asks first is served first, and what
// was not used in time is lost: after a pause nothing comes faster.
class RateLimiter {
 public:
  // `limit`: the bytes per second at a time, nothing for no limit. Asked anew while somebody waits,
  // so that it may change with the time of the week.
  using Limit = std::function<std::optional<std::uint64_t>(Timestamp)>;
  RateLimiter(Limit limit, Clock& clock) : limit_(std::move(limit)), clock_(clock) {}

  // Returns once `bytes` more may be sent. `cancelled` where `stop` is requested before.
  Status wait(std::uint64_t bytes, std::stop_token stop);

 private:
  const Limit limit_;
  Clock& clock_;
  std::mutex turn_;                      // held by the one who waits first
  std::chrono::microseconds free_at_{};  // guarded by turn_: when what was let go is through
};

}  // namespace tidemark
