// A volume as those see it that serve it to clients: bytes at any place, and where there are none.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

// A run of bytes: data, or zeros that nobody has to send.
struct BlockRun {
  std::uint64_t size = 0;
  bool data = false;
  bool operator==(const BlockRun&) const = default;
};

// Read-only, never changes. Safe from any thread; a call blocks at most as long as what lies below
// it does.
class BlockView {
 public:
  virtual ~BlockView() = default;
  virtual std::uint64_t size() const = 0;
  // Fills all of `into`. `invalid_argument` where that is not all within the volume.
  virtual Status read(std::uint64_t offset, ByteSpan into) = 0;
  // What lies from `offset` on: at most `runs_max` runs, alternating, of no more than `length`
  // bytes together, and of less only where there would be more runs. REQUIRES: runs_max > 0, length
  // > 0, all within the volume.
  virtual Result<std::vector<BlockRun>> runs(std::uint64_t offset, std::uint64_t length,
                                             std::size_t runs_max) = 0;
  // Says that this will be read soon. Never waits; may do nothing.
  virtual void expect(std::uint64_t offset, std::uint64_t length) = 0;
};

}  // namespace tidemark
