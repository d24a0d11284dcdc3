// A fuzz target: takes any bytes, must neither crash nor hang nor allocate beyond measure, and
// checks what holds for whatever decodes. Built twice: all into fuzz_corpus_test, and each for
// libFuzzer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "base/bytes.h"

#ifdef TM_LIBFUZZER
#define TM_FUZZ_TARGET(name)                                                          \
  static void fuzz_##name(::tidemark::ByteView input);                                \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);  \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    fuzz_##name({data, size});                                                        \
    return 0;                                                                         \
  }                                                                                   \
  static void fuzz_##name(::tidemark::ByteView input)
#else
#define TM_FUZZ_TARGET(name)                    \
  void fuzz_##name(::tidemark::ByteView input); \
  void fuzz_##name(::tidemark::ByteView input)
#endif
