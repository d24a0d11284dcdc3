#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace tidemark {
namespace {

constexpr int kSayDescriptor = 3;

std::string variable(std::size_t index) { return "TM_CHILD_" + std::to_string(index); }

}  // namespace

Child::Child(const std::string& test, const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const std::string filter = "--gtest_filter=" + test;
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    for (std::size_t i = 0; i < arguments.size(); ++i)
      ::setenv(variable(i).c_str(), arguments[i].c_str(), 1);
    // Its own output would only confuse.
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, STDOUT_FILENO);
    // When both are the same number, dup2 would leave it to be closed.
    if (ends[1] == kSayDescriptor) {
      ::fcntl(ends[1], F_SETFD, 0);
    } else {
      ::dup2(ends[1], kSayDescriptor);
    }
    ::execl("/proc/self/exe", "child", filter.c_str(), "--gtest_also_run_disabled_tests", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  from_child_ = ends[0];
}

Child::~Child() {
  if (pid_ > 0) {
    kill();
    wait();
  }
  ::close(from_child_);
}

void Child::kill() { ::kill(pid_, SIGKILL); }

int Child::wait() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::string Child::read_line() {
  std::string line;
  char c = 0;
  while (::read(from_child_, &c, 1) == 1 && c != '\n') line.push_back(c);
  return c == '\n' ? line : "";
}

std::string child_argument(std::size_t index) {
  const char* value = std::getenv(variable(index).c_str());
  return value == nullptr ? "" : value;
}

void say(std::string_view line) {
  const std::string whole = std::string(line) + '\n';
  if (::write(kSayDescriptor, whole.data(), whole.size()) < 0) ::_exit(126);
}

}  // namespace tidemark
