// TM_CHECK: an invariant of our own code, checked in every build. Never used on what comes from
// outside (files, peers, clusters, people): that is handled with Result.
#pragma once

namespace tidemark {
// Prints the place and the expression to stderr and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* expression);
}  // namespace tidemark

#define TM_CHECK(expression) \
  ((expression) ? void(0) : ::tidemark::check_failed(__FILE__, __LINE__, #expression))
