// Measures how much memory a piece of code holds at most, to prove that lengths from hostile bytes
// are not believed. Counts what this program allocates with new; in a sanitizer's build also what C
// libraries take with malloc.
#pragma once

#include <cstddef>

namespace tidemark::test {

class AllocationMeter {
 public:
  AllocationMeter();  // starts measuring; one meter at a time, one thread
  // The most bytes held at once, beyond what was held at the start.
  std::size_t peak_bytes() const;
};

}  // namespace tidemark::test
