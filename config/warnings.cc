#include "config/config.h"

namespace tidemark {
namespace {

void warn_policy(const std::string& name, const PolicyConfig& policy,
                 std::vector<std::string>& out) {
  const std::string at = "policies." + name;
  if (!policy.every && !policy.cron && !policy.calendar)
    out.push_back(at + " has no 'every', 'cron' or 'calendar': points are taken by hand only.");
  if (policy.objective.rto)
    out.push_back(at + ".objective.rto is not acted upon by this version: no drill is held to it.");
}

}  // namespace

std::vector<std::string> config_warnings(const Config& config) {
  std::vector<std::string> out;
  if (config.store && !config.listen)
    out.push_back("store is served to nobody but this site, because 'listen' is not set.");
  for (const auto& [name, policy] : config.policies) warn_policy(name, policy, out);
  return out;
}

}  // namespace tidemark
