// The daemon of a site: serves its store, and takes the points that its policies ask for.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <stop_token>

#include "base/clock.h"
#include "config/config.h"

namespace tidemark {

// Counts up each time somebody asks for the configuration to be read again (SIGHUP).
using ReloadRequests = std::shared_ptr<std::atomic<unsigned>>;

// Runs until `stop` is requested. Tells systemd (where it started us) when it is ready, and that it
// is alive. The file at `config_path` is read again when it changes and when that is asked for;
// where it has mistakes, what was read before stays in force. `refused` where another agent runs
// with the same `state`.
Status run_daemon(Config config, const std::filesystem::path& config_path, Clock& clock,
                  ReloadRequests reloads, std::stop_token stop);

}  // namespace tidemark
