#include "transport/retry.h"

#include <algorithm>

#include "base/crypto.h"
#include "base/queue.h"

namespace tidemark::net {

void RetryTokens::refill() {
  const microseconds now = uptime();
  const std::chrono::duration<double> passed = now - filled_;
  tokens_ = std::min(max_, tokens_ + passed.count() * per_second_);
  filled_ = now;
}

std::optional<microseconds> RetryTokens::take(microseconds wait_max) {
  const std::lock_guard lock(mutex_);
  refill();
  const double missing = std::max(0.0, 1 - tokens_);
  const std::chrono::duration<double> wait(missing / per_second_);
  if (wait > wait_max) return std::nullopt;
  tokens_ -= 1;
  return std::chrono::duration_cast<microseconds>(wait);
}

void RetryTokens::refund() {
  const std::lock_guard lock(mutex_);
  refill();
  tokens_ = std::min(max_, tokens_ + 0.5);
}

RetryBudget::RetryBudget(const RetryOptions& options, RetryTokens& tokens,
                         std::optional<microseconds> deadline, std::stop_token stop)
    : options_(options),
      tokens_(tokens),
      deadline_(deadline),
      stop_(std::move(stop)),
      last_start_(deadline ? std::min(*deadline, uptime() + options.time_max)
                           : uptime() + options.time_max) {}

RetryBudget::Verdict RetryBudget::wait(microseconds wait_min) {
  if (attempts_ >= options_.attempts_max) return Verdict::spent;
  // The n-th wait is anywhere below backoff_first * 2^n.
  microseconds longest = options_.backoff_max;
  const unsigned doublings = attempts_ - 1;
  if (doublings < 16)
    longest = std::min<microseconds>(longest, options_.backoff_first * (1U << doublings));
  std::uint64_t chance = 0;
  random_bytes({reinterpret_cast<std::uint8_t*>(&chance), sizeof chance});
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(longest.count(), 1));
  microseconds pause(static_cast<std::int64_t>(chance % span));
  pause = std::max(pause, wait_min);
  const auto token_wait = tokens_.take(last_start_ - uptime());
  if (!token_wait) return Verdict::spent;
  pause = std::max(pause, *token_wait);
  if (uptime() + pause > last_start_) return Verdict::spent;
  ++attempts_;
  return sleep_for(stop_, pause) ? Verdict::again : Verdict::cancelled;
}

}  // namespace tidemark::net
