#include "agent/drill/points.h"

#include <algorithm>
#include <random>

#include "agent/retention/points.h"
#include "agent/site/set_run.h"
#include "agent/standby/failback.h"

namespace tidemark {
namespace {

using Rows = std::vector<PointRow>;

bool is_out(const PointRow& row) { return row.deleted || is_discarded(row.point.record); }

class Chooser {
 public:
  Chooser(const DrillConfig& plan, Timestamp now, std::uint64_t seed) : plan_(plan), random_(seed) {
    if (plan.point != "newest" && plan.point != "random")
      // Checked when the configuration was read.
      as_of_ = parse_time(plan.point, now).value_or(now);
  }

  std::string rule() const {
    std::string words = as_of_ ? "as of " + format_time(*as_of_) : plan_.point;
    return plan_.set ? words + ", of one set" : words;
  }

  // Of what is there, oldest first.
  template <class Item, class TimeOf>
  const Item* pick(const std::vector<Item>& from, TimeOf time_of) {
    if (from.empty()) return nullptr;
    if (plan_.point == "random")
      return &from[std::uniform_int_distribution<std::size_t>(0, from.size() - 1)(random_)];
    if (!as_of_) return &from.back();
    const Item* found = nullptr;
    for (const Item& item : from)
      if (time_of(item) <= *as_of_) found = &item;
    return found;
  }

 private:
  const DrillConfig& plan_;
  std::mt19937_64 random_;
  std::optional<Timestamp> as_of_;
};

Timestamp time_of(const PointRow& row) { return row.point.record.time; }

Result<std::vector<DrillChoice>> covered_assets(PointStore& store, const DrillConfig& plan) {
  std::vector<DrillChoice> out;
  TM_DO(store.each_latest_point([&](const PointRow& row) -> Status {
    const PointRecord& record = row.point.record;
    if (plan.covers(record.site, record.asset))
      out.push_back({record.site, record.asset, record.time, std::nullopt});
    return {};
  }));
  if (out.empty())
    return Error(ErrorCode::not_found, "the store has no point of what the plan names");
  return out;
}

// Usable points, by the instants that they are of.
Result<Rows> points_of(PointStore& store, const DrillChoice& choice) {
  TM_TRY(Rows rows, store.points(choice.site, choice.asset));
  std::erase_if(rows, is_out);
  std::ranges::stable_sort(rows, {}, time_of);
  return rows;
}

Status choose_alone(PointStore& store, Chooser& chooser, std::vector<DrillChoice>& assets) {
  for (DrillChoice& choice : assets) {
    TM_TRY(const Rows rows, points_of(store, choice));
    if (!rows.empty()) choice.newest = time_of(rows.back());
    if (const PointRow* const row = chooser.pick(rows, time_of)) choice.point = *row;
  }
  return {};
}

// The members of one set that the plan covers.
struct Members {
  Timestamp time;
  Rows rows;
};

Status choose_set(PointStore& store, const DrillConfig& plan, Chooser& chooser,
                  std::vector<DrillChoice>& assets) {
  for (DrillChoice& choice : assets) {
    TM_TRY(Rows rows, points_of(store, choice));
    if (!rows.empty()) choice.newest = time_of(rows.back());
  }
  TM_TRY(Rows rows, store.points("", ""));
  std::erase_if(rows, is_out);
  std::vector<Members> sets;
  for (const SetView& set : sets_of(rows)) {
    if (!set.complete()) continue;
    Members members;
    for (const PointRow& row : rows) {
      const PointRecord& record = row.point.record;
      if (record.set != set.id || !plan.covers(record.site, record.asset)) continue;
      members.time = std::max(members.time, record.time);
      members.rows.push_back(row);
    }
    if (!members.rows.empty()) sets.push_back(std::move(members));
  }
  std::ranges::stable_sort(sets, {}, &Members::time);
  const Members* const chosen =
      chooser.pick(sets, [](const Members& members) { return members.time; });
  if (chosen == nullptr)
    return Error(ErrorCode::not_found, "there is no complete set of what the plan names");
  // Only what the set has; an asset that is not of it is not this plan's.
  std::vector<DrillChoice> out;
  for (DrillChoice& choice : assets)
    for (const PointRow& row : chosen->rows)
      if (row.point.record.site == choice.site && row.point.record.asset == choice.asset) {
        choice.point = row;
        out.push_back(std::move(choice));
        break;
      }
  assets = std::move(out);
  return {};
}

}  // namespace

Result<DrillChoices> choose_drill_points(PointStore& store, const DrillConfig& plan, Timestamp now,
                                         std::uint64_t seed) {
  Chooser chooser(plan, now, seed);
  DrillChoices out;
  out.rule = chooser.rule();
  TM_TRY(out.assets, covered_assets(store, plan));
  TM_DO(plan.set ? choose_set(store, plan, chooser, out.assets)
                 : choose_alone(store, chooser, out.assets));
  return out;
}

}  // namespace tidemark
