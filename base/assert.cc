#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace tidemark {
void check_failed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, expression);
  std::abort();
}
}  // namespace tidemark
