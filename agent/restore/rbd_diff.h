// The stream that `rbd import-diff` reads: rbd diff v1 (Ceph, doc/dev/rbd-diff.rst).
#pragma once

#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

class RbdDiffWriter {
 public:
  explicit RbdDiffWriter(int fd) : fd_(fd) {}
  // `from` may be empty: a stream from the beginning. `to` is the snapshot that import-diff
  // creates.
  Status begin(std::string_view from, std::string_view to, std::uint64_t size_bytes);
  // Data at `offset`; stretches of zeros in it are written as such.
  Status extent(std::uint64_t offset, ByteView data);
  Status end();

 private:
  int fd_;
};

}  // namespace tidemark
