#include "config/config.h"

namespace tidemark {
namespace {

void warn_policy(const std::string& name, const PolicyConfig& policy, bool drills,
                 std::vector<std::string>& out) {
  const std::string at = "policies." + name;
  if (!policy.every && !policy.cron && !policy.calendar)
    out.push_back(at + " has no 'every', 'cron' or 'calendar': points are taken by hand only.");
  if (policy.objective.rto && !drills)
    out.push_back(at +
                  ".objective.rto is promised, but there is no drill here that would show it.");
}

}  // namespace

std::vector<std::string> config_warnings(const Config& config) {
  std::vector<std::string> out;
  if (config.store && !config.listen)
    out.push_back("store is served to nobody but this site, because 'listen' is not set.");
  for (const auto& [name, policy] : config.policies)
    warn_policy(name, policy, !config.drills.empty(), out);
  for (const auto& [name, drill] : config.drills)
    if (!drill.every && !drill.cron && !drill.calendar)
      out.push_back("drills." + name +
                    " has no 'every', 'cron' or 'calendar': it is run by hand only.");
  return out;
}

}  // namespace tidemark
