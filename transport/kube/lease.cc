#include "transport/kube/lease.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark::kube {
namespace {

using std::chrono::microseconds;

constexpr std::int64_t kDurationMax = 24 * 3600;
constexpr int kReleasesMax = 4;

// What is under `spec`; an empty object where there is none.
Json spec_of(const Json& lease) {
  const auto spec = lease.is_object() ? lease.find("spec") : lease.end();
  return lease.is_object() && spec != lease.end() && spec->is_object() ? *spec : Json::object();
}

std::int64_t number_at(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}

// So that candidates do not stay in step: between the period and a fifth more.
microseconds jittered(microseconds period) {
  std::uint64_t chance = 0;
  random_bytes({reinterpret_cast<std::uint8_t*>(&chance), sizeof chance});
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(period.count() / 5, 1));
  return period + microseconds(static_cast<std::int64_t>(chance % span));
}

}  // namespace

std::string micro_time(Timestamp time) {
  const std::int64_t fraction = ((time.us % 1'000'000) + 1'000'000) % 1'000'000;
  std::string text = format_time({time.us - fraction});
  std::array<char, 16> decimals{};
  std::snprintf(decimals.data(), decimals.size(), ".%06lldZ", static_cast<long long>(fraction));
  text.pop_back();  // the Z
  return text + decimals.data();
}

bool LeaseElection::is_held() const {
  return held_ && clock_.uptime() - *held_ < options_.renew_deadline;
}

Call LeaseElection::call_until(microseconds deadline, const std::stop_token& stop) const {
  return Call{stop, net::uptime() + std::max(deadline - clock_.uptime(), microseconds(0))};
}

void LeaseElection::observe(const Json& lease) {
  if (resource_version_of(lease) != resource_version_of(lease_) || uid_of(lease) != uid_of(lease_))
    seen_ = clock_.uptime();
  lease_ = lease;
  holder_ = text_at(spec_of(lease_), "holderIdentity");
}

bool LeaseElection::is_free() const {
  if (holder_.empty()) return true;
  const std::int64_t stated = number_at(spec_of(lease_), "leaseDurationSeconds");
  const std::chrono::seconds duration =
      stated > 0 && stated <= kDurationMax ? std::chrono::seconds(stated) : options_.duration;
  return clock_.uptime() - seen_ >= duration;
}

bool LeaseElection::is_what_we_wrote(const Json& lease) const {
  if (written_.is_null()) return false;
  const Json spec = spec_of(lease);
  for (const char* const key : {"holderIdentity", "acquireTime", "renewTime"})
    if (text_at(spec, key) != text_at(written_, key)) return false;
  return true;
}

Json LeaseElection::spec_to_write(const Json& before, bool takeover) {
  const std::string now = micro_time(clock_.now());
  Json spec = before;  // with fields that are not ours
  spec["holderIdentity"] = options_.identity;
  spec["leaseDurationSeconds"] = options_.duration.count();
  spec["renewTime"] = now;
  if (takeover) {
    spec["acquireTime"] = now;
    const bool first = !before.contains("holderIdentity") && !before.contains("leaseTransitions");
    spec["leaseTransitions"] = first ? 0 : number_at(before, "leaseTransitions") + 1;
  }
  return spec;
}

// What came of a write that was asked for at `asked`.
Outcome<bool> LeaseElection::took(Outcome<Json> answer, microseconds asked) {
  if (answer) {
    written_ = nullptr;
    observe(*answer);
    held_ = asked;
    return true;
  }
  if (!answer.error().outcome_unknown) written_ = nullptr;
  if (answer.error().conflict() || answer.error().already_exists()) {
    forget();
    return false;
  }
  return std::move(answer).error();
}

Outcome<bool> LeaseElection::write(const Json& lease, bool fresh, const Call& call) {
  written_ = spec_of(lease);
  const microseconds asked = written_at_ = clock_.uptime();
  return took(
      fresh ? client_.create(kLeases, lease, {}, call) : client_.update(kLeases, lease, {}, call),
      asked);
}

