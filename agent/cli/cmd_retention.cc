#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/retention/points.h"

namespace tidemark {
namespace {

struct Arguments {
  std::string asset;
  bool dry_run = false;
};

void print_plan(const std::vector<PlannedPoint>& plan) {
  std::vector<std::vector<std::string>> table = {{"ID", "ASSET", "RECEIVED", "DECISION"}};
  for (const PlannedPoint& point : plan) {
    const PointRecord& record = point.row.point.record;
    table.push_back({record.id.hex().substr(0, 12), record.site + ":" + record.asset,
                     shown_time(point.row.point.received), explain(point.decision)});
  }
  print_table(table);
}

nlohmann::json plan_json(const PlannedPoint& point) {
  const PointRecord& record = point.row.point.record;
  return {{"id", record.id.hex()},         {"site", record.site},
          {"asset", record.asset},         {"received", format_time(point.row.point.received)},
          {"keep", point.decision.keep()}, {"why", explain(point.decision)}};
}

Result<std::vector<PlannedPoint>> make_plan(Command& command, StoreAccess& access,
                                            const std::string& asset_text) {
  TM_TRY(const auto filter, command.parse_filter(asset_text));
  TM_TRY(auto rows, access.store->points(filter.first, filter.second));
  if (rows.empty() && !asset_text.empty())
    return Error(ErrorCode::not_found, access.name + " has no points of " + asset_text);
  // Another site's rules are not known here; its store keeps to them all the same.
  StoreRules rules;
  if (command.globals.store_url.empty() && command.globals.peer.empty()) {
    TM_TRY(const Config* const config, command.config());
    if (config->store) rules = store_rules(*config);
  }
  const auto role_of = [&](const std::string& site, const std::string& asset) {
    return access.store->role_of(site, asset);
  };
  return plan_retention(std::move(rows), rules, command.clock.now(), role_of);
}

Result<int> plan(Command& command, const Arguments& arguments) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const auto planned, make_plan(command, access, arguments.asset));
  nlohmann::json points = nlohmann::json::array();
  for (const PlannedPoint& point : planned) points.push_back(plan_json(point));
  command.print({{"points", std::move(points)}}, [&] { print_plan(planned); });
  return kExitDone;
}

// A point that cannot go does not keep the others.
Result<int> apply(Command& command, const Arguments& arguments) {
  if (arguments.dry_run) return plan(command, arguments);
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(auto planned, make_plan(command, access, arguments.asset));
  std::erase_if(planned, [](const PlannedPoint& point) { return point.decision.keep(); });
  nlohmann::json dropped = nlohmann::json::array(), failed = nlohmann::json::array();
  for (const PlannedPoint& point : planned) {
    const auto removed = access.store->remove(point.row.point.record.id);
    nlohmann::json json = plan_json(point);
    if (!removed) {
      json["error"] = removed.error().message();
      std::fprintf(stderr, "tidemark: %s: %s\n", point.row.point.record.id.hex().c_str(),
                   removed.error().message().c_str());
    }
    (removed ? dropped : failed).push_back(std::move(json));
  }
  command.print({{"dropped", dropped}, {"failed", failed}},
                [&] { std::printf("%zu points dropped\n", dropped.size()); });
  return failed.empty() ? kExitDone : kExitPartial;
}

}  // namespace

void add_retention_commands(CLI::App& app, Command& command) {
  auto* retention = app.add_subcommand("retention", "Which points are kept, and why");
  retention->require_subcommand(1);
  auto arguments = std::make_shared<Arguments>();
  const auto add = [&](const char* name, const char* help,
                       Result<int> (*run)(Command&, const Arguments&)) {
    auto* sub = retention->add_subcommand(name, help);
    sub->add_option("ASSET", arguments->asset, "[<site>:]<asset>; all without");
    sub->callback([&command, arguments, run] {
      command.action = [&command, arguments, run] { return run(command, *arguments); };
    });
    return sub;
  };
  add("plan", "What would go, and why the rest stays", plan);
  add("apply", "Drop what no rule wants", apply)
      ->add_flag("--dry-run", arguments->dry_run, "as 'plan'");
}

}  // namespace tidemark
