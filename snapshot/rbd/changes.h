// What changed in an image between two of its snapshots, by exact listing.
//
// The naive way is fast-diff (rbd diff --whole-object between the two). On Ceph 16 it loses changes
// with clean flags: over shrink, snapshot, grow, and after a rollback. What an object map can be
// trusted for is existence, since reads depend on it. So: a region can only differ if some object
// of it exists at the base or at the new snapshot (two whole-object listings from the beginning),
// if it lies in the part of a clone whose parent overlap shrank between the two, or if the size
// cuts it. Exact extents are listed for those regions only, in parallel. Where object maps are
// absent or flagged invalid at either end, exact extents are listed for everything.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

struct ChangedExtent {
  std::uint32_t offset = 0;  // within the region
  std::uint32_t size = 0;
  bool zero = false;  // reads as zeros now; else data that must be read
  bool operator==(const ChangedExtent&) const = default;
};

struct RegionChange {
  std::uint64_t region = 0;
  // Nothing is known about what the region held: read all of it, `extents` cover what may be
  // non-zero.
  bool whole = false;
  // Sorted, disjoint, merged, within the region and within the image's size at the new snapshot.
  std::vector<ChangedExtent> extents;
};

struct ListChanges {
  std::uint32_t region_bytes = 4 << 20;
  unsigned threads = 4;
  // A region with more extents than this is reported whole.
  std::size_t extents_max = 64;
};

// Lists the regions of `newer` (opened at a snapshot) that may differ from `base` (the same image,
// opened at an older snapshot), or, without a base, all regions that may hold data, parents' data
// included. Never misses a change; may report more. Calls `each` in ascending order of region, from
// one thread at a time; `each` may block for as long as it likes (back-pressure); stops at its
// first error. Regions past the new size are not reported: the caller drops them from the size.
// Where the image grew, what lies past the base's size is reported like any change; where it shrank
// and grew again between the snapshots, so is what was lost. Memory: a few MiB, whatever the
// image's size.
struct ChangeStats {
  std::uint64_t regions_listed = 0;  // exact listings asked of the cluster
  std::uint64_t regions_changed = 0;
  bool object_map_used = false;
};
Result<ChangeStats> list_changes(RbdImage& newer, RbdImage* base, const ListChanges& options,
                                 const std::function<Status(RegionChange)>& each,
                                 std::stop_token stop = {});

}  // namespace tidemark
