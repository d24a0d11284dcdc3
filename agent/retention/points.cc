#include "agent/retention/points.h"

#include <algorithm>
#include <map>

namespace tidemark {

StoreRules store_rules(const Config& config) {
  StoreRules rules;
  for (const auto& [site, peer] : config.peers)
    if (peer.locked_for || peer.quota_bytes) rules[site] = {peer.locked_for, peer.quota_bytes};
  return rules;
}

std::optional<Timestamp> store_lock_of(const StoreRules& rules, const CommittedPoint& point) {
  const auto rule = rules.find(point.record.site);
  if (rule == rules.end() || !rule->second.locked_for) return std::nullopt;
  return point.received + *rule->second.locked_for;
}

std::optional<KeepConfig> rule_of(const PointRecord& record) {
  const auto label = record.labels.find(std::string(kKeepLabel));
  if (label == record.labels.end()) return std::nullopt;
  auto rule = parse_keep(label->second);
  if (!rule) return std::nullopt;
  return *rule;
}

bool is_discarded(const PointRecord& record) {
  return record.labels.contains(std::string(kDiscardedLabel));
}

std::vector<PlannedPoint> plan_retention(std::vector<PointRow> rows, const StoreRules& rules,
                                         Timestamp now) {
  std::erase_if(rows, [](const PointRow& row) { return row.deleted.has_value(); });
  std::map<std::pair<std::string, std::string>, std::vector<std::size_t>> assets;
  for (std::size_t i = 0; i < rows.size(); ++i)
    assets[{rows[i].point.record.site, rows[i].point.record.asset}].push_back(i);
  std::vector<PlannedPoint> planned;
  for (const auto& [asset, members] : assets) {
    std::vector<RetentionPoint> points;
    const PointRow* newest = nullptr;
    for (const std::size_t i : members) {
      const PointRow& row = rows[i];
      const PointRecord& record = row.point.record;
      points.push_back({record.id, row.point.received, row.point.sequence, rule_of(record),
                        row.pinned, record.labels.contains(std::string(kInPartLabel)),
                        store_lock_of(rules, row.point), record.site});
      if (newest == nullptr || row.point.sequence > newest->point.sequence) newest = &row;
    }
    auto decisions = decide_retention(points, rule_of(newest->point.record), now);
    for (std::size_t n = 0; n < members.size(); ++n)
      planned.push_back({std::move(rows[members[n]]), std::move(decisions[n])});
  }
  return planned;
}

}  // namespace tidemark
