// Writes a plan to a target: fetches what the plan needs, each piece once, in large neighbouring
// reads, and opens and writes them side by side.
#pragma once

#include <atomic>
#include <stop_token>

#include "agent/read/volume_reader.h"
#include "agent/restore/volume_target.h"

namespace tidemark {

struct RestoreProgress {
  std::atomic<std::uint64_t> total_bytes{0};     // what is to be written, where known before
  std::atomic<std::uint64_t> position_bytes{0};  // how far in the volume
  std::atomic<std::uint64_t> written_bytes{0};   // data
  std::atomic<std::uint64_t> zeroed_bytes{0};
  std::atomic<std::uint64_t> skipped_bytes{0};  // found to be right already
};

// Writes region after region (in no promised order) to `target`. Memory is bounded whatever the
// plan.
Status write_plan(const RegionPlan& plan, BlobReader& reader, VolumeTarget& target,
                  RestoreProgress& progress, std::stop_token stop);

// Calls `each` with every region of the plan in order, its bytes assembled. For outputs that cannot
// seek, and for comparing.
Status stream_plan(const RegionPlan& plan, BlobReader& reader,
                   const std::function<Status(const RegionWork& work, const Bytes& region)>& each,
                   std::stop_token stop);

}  // namespace tidemark
