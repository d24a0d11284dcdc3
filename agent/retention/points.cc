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

bool is_needed_by(const AssetRole& role, const PointId& point) {
  return role.token > 0 && role.holder != role.site && role.point == point;
}

namespace {

// The points of one asset.
std::vector<KeepDecision> decide(const std::vector<PointRow>& rows, const StoreRules& rules,
                                 Timestamp now) {
  std::vector<RetentionPoint> all, others;
  const PointRow* newest = nullptr;
  const auto place = [](const PointRow& row) {
    return std::pair(!is_discarded(row.point.record), row.point.sequence);
  };
  for (const PointRow& row : rows) {
    const PointRecord& record = row.point.record;
    all.push_back({record.id, row.point.received, row.point.sequence, rule_of(record), row.pinned,
                   record.labels.contains(std::string(kInPartLabel)),
                   store_lock_of(rules, row.point), record.site});
    if (!is_discarded(record)) others.push_back(all.back());
    if (newest == nullptr || place(row) > place(*newest)) newest = &row;
  }
  const auto rule = rule_of(newest->point.record);
  auto decisions = decide_retention(all, rule, now);
  if (others.size() == all.size()) return decisions;
  // As if there were none that were discarded.
  auto decided = decide_retention(others, rule, now);
  std::size_t next = 0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (!is_discarded(rows[i].point.record)) decisions[i] = std::move(decided[next++]);
  return decisions;
}

// What an asset's role needs stays, whatever the rules say.
void keep_for_role(const RoleSource& role_of, const std::vector<PointRow>& rows,
                   std::vector<KeepDecision>& decisions) {
  if (!role_of || std::ranges::all_of(decisions, &KeepDecision::keep)) return;
  const PointRecord& record = rows.front().point.record;
  const auto role = role_of(record.site, record.asset);
  if (!role && role.error().code() == ErrorCode::unsupported) return;
  for (KeepDecision& decision : decisions) {
    if (!role)
      decision.reasons.push_back({KeepReason::role_unknown});
    else if (is_needed_by(*role, decision.id))
      decision.reasons.push_back({KeepReason::role});
  }
}

}  // namespace

std::vector<PlannedPoint> plan_retention(std::vector<PointRow> rows, const StoreRules& rules,
                                         Timestamp now, const RoleSource& role_of) {
  std::map<std::pair<std::string, std::string>, std::vector<PointRow>> assets;
  for (PointRow& row : rows)
    if (!row.deleted)
      assets[{row.point.record.site, row.point.record.asset}].push_back(std::move(row));
  std::vector<PlannedPoint> planned;
  for (auto& [asset, members] : assets) {
    auto decisions = decide(members, rules, now);
    keep_for_role(role_of, members, decisions);
    for (std::size_t n = 0; n < members.size(); ++n)
      planned.push_back({std::move(members[n]), std::move(decisions[n])});
  }
  return planned;
}

}  // namespace tidemark
