// What the programs of this folder share: phases in processes of their own, whose memory is told
// apart, and results that are there or end the program.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <string>

#include "base/result.h"

namespace tidemark {

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::cerr << result.error().describe() << "\n";
    ::_exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// Resident now, or at most so far: "VmRSS", "VmHWM".
inline std::uint64_t memory_mib(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(what + ":")) return std::stoull(line.substr(what.size() + 1)) / 1024;
  return 0;
}

// In a process of its own; returns once it has ended, and ends this one where it failed.
inline void in_process(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    std::cout.flush();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) ::_exit(1);
}

}  // namespace tidemark
