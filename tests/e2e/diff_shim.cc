// A library to preload that makes librbd's list of changes lie. Listings from the beginning pass,
// as does everything where TM_DIFF_SHIM is not set:
//   nothing     no extent is reported
//   drop:N      every N-th extent is left out
//   shift:N     extents are reported N bytes too far
//   short:N     extents are reported N bytes too short
// Where TM_DIFF_SHIM_LOG names a file, it gets a byte for each lie.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

using Callback = int (*)(std::uint64_t offset, std::size_t size, int exists, void* argument);
using Iterate = int (*)(void* image, const char* from, std::uint64_t offset, std::uint64_t size,
                        std::uint8_t include_parent, std::uint8_t whole_object, Callback each,
                        void* argument);

struct Lie {
  std::string kind;
  std::uint64_t number = 0;
};

const Lie& the_lie() {
  static const Lie lie = [] {
    const char* const variable = std::getenv("TM_DIFF_SHIM");
    const std::string text = variable == nullptr ? "" : variable;
    const std::size_t colon = text.find(':');
    Lie parsed;
    parsed.kind = text.substr(0, colon);
    if (colon != std::string::npos)
      parsed.number = std::strtoull(text.c_str() + colon + 1, nullptr, 10);
    return parsed;
  }();
  return lie;
}

void count_lie() {
  static const int log = [] {
    const char* const path = std::getenv("TM_DIFF_SHIM_LOG");
    return path == nullptr ? -1 : ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }();
  if (log >= 0 && ::write(log, "x", 1) != 1) std::abort();
}

struct Honest {
  Callback each;
  void* argument;
};

int tell(std::uint64_t offset, std::size_t size, int exists, void* argument) {
  static std::atomic<std::uint64_t> extents{0};
  const auto& honest = *static_cast<Honest*>(argument);
  const Lie& lie = the_lie();
  const std::uint64_t number = ++extents;
  if (lie.kind == "drop" && number % lie.number != 0)
    return honest.each(offset, size, exists, honest.argument);
  count_lie();
  if (lie.kind == "shift")
    return honest.each(offset + lie.number, size, exists, honest.argument);
  if (lie.kind == "short" && size > lie.number)
    return honest.each(offset, size - lie.number, exists, honest.argument);
  return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int rbd_diff_iterate2(
    void* image, const char* from, std::uint64_t offset, std::uint64_t size,
    std::uint8_t include_parent, std::uint8_t whole_object, Callback each, void* argument) {
  static const auto real = reinterpret_cast<Iterate>(::dlsym(RTLD_NEXT, "rbd_diff_iterate2"));
  if (the_lie().kind.empty() || from == nullptr)
    return real(image, from, offset, size, include_parent, whole_object, each, argument);
  Honest honest{each, argument};
  return real(image, from, offset, size, include_parent, whole_object, tell, &honest);
}
