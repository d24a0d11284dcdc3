#include "agent/backup/set_moment.h"

#include "base/assert.h"

namespace tidemark {
SetMoment::SetMoment(Options options, Clock& clock)
    : options_(std::move(options)), clock_(clock), hooks_(options_.hooks) {
  TM_CHECK(options_.members > 0 && options_.members <= kMembersMax && options_.transfers > 0);
}

void SetMoment::fail(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_ || over_[kTaken]) return;
    failure_ = error;
  }
  change_.notify_all();
  thaw();
}

void SetMoment::thaw() {
  ignore_error(hooks_.end(), "the set has failed already");
}

Status SetMoment::meet(Meeting meeting, std::chrono::microseconds limit,
                       const std::function<Status()>& last) {
  std::unique_lock lock(mutex_);
  if (failure_) return *failure_;
  if (++came_[meeting] == options_.members) {
    lock.unlock();
    const Status done = last();
    if (!done) fail(done.error());
    lock.lock();
    failed_by_hook_ = failed_by_hook_ || !done;
    if (failure_) {
      // Somebody else's, perhaps from before the hook ran.
      const Error why = *failure_;
      lock.unlock();
      thaw();
      return why;
    }
    over_[meeting] = true;
    lock.unlock();
    change_.notify_all();
    return {};
  }
  change_.wait_for(lock, options_.stop, limit,
                   [&] { return over_[meeting] || failure_.has_value(); });
  if (over_[meeting]) return {};
  if (failure_) return *failure_;
  lock.unlock();
  const Error why = options_.stop.stop_requested()
                        ? Error(ErrorCode::cancelled, "interrupted")
                        : Error(ErrorCode::deadline_exceeded,
                                meeting == kReady
                                    ? "the other members of the set are not ready in time"
                                : meeting == kHeld ? "the images of the set cannot be held in time"
                                                   : "the snapshots of the set take too long");
  fail(why);
  return why;
}

Status SetMoment::take_place() {
  std::unique_lock lock(mutex_);
  if (!change_.wait(lock, options_.stop, [&] { return sending_ < options_.transfers; }))
    return Error(ErrorCode::cancelled, "interrupted");
  ++sending_;
  return {};
}

void SetMoment::leave_place() {
  {
    const std::lock_guard lock(mutex_);
    --sending_;
  }
  change_.notify_all();
}

Timestamp SetMoment::time() const {
  const std::lock_guard lock(mutex_);
  return time_.value_or(Timestamp());
}

std::map<std::string, std::string> SetMoment::labels() const {
  const std::lock_guard lock(mutex_);
  const char* const guarantee = frozen_             ? "frozen"
                                : options_.quiesced ? "quiesced"
                                                    : "together";
  return {{std::string(kSetMembersLabel), std::to_string(options_.members)},
          {std::string(kSetGuaranteeLabel), guarantee},
          {std::string(kSetWindowLabel), std::to_string((last_ - instant_).count())}};
}

std::optional<Error> SetMoment::missed() const {
  const std::lock_guard lock(mutex_);
  const bool while_holding = over_[kReady] && !over_[kTaken] && !failed_by_hook_;
  return while_holding && !options_.stop.stop_requested() ? failure_ : std::nullopt;
}

SetMember::~SetMember() { end(Error(ErrorCode::cancelled, "a member of the set ended")); }

Status SetMember::ready() {
  return set_.meet(SetMoment::kReady, set_.options_.limit, [this] { return set_.hooks_.begin(); });
}

Status SetMember::held() {
  return set_.meet(SetMoment::kHeld, set_.options_.hold_limit, [this]() -> Status {
    const std::lock_guard lock(set_.mutex_);
    set_.time_ = set_.clock_.now();
    set_.instant_ = set_.last_ = set_.clock_.uptime();
    return {};
  });
}

Status SetMember::taken(const Status& snapshot, bool frozen) {
  if (!snapshot) {
    set_.fail(snapshot.error());
    return snapshot;
  }
  {
    const std::lock_guard lock(set_.mutex_);
    set_.last_ = set_.clock_.uptime();
    set_.frozen_ = set_.frozen_ && frozen;
  }
  const auto over = [this]() -> Status {
    TM_DO(set_.hooks_.end());
    if (set_.options_.on_past) set_.options_.on_past();
    return {};
  };
  TM_DO(set_.meet(SetMoment::kTaken, set_.options_.limit, over));
  TM_DO(set_.take_place());
  sending_ = true;
  return {};
}

void SetMember::end(const Status& how) {
  if (std::exchange(ended_, true)) return;
  if (sending_)
    set_.leave_place();
  else
    set_.fail(how ? Error(ErrorCode::internal, "a member of the set was not taken") : how.error());
}

}  // namespace tidemark
