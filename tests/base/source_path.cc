#include "tests/base/source_path.h"

namespace tidemark::test {

std::string source_path(const std::string& relative) {
  return std::string(TM_SOURCE_DIR) + "/" + relative;
}

}  // namespace tidemark::test
