#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "transport/pki.h"

namespace tidemark {

void add_pki_commands(CLI::App& app, Command& command) {
  auto* pki = app.add_subcommand("pki", "A small certificate authority");
  pki->require_subcommand(1);
  auto directory = std::make_shared<std::string>();
  auto issue = std::make_shared<PkiIssue>();
  auto days = std::make_shared<int>(397);

  auto* init = pki->add_subcommand("init", "Create the authority");
  init->add_option("DIR", *directory, "where ca.crt and ca.key go")->required();
  init->callback([&command, directory] {
    command.action = [&command, directory]() -> Result<int> {
      TM_DO(pki_init(*directory, command.clock.now()));
      command.print({{"ca", *directory + "/ca.crt"}}, [&] {
        std::printf("%s/ca.crt goes to every site; keep %s/ca.key away from them\n",
                    directory->c_str(), directory->c_str());
      });
      return kExitDone;
    };
  });

  auto* add = pki->add_subcommand("issue", "Issue or renew a site's certificate");
  add->add_option("DIR", *directory, "the authority's directory")->required();
  add->add_option("--site", issue->site, "the site's name")->required();
  add->add_option("--host", issue->hosts, "names and addresses under which its agent is reached")
      ->required();
  add->add_option("--days", *days, "how long it is valid")->check(CLI::Range(1, 3650));
  add->callback([&command, directory, issue, days] {
    command.action = [&command, directory, issue, days]() -> Result<int> {
      issue->valid = std::chrono::days(*days);
      TM_DO(pki_issue(*directory, *issue, command.clock.now()));
      const std::string base = *directory + "/" + issue->site;
      command.print({{"cert", base + ".crt"}, {"key", base + ".key"}}, [&] {
        std::printf("%s.crt and %s.key go to site %s\n", base.c_str(), base.c_str(),
                    issue->site.c_str());
      });
      return kExitDone;
    };
  });
}

}  // namespace tidemark
