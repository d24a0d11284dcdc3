// When the next point of an asset is due, and which asset is first.
//
// A schedule cuts time into slots. A point is due when the newest one is of before the slot that
// `now` lies in: however many slots were missed, one point is due. A point taken at any time in a
// slot stands for it, so that what a backup takes shifts nothing; one from just before a slot does
// not, for the slot's point is what the objective was set for.
//
//   every     slots begin at multiples of `every` since 1970, UTC
//   calendar  slots begin at the instants that the calendar names
//
// Both are moved by the asset's own share of `jitter`, which follows from its name alone: it is the
// same at every start and at every site, and spreads assets evenly.
//
// All functions are pure and safe from any thread. `newest` is when the point was taken that came
// in last (not the one with the highest time), by the clock that `now` is read from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "config/calendar.h"
#include "config/config.h"

namespace tidemark {

// At most one of `every` and `calendar` is set; with neither, points are taken by hand only.
struct Schedule {
  std::optional<Duration> every;  // above zero
  std::optional<Calendar> calendar;
  // Assets are spread over that much time, from the beginning of a slot. Of `every` at most the
  // whole; with a calendar it should be less than the time between two instants.
  Duration jitter = Duration::zero();
  bool operator==(const Schedule&) const = default;
};

Schedule schedule_of(const PolicyConfig& policy);

// By how much the slots of an asset are moved: from 0 to below `jitter`.
Duration jitter_of(std::string_view asset, Duration jitter);

struct Due {
  enum class Why : std::uint8_t {
    no_point,        // due now: there is none
    clock_set_back,  // due now: the newest is of the future; the next counts from the one taken now
    slot,            // due now: the slot that began at `at` has none
    waiting,         // not due before `at`
  };
  Why why = Why::waiting;
  Timestamp at;  // `now` for no_point and clock_set_back
  bool now() const { return why != Why::waiting; }
  bool operator==(const Due&) const = default;
};

// Nothing where the schedule is by hand only.
std::optional<Due> next_due(const Schedule& schedule, std::string_view asset,
                            std::optional<Timestamp> newest, Timestamp now);

// How close an asset is to missing its objective: the age of its newest point as a part of `rpo`;
// from 1 on the objective is missed. Without `rpo` it is twice `every` (one point was missed),
// without either a day. Infinite without a point. 1 where the newest is of the future: how old it
// is nobody knows.
double urgency(Timestamp now, std::optional<Timestamp> newest, std::optional<Duration> rpo,
               std::optional<Duration> every);

struct AssetState {
  std::string asset;
  const Schedule* schedule = nullptr;  // never null; outlives the call
  std::optional<Timestamp> newest;
  std::optional<Duration> rpo;
};
struct DueAsset {
  std::size_t index = 0;  // in what was given
  double urgency = 0;     // a calendar's `every` is the time from its slot to the next
  Due due;
};
// Those due now, the most urgent first; of equals the one that is due for longer, then by name,
// then in the order given.
std::vector<DueAsset> due_assets(std::span<const AssetState> assets, Timestamp now);

}  // namespace tidemark
