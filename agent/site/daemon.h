// The daemon of a site: serves its store, and takes the points that its policies ask for.
#pragma once

#include <functional>
#include <stop_token>

#include "base/clock.h"
#include "config/config.h"

namespace tidemark {

// Runs until `stop` is requested. Tells systemd (where it started us) when it is ready. `on_ready`
// is called with the port that it listens on, 0 where it listens nowhere.
Status run_daemon(Config config, Clock& clock, std::stop_token stop,
                  const std::function<void(std::uint16_t)>& on_ready);

}  // namespace tidemark
