#include "agent/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::chrono::milliseconds kTerminalStep{200};
constexpr std::chrono::seconds kLineStep{10};
constexpr std::size_t kBarWidth = 24;

}  // namespace

ProgressDisplay::ProgressDisplay(std::string title, bool quiet, std::function<ProgressState()> read)
    : title_(std::move(title)),
      read_(std::move(read)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      started_(Clock::system().uptime()) {
  if (!quiet) thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
}

ProgressDisplay::~ProgressDisplay() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  if (terminal_) std::fputs("\r\033[K", stderr);
}

void ProgressDisplay::run(std::stop_token stop) {
  const auto step =
      terminal_ ? std::chrono::microseconds(kTerminalStep) : std::chrono::microseconds(kLineStep);
  while (sleep_for(stop, step)) {
    const std::string text = line();
    std::fputs((terminal_ ? "\r\033[K" + text : text + "\n").c_str(), stderr);
  }
}

std::string ProgressDisplay::line() const {
  const ProgressState state = read_();
  const auto elapsed = Clock::system().uptime() - started_;
  const double seconds = std::max(0.001, static_cast<double>(elapsed.count()) / 1e6);
  std::string text = title_;
  if (state.total_bytes > 0) {
    const double share = std::min(
        1.0, static_cast<double>(state.done_bytes) / static_cast<double>(state.total_bytes));
    const auto filled = static_cast<std::size_t>(share * kBarWidth);
    text += " [" + std::string(filled, '=') + std::string(kBarWidth - filled, ' ') + "] " +
            std::to_string(static_cast<int>(share * 100)) + "%";
    if (share > 0.01)
      text += ", " +
              format_duration(
                  std::chrono::seconds(static_cast<std::int64_t>(seconds * (1 - share) / share))) +
              " left";
  }
  text +=
      ", " +
      format_bytes(static_cast<std::uint64_t>(static_cast<double>(state.moved_bytes) / seconds)) +
      "/s";
  if (!state.note.empty()) text += ", " + state.note;
  return text;
}

}  // namespace tidemark
