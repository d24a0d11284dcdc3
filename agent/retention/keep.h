// Which points of an asset are kept, and why: pure functions of the points, the rules and the time.
//
// Time is the store's: when it received a point. Points stand in the order in which they came in,
// which decides where times are equal. A day, week (from Monday), month and year are those of UTC.
//
//   last: N     the N newest complete points; of those in part that are newer still, the N newest
//   hourly: N   of the N newest hours that have points, the newest point each; the others likewise
//   locked_for  a point that young is kept, by the rule that it was taken under
//
// Besides these a store may have rules of its own for what a site sends (points.h): until the time
// that such a rule gives, a point is kept whatever the others say.
//
// Of an hour's (a day's …) points a complete one is chosen before one that was taken in part. So a
// point in part takes no place from a complete one, however many of them come after it.
// A point goes when neither the rule in force nor the rule that it was taken under wants it: a
// larger rule holds at once, a smaller one only for points taken since, so that whoever forges a
// point with a small rule drops none of the others. The newest point and the newest complete one
// always stay.
//
// A point that was received in the future, for the clock was set back, stays until its time has
// come, and takes no place: where one would stand among the others, nobody knows. So neither does
// a clock that is wrong for a while drop what came before, nor points of that while what comes
// after.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "config/config.h"

namespace tidemark {

struct RetentionPoint {
  PointId id;
  Timestamp received;
  std::uint64_t sequence = 0;
  std::optional<KeepConfig> rule;  // that it was taken under; nothing: it is kept for ever
  bool pinned = false;
  bool in_part = false;
  std::optional<Timestamp> store_lock;  // until when the store's own rule for the site keeps it
  std::string site;                     // whose point it is; for the explanation of store_lock
};

enum class KeepReason : std::uint8_t {
  pinned,
  locked,
  locked_by_store,
  future,
  role,
  role_unknown,
  no_rule,
  newest,
  newest_complete,
  last,
  last_in_part,
  hourly,
  daily,
  weekly,
  monthly,
  yearly
};

struct KeepDecision {
  PointId id;
  struct Reason {
    KeepReason reason;
    std::uint64_t number = 0;  // "the 3rd …": of last to yearly, counted from the newest
    std::uint64_t of = 0;      // "… of 24"
    bool by_own_rule = false;  // not by the one in force
    Timestamp time{};          // locks: when it ends; hourly to yearly: when the hour (…) began
    std::string site = {};     // locked_by_store: whom the rule is for
    bool operator==(const Reason&) const = default;
  };
  std::vector<Reason> reasons;  // none: it goes
  bool keep() const { return !reasons.empty(); }
};

// A decision for each point, in the order given. `rule`: the one in force now; nothing: every point
// is kept.
std::vector<KeepDecision> decide_retention(std::span<const RetentionPoint> points,
                                           const std::optional<KeepConfig>& rule, Timestamp now);

// When the lock of a point ends; nothing where it has none.
std::optional<Timestamp> locked_until(Timestamp received, const std::optional<KeepConfig>& rule);

// One sentence for an operator: "kept: pinned; number 2 of 24 hours (2026-11-23T10)", "goes: no
// line of 'keep' wants it". Times are UTC.
std::string explain(const KeepDecision& decision);

// As it is written into a point's labels: "last=6 hourly=24 locked_for=604800s"; words of 0 are
// left out. One rule has one text.
std::string keep_text(const KeepConfig& keep);
// `unsupported` for a word that this version does not know: the point is kept then.
Result<KeepConfig> parse_keep(std::string_view text);

// Labels of points, set by the source.
inline constexpr std::string_view kKeepLabel = "keep", kPolicyLabel = "policy",
                                  kInPartLabel = "keys_unsettled";
// What a site had when its asset came back from another one, before that was rolled over; its value
// is the token of the role. No state that anybody goes on from (is_discarded() in points.h).
inline constexpr std::string_view kDiscardedLabel = "tidemark.discarded";

}  // namespace tidemark
