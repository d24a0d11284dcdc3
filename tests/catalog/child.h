// Runs one (disabled) test of this program in a process of its own, which may be killed.
//
// A fresh program, not a mere fork: RocksDB's threads do not survive a fork.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tidemark {

class Child {
 public:
  // Starts `test` ("Suite.Name"); the child reads its arguments with child_argument().
  Child(const std::string& test, const std::vector<std::string>& arguments);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Ends it by SIGKILL.
  void kill();
  // Waits for its end: the exit status, or minus the signal.
  int wait();
  // The next line that it said, waiting for it; empty at the end.
  std::string read_line();

 private:
  int pid_ = -1;
  int from_child_ = -1;
};

// In the child. say() writes one line to the parent at once.
std::string child_argument(std::size_t index);
void say(std::string_view line);

}  // namespace tidemark
