// Where the checkout is that a test was built from. Told to one file only: the objects of all
// others are the same in every checkout, and come out of a compiler's cache.
#pragma once

#include <string>

namespace tidemark::test {

// "tests/golden/store", absolute.
std::string source_path(const std::string& relative);

}  // namespace tidemark::test
