#include "agent/kube/drill_object.h"

#include <algorithm>

#include "agent/kube/claim.h"
#include "agent/kube/claims.h"
#include "agent/kube/policy_object.h"

namespace tidemark {
namespace {

using nlohmann::json;

// It is a part of the names of files.
constexpr std::size_t kNameBytesMax = 200;

void rename(json& object, const char* theirs, const char* ours) {
  const auto found = object.find(theirs);
  if (found == object.end()) return;
  json value = std::move(*found);
  object.erase(found);
  object[ours] = std::move(value);
}

Status check_strange(const DrillConfig& plan, const json& spec, const std::string& own_ns) {
  const auto refuse = [&](const std::string& why) {
    return Error(ErrorCode::refused, why).with_hint("make it in namespace " + own_ns);
  };
  if (!plan.checks.command.empty() || !plan.checks.mount.empty())
    return refuse("checks.command and checks.mount run programs in the agent's pod");
  if (spec.contains("scratch")) return refuse("scratch is a directory in the agent's pod");
  for (const std::string& asset : plan.assets)
    if (asset.find_first_of("*?") != std::string::npos)
      return refuse("'" + asset + "' may be of other namespaces");
  return {};
}

// What a plan may refer to, and not what it must not know.
json surroundings(const Config& config) {
  json file = {{"site", config.site}, {"state", config.state.string()}};
  if (config.store) file["store"] = {{"backend", {{"type", "file"}, {"path", "/"}}}};
  for (const auto& [name, peer] : config.peers) {
    json one = json::object();
    if (!peer.url.empty()) one["url"] = "https://peer.invalid:1";
    file["peers"][name] = std::move(one);
  }
  file["tls"] = {{"cert", "/c"}, {"key", "/k"}, {"ca", "/a"}};
  if (!config.standby.empty())
    file["standby"] = {{"any", {{"assets", {"a:rbd/a/a"}}, {"pool", "a"}}}};
  if (config.s3)
    file["s3"] = {{"endpoint", "http://gateway.invalid"},
                  {"access_key_file", "/a"},
                  {"secret_key_file", "/s"}};
  return file;
}

}  // namespace

std::string drill_name_of(const std::string& ns, const std::string& name) {
  return policy_name_of(ns, name);
}

bool has_schedule(const DrillConfig& plan) { return plan.every || plan.cron || plan.calendar; }

Result<DrillConfig> drill_of_object(const json& object, const Config& config,
                                    const std::string& own_ns) {
  const std::string ns = json_text(object, {"metadata", "namespace"});
  const std::string name = json_text(object, {"metadata", "name"});
  if (drill_name_of(ns, name).size() > kNameBytesMax)
    return Error(ErrorCode::invalid_argument, "the object's name is too long");
  const json* const given = json_at(object, {"spec"});
  if (given == nullptr || !given->is_object())
    return Error(ErrorCode::invalid_argument, "it has no spec");
  json spec = *given;
  rename(spec, "overdueAfter", "overdue_after");
  if (const auto limits = spec.find("limits"); limits != spec.end() && limits->is_object())
    rename(*limits, "keepFree", "keep_free");
  // JSON is YAML: the configuration's own reader checks it, with all that it may refer to.
  json file = surroundings(config);
  file["drills"] = {{"object", spec}};
  auto parsed = parse_config(file.dump(-1, ' ', false, json::error_handler_t::replace), name, "/");
  if (!parsed) return std::move(parsed).error();
  DrillConfig plan = std::move(parsed->drills.at("object"));
  if (ns != own_ns) TM_DO(check_strange(plan, spec, own_ns));
  return plan;
}

Status check_assets_of_namespace(PointStore& store, const DrillConfig& plan,
                                 const std::string& ns) {
  for (const std::string& text : plan.assets) {
    TM_TRY(const SiteAsset asset, parse_site_asset(text));
    TM_TRY(const auto rows, store.points(asset.site, asset.asset.text()));
    const bool all = std::ranges::all_of(rows, [&](const PointRow& row) {
      const auto label = row.point.record.labels.find(std::string(kClaimLabel));
      if (label == row.point.record.labels.end()) return false;
      const auto claim = parse_claim_name(label->second);
      return claim && claim->ns == ns;
    });
    if (rows.empty() || !all)
      return Error(ErrorCode::refused, text + " is not what is behind a claim of namespace " + ns);
  }
  return {};
}

}  // namespace tidemark
