#include "agent/site/webhook.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/site/http_target.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::chrono::seconds kStep{1};
constexpr Duration kFirstWait = std::chrono::seconds(5);
constexpr Duration kLongestWait = std::chrono::minutes(5);
constexpr Duration kTimeout = std::chrono::seconds(20);

}  // namespace

bool Webhook::tell() {
  const auto config = config_();
  for (const Event& event : log_.untold()) {
    if (config->events.webhook) {
      const std::string body = event_json(event, config->site)
                                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      const auto sent = post_to(*config->events.webhook, body, kTimeout, stop_);
      if (!sent) {
        if (stop_.stop_requested()) return false;
        ++failures_;
        if (!std::exchange(failing_, true))
          log::error("the webhook does not take events: {}", sent.error().describe());
        return false;
      }
      if (std::exchange(failing_, false)) log::info("the webhook takes events again");
    }
    if (const auto kept = log_.told(event); !kept)
      log::error("events: {}", kept.error().describe());
  }
  return true;
}

void Webhook::run() {
  Duration wait = kFirstWait, left{};
  do {
    if (left > Duration::zero()) {
      left -= kStep;
      continue;
    }
    if (tell()) {
      wait = kFirstWait;
      continue;
    }
    left = wait;
    wait = std::min(2 * wait, kLongestWait);
  } while (sleep_for(stop_, kStep));
}

}  // namespace tidemark
