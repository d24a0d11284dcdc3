#include "snapshot/rbd/plan.h"

#include <algorithm>

namespace tidemark {

RegionPlanner::RegionPlanner(const ImageFacts& facts, const ObjectLayout& layout,
                             std::uint32_t region_bytes, bool object_maps)
    : region_bytes_(region_bytes),
      object_maps_(object_maps),
      has_base_(facts.base.has_value()),
      base_comparable_(has_base_ && facts.base->user),
      regions_are_objects_(layout.stripe_count == 1 && layout.object_bytes % region_bytes == 0),
      size_(facts.newer.size),
      overlap_(std::min(facts.newer.parent.overlap, facts.newer.size)) {
  if (!has_base_) return;
  base_size_ = facts.base->size;
  base_overlap_ = std::min(facts.base->parent.overlap, base_size_);
  const bool same_parent = facts.base->parent.identity == facts.newer.parent.identity;
  lost_begin_ = same_parent ? std::min(overlap_, base_overlap_) : 0;
  lost_end_ = std::max(overlap_, base_overlap_);
}

std::uint64_t RegionPlanner::regions() const {
  return size_ / region_bytes_ + (size_ % region_bytes_ != 0 ? 1 : 0);
}

std::uint32_t RegionPlanner::length(std::uint64_t region) const {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(region_bytes_, size_ - region * region_bytes_));
}

std::uint32_t RegionPlanner::parent_bytes(std::uint64_t region) const {
  const std::uint64_t start = region * region_bytes_;
  if (start >= overlap_) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(length(region), overlap_ - start));
}

std::optional<ChangedExtent> RegionPlanner::beyond_base(std::uint64_t region) const {
  const std::uint64_t start = region * region_bytes_;
  const std::uint64_t end = start + length(region);
  if (!has_base_ || base_size_ <= start || base_size_ >= end) return std::nullopt;
  return ChangedExtent{static_cast<std::uint32_t>(base_size_ - start),
                       static_cast<std::uint32_t>(end - base_size_), false};
}

RegionPlan RegionPlanner::first_plan(std::uint64_t start, bool exists) const {
  if (!object_maps_ || start < overlap_) return {Ask::from_start};
  if (!exists) return {Ask::nothing};
  // Asking for extents would cost as much as it saves where one object is all there is to ask for.
  return {regions_are_objects_ ? Ask::all_data : Ask::from_start};
}

RegionPlan RegionPlanner::plan(std::uint64_t region, bool exists_at_base,
                               bool exists_at_newer) const {
  const std::uint64_t start = region * region_bytes_;
  if (!has_base_) return first_plan(start, exists_at_newer);
  if (start < lost_end_ && start + region_bytes_ > lost_begin_) return {Ask::from_start, true};
  const bool neither = object_maps_ && !exists_at_base && !exists_at_newer;
  if (start >= base_size_) {
    return {object_maps_ && !exists_at_newer ? Ask::nothing : Ask::from_start};
  }
  if (neither) return {Ask::nothing};
  if (!base_comparable_) return {Ask::from_start, true};
  const bool one_end_only = object_maps_ && exists_at_base != exists_at_newer;
  if (start < overlap_)
    return one_end_only ? RegionPlan{Ask::from_start, true} : RegionPlan{Ask::probe};
  if (!one_end_only) return {Ask::since_base};
  return {exists_at_newer ? Ask::from_start : Ask::all_zero};
}

}  // namespace tidemark
