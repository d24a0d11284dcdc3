// What was frozen in pods and is to be thawed, also by somebody else where the process that froze
// it is gone.
//
// A note lies in a directory of the state for as long as a command's counterpart is still to be
// run: it is written before the command that freezes, and goes after the one that thaws. Who writes
// it holds a lock beside it, so that a note without one is of a process that died.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/kube/pod_hooks.h"
#include "base/files.h"

namespace tidemark {

// Where a site keeps them.
inline std::filesystem::path frozen_directory(const Config& config) {
  return config.state / "frozen";
}

// One pod's, while it lives; used by one thread.
class FrozenNote {
 public:
  // Written durably when this returns.
  static Result<FrozenNote> write(const std::filesystem::path& directory, const PodHook& hook);
  // It was thawed.
  Status done();

 private:
  FrozenNote(std::filesystem::path file, Fd lock)
      : file_(std::move(file)), lock_(std::move(lock)) {}
  std::filesystem::path file_;
  Fd lock_;
};

// JSON, version 1.
std::string encode_frozen(const PodHook& hook);
Result<PodHook> decode_frozen(std::string_view text);

// Runs `thaw` for each note that a dead process left, and drops those for which it succeeds. How
// many are still to be thawed.
Result<std::size_t> thaw_what_is_left(const std::filesystem::path& directory,
                                      const std::function<Status(const PodHook&)>& thaw);

// Runs a hook's command in its pod: `not_found` where the pod is gone, `refused` where it failed.
Status run_in_pod(kube::Client& client, const PodHook& hook,
                  const std::vector<std::string>& command, std::stop_token stop);

}  // namespace tidemark
