// Which job a thread works at, so that the lines of one job can be told from those of others that
// run beside it.
#pragma once

#include <string>
#include <string_view>

namespace tidemark::log {

// What the calling thread's lines are marked with; empty: nothing. Valid until the scope ends.
std::string_view current_job();

// As long as it lives, lines of the calling thread carry `job`. Scopes nest. Threads of a
// ThreadGroup work at the job of the thread that starts them.
class JobScope {
 public:
  explicit JobScope(std::string job);
  ~JobScope();
  JobScope(const JobScope&) = delete;
  JobScope& operator=(const JobScope&) = delete;

 private:
  std::string outer_;
};

// "backup-3f9a1c02": what the job does, and eight random hexadecimal digits.
std::string new_job(std::string_view what);

}  // namespace tidemark::log
