// Random numbers for tests: from TM_SEED where it is set, and printed, so that a failure can be
// repeated.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "base/bytes.h"

namespace tidemark::test {

class Random {
 public:
  Random() : Random(seed()) {}
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t u64() { return engine_(); }
  std::uint64_t below(std::uint64_t n) { return engine_() % n; }
  // Of any magnitude: as many numbers of one bit as of 64.
  std::uint64_t any_size() { return engine_() >> below(64); }
  Bytes bytes(std::size_t size) {
    Bytes out(size);
    for (auto& b : out) b = static_cast<std::uint8_t>(engine_());
    return out;
  }

 private:
  static std::uint64_t seed() {
    const char* const given = std::getenv("TM_SEED");
    const std::uint64_t value = given != nullptr
                                    ? std::strtoull(given, nullptr, 10)
                                    : static_cast<std::uint64_t>(std::random_device{}());
    std::printf("TM_SEED=%llu\n", static_cast<unsigned long long>(value));
    return value;
  }
  std::mt19937_64 engine_;
};

}  // namespace tidemark::test
