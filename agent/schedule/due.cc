#include "agent/schedule/due.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "base/crypto.h"

namespace tidemark {
namespace {

constexpr Duration kNoObjective = std::chrono::hours(24);

struct Slot {
  Timestamp begin, end;
};

// The slot that `now` lies in. REQUIRES: one of every and calendar is set.
Slot slot_at(const Schedule& schedule, std::string_view asset, Timestamp now) {
  if (schedule.every) {
    const std::int64_t every = schedule.every->count();
    const std::int64_t moved =
        now.us - jitter_of(asset, std::min(schedule.jitter, *schedule.every)).count();
    const std::int64_t into = (moved % every + every) % every;
    const Timestamp begin{now.us - into};
    return {begin, begin + *schedule.every};
  }
  const Duration jitter = jitter_of(asset, schedule.jitter);
  const Timestamp moved = now + -jitter;
  return {last_instant(*schedule.calendar, moved) + jitter,
          next_instant(*schedule.calendar, moved) + jitter};
}

Due due_in(const Slot& slot, std::optional<Timestamp> newest, Timestamp now) {
  if (!newest) return {Due::Why::no_point, now};
  if (*newest > now) return {Due::Why::clock_set_back, now};
  if (*newest < slot.begin) return {Due::Why::slot, slot.begin};
  return {Due::Why::waiting, slot.end};
}

bool is_by_hand(const Schedule& schedule) { return !schedule.every && !schedule.calendar; }

}  // namespace

Schedule schedule_of(const PolicyConfig& policy) {
  return {policy.every, policy.cron ? policy.cron : policy.calendar, policy.jitter};
}

Duration jitter_of(std::string_view asset, Duration jitter) {
  if (jitter <= Duration::zero()) return Duration::zero();
  const Digest digest = sha256(as_bytes(asset));
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8; ++i) number = number << 8 | digest.bytes[i];
  return Duration(static_cast<std::int64_t>(number % static_cast<std::uint64_t>(jitter.count())));
}

std::optional<Due> next_due(const Schedule& schedule, std::string_view asset,
                            std::optional<Timestamp> newest, Timestamp now) {
  if (is_by_hand(schedule)) return std::nullopt;
  return due_in(slot_at(schedule, asset, now), newest, now);
}

double urgency(Timestamp now, std::optional<Timestamp> newest, std::optional<Duration> rpo,
               std::optional<Duration> every) {
  if (!newest) return std::numeric_limits<double>::infinity();
  if (*newest > now) return 1;
  const Duration objective = rpo ? *rpo : every ? 2 * *every : kNoObjective;
  // As floating point before anything is subtracted: a point's time may be any number.
  const double age = static_cast<double>(now.us) - static_cast<double>(newest->us);
  return age / static_cast<double>(std::max(objective, Duration(1)).count());
}

std::vector<DueAsset> due_assets(std::span<const AssetState> assets, Timestamp now) {
  std::vector<DueAsset> found;
  for (std::size_t i = 0; i < assets.size(); ++i) {
    const AssetState& state = assets[i];
    if (is_by_hand(*state.schedule)) continue;
    const Slot slot = slot_at(*state.schedule, state.asset, now);
    const Due due = due_in(slot, state.newest, now);
    if (due.now())
      found.push_back({i, urgency(now, state.newest, state.rpo, slot.end - slot.begin), due});
  }
  std::ranges::sort(found, [&](const DueAsset& a, const DueAsset& b) {
    if (a.urgency != b.urgency) return a.urgency > b.urgency;
    return std::tie(a.due.at, assets[a.index].asset, a.index) <
           std::tie(b.due.at, assets[b.index].asset, b.index);
  });
  return found;
}

}  // namespace tidemark
