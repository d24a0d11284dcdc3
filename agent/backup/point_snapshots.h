// Snapshots of an image that equal points which a store knows: where an increment, a roll-back and
// a standby go on from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/service/point_store.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

struct PointSnapshot {
  SnapshotInfo info;
  PointRow point;
};

// Of which asset the points are, and where they are kept; all must outlive the call.
struct PointSnapshotSearch {
  PointStore& store;
  const StoreKeys& keys;
  StoreId store_id;
  const std::string& site;
  const std::string& asset;
};

// The newest of `snapshots`, those of the image `info`, that equals a point which the store knows:
// one that a backup captured from this very image, or one that was taken when the image had been
// made equal to the point (agent/standby/mark.h). Points that cannot be trusted are passed over.
Result<std::optional<PointSnapshot>> newest_point_snapshot(
    const PointSnapshotSearch& search, const CephCluster& cluster, const ImageInfo& info,
    const std::vector<SnapshotInfo>& snapshots);

// How many bytes of the image may differ from its snapshot `base`; 0 where none do. REQUIRES:
// opened at the head, read-write.
Result<std::uint64_t> changed_since(const std::shared_ptr<CephCluster>& cluster, RbdImage& image,
                                    std::uint64_t base, const StoreId& store,
                                    const std::stop_token& stop);

}  // namespace tidemark
