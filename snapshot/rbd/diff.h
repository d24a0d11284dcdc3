// The two questions that are put to librbd's diff, and nothing else: which regions hold objects,
// and what exactly changed in a range.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {

// Marks in `exists` every region of [first_region, first_region + exists.size()) that an object
// belongs to which exists at the snapshot that `image` is opened at, as its object map has it. A
// whole-object diff from the beginning: it never depends on what happened between two snapshots.
Status mark_existing(RbdImage::Impl& image, std::uint32_t region_bytes, std::uint64_t first_region,
                     std::vector<bool>& exists, const std::stop_token& stop);

struct DiffRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

// Called with extents in any order, from one thread at a time, clipped to the image's size.
using DiffSink = std::function<void(std::uint64_t offset, std::uint64_t size, bool zero)>;

// Exact extents of `image` (opened at a snapshot) within the range: what changed since the snapshot
// `from`, or, where that is null, everything since the beginning. Of the image's own objects only:
// asked for the parents' data too, librbd 16.2 now and then crashes in one of its threads.
Status list_extents(RbdImage::Impl& image, const char* from, DiffRange range, const DiffSink& sink,
                    const std::stop_token& stop);

}  // namespace tidemark
