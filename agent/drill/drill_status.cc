#include "agent/drill/drill_status.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace tidemark {
namespace {

using nlohmann::json;

json time_json(const std::optional<Timestamp>& time) {
  return time ? json(format_time(*time)) : json(nullptr);
}

}  // namespace

std::vector<std::string> DrillStatus::overdue(Timestamp now) const {
  std::vector<std::string> out;
  const auto late = [&](Timestamp since) { return now - since > overdue_after; };
  for (const DrillAssetStatus& asset : assets)
    if (late(asset.passed.value_or(known_since))) out.push_back(asset.site + ":" + asset.asset);
  if (assets.empty() && late(known_since)) out.emplace_back();
  return out;
}

DrillStatus drill_status_of(const std::string& plan, std::span<const DrillReport> reports) {
  DrillStatus status;
  status.plan = plan;
  using Key = std::pair<std::string, std::string>;
  std::map<Key, DrillAssetStatus> passed;
  const DrillReport* last_with_assets = nullptr;
  for (const DrillReport& report : reports) {
    if (report.plan != plan) continue;
    if (!status.last_started || report.started >= *status.last_started) {
      status.last = report.id;
      status.last_started = report.started;
      status.last_result = report.result;
      if (!report.assets.empty()) last_with_assets = &report;
    }
    for (const DrillAsset& asset : report.assets) {
      if (asset.result != DrillResult::passed) continue;
      DrillAssetStatus& one = passed[{asset.site, asset.asset}];
      if (one.passed && *one.passed > report.started) continue;
      one = {asset.site, asset.asset, report.started, asset.rto.measured};
    }
  }
  if (last_with_assets == nullptr) return status;
  for (const DrillAsset& asset : last_with_assets->assets) {
    if (asset.result == DrillResult::skipped) continue;  // nobody expects it to be brought back
    const auto found = passed.find({asset.site, asset.asset});
    status.assets.push_back(
        found != passed.end() ? found->second : DrillAssetStatus{asset.site, asset.asset, {}, {}});
  }
  std::ranges::sort(status.assets, {},
                    [](const DrillAssetStatus& asset) { return Key(asset.site, asset.asset); });
  return status;
}

json drill_status_json(const DrillStatus& status, Timestamp now) {
  json assets = json::array();
  for (const DrillAssetStatus& asset : status.assets)
    assets.push_back(
        {{"site", asset.site},
         {"asset", asset.asset},
         {"passed_at", time_json(asset.passed)},
         {"rto_seconds",
          asset.rto ? json(std::chrono::duration<double>(*asset.rto).count()) : json(nullptr)}});
  return {{"plan", status.plan},
          {"running_since", time_json(status.running)},
          {"next_due", time_json(status.next_due)},
          {"last", text_or_null(status.last)},
          {"last_started", time_json(status.last_started)},
          {"last_result", status.last_result ? json(name_of(*status.last_result)) : json(nullptr)},
          {"error", text_or_null(status.error)},
          {"overdue", status.overdue(now)},
          {"assets", std::move(assets)}};
}

}  // namespace tidemark
