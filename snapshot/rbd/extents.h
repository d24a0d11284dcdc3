// Extents as librbd reports them, made into what a RegionChange promises.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "snapshot/rbd/changes.h"

namespace tidemark {

// Sorted, disjoint and merged; where data and zeros were both reported, data.
std::vector<ChangedExtent> normalized(std::vector<ChangedExtent> extents);

// Gathers the extents of one region in any order, overlapping or not, in bounded memory.
class ExtentOverlay {
 public:
  // With more than `extents_max` extents the region collapses: only "all of it" is left.
  ExtentOverlay(std::uint32_t region_bytes, std::size_t extents_max)
      : region_bytes_(region_bytes), extents_max_(extents_max) {}

  // REQUIRES: the extent lies within the region.
  void add(std::uint32_t offset, std::uint32_t size, bool zero);
  bool collapsed() const { return collapsed_; }
  bool has_zero_below(std::uint32_t end) const;
  void clear();
  // Where collapsed, one extent of data over the region.
  std::vector<ChangedExtent> take();

 private:
  void compact();

  std::uint32_t region_bytes_;
  std::size_t extents_max_;
  bool collapsed_ = false;
  std::vector<ChangedExtent> extents_;
};

}  // namespace tidemark
