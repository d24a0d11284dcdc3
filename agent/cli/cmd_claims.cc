#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/kube/claims.h"
#include "base/json.h"

namespace tidemark {
namespace {

using nlohmann::json;

Result<int> list_claims(Command& command) {
  TM_TRY(const Config* const config, command.config());
  if (!config->kubernetes)
    return Error(ErrorCode::invalid_argument, config->name + ": 'kubernetes' is needed for claims");
  TM_TRY(const auto source, connect_claims(*config->kubernetes, command.stop.get_token()));
  TM_TRY(const ClaimList list, source->claims());
  json out = json::array();
  std::vector<std::vector<std::string>> table = {
      {"CLAIM", "CLASS", "SIZE", "ASSET", "POLICY", "NOTE"}};
  for (const Claim& claim : list.claims) {
    const std::string policy = policy_of_claim(*config, claim);
    const std::string asset = claim.asset ? claim.asset->text() : std::string();
    out.push_back({{"claim", claim.name.text()},
                   {"uid", claim.uid},
                   {"labels", claim.labels},
                   {"storage_class", claim.storage_class},
                   {"volume", claim.volume},
                   {"size_bytes", claim.size_bytes},
                   {"block", claim.block},
                   {"encrypted", claim.encrypted},
                   {"asset", text_or_null(asset)},
                   {"policy", text_or_null(policy)},
                   {"problem", text_or_null(claim.problem)}});
    table.push_back({claim.name.text(), claim.storage_class,
                     claim.size_bytes > 0 ? format_bytes(claim.size_bytes) : "-", asset, policy,
                     claim.problem});
  }
  for (const std::string& problem : list.problems)
    std::fprintf(stderr, "tidemark: %s\n", problem.c_str());
  command.print({{"claims", std::move(out)}, {"problems", list.problems}},
                [&] { print_table(table); });
  return list.problems.empty() ? kExitDone : kExitPartial;
}

}  // namespace

void add_claims_command(CLI::App& app, Command& command) {
  auto* claims = app.add_subcommand("claims", "Claims of this cluster, and what protects them");
  claims->footer("Exit codes: 0 done, 3 some namespaces may not be read.");
  claims->callback([&command] { command.action = [&command] { return list_claims(command); }; });
}

}  // namespace tidemark