// Reads it, and takes it where that is allowed.
Outcome<bool> LeaseElection::acquire(const Call& call) {
  auto there = client_.get(kLeases, {options_.ns, options_.name}, call);
  if (!there && !there.error().no_object()) return std::move(there).error();
  if (!there) {
    lease_ = nullptr;
    holder_.clear();
    forget();
    const Json fresh = {{"apiVersion", kLeases.api_version()},
                        {"kind", kLeases.kind},
                        {"metadata", {{"namespace", options_.ns}, {"name", options_.name}}},
                        {"spec", spec_to_write(Json::object(), true)}};
    return write(fresh, true, call);
  }
  observe(*there);
  if (is_what_we_wrote(*there)) {
    // The write whose answer was lost was done.
    written_ = nullptr;
    held_ = written_at_;
    if (is_held()) return true;
  }
  const bool ours = is_held() && holder_ == options_.identity;
  if (!ours) forget();
  if (!ours && !is_free()) return false;
  Json lease = *there;
  lease["spec"] = spec_to_write(spec_of(lease), !ours);
  return write(lease, false, call);
}

Outcome<bool> LeaseElection::step(const std::stop_token& stop) {
  if (!is_held()) forget();
  const microseconds now = clock_.uptime();
  const Call call =
      call_until(held_ ? *held_ + options_.renew_deadline : now + options_.renew_deadline, stop);
  // What is known for certain is renewed without reading it first.
  const bool certain = held_ && written_.is_null() && lease_.is_object();
  if (!certain) return acquire(call);
  Json lease = lease_;
  lease["spec"] = spec_to_write(spec_of(lease), false);
  return write(lease, false, call);
}

Status LeaseElection::release() {
  bool known = held_.has_value() && lease_.is_object() && written_.is_null();
  const bool may_be_ours = held_.has_value() || !written_.is_null();
  forget();
  written_ = nullptr;
  if (!may_be_ours) return {};
  // Its own limit: the process is about to end.
  Call call;
  call.deadline = net::uptime() + std::max(options_.retry_period, microseconds(1'000'000));
  // A write of ours may have been cut short, as by the request to stop. It may be done, and it may
  // be done after we have looked: then ours conflicts, and one more look shows it.
  for (int attempt = 1;; ++attempt) {
    if (!known) {
      auto there = client_.get(kLeases, {options_.ns, options_.name}, call);
      if (!there && there.error().no_object()) return {};
      if (!there) return std::move(there).error();
      observe(*there);
      if (holder_ != options_.identity) return {};
    }
    known = false;
    auto released = write_released(call);
    if (released) return {};
    const auto& error = released.error();
    if (attempt == kReleasesMax || !(error.conflict() || error.outcome_unknown))
      return std::move(released).error();
  }
}

Outcome<Json> LeaseElection::write_released(const Call& call) {
  Json lease = lease_;
  Json& spec = lease["spec"];
  spec["holderIdentity"] = "";
  spec["leaseDurationSeconds"] = 1;
  spec["renewTime"] = micro_time(clock_.now());
  auto answer = client_.update(kLeases, lease, {}, call);
  if (answer) observe(*answer);
  return answer;
}

Status LeaseElection::run(std::stop_token stop, const std::function<void()>& on_leading,
                          const std::function<void()>& on_lost) {
  if (options_.identity.empty() || options_.retry_period.count() <= 0 ||
      options_.renew_deadline <= options_.retry_period ||
      options_.duration <= options_.renew_deadline)
    return Error(ErrorCode::invalid_argument,
                 "a lease needs an identity, and retry period < renew deadline < duration");
  bool leading = false;
  while (!stop.stop_requested()) {
    const auto held = step(stop);
    if (!held && !stop.stop_requested())
      log::warn("lease {}/{}: {}", options_.ns, options_.name, held.error().describe());
    const bool now = is_held();
    if (now && !leading) {
      log::info("lease {}/{}: held by this process", options_.ns, options_.name);
      on_leading();
    } else if (!now && leading) {
      log::warn("lease {}/{}: lost", options_.ns, options_.name);
      on_lost();
    }
    leading = now;
    // Never past the point at which it is lost by our own judgement.
    microseconds pause = jittered(options_.retry_period);
    if (held_) pause = std::min(pause, *held_ + options_.renew_deadline - clock_.uptime());
    sleep_for(stop, std::max(pause, microseconds(0)));
  }
  if (leading) on_lost();
  const auto released = release();
  if (!released)
    log::warn("lease {}/{}: {}", options_.ns, options_.name, released.error().describe());
  return {};
}

}  // namespace tidemark::kube
