// Progress on stderr: a live bar with rate and remaining time on a terminal, a line now and then
// otherwise, nothing with --quiet.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"

namespace tidemark {

struct ProgressState {
  std::uint64_t done_bytes = 0, total_bytes = 0;  // how far; 0 total: not known
  std::uint64_t moved_bytes = 0;                  // what the rate is computed of
  std::string note;                               // "12 MiB sent"
};

// Shows progress from construction to destruction, on a thread of its own. `read` is called from
// it.
class ProgressDisplay {
 public:
  ProgressDisplay(std::string title, bool quiet, std::function<ProgressState()> read);
  ~ProgressDisplay();

 private:
  void run(std::stop_token stop);
  std::string line() const;

  const std::string title_;
  const std::function<ProgressState()> read_;
  const bool terminal_;
  const std::chrono::microseconds started_;
  std::jthread thread_;
};

}  // namespace tidemark
