#include "agent/kube/policy_object.h"

#include <fmt/core.h>

#include <algorithm>

#include "agent/kube/claim.h"

namespace tidemark {
namespace {

using nlohmann::json;

const json& at(const json& object, std::initializer_list<const char*> path) {
  static const json nothing;
  const json* const found = json_at(object, path);
  return found == nullptr ? nothing : *found;
}

// "app=db,tier in (gold,silver),!scratch".
Result<std::string> selector_text(const json& selector) {
  std::string out;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : ",") + part; };
  for (const auto& [key, value] : json_texts(selector, {"matchLabels"})) add(key + "=" + value);
  const json& expressions = at(selector, {"matchExpressions"});
  if (!expressions.is_array()) return out;
  for (const json& one : expressions) {
    const std::string key = json_text(one, {"key"}), op = json_text(one, {"operator"});
    std::string values;
    if (at(one, {"values"}).is_array())
      for (const json& value : at(one, {"values"}))
        if (value.is_string()) values += (values.empty() ? "" : ",") + value.get<std::string>();
    if (op == "In")
      add(key + " in (" + values + ")");
    else if (op == "NotIn")
      add(key + " notin (" + values + ")");
    else if (op == "Exists")
      add(key);
    else if (op == "DoesNotExist")
      add("!" + key);
    else
      return Error(ErrorCode::invalid_argument, "'" + op + "' is no operator of a label selector");
  }
  return out;
}

Result<json> claims_of(const json& object, const std::string& own_ns) {
  const json& selector = at(object, {"spec", "selector"});
  const std::string ns = json_text(object, {"metadata", "namespace"});
  json claims = {{"namespaces", json::array({ns})}};
  if (const json& named = at(selector, {"namespaces"}); named.is_array() && !named.empty()) {
    const bool own = std::ranges::all_of(named, [&](const json& one) { return one == ns; });
    if (!own && ns != own_ns)
      return Error(ErrorCode::refused, "a policy selects claims of its own namespace only")
          .with_hint("make it in namespace " + own_ns);
    claims["namespaces"] = named;
  }
  TM_TRY(const std::string labels, selector_text(at(selector, {"labelSelector"})));
  if (!labels.empty()) claims["labels"] = labels;
  if (const json& classes = at(selector, {"storageClasses"});
      classes.is_array() && !classes.empty())
    claims["storage_classes"] = classes;
  const json& kinds = at(selector, {"kinds"});
  const auto has = [&](const char* kind) {
    return std::ranges::any_of(kinds, [&](const json& one) { return one == kind; });
  };
  const bool named = kinds.is_array() && !kinds.empty();
  claims["volumes"] = !named || has("PersistentVolumeClaim");
  claims["buckets"] = named && has("ObjectBucketClaim");
  return claims;
}

// Pods have one command for each end of the moment, both in one container. The schema fills in what
// an object leaves out, so that of two timeouts the longer one counts.
Result<json> pod_hooks(const json& hooks) {
  json pods = json::object();
  std::optional<std::string> container;
  Duration longest{};
  for (const auto& [theirs, ours] : {std::pair("pre", "before"), std::pair("post", "after")}) {
    const json& list = at(hooks, {theirs});
    if (!list.is_array() || list.empty()) continue;
    if (list.size() > 1)
      return Error(ErrorCode::unsupported, "more than one hook before or after the moment");
    const json& hook = list.front();
    pods[ours] = at(hook, {"command"});
    std::string name = json_text(hook, {"container"});
    if (container && *container != name)
      return Error(ErrorCode::unsupported, "hooks in two containers of a pod");
    if (!name.empty()) pods["container"] = name;
    container = std::move(name);
    const std::string timeout = json_text(hook, {"timeout"});
    // The configuration's reader says what is wrong with it.
    const Duration time = parse_duration(timeout).value_or(Duration::max());
    if (!timeout.empty() && time > longest) {
      longest = time;
      pods["timeout"] = timeout;
    }
    if (json_text(hook, {"onError"}) == "Continue") pods["on_failure"] = "continue";
  }
  return pods;
}

Result<json> policy_json(const json& object, const std::string& own_ns) {
  json policy = {{"to", json_text(object, {"spec", "destination"})}};
  TM_TRY(policy["claims"], claims_of(object, own_ns));
  const bool suspended = at(object, {"spec", "suspend"}) == true;
  for (const char* const key : {"every", "cron", "calendar", "timezone"})
    if (const std::string text = json_text(object, {"spec", "schedule", key});
        !text.empty() && !suspended)
      policy[key] = text;
  constexpr std::pair<const char*, const char*> kKeep[] = {
      {"keepLast", "last"},     {"keepHourly", "hourly"},   {"keepDaily", "daily"},
      {"keepWeekly", "weekly"}, {"keepMonthly", "monthly"}, {"keepYearly", "yearly"}};
  for (const auto& [theirs, ours] : kKeep)
    if (const json& count = at(object, {"spec", "retention", theirs}); count.is_number_integer())
      policy["keep"][ours] = count;
  if (const std::string text = json_text(object, {"spec", "retention", "lockedFor"}); !text.empty())
    policy["keep"]["locked_for"] = text;
  if (at(object, {"spec", "consistency", "group"}) == true) policy["set"] = true;
  TM_TRY(json pods, pod_hooks(at(object, {"spec", "consistency", "hooks"})));
  if (!pods.empty()) policy["hooks"]["pods"] = std::move(pods);
  return policy;
}

}  // namespace

std::string policy_name_of(const std::string& ns, const std::string& name) {
  return "k8s." + ns + "." + name;
}

Result<PolicyConfig> policy_of_object(const json& object, const Config& config,
                                      const std::string& own_ns) {
  TM_TRY(const json policy, policy_json(object, own_ns));
  const std::string to = policy["to"].get<std::string>();
  const auto peer = config.peers.find(to);
  const bool known = to == config.site ? config.store.has_value()
                                       : peer != config.peers.end() && !peer->second.url.empty();
  if (!known)
    return Error(ErrorCode::not_found, "there is no destination '" + to + "'")
        .with_hint("a peer of the agent's configuration, or its own site where it has a store");
  // JSON is YAML: the configuration's own reader checks it, with all that it needs around it.
  json file = {
      {"site", config.site}, {"kubernetes", json::object()}, {"policies", {{"object", policy}}}};
  if (to == config.site)
    file["store"] = {{"backend", {{"type", "file"}, {"path", "/"}}}};
  else
    file["peers"] = {{to, {{"url", "https://peer.invalid:1"}}}},
    file["tls"] = {{"cert", "/c"}, {"key", "/k"}, {"ca", "/a"}};
  if (config.s3)
    file["s3"] = {{"endpoint", "http://gateway.invalid"},
                  {"access_key_file", "/a"},
                  {"secret_key_file", "/s"}};
  auto parsed = parse_config(file.dump(-1, ' ', false, json::error_handler_t::replace),
                             json_text(object, {"metadata", "name"}), "/");
  if (!parsed) return std::move(parsed).error();
  return std::move(parsed->policies.at("object"));
}

}  // namespace tidemark
