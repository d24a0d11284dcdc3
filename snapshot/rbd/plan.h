// What must be asked about a region to know how it changed: the reasoning that list_changes rests
// on, without any I/O.
//
// Without a parent, "no object" and "zeros" are the same thing, at the base as at the new snapshot.
//   neither exists        nothing can differ: reads go by the same maps that said so
//   only at the new one   it held zeros; whatever it may hold now is listed from the beginning
//   only at the base      it reads as zeros now
//   both                  the exact difference
// Within a clone's overlap, "no object" means the parent's data, and an object that exists hides
// it, even where it is empty. The exact difference knows objects, not parents: it tells nothing
// when an empty object appears over the parent's data, and calls "zeros" what a rollback uncovered.
// So there an object that exists at one end only makes its region listed from the beginning, as a
// whole, and existence is asked of the OSDs (Ask::probe). Where the overlap differs between the two
// (a shrink, a flatten), the parent's data went without a trace in any object: those regions are
// always reported, listed from the beginning.
#pragma once

#include <cstdint>
#include <optional>

#include "snapshot/rbd/changes.h"
#include "snapshot/rbd/facts.h"
#include "snapshot/rbd/objects.h"

namespace tidemark {

enum class Ask : std::uint8_t {
  nothing,     // cannot have changed
  since_base,  // the exact difference between the two snapshots
  from_start,  // everything since the beginning, parents included; the region is reported whole
  probe,       // existence of its objects at both ends, then one of the above
  all_data,    // no question: report it whole, as data
  all_zero,    // no question: it reads as zeros now
};

struct RegionPlan {
  Ask ask = Ask::nothing;
  bool keep_empty = false;  // report it even where nothing is in it: it held something at the base
};

class RegionPlanner {
 public:
  RegionPlanner(const ImageFacts& facts, const ObjectLayout& layout, std::uint32_t region_bytes,
                bool object_maps);

  // Regions of the new snapshot.
  std::uint64_t regions() const;
  // Bytes of the region that lie within the new snapshot.
  std::uint32_t length(std::uint64_t region) const;
  // The two flags are what object maps say; they mean nothing where maps are not used.
  RegionPlan plan(std::uint64_t region, bool exists_at_base, bool exists_at_newer) const;
  // The part of a region behind the end of the base, which cut it: nothing was known of it.
  std::optional<ChangedExtent> beyond_base(std::uint64_t region) const;
  // How many of the region's first bytes may show the parent's data at the new snapshot.
  std::uint32_t parent_bytes(std::uint64_t region) const;
  bool object_maps() const { return object_maps_; }

 private:
  RegionPlan first_plan(std::uint64_t start, bool exists) const;

  std::uint32_t region_bytes_;
  bool object_maps_;
  bool has_base_;
  bool base_comparable_;      // librbd diffs only from snapshots of users
  bool regions_are_objects_;  // a region is one object, or a part of one
  std::uint64_t size_, base_size_ = 0;
  std::uint64_t overlap_, base_overlap_ = 0;
  std::uint64_t lost_begin_ = 0, lost_end_ = 0;  // where the overlap differs
};

}  // namespace tidemark
