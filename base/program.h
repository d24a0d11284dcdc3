// Other programs, run to their end.
#pragma once

#include <chrono>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"

namespace tidemark {

struct ProgramEnd {
  int exit_code = 0;       // where a signal ended it, 128 and the signal's number
  bool timed_out = false;  // it took too long and was ended
  std::string output;      // the last 4 KiB of both its outputs
};

// Runs `command` (a path and its arguments; no shell) with our environment and `environment` on top
// of it, nothing on its standard input, in a process group of its own. After `timeout`, or once
// `stop` is requested, the whole group is asked to end and, two seconds later, killed. Errors:
// `invalid_argument` where it cannot be started, `cancelled`.
Result<ProgramEnd> run_program(const std::vector<std::string>& command,
                               const std::map<std::string, std::string>& environment,
                               std::chrono::microseconds timeout, std::stop_token stop);

}  // namespace tidemark
