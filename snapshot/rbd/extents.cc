#include "snapshot/rbd/extents.h"

#include <algorithm>

#include "base/assert.h"

namespace tidemark {

namespace {

bool by_offset(const ChangedExtent& a, const ChangedExtent& b) { return a.offset < b.offset; }

// Sorted, and joined where they touch or overlap. REQUIRES: all are of one kind.
std::vector<ChangedExtent> joined(std::vector<ChangedExtent> extents) {
  std::sort(extents.begin(), extents.end(), by_offset);
  std::vector<ChangedExtent> result;
  for (const auto& extent : extents) {
    if (!result.empty() && extent.offset <= result.back().offset + result.back().size) {
      const std::uint32_t end =
          std::max(result.back().offset + result.back().size, extent.offset + extent.size);
      result.back().size = end - result.back().offset;
    } else {
      result.push_back(extent);
    }
  }
  return result;
}

}  // namespace

std::vector<ChangedExtent> normalized(std::vector<ChangedExtent> extents) {
  const auto first_zero = std::stable_partition(extents.begin(), extents.end(),
                                                [](const ChangedExtent& e) { return !e.zero; });
  const auto zeros = joined({first_zero, extents.end()});
  extents.erase(first_zero, extents.end());
  const auto data = joined(std::move(extents));

  std::vector<ChangedExtent> result = data;
  std::size_t next = 0;  // the first data extent that ends behind the zeros looked at
  for (const auto& zero : zeros) {
    std::uint32_t at = zero.offset;
    const std::uint32_t end = zero.offset + zero.size;
    while (next < data.size() && data[next].offset + data[next].size <= at) ++next;
    for (std::size_t i = next; at < end; ++i) {
      const std::uint32_t until = i < data.size() ? std::min(end, data[i].offset) : end;
      if (at < until) result.push_back({at, until - at, true});
      if (i == data.size() || data[i].offset >= end) break;
      at = std::max(at, data[i].offset + data[i].size);
    }
  }
  std::sort(result.begin(), result.end(), by_offset);
  return result;
}

void ExtentOverlay::add(std::uint32_t offset, std::uint32_t size, bool zero) {
  TM_CHECK(offset <= region_bytes_ && size <= region_bytes_ - offset);
  if (size == 0 || collapsed_) return;
  extents_.push_back({offset, size, zero});
  if (extents_.size() >= 4 * extents_max_ + 64) compact();
}

void ExtentOverlay::compact() {
  extents_ = normalized(std::move(extents_));
  if (extents_.size() <= extents_max_) return;
  collapsed_ = true;
  extents_.clear();
}

bool ExtentOverlay::has_zero_below(std::uint32_t end) const {
  return std::any_of(extents_.begin(), extents_.end(),
                     [&](const ChangedExtent& e) { return e.zero && e.offset < end; });
}

void ExtentOverlay::clear() {
  collapsed_ = false;
  extents_.clear();
}

std::vector<ChangedExtent> ExtentOverlay::take() {
  compact();
  if (collapsed_) return {{0, region_bytes_, false}};
  return std::move(extents_);
}

}  // namespace tidemark
