// Leader election: one of several processes holds a Lease object at a time.
//
// The lock is the Lease's resourceVersion: who writes with a stale one has lost. Whether another
// holder is silent is judged by our own monotonic clock, from when the record was last seen to
// change; wall clocks are written for people only. A lease does not fence: an old leader whose
// process stood still may go on for a moment, so that what it does needs its own check.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "transport/kube/client.h"

namespace tidemark::kube {

struct LeaseOptions {
  std::string ns, name;
  // Of this process: never used by two at once, nor by two runs ("agent-0_a1b2").
  std::string identity;
  // How long others wait after the last renewal that they saw. Whole seconds.
  std::chrono::seconds duration{15};
  // Without a renewal for this long we have lost by our own judgement. REQUIRES: well below
  // `duration`, and above `retry_period`.
  std::chrono::microseconds renew_deadline = std::chrono::seconds(10);
  std::chrono::microseconds retry_period = std::chrono::seconds(2);
};

// "2026-11-22T16:15:00.000000Z": Lease times have exactly six decimals.
std::string micro_time(Timestamp time);

// Used by one thread.
class LeaseElection {
 public:
  // `client` and `clock` must outlive it.
  LeaseElection(Client& client, LeaseOptions options, const Clock& clock)
      : client_(client), options_(std::move(options)), clock_(clock) {}

  // One step: takes the lease where it is free, or renews it where it is ours. Whether it is held
  // now. An error leaves open who holds it: while is_held() still says so, it is ours until the
  // deadline. A conflict while it is held means that it is lost, which is no error.
  Outcome<bool> step(const std::stop_token& stop);

  // Whether it is held: the last renewal counts from when it was asked for, for `renew_deadline`.
  bool is_held() const;
  // Who holds it, as last seen; empty: nobody, or not known.
  const std::string& holder() const { return holder_; }

  // Gives it up, so that another one need not wait, also where a write of ours was cut short and
  // may or may not be done. Best effort; is_held() is false from then on.
  Status release();

  // Steps until `stop` is requested, and releases then. `on_leading` is called when the lease was
  // won, `on_lost` when it is lost or about to be released: work must have stopped, or be certain
  // to stop within duration - renew_deadline, when it returns. Both on the caller's thread, which
  // renews meanwhile: they must return quickly. Errors of steps are logged and tried again.
  // `invalid_argument` where the options do not fit together.
  Status run(std::stop_token stop, const std::function<void()>& on_leading,
             const std::function<void()>& on_lost);

 private:
  Outcome<bool> acquire(const Call& call);
  Outcome<bool> write(const Json& lease, bool fresh, const Call& call);
  Outcome<bool> took(Outcome<Json> answer, std::chrono::microseconds asked);
  Outcome<Json> write_released(const Call& call);
  void observe(const Json& lease);
  bool is_free() const;
  bool is_what_we_wrote(const Json& lease) const;
  Json spec_to_write(const Json& before, bool takeover);
  Call call_until(std::chrono::microseconds deadline, const std::stop_token& stop) const;
  void forget() { held_.reset(); }

  Client& client_;
  const LeaseOptions options_;
  const Clock& clock_;
  Json lease_ = nullptr;              // as last seen
  std::string holder_;                // in it
  std::chrono::microseconds seen_{};  // when it was first seen as it is
  Json written_ = nullptr;            // the spec of our last write whose outcome is not known
  std::chrono::microseconds written_at_{};
  std::optional<std::chrono::microseconds> held_;  // when the last renewal was asked for
};

}  // namespace tidemark::kube
