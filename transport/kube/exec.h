// A command within a container, over the API server: WebSocket, v5.channel.k8s.io or v4.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "transport/kube/client.h"

namespace tidemark::kube {

inline constexpr std::size_t kExecInputMax = 64 * kKiB;

struct ExecRequest {
  ObjectRef pod;
  std::string container = {};        // empty: the pod's default one
  std::vector<std::string> command;  // program and arguments; there is no shell
  // What the command reads, and then the end of it; nothing: no stdin. Needs v5 (Kubernetes 1.30),
  // since v4 cannot end it. At most kExecInputMax: it is sent before anything is read.
  std::optional<std::string> input = std::nullopt;
  // Of the whole. The end of the call does not end the process: a command that must not outlast it
  // needs a limit of its own within the container.
  std::chrono::microseconds timeout = std::chrono::seconds(60);
  // Of each of out and err the end is kept, this much of it.
  std::size_t output_bytes_max = 64 * kKiB;
};

struct ExecResult {
  int exit_code = 0;
  std::string out, err;                   // not necessarily UTF-8
  bool out_cut = false, err_cut = false;  // there was more before
  Json status;                            // as the server gave it
};

// Runs it and waits for its end. A command that ran and failed is a success here, with its
// exit_code. Errors are those of any request, and further
//   `unavailable`        the stream ended without a status, or the server could not run it
//   `deadline_exceeded`  it took longer than `timeout`
// with `outcome_unknown` where the command may have run. It is never started a second time, unless
// the server said that it did nothing (429, 503). Rights: get and create on pods/exec.
Outcome<ExecResult> exec(Client& client, const ExecRequest& request, std::stop_token stop = {});

// What the channels of one exec delivered. Pure; used by one thread.
class ExecOutput {
 public:
  explicit ExecOutput(std::size_t output_bytes_max) : output_bytes_max_(output_bytes_max) {}

  // Takes one message: a channel byte and data. Empty ones and channels that it does not know mean
  // nothing. `corruption` for a status that is no JSON object.
  Status take(ByteView message);
  bool has_status() const { return !status_.is_null(); }
  // What the status makes of it. REQUIRES: has_status().
  Outcome<ExecResult> finish();

 private:
  void keep(std::string& text, bool& cut, ByteView data) const;

  const std::size_t output_bytes_max_;
  std::string out_, err_;
  bool out_cut_ = false, err_cut_ = false;
  Json status_ = nullptr;
};

}  // namespace tidemark::kube
