// The one instant that all points of a set are of.
//
// Every member runs an ordinary backup on a thread of its own, and they meet here:
//
//   ready()   sessions are begun, images open -- all of them: the policy's hook `before` runs
//   held()    images stand still --------------- all of them: this is the instant
//   (each takes its snapshot; a bucket's listing begins)
//   taken()   ---------------------------------- all of them: the hook `after` runs
//   (each sends its point; what fails from here on fails alone)
//
// Who fails before the last meeting fails the set: all the others are woken, and remove their
// snapshots. An image that cannot be held (RbdImage::create_snapshot_held) is no failure: the set
// says what it is worth. Nobody shall wait with his writes for long because of us, so the second
// meeting has a short limit.
#pragma once

#include <array>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/backup/hooks.h"
#include "base/clock.h"

namespace tidemark {

// What a point's labels say of its set: how many points it has; "frozen" where no client wrote to
// any of the images from the instant to the snapshots, else "quiesced" (by the policy's hooks),
// else "together"; and the microseconds from the instant to the last snapshot.
inline constexpr std::string_view kSetMembersLabel = "set.members",
                                  kSetGuaranteeLabel = "set.guarantee",
                                  kSetWindowLabel = "set.window_us";

// Safe from any thread; outlives its members.
class SetMoment {
 public:
  static constexpr std::size_t kMembersMax = 64;

  struct Options {
    std::string id;             // "<name>-<8 hex>"
    std::size_t members = 0;    // 1 to kMembersMax
    std::size_t transfers = 2;  // how many send at a time
    PointHooks hooks;           // of the set
    bool quiesced = false;      // with these nothing is written between the snapshots
    // How long members wait for one another, the hooks' own limits included.
    std::chrono::microseconds limit = std::chrono::minutes(2);
    std::chrono::microseconds hold_limit = std::chrono::seconds(5);
    std::function<void()> on_past;  // called once all members have their snapshots; may be empty
    std::stop_token stop;
  };
  SetMoment(Options options, Clock& clock);

  const std::string& id() const { return options_.id; }
  // Once a member's taken() succeeded: the time of all points, and what their labels say.
  Timestamp time() const;
  std::map<std::string, std::string> labels() const;
  // Once all members have ended: what failed the set, where all were ready and an image could not
  // be held or its snapshot not be taken in time. Such a set may go well at once when it is begun
  // anew; a hook that failed, and what was called off, are no such failures.
  std::optional<Error> missed() const;

 private:
  friend class SetMember;
  enum Meeting { kReady, kHeld, kTaken, kMeetings };
  // Waits until all members have come; the last one does `last` before the others go on.
  Status meet(Meeting meeting, std::chrono::microseconds limit,
              const std::function<Status()>& last);
  // The first error is the set's. What the hooks froze thaws at once, for the members may take long
  // to end.
  void fail(const Error& error);
  void thaw();
  Status take_place();
  void leave_place();

  const Options options_;
  Clock& clock_;
  HookedMoment hooks_;  // run by the last one at a meeting, or by who failed
  mutable std::mutex mutex_;
  std::condition_variable_any change_;
  std::array<std::size_t, kMeetings> came_{};  // guarded by mutex_, as is the rest
  std::array<bool, kMeetings> over_{};         // all came
  std::optional<Error> failure_;
  bool failed_by_hook_ = false;
  bool frozen_ = true;
  std::optional<Timestamp> time_;                 // the instant
  std::chrono::microseconds instant_{}, last_{};  // by uptime; of the last snapshot
  std::size_t sending_ = 0;
};

// One member, from its backup's thread.
class SetMember {
 public:
  explicit SetMember(SetMoment& set) : set_(set) {}
  // Ends it where end() did not.
  ~SetMember();
  SetMember(const SetMember&) = delete;
  SetMember& operator=(const SetMember&) = delete;

  const SetMoment& set() const { return set_; }
  // Each once, in this order. An error is that of whoever failed first, of the limit, or
  // `cancelled`; the backup ends with it.
  Status ready();
  // To be called while the image is held, where it can be.
  Status held();
  // `snapshot`: whether it is there; `frozen`: whether nobody wrote since the instant. On success
  // the member may send, until it ends.
  Status taken(const Status& snapshot, bool frozen);
  // Whether taken() succeeded: a backup that begins again after that keeps its moment.
  bool is_past() const { return sending_; }
  // The backup is through. One that never got past taken() fails the set.
  void end(const Status& how);

 private:
  SetMoment& set_;
  bool sending_ = false, ended_ = false;
};

}  // namespace tidemark
