#include <nlohmann/json.hpp>

#include "agent/cli/command.h"

namespace tidemark {
namespace {

Result<int> check(Command& command) {
  TM_TRY(const Config* const config, command.config());
  const auto warnings = config_warnings(*config);
  command.print({{"site", config->site}, {"warnings", warnings}}, [&] {
    for (const auto& warning : warnings) std::printf("warning: %s\n", warning.c_str());
    std::printf("%s: good, site %s\n", config->name.c_str(), config->site.c_str());
  });
  return kExitDone;
}

}  // namespace

void add_config_commands(CLI::App& app, Command& command) {
  auto* config = app.add_subcommand("config", "The configuration");
  config->require_subcommand(1);
  config->add_subcommand("check", "Read it and say what is wrong")->callback([&command] {
    command.action = [&command] { return check(command); };
  });
  config->add_subcommand("show", "With every default filled in, without secrets")
      ->callback([&command] {
        command.action = [&command]() -> Result<int> {
          TM_TRY(const Config* const loaded, command.config());
          std::fputs(show_config(*loaded).c_str(), stdout);
          return kExitDone;
        };
      });
  config->add_subcommand("schema", "JSON Schema of the file")->callback([&command] {
    command.action = []() -> Result<int> {
      std::puts(config_schema().c_str());
      return kExitDone;
    };
  });
  app.add_subcommand("version", "The version")->callback([&command] {
    command.action = [&command]() -> Result<int> {
      command.print({{"version", TM_VERSION}}, [] { std::puts("tidemark " TM_VERSION); });
      return kExitDone;
    };
  });
}

}  // namespace tidemark
