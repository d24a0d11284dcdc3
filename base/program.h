// Other programs, run to their end. Each is asked to end (SIGTERM) by the kernel when this process
// ends in whichever way, SIGKILL included; what it has started itself is not.
#pragma once

#include <chrono>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/files.h"
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

// A program that runs beside us until it is no longer needed. Destroying it asks its process group
// to end and, two seconds later, kills it. Used by one thread.
class RunningProgram {
 public:
  // As run_program(). `invalid_argument` where it cannot be started.
  static Result<RunningProgram> start(const std::vector<std::string>& command,
                                      const std::map<std::string, std::string>& environment);
  RunningProgram() = default;
  ~RunningProgram() { end(); }
  RunningProgram(RunningProgram&& other) noexcept { *this = std::move(other); }
  RunningProgram& operator=(RunningProgram&& other) noexcept;

  // True while it runs.
  bool running();
  // Waits for its end; true where that came within `limit`.
  bool wait(std::chrono::microseconds limit);
  // The first 4 KiB of both its outputs.
  std::string output() const;
  void end();

 private:
  int pid_ = 0;  // 0: none, or it has ended
  Fd output_;    // a file in memory: whoever writes much waits for nobody
};

}  // namespace tidemark
