// Which points of a store were dropped for good. Format: docs/format/expired.md.
//
// Records are linked: each carries the hash of the one before. A record that is removed on purpose
// would look like one that was lost, so what the links need of it stays here, in one small blob:
// neighbours that were dropped become one range.
#pragma once

#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/backend.h"

namespace tidemark {

struct ExpiredRange {
  std::uint64_t first = 0, last = 0;  // numbers of points, both dropped
  Digest previous;                    // the link that record `first` carried
  Digest hash;                        // of record `last`
  bool operator==(const ExpiredRange&) const = default;
};

// In the order of their numbers; no two overlap, and such as adjoin are one.
class ExpiredPoints {
 public:
  static constexpr std::string_view kBlobName = "expired";
  // The most ranges that are read.
  static constexpr std::size_t kRangesMax = 1 << 20;

  // Idempotent. `corruption` where neighbours do not link to one another.
  Status add(std::uint64_t sequence, const Digest& previous, const Digest& hash);
  // The range that begins with this number; null where there is none.
  const ExpiredRange* starting_at(std::uint64_t sequence) const;
  bool contains(std::uint64_t sequence) const;
  const std::vector<ExpiredRange>& ranges() const { return ranges_; }

  friend Bytes encode(const ExpiredPoints& points);
  friend Result<ExpiredPoints> decode_expired_points(ByteView bytes);

 private:
  std::vector<ExpiredRange> ranges_;
};

Bytes encode(const ExpiredPoints& points);
// `corruption` for bytes that encode() would not have written, `unsupported` for a newer version.
Result<ExpiredPoints> decode_expired_points(ByteView bytes);

// Those of a store; none where it has no such blob.
Result<ExpiredPoints> read_expired_points(Backend& backend);

}  // namespace tidemark
