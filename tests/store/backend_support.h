// What the tests of backends share: directories, bytes, seeds, and the other process.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace tidemark {

// In memory where the system has such a place: for tests to which durability does not matter.
inline std::filesystem::path fast_directory() {
  return std::filesystem::is_directory("/dev/shm") ? "/dev/shm"
                                                   : std::filesystem::temp_directory_path();
}

class TestDirectory {
 public:
  explicit TestDirectory(
      const std::filesystem::path& where = std::filesystem::temp_directory_path()) {
    std::string path = (where / "tidemark-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << path;
    path_ = path;
  }
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// backend_tool in another process, talked to by lines.
class ToolProcess {
 public:
  explicit ToolProcess(std::vector<std::string> arguments);
  ~ToolProcess();  // kills it, if it still runs
  ToolProcess(const ToolProcess&) = delete;
  ToolProcess& operator=(const ToolProcess&) = delete;

  // Nothing at the end of its output.
  std::optional<std::string> read_line();
  void close_input();
  void kill();
  // Its exit code; -1 where a signal ended it.
  int wait();

 private:
  int pid_ = -1, input_ = -1, output_ = -1;
};

// TM_SEED, or one from the system; printed, so that a failure can be repeated.
std::uint64_t test_seed();
// Bytes that tell by themselves where they belong: a run of them at the wrong place shows.
Bytes patterned_bytes(std::uint64_t seed, std::size_t size);

}  // namespace tidemark
