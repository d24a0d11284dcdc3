// What of the store's service holds sites to the rules that the configuration has for them.

#include <algorithm>

#include "agent/service/store_service.h"
#include "base/text.h"

namespace tidemark {

Status StoreService::set_rules(StoreRules rules) {
  const bool quota = std::ranges::any_of(
      rules, [](const auto& rule) { return rule.second.quota_bytes.has_value(); });
  {
    const std::lock_guard lock(rules_mutex_);
    rules_ = std::move(rules);
  }
  const std::lock_guard lock(commit_mutex_);
  return quota && !usage_.counted() ? count_usage() : Status();
}

Status StoreService::count_usage() {
  SiteUsage::Bytes bytes;
  TM_TRY(const auto view, catalog_->view());
  TM_DO(view->each_point([&](const PointRow& row) -> Status {
    bytes[row.point.record.site] += row.point.stored_bytes;
    return {};
  }));
  usage_.set(std::move(bytes));
  return {};
}

std::optional<Timestamp> StoreService::lock_of(const PointRow& row) const {
  const auto own = locked_until(row.point.received, rule_of(row.point.record));
  const std::lock_guard lock(rules_mutex_);
  return std::max(own, store_lock_of(rules_, row.point));
}

Status StoreService::check_quota(std::string_view site, std::uint64_t more) {
  std::optional<std::uint64_t> quota;
  {
    const std::lock_guard lock(rules_mutex_);
    if (const auto rule = rules_.find(site); rule != rules_.end()) quota = rule->second.quota_bytes;
  }
  if (!quota) return {};
  const auto kept = usage_.of(site);
  if (!kept)
    return Error(ErrorCode::unavailable,
                 "the points of " + std::string(site) + " could not be counted for their quota");
  std::uint64_t used = *kept + more;
  TM_DO(catalog_->each_session([&](const SessionRow& row) -> Status {
    if (row.site == site) used += row.stored_bytes;
    return {};
  }));
  // A point is begun where there is room for any of it.
  if (more > 0 ? used <= *quota : used < *quota) return {};
  return Error(ErrorCode::resource_exhausted,
               "the quota of site " + std::string(site) + " in this store is used up: " +
                   format_bytes(used) + " of " + format_bytes(*quota))
      .with_hint("the operator of the store can delete points or raise peers." +
                 std::string(site) + ".quota; what is there can be read and restored");
}

}  // namespace tidemark
