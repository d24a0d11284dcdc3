// Whether what was brought back is the point, byte for byte.
#pragma once

#include <stop_token>
#include <string>

#include "agent/service/point_store.h"
#include "store/keys.h"
#include "transport/block_view.h"

namespace tidemark {

struct ContentReport {
  std::uint64_t bytes = 0;  // that were read from the disk and compared
  std::string difference;   // the first one, in words; empty: there is none
};

// Reads the point from the store anew, by its tree, and holds the disk against it: every region
// that the tree has, and that all else is zeros (holes are not read). Errors are those that kept it
// from being compared; `corruption` where the store has not what it promised.
Result<ContentReport> compare_content(PointStore& store, const StoreKeys& keys,
                                      const PointRecord& record, BlockView& disk,
                                      std::stop_token stop);

}  // namespace tidemark
