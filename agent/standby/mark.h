// What a standby image says of itself, in its metadata: it is found again, and told from an image
// that is none of ours, whatever happened to the agent's own state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

struct StandbyMark {
  static constexpr const char* kKey = "tidemark.standby";
  StoreId store;
  std::string site, asset;  // whose points it follows
  bool primary = false;     // it was released for use, with `token`: it follows nothing any more
  std::uint64_t token = 0;
  std::optional<PointId> applying;  // set before the first write for that point
  bool operator==(const StandbyMark&) const = default;
};
// JSON, version 1.
std::string encode(const StandbyMark& mark);
Result<StandbyMark> decode_standby_mark(std::string_view text);

// "tidemark-standby.<point>": at this snapshot the image equals the point.
std::string standby_snapshot_name(const PointId& point);
struct StandbySnapshot {
  SnapshotInfo info;
  PointId point;
};
// Oldest first.
std::vector<StandbySnapshot> standby_snapshots(const std::vector<SnapshotInfo>& snapshots);

}  // namespace tidemark
