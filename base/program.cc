#include "base/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>
#include <thread>

#include "base/clock.h"
#include "base/files.h"
#include "base/queue.h"

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

// In the child, between fork and exec: calls only what a signal handler may call. What it returns
// is why it could not.
int become(char* const* arguments, char* const* environment, int output, pid_t parent) {
  ::setpgid(0, 0);
  // Whoever kills us alone would leave it behind. It may have happened already.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) return ESRCH;
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing < 0 || ::dup2(nothing, STDIN_FILENO) < 0 || ::dup2(output, STDOUT_FILENO) < 0 ||
      ::dup2(output, STDERR_FILENO) < 0)
    return errno;
  if (nothing > STDERR_FILENO) ::close(nothing);
  // Our threads have signals blocked, and SIGPIPE is ignored: neither is the program's business.
  struct sigaction usual = {};
  usual.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &usual, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(arguments[0], arguments, environment);
  return errno;
}

// In the thread that starts programs.
Result<pid_t> fork_and_exec(std::vector<std::string> arguments,
                            std::vector<std::string> environment, int output) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  const Fd told(ends[0]);
  Fd telling(ends[1]);
  const std::vector<char*> words = pointers(arguments), variables = pointers(environment);
  const pid_t parent = ::getpid();
  // No handler of ours may run in the child.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int failed = become(words.data(), variables.data(), output, parent);
    ::_exit(::write(telling.get(), &failed, sizeof failed) < 0 ? 126 : 127);
  }
  const int forked = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return errno_error(forked, "fork");
  // In both: whoever comes first, a signal to the group reaches it.
  ::setpgid(pid, pid);
  telling.reset();
  int failed = 0;
  ssize_t size = 0;
  do {
    size = ::read(told.get(), &failed, sizeof failed);
  } while (size < 0 && errno == EINTR);
  if (size == 0) return pid;  // closed by exec
  ::waitpid(pid, nullptr, 0);
  return Error(ErrorCode::invalid_argument,
               "cannot run " + arguments[0] + ": " + errno_error(failed, "start").message());
}

// The thread that starts all programs. The kernel takes a thread's end for its process's when it
// comes to PR_SET_PDEATHSIG, so that this one lives as long as the process.
class Starter {
 public:
  static Starter& instance() {
    static Starter starter;
    return starter;
  }
  ~Starter() { asked_.close(); }

  Result<pid_t> start(std::vector<std::string> arguments, std::vector<std::string> environment,
                      int output) {
    Order order([&] { return fork_and_exec(arguments, environment, output); });
    auto done = order.get_future();
    if (!asked_.push(std::move(order))) return Error(ErrorCode::cancelled, "the process ends");
    return done.get();
  }

 private:
  using Order = std::packaged_task<Result<pid_t>()>;

  Starter() = default;

  BoundedQueue<Order> asked_{16};
  std::jthread thread_{[this] {
    while (auto order = asked_.pop()) (*order)();
  }};
};

Result<pid_t> spawn(std::vector<std::string> arguments, std::vector<std::string> environment,
                    int output) {
  return Starter::instance().start(std::move(arguments), std::move(environment), output);
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
