// Brings an asset that was in use at a store's site back to its own.
//
//   handed over --keep--> --roll--> --mark--> --take back--> in use here --point--> protected
//
//   keep:      what this side has that the other lacks becomes a point, labelled kDiscardedLabel
//   roll:      the image is rolled to the point at which the other side handed over: only what
//              differs is fetched and written
//   mark:      a snapshot says that the image equals that point, so that the next backup sends
//              what changed since
//   take back: the store's role; from then on this site is the holder
//   point:     the first one of the new time
//
// Each step can be repeated: after a kill at any arrow the next run goes on.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "agent/restore/volume_restore.h"
#include "agent/retention/keep.h"
#include "agent/site/backup_run.h"
#include "store/role.h"

namespace tidemark {

// What each side has that the other lacks.
struct FailbackPlan {
  AssetRole role;
  bool image_here = false;                // false: it is made anew
  std::optional<PointId> common;          // the last point that this image was
  std::uint64_t changed_here_bytes = 0;   // since then; the whole image where there is none
  std::optional<PointId> discarded;       // a point of that has been taken already
  std::uint64_t changed_there_bytes = 0;  // what is to be written here
};
struct FailbackReport {
  FailbackPlan plan;
  std::optional<PointRow> discarded;  // taken now
  std::uint64_t written_bytes = 0, fetched_bytes = 0;
  PointRow first;  // the first point of the new time
};

// Of an RBD image of this site; `job` says where its points go. All must outlive it.
class Failback {
 public:
  Failback(const Config& config, BackupRunner& runner, BackupJob job, std::stop_token stop)
      : config_(config), runner_(runner), job_(std::move(job)), stop_(std::move(stop)) {}

  // `refused` while the asset is in use at another site, and where it was never failed over.
  Result<FailbackPlan> plan();
  // `refused` also while another client has the image open.
  Result<FailbackReport> run();

 private:
  Result<StoreAccess*> store() { return runner_.store(job_.to); }
  Status find_common(FailbackPlan& plan, RbdImage& image);
  Result<RestoreReport> roll(const PointRow& target, bool image_here);
  Status mark_equal(const PointId& point);
  void remove_marks();

  const Config& config_;
  BackupRunner& runner_;
  BackupJob job_;
  const std::stop_token stop_;
};

}  // namespace tidemark
