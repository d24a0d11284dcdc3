#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/site/events.h"

namespace tidemark {
namespace {

using nlohmann::json;

Result<int> list(Command& command, bool all) {
  TM_TRY(const Config* const config, command.config());
  TM_TRY(const auto events, read_events(config->state));
  json out = json::array();
  std::vector<std::vector<std::string>> table = {
      {"ID", "SINCE", "SEVERITY", "STATE", "KIND", "SUBJECT", "MESSAGE"}};
  for (const Event& event : events) {
    if (event.over && !all) continue;
    out.push_back(event_json(event, config->site));
    const std::string state = event.over ? "over" : event.acknowledged ? "acknowledged" : "open";
    table.push_back({event.id, shown_time(event.since), std::string(name_of(event.severity)), state,
                     event.kind, event.subject, event.message});
  }
  command.print({{"events", out}}, [&] { print_table(table); });
  return kExitDone;
}

Result<int> acknowledge(Command& command, const std::string& id, const std::string& note) {
  TM_TRY(const Config* const config, command.config());
  TM_DO(acknowledge_event(config->state, id, note));
  command.print({{"acknowledged", id}},
                [] { std::puts("acknowledged; a running agent takes it up within two seconds"); });
  return kExitDone;
}

}  // namespace

void add_events_command(CLI::App& app, Command& command) {
  auto* events = app.add_subcommand("events", "What needs a person at this site");
  auto all = std::make_shared<bool>(false);
  events->add_flag("--all", *all, "also what is over");
  events->callback([&command, all, events] {
    if (events->get_subcommands().empty())
      command.action = [&command, all] { return list(command, *all); };
  });
  auto* ack =
      events->add_subcommand("ack", "It is known: no alarm until it is over and comes back");
  auto id = std::make_shared<std::string>(), note = std::make_shared<std::string>();
  ack->add_option("ID", *id, "an event's id, or how it begins")->required();
  ack->add_option("--note", *note, "kept with it");
  ack->callback([&command, id, note] {
    command.action = [&command, id, note] { return acknowledge(command, *id, *note); };
  });
}

}  // namespace tidemark
