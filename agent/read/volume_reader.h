// A volume's point read back: single regions, and plans of what to write where.
#pragma once

#include <functional>
#include <optional>

#include "agent/read/blob_reader.h"
#include "store/volume.h"

namespace tidemark {

// What is to be written within one region: `runs` (sorted, disjoint), with the bytes that `map` has
// there; where it has none, zeros.
struct RegionWork {
  std::uint64_t region = 0;
  RegionMap map;
  std::vector<RegionRun> runs;
};

// Gives region after region in ascending order; nothing at the end.
using RegionPlan = std::function<Result<std::optional<RegionWork>>()>;

// Everything that the tree holds. `nodes` must outlive the plan.
RegionPlan plan_everything(TreeNodes& nodes, const TreeRoot& root);

// The bytes in which two maps of a region differ: runs where they refer to different bytes.
std::vector<RegionRun> differing_runs(const RegionMap& a, const RegionMap& b);

// What turns a volume with the content of `from` into `to`.
Result<std::vector<RegionWork>> plan_difference(TreeNodes& nodes, const TreeRoot& from,
                                                const TreeRoot& to);

// Union of two lists of sorted, disjoint runs.
std::vector<RegionRun> merge_runs(const std::vector<RegionRun>& a, const std::vector<RegionRun>& b);
// The parts of `runs` that lie below `limit`.
std::vector<RegionRun> cut_runs(const std::vector<RegionRun>& runs, std::uint32_t limit);

// All kRegionBytes of one region.
Result<Bytes> read_region(BlobReader& reader, const TreeEntry& entry);
// Several regions at once; for each its kRegionBytes.
Result<std::vector<Bytes>> read_regions(BlobReader& reader, std::span<const RegionWork> work);

}  // namespace tidemark
