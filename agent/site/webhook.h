// Tells a webhook what needs a person. A receiver that is slow, away or broken holds nothing up:
// this has a thread of its own, and what was not taken stays to be told.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>

#include "agent/site/events.h"
#include "config/config.h"

namespace tidemark {

class Webhook {
 public:
  using ConfigNow = std::function<std::shared_ptr<const Config>()>;
  // All must outlive it.
  Webhook(EventLog& log, ConfigNow config, std::stop_token stop)
      : log_(log), config_(std::move(config)), stop_(std::move(stop)) {}

  // Until `stop` is requested. Tries again after five seconds, then after twice as long each time,
  // up to five minutes. Without a webhook in the configuration events count as told.
  void run();
  // Tells what is there to tell; false where one was not taken, which ends the call.
  bool tell();
  std::uint64_t failures() const { return failures_; }

 private:
  EventLog& log_;
  const ConfigNow config_;
  const std::stop_token stop_;
  std::atomic<std::uint64_t> failures_{0};
  bool failing_ = false;  // of the thread that tells
};

}  // namespace tidemark
