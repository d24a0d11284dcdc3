// Pages of a bucket's listing: one after the other, or several parts of the bucket at once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "store/bucket.h"
#include "transport/s3/client.h"

namespace tidemark {

// Which listing. The client must outlive what is made of it.
struct ListingScope {
  const s3::Client* client = nullptr;  // never null
  std::string bucket;
  bool versions = false;  // the bucket has or had versioning
  std::stop_token stop;
};

// Entries in ascending order of keys, the versions of a key together, as the server lists them. Of
// each only what a listing says is filled in. Used by one thread.
class ListingPages {
 public:
  virtual ~ListingPages() = default;
  // Empty at the end. An error is never an end, and comes again when asked again.
  virtual Result<std::vector<ObjectEntry>> next_page() = 0;
};

// What lies behind the key `after` and begins with `prefix`; both may be empty.
std::unique_ptr<ListingPages> list_in_turn(const ListingScope& scope, const std::string& prefix,
                                           const std::string& after, unsigned page_size = 1000);

// The next key at which a listing may be cut, ascending; nothing at the end. Asked by one thread at
// a time.
using NextCut = std::function<Result<std::optional<std::string>>()>;

inline constexpr std::size_t kListedAtOnce = 8;
// Pages that wait in each range for the ranges before it.
inline constexpr std::size_t kPagesAhead = 4;

// The whole bucket, cut into ranges of which kListedAtOnce are listed at once and ahead of whoever
// reads them; those of a range are read when those before it are. So memory is that of
// kListedAtOnce * kPagesAhead pages, and it is fastest where a range is of about kPagesAhead pages.
// Without cuts there is one range, listed ahead. All versions of a key are in one range.
//
// The ranges are listed at slightly different moments, as the pages of any listing are: each key is
// judged by what is listed of it alone, and one that appears behind its range's cursor belongs to
// the next point.
//
// An error of any range, and one of `cuts`, is that of the listing at that place. `cuts` is asked
// from threads of the listing, until it is destroyed.
std::unique_ptr<ListingPages> list_in_ranges(const ListingScope& scope, NextCut cuts);

}  // namespace tidemark
