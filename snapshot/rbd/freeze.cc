// Snapshots of images that are held still together. Librbd has two ways to keep others from
// writing, and only one of them is harmless:
//
// - rbd_lock_acquire() keeps the image's lock whatever the other clients say: with it their writes
//   do not wait, they fail (EROFS; tried with 16.2.15, and a guest sees an I/O error).
// - An image's lock that was taken by writing goes to whoever asks for it, but not while librbd is
//   at an operation: then whoever asks is told to wait. Taking a snapshot is one, and in its midst,
//   before anything has happened, librbd asks those who registered for it whether they are ready
//   (rbd_quiesce_watch). As long as we do not answer, the image stands still.
//
// So the lock is taken by a write of no bytes, and the snapshot is begun. Between the two another
// client may have taken the lock back; then it is that client who takes the snapshot, and asks us
// likewise. We see that the lock is not ours, say no, and begin again.
#include <fmt/format.h>

#include <cerrno>
#include <thread>

#include "snapshot/rbd/librbd.h"

namespace tidemark {
namespace {

constexpr int kTries = 10;
constexpr std::chrono::seconds kClaimLimit{5};

// What librbd asks of us, and our answers. The callbacks come on librbd's threads.
class QuiesceWatch {
 public:
  explicit QuiesceWatch(rbd_image_t image) : image_(image) {}
  ~QuiesceWatch() {
    if (watching_) rbd_quiesce_unwatch(image_, handle_);
  }
  QuiesceWatch(const QuiesceWatch&) = delete;
  QuiesceWatch& operator=(const QuiesceWatch&) = delete;

  int begin() {
    const int result = rbd_quiesce_watch(image_, on_quiesce, on_unquiesce, this, &handle_);
    watching_ = result >= 0;
    return result;
  }
  // True once librbd asks; false where `stop` is requested before.
  bool wait(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!asked_.wait(lock, stop, [this] { return questions_ > 0; })) return false;
    --questions_;
    return true;
  }
  // A negative errno makes the snapshot fail.
  void answer(int result) { rbd_quiesce_complete(image_, handle_, result); }

 private:
  static void on_quiesce(void* argument) {
    auto& self = *static_cast<QuiesceWatch*>(argument);
    const std::lock_guard lock(self.mutex_);
    ++self.questions_;
    self.asked_.notify_all();
  }
  static void on_unquiesce(void*) {}

  rbd_image_t image_;
  std::uint64_t handle_ = 0;
  bool watching_ = false;
  std::mutex mutex_;
  std::condition_variable_any asked_;
  int questions_ = 0;  // guarded by mutex_
};

// How one try went, beside what librbd returned.
struct Try {
  Status met;           // what `meet` returned
  bool called = false;  // `meet` was
  bool held = false;    // from then on nobody else wrote
  bool lost = false;    // the lock was not ours: nothing was taken
};

// Answers librbd's questions until `stop` is requested.
void answer_questions(const std::stop_token& stop, rbd_image_t image, QuiesceWatch& watch,
                      bool last_try, const RbdImage::Meet& meet, Try& out) {
  while (watch.wait(stop)) {
    // A second question is about somebody else's snapshot, or ours is begun anew: between the two
    // the image was not held.
    if (out.called) {
      out.held = false;
      watch.answer(0);
      continue;
    }
    int owner = 0;
    const bool ours = rbd_is_exclusive_lock_owner(image, &owner) >= 0 && owner != 0;
    if (!ours && !last_try) {
      out.lost = true;
      watch.answer(-EAGAIN);
      continue;
    }
    out.called = true;
    out.held = ours;
    out.met = meet(ours);
    watch.answer(out.met ? 0 : -ECANCELED);
  }
}

}  // namespace

Status RbdImage::claim(std::chrono::milliseconds limit) {
  TM_TRY(const bool lockable, has_exclusive_lock());
  if (!lockable) return {};
  // The answer may come after we have gone.
  struct Wait {
    std::mutex mutex;
    std::condition_variable ended;
    std::optional<Status> outcome;
  };
  const auto wait = std::make_shared<Wait>();
  write_nothing([wait](Status status) {
    const std::lock_guard lock(wait->mutex);
    wait->outcome = std::move(status);
    wait->ended.notify_all();
  });
  std::unique_lock lock(wait->mutex);
  if (!wait->ended.wait_for(lock, limit, [&] { return wait->outcome.has_value(); }))
    return Error(ErrorCode::deadline_exceeded,
                 fmt::format("{}: whoever has its lock does not let go of it", impl_->text()));
  return *wait->outcome;
}

Status RbdImage::hold_lock() {
  TM_TRY(const bool lockable, has_exclusive_lock());
  const std::string doing = "keep the lock of " + impl_->text();
  if (!lockable) return Error(ErrorCode::refused, doing + ": the image has no exclusive-lock");
  const int result = rbd_lock_acquire(impl_->image.get(), RBD_LOCK_MODE_EXCLUSIVE);
  if (result == -EROFS || result == -EBUSY)
    return Error(ErrorCode::refused, doing + ": another client keeps it");
  if (result < 0) return rbd_error(result, doing);
  return {};
}

Result<HeldSnapshot> RbdImage::create_snapshot_unheld(const std::string& name, const Meet& meet) {
  TM_DO(meet(false));
  TM_TRY(const std::uint64_t id, create_snapshot(name));
  return HeldSnapshot{id, false};
}

Result<HeldSnapshot> RbdImage::create_snapshot_held(const std::string& name, const Meet& meet) {
  const std::string doing = fmt::format("create snapshot {} of {}", name, impl_->text());
  if (!impl_->writable) return Error(ErrorCode::refused, doing + ": opened read-only");
  TM_TRY(const bool lockable, has_exclusive_lock());
  if (!lockable) return create_snapshot_unheld(name, meet);
  rbd_image_t image = impl_->image.get();
  QuiesceWatch watch(image);
  if (const int result = watch.begin(); result < 0) return rbd_error(result, doing);
  for (int count = 1;; ++count) {
    const auto claimed = claim(kClaimLimit);
    // An owner that was told to keep the lock. A claim that is still under way is another matter: a
    // snapshot that is begun beside it may wait for it and it for the snapshot.
    if (!claimed && claimed.error().code() == ErrorCode::refused)
      return create_snapshot_unheld(name, meet);
    if (!claimed) return claimed.error();
    Try now;
    int result = 0;
    {
      const std::jthread answering([&](const std::stop_token& stop) {
        answer_questions(stop, image, watch, count == kTries, meet, now);
      });
      result = rbd_snap_create(image, name.c_str());
    }
    if (!now.met) return now.met.error();
    if (result < 0 && now.lost && !now.called) continue;
    if (result < 0) return rbd_error(result, doing);
    std::uint64_t id = 0;
    result = rbd_snap_get_id(image, name.c_str(), &id);
    if (result < 0) return rbd_error(result, doing);
    if (now.called) return HeldSnapshot{id, now.held};
    // Taken by a client of a Ceph before 16, which asks nobody: too early.
    TM_DO(remove_snapshot(id, name));
    return create_snapshot_unheld(name, meet);
  }
}

}  // namespace tidemark
