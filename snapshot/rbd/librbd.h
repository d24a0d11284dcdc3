// What the files of this folder share of librbd and librados: handles that close themselves, and
// the one translation of their errors. Not for other folders.
#pragma once

#include <rados/librados.h>
#include <rbd/librbd.h>
#include <signal.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

// The Error for a negative errno of librbd or librados.
Error rbd_error(std::int64_t result, std::string_view doing);

// Blocks all signals of the calling thread while it lives. Threads that librados and librbd start
// inherit the mask, so that signals reach only the threads that are meant to handle them.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

struct CephCluster::Impl {
  rados_t rados = nullptr;
  std::string fsid;
  ~Impl() {
    if (rados != nullptr) rados_shutdown(rados);
  }
};

// A pool and namespace.
class IoContext {
 public:
  IoContext() = default;
  explicit IoContext(rados_ioctx_t io) : io_(io) {}
  ~IoContext() {
    if (io_ != nullptr) rados_ioctx_destroy(io_);
  }
  IoContext(IoContext&& other) noexcept : io_(std::exchange(other.io_, nullptr)) {}
  IoContext& operator=(IoContext&& other) noexcept {
    std::swap(io_, other.io_);
    return *this;
  }
  rados_ioctx_t get() const { return io_; }

  static Result<IoContext> open(CephCluster& cluster, const std::string& pool,
                                const std::string& ns);
  static Result<IoContext> open(CephCluster& cluster, std::int64_t pool_id, const std::string& ns);

 private:
  rados_ioctx_t io_ = nullptr;
};

// An open image; closed on destruction.
class RbdHandle {
 public:
  RbdHandle() = default;
  explicit RbdHandle(rbd_image_t image) : image_(image) {}
  ~RbdHandle() {
    if (image_ != nullptr) rbd_close(image_);
  }
  RbdHandle(RbdHandle&& other) noexcept : image_(std::exchange(other.image_, nullptr)) {}
  RbdHandle& operator=(RbdHandle&& other) noexcept {
    std::swap(image_, other.image_);
    return *this;
  }
  rbd_image_t get() const { return image_; }

 private:
  rbd_image_t image_ = nullptr;
};

struct RbdImage::Impl {
  std::shared_ptr<CephCluster> cluster;
  RbdImageName name;
  IoContext io;
  RbdHandle image;  // closed before `io`
  std::optional<std::uint64_t> snapshot;
  bool writable = false;

  std::mutex mutex;
  std::condition_variable idle;
  std::uint64_t under_way = 0;  // guarded by mutex

  // "rbd/vm" or "rbd/vm snapshot 17", for messages.
  std::string text() const;
};

// Opens an image read-only by its id, which lasts through renames and in the trash, or, where that
// is empty (format 1 knows none), by its name. Librbd's result.
int rbd_open_as(const IoContext& io, const std::string& id, const std::string& name,
                RbdHandle& into);
Result<std::string> rbd_image_id(rbd_image_t image);
Result<std::vector<SnapshotInfo>> rbd_snapshots(rbd_image_t image);
// True for a snapshot that was deleted but lives on until its clones are gone, or that is being
// deleted: librbd moves every snapshot there before it gives up its id.
Result<bool> rbd_snapshot_in_trash(rbd_image_t image, std::uint64_t id);

// The parent of what is open: an identity that two snapshots can be compared by, the text for
// people, and what it is opened by. All empty where there is no parent.
struct RbdParent {
  std::string identity;
  std::string text;
  std::int64_t pool_id = -1;
  RbdImageName name;
  std::string image_id;  // empty for one of format 1
  std::uint64_t snapshot_id = 0;
  std::uint64_t overlap = 0;
  bool operator==(const RbdParent& other) const {
    return identity == other.identity && overlap == other.overlap;
  }
};
Result<RbdParent> rbd_parent(rbd_image_t image);

}  // namespace tidemark
