#include "agent/backup/rate_limit.h"

#include <algorithm>

#include "base/queue.h"

namespace tidemark {
namespace {

// How soon a change of the limit shows to one who waits.
constexpr std::chrono::microseconds kStep = std::chrono::milliseconds(500);

}  // namespace

Status RateLimiter::wait(std::uint64_t bytes, std::stop_token stop) {
  const std::lock_guard turn(turn_);
  std::optional<std::uint64_t> limit;
  while ((limit = limit_(clock_.now())) && clock_.uptime() < free_at_)
    if (!sleep_for(stop, std::min(kStep, free_at_ - clock_.uptime())))
      return Error(ErrorCode::cancelled, "interrupted");
  free_at_ = clock_.uptime();
  // In floating point, as rates of some bytes a second are allowed for, too.
  if (limit)
    free_at_ += std::chrono::microseconds(
        static_cast<std::int64_t>(static_cast<double>(bytes) * 1e6 /
                                  static_cast<double>(std::max<std::uint64_t>(*limit, 1))));
  return {};
}

}  // namespace tidemark
