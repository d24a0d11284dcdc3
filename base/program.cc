#include "base/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/clock.h"
#include "base/files.h"

extern char** environ;  // NOLINT: POSIX's own

namespace tidemark {
namespace {

constexpr std::size_t kOutputBytesMax = 4096;
constexpr std::chrono::milliseconds kStep{50};
constexpr std::chrono::seconds kEndGrace{2};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> merged(const std::map<std::string, std::string>& environment) {
  std::vector<std::string> out;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view text(*at);
    if (!environment.contains(std::string(text.substr(0, text.find('='))))) out.emplace_back(text);
  }
  for (const auto& [name, value] : environment) out.push_back(name + "=" + value);
  return out;
}

Result<pid_t> spawn(std::vector<std::string> arguments, std::vector<std::string> environment,
                    int output) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  // Our threads have signals blocked, and SIGPIPE is ignored: neither is the program's business.
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, arguments[0].c_str(), &files, &attributes,
                                   pointers(arguments).data(), pointers(environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (failed != 0)
    return Error(ErrorCode::invalid_argument,
                 "cannot run " + arguments[0] + ": " + errno_error(failed, "start").message());
  return pid;
}

// What there is to read now; true while there may be more to come.
bool read_some(int fd, std::string& output) {
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t size = ::read(fd, buffer.data(), buffer.size());
    if (size == 0) return false;
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    output.append(buffer.data(), static_cast<std::size_t>(size));
    if (output.size() > kOutputBytesMax) output.erase(0, output.size() - kOutputBytesMax);
  }
}

}  // namespace

Result<ProgramEnd> run_program(const std::vector<std::string>& command,
                               const std::map<std::string, std::string>& environment,
                               std::chrono::microseconds timeout, std::stop_token stop) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  const Fd from(ends[0]);
  Fd to(ends[1]);
  ::fcntl(from.get(), F_SETFL, O_NONBLOCK);
  TM_TRY(const pid_t pid, spawn(command, merged(environment), to.get()));
  to.reset();
  const Clock& clock = Clock::system();
  const auto deadline = clock.uptime() + timeout;
  std::chrono::microseconds kill_at{};
  ProgramEnd end;
  bool open = true, cancelled = false;
  int status = 0;
  // It has ended when its process has: what it left in the background may hold the pipe for long.
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    pollfd ready{.fd = open ? from.get() : -1, .events = POLLIN, .revents = 0};
    ::poll(&ready, 1, static_cast<int>(kStep.count()));
    if (open) open = read_some(from.get(), end.output);
    const auto now = clock.uptime();
    if (kill_at == std::chrono::microseconds::zero()) {
      cancelled = stop.stop_requested();
      end.timed_out = !cancelled && now >= deadline;
      if (!cancelled && !end.timed_out) continue;
      ::kill(-pid, SIGTERM);
      kill_at = now + kEndGrace;
    } else if (now >= kill_at) {
      ::kill(-pid, SIGKILL);
    }
  }
  // The rest of its group, where it was told to end.
  if (kill_at != std::chrono::microseconds::zero()) ::kill(-pid, SIGKILL);
  if (open) read_some(from.get(), end.output);
  if (cancelled) return Error(ErrorCode::cancelled, "interrupted");
  end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

Result<RunningProgram> RunningProgram::start(
    const std::vector<std::string>& command,
    const std::map<std::string, std::string>& environment) {
  RunningProgram program;
  program.output_ = Fd(::memfd_create("output", MFD_CLOEXEC));
  if (!program.output_) return errno_error(errno, "memfd_create");
  TM_TRY(program.pid_, spawn(command, merged(environment), program.output_.get()));
  return program;
}

RunningProgram& RunningProgram::operator=(RunningProgram&& other) noexcept {
  if (this == &other) return *this;
  end();
  pid_ = std::exchange(other.pid_, 0);
  output_ = std::move(other.output_);
  return *this;
}

bool RunningProgram::running() {
  int status = 0;
  if (pid_ != 0 && ::waitpid(pid_, &status, WNOHANG) != 0) pid_ = 0;
  return pid_ != 0;
}

bool RunningProgram::wait(std::chrono::microseconds limit) {
  const Clock& clock = Clock::system();
  const auto deadline = clock.uptime() + limit;
  while (running()) {
    if (clock.uptime() >= deadline) return false;
    ::poll(nullptr, 0, static_cast<int>(kStep.count() / 5));
  }
  return true;
}

std::string RunningProgram::output() const {
  std::string out(kOutputBytesMax, '\0');
  const ssize_t size = output_ ? ::pread(output_.get(), out.data(), out.size(), 0) : 0;
  out.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return out;
}

void RunningProgram::end() {
  if (!running()) return;
  const pid_t group = pid_;
  ::kill(-group, SIGTERM);
  if (!wait(kEndGrace)) {
    ::kill(-group, SIGKILL);
    wait(kEndGrace);
  }
}

}  // namespace tidemark
