// An image that equals the points of an asset, one after the other, until it is released for use.
//
//              open()                follow(P)                        release(token)
//   absent -----------> absent ---------------------> following P ------------------> primary
//                                     ^      |  follow(Q)    ^
//                                     |      v               |
//                                     +-- applying Q --------+
//
//   follow, absent:    image under a temporary name with its mark -> all of P -> snapshot of P
//                      -> name
//   follow, following: mark "applying Q" -> writes, flushed -> snapshot of Q -> mark cleared
//                      -> old snapshots go
//   release:           mark "primary", token -> the lock is let go
//   hold, rejoin:      the lock is kept again; mark "standby", token -> following, from the newest
//                      snapshot of a point that the store knows
//
// A kill at any arrow: the image is found by its mark; the newest snapshot of a point that the
// store knows tells what it was; what was written after it is found, and undone or done again.
// Between open() and release() its lock is kept, so that no other client can write to it. One that
// was changed all the same, while no agent ran, is mended in the same way, and that is told.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>

#include "agent/backup/point_snapshots.h"
#include "agent/restore/volume_restore.h"
#include "agent/service/point_store.h"
#include "agent/standby/mark.h"

namespace tidemark {

// Used by one thread at a time.
class StandbyImage {
 public:
  struct Options {
    std::shared_ptr<CephCluster> cluster;
    RbdImageName name;
    PointStore* store = nullptr;  // both must outlive it
    const StoreKeys* keys = nullptr;
    StoreId store_id;
    std::string site, asset;  // whose points it follows
    std::size_t keep = 3;     // snapshots of points to choose from; at least 1
    std::stop_token stop;
  };
  explicit StandbyImage(Options options) : options_(std::move(options)) {}

  // Finds the image where there is one, and keeps its lock unless it is primary. `refused` where
  // an image of that name is none of ours or another asset's, or another client keeps its lock.
  Status open();
  bool is_open() const { return opened_; }
  bool primary() const { return mark_ && mark_->primary; }
  std::uint64_t token() const { return mark_ ? mark_->token : 0; }

  struct Followed {
    std::uint64_t written_bytes = 0, fetched_bytes = 0;
    bool mended = false;  // somebody else had changed the image
  };
  // Makes the image equal to the point, which may be an older one. REQUIRES: is_open(), !primary().
  // After an error it has to be opened again.
  Result<Followed> follow(const PointRow& point);
  // Releases the image for use. REQUIRES: is_open(), and follow() succeeded since, or
  // primary(). Idempotent.
  Status release(std::uint64_t token);
  // Keeps the lock of a primary image again, so that nobody writes to it any more. `refused` while
  // another client has it open. REQUIRES: is_open(), primary(). Idempotent.
  Status hold();
  // The image, which is held, was captured as that point: a snapshot says so, and those that
  // backups left go. REQUIRES: hold() succeeded.
  Status captured_as(const PointId& point);
  // Makes a primary image one that follows again. What was written to it since its release and is
  // in no point is lost. REQUIRES: is_open(), primary().
  Status rejoin(std::uint64_t token);
  // Lets go of the image.
  void close();

 private:
  Result<Followed> create(const PointRow& point);
  Result<Followed> apply(const PointRow& point);
  Result<std::optional<PointSnapshot>> find_base();
  Status set_mark(StandbyMark mark);
  Status take_snapshot(RbdImage& image, const PointId& point);
  void remove_old_snapshots();

  const Options options_;
  bool opened_ = false;
  std::shared_ptr<RbdImage> image_;  // null: there is none yet, or it is released
  std::optional<StandbyMark> mark_;
  std::optional<PointId> at_;  // the point that it equals; nothing: none is known yet
  bool untouched_ = false;     // the image equals at_, and its lock was kept since
};

}  // namespace tidemark
