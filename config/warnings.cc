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

void warn_peer(const std::string& name, const PeerConfig& peer, std::vector<std::string>& out) {
  const std::string at = "peers." + name;
  if (peer.quota_bytes)
    out.push_back(at + ".quota is not acted upon by this version: nothing is refused.");
  if (peer.locked_for)
    out.push_back(at +
                  ".locked_for is not acted upon by this version: only the 'locked_for' of the "
                  "policies at the source holds.");
}

}  // namespace

std::vector<std::string> config_warnings(const Config& config) {
  std::vector<std::string> out;
  for (const auto& [name, peer] : config.peers) warn_peer(name, peer, out);
  if (config.store && config.store->gc.repack != CollectConfig().repack)
    out.push_back("store.gc.repack is not acted upon by this version: no pack is written anew.");
  if (config.store && !config.listen)
    out.push_back("store is served to nobody but this site, because 'listen' is not set.");
  for (const auto& [name, policy] : config.policies) warn_policy(name, policy, out);
  if (!config.standby.empty())
    out.push_back("standby is not acted upon by this version: no standby images are kept.");
  return out;
}

}  // namespace tidemark
