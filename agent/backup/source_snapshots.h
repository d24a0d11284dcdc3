// The snapshots that we keep on a protected image: at most one base per store, and the one being
// captured. Named "tidemark.<store>.<point>", so that what is ours, and whose, can be told from the
// image alone: a backup needs no state of the source's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

std::string source_snapshot_name(const StoreId& store, const PointId& point);

struct SourceSnapshot {
  SnapshotInfo info;
  PointId point;
};
// Those of `snapshots` that we took for `store`. Names that merely look alike are left out.
std::vector<SourceSnapshot> our_snapshots(const std::vector<SnapshotInfo>& snapshots,
                                          const StoreId& store);

// How many of `snapshots` are ours, for whichever store.
std::size_t count_our_snapshots(const std::vector<SnapshotInfo>& snapshots);

// Removes all of ours for `store` but `keep`. A failure is logged and left for the next run: a
// snapshot too many costs space, a failed backup costs more.
void remove_our_snapshots(RbdImage& image, const StoreId& store,
                          const std::vector<std::uint64_t>& keep);

// A snapshot for the time of a call, so that what is compared does not move. Named like those of an
// interrupted backup: a leftover is removed by the next one.
class TemporarySnapshot {
 public:
  // REQUIRES: `image` is opened at the head, read-write, and outlives it.
  static Result<std::unique_ptr<TemporarySnapshot>> take(RbdImage& image, const StoreId& store);
  ~TemporarySnapshot();
  TemporarySnapshot(const TemporarySnapshot&) = delete;
  TemporarySnapshot& operator=(const TemporarySnapshot&) = delete;
  std::uint64_t id() const { return id_; }

 private:
  explicit TemporarySnapshot(RbdImage& image) : image_(image) {}
  RbdImage& image_;
  std::string name_;
  std::uint64_t id_ = 0;
};

}  // namespace tidemark
