#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/drill/junit.h"
#include "agent/drill/page.h"
#include "agent/drill/run.h"
#include "base/files.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr unsigned kReadableByAll = 0644;

struct Outputs {
  std::string html, junit, json_file;
};

void add_outputs(CLI::App& app, Outputs& outputs) {
  app.add_option("--html", outputs.html, "also write the report as one page of HTML");
  app.add_option("--junit", outputs.junit, "also write it as JUnit XML");
  app.add_option("--report", outputs.json_file, "also write it as it is kept: what is hashed");
}

Status write_outputs(const DrillBook::Entry& entry, const Outputs& outputs) {
  const auto write = [](const std::string& path, const std::string& text) {
    return path.empty() ? Status() : write_file_durably(path, as_bytes(text), kReadableByAll);
  };
  TM_DO(write(outputs.html, page_of(entry.report, {entry.hash, entry.link})));
  TM_DO(write(outputs.junit, junit_of(entry.report)));
  return write(outputs.json_file, entry.text);
}

json link_json(const std::optional<JournalLink>& link) {
  if (!link) return nullptr;
  return {{"sequence", link->sequence}, {"hash", link->hash}, {"previous", link->previous}};
}

json entry_json(const DrillBook::Entry& entry) {
  return {{"report", json::parse(entry.text, nullptr, false)},
          {"sha256", entry.hash.hex()},
          {"journal", link_json(entry.link)}};
}

std::string shown(const std::optional<Duration>& duration) {
  return duration ? format_duration(*duration) : "-";
}

std::string checks_text(const DrillAsset& asset) {
  std::string text;
  for (const DrillCheck& check : asset.checks)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", check.name, name_of(check.result));
  return text.empty() ? "none" : text;
}

void print_report(const DrillBook::Entry& entry) {
  const DrillReport& report = entry.report;
  std::printf("drill     %s of plan %s, %s\n", report.id.c_str(), report.plan.c_str(),
              report.trigger.c_str());
  std::printf("result    %s\n", summary(report).c_str());
  std::printf("points    %s\n", report.rule.c_str());
  std::vector<std::vector<std::string>> table = {
      {"ASSET", "RESULT", "RPO", "RTO", "PREDICTED", "WRITTEN", "CHECKS"}};
  for (const DrillAsset& asset : report.assets)
    table.push_back({asset.site + ":" + asset.asset, std::string(name_of(asset.result)),
                     shown(asset.rpo.measured), shown(asset.rto.measured), shown(asset.predicted),
                     format_bytes(asset.written_bytes), checks_text(asset)});
  print_table(table);
  for (const DrillAsset& asset : report.assets) {
    const std::string name = asset.site + ":" + asset.asset;
    if (!asset.problem.empty()) std::printf("%s: %s\n", name.c_str(), asset.problem.c_str());
    for (const DrillCheck& check : asset.checks)
      if (check.result != DrillCheck::Result::passed)
        std::printf("%s: %s: %s\n", name.c_str(), check.name.c_str(), check.message.c_str());
    for (const std::string& left : asset.left)
      std::printf("%s: not removed: %s\n", name.c_str(), left.c_str());
  }
  std::printf("sha256    %s\n", entry.hash.hex().c_str());
  if (entry.link)
    std::printf("journal   entry %llu, %s\n", static_cast<unsigned long long>(entry.link->sequence),
                entry.link->hash.c_str());
  else
    std::puts("journal   the store's journal does not name it");
}

int exit_code(const DrillReport& report) {
  switch (report.result) {
    case DrillResult::passed:
    case DrillResult::skipped:
      return kExitDone;
    case DrillResult::interrupted:
      return kExitInterrupted;
    case DrillResult::failed:
      break;
  }
  return kExitFailed;
}

Result<int> run_plan(Command& command, const std::string& plan, const Outputs& outputs,
                     std::optional<std::uint64_t> seed) {
  TM_TRY(const Config* const config, command.config());
  DrillOptions options;
  options.seed = seed;
  options.stop = command.stop.get_token();
  if (!command.globals.quiet)
    options.tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  TM_TRY(const DrillBook::Entry entry, run_drill(*config, plan, command.clock, options));
  command.print(entry_json(entry), [&] { print_report(entry); });
  TM_DO(write_outputs(entry, outputs));
  return exit_code(entry.report);
}

Result<int> list(Command& command, const std::string& plan) {
  TM_TRY(const Config* const config, command.config());
  TM_TRY(const auto all, drill_book(*config).all());
  json out = json::array();
  std::vector<std::vector<std::string>> table = {
      {"ID", "PLAN", "STARTED", "TOOK", "RESULT", "ASSETS", "JOURNAL"}};
  for (auto at = all.rbegin(); at != all.rend(); ++at) {
    const DrillReport& report = at->report;
    if (!plan.empty() && report.plan != plan) continue;
    const auto passed = std::ranges::count(report.assets, DrillResult::passed, &DrillAsset::result);
    out.push_back({{"id", report.id},
                   {"plan", report.plan},
                   {"started", format_time(report.started)},
                   {"ended", format_time(report.ended)},
                   {"result", name_of(report.result)},
                   {"problem", report.problem},
                   {"assets", report.assets.size()},
                   {"passed", passed},
                   {"sha256", at->hash.hex()},
                   {"journal", link_json(at->link)}});
    table.push_back({report.id, report.plan, shown_time(report.started),
                     format_duration(report.ended - report.started),
                     std::string(name_of(report.result)),
                     fmt::format("{} of {} passed", passed, report.assets.size()),
                     at->link ? std::to_string(at->link->sequence) : "-"});
  }
  command.print({{"drills", out}}, [&] { print_table(table); });
  return kExitDone;
}

// Whether the journal of the store still has the entry, and it names these very bytes.
Status verify_link(Command& command, const Config& config, const DrillBook::Entry& entry) {
  if (!entry.link)
    return Error(ErrorCode::not_found,
                 "the store's journal does not name drill " + entry.report.id);
  const auto plan = config.drills.find(entry.report.plan);
  const std::string from = plan == config.drills.end() ? config.site : plan->second.from;
  TM_TRY(StoreAccess access,
         open_store_named(config, from, command.clock, command.stop.get_token()));
  TM_TRY(const JournalEntry found, access.store->journal_entry(entry.link->sequence));
  const json text = json::parse(found.text, nullptr, false);
  if (found.hash.hex() != entry.link->hash || !text.is_object() ||
      text.value("sha256", json()) != entry.hash.hex() ||
      text.value("drill", json()) != entry.report.id)
    return Error(ErrorCode::corruption,
                 "drill " + entry.report.id + " is not what the store's journal says of it");
  return {};
}

Result<int> show(Command& command, const std::string& id, const Outputs& outputs, bool verify) {
  TM_TRY(const Config* const config, command.config());
  const DrillBook book = drill_book(*config);
  TM_TRY(const DrillBook::Entry entry, book.find(id));
  TM_DO(write_outputs(entry, outputs));
  if (verify) {
    TM_DO(book.verify_chain());
    TM_DO(verify_link(command, *config, entry));
  }
  json out = entry_json(entry);
  if (verify) out["verified"] = true;
  command.print(out, [&] {
    print_report(entry);
    if (verify) std::puts("verified  the reports are linked, and the journal names this one");
  });
  return kExitDone;
}

}  // namespace

void add_drill_commands(CLI::App& app, Command& command) {
  auto* drill = app.add_subcommand("drill", "Rehearse recoveries, and show what came of them");
  drill->require_subcommand(1);
  auto* run = drill->add_subcommand("run", "Rehearse a plan of the configuration now");
  auto plan = std::make_shared<std::string>();
  auto outputs = std::make_shared<Outputs>();
  auto seed = std::make_shared<std::optional<std::uint64_t>>();
  run->add_option("PLAN", *plan, "a plan under 'drills'")->required();
  run->add_option("--seed", *seed, "what chance is drawn from, to repeat an earlier drill");
  add_outputs(*run, *outputs);
  run->footer(
      "Exit codes: 0 passed, 1 failed, 2 usage, 4 no such plan, 5 it runs already, "
      "130 interrupted.");
  run->callback([&command, plan, outputs, seed] {
    command.action = [&command, plan, outputs, seed] {
      return run_plan(command, *plan, *outputs, *seed);
    };
  });
  auto* listing = drill->add_subcommand("list", "The drills of this site, newest first");
  auto only = std::make_shared<std::string>();
  listing->add_option("PLAN", *only, "only of this plan");
  listing->callback(
      [&command, only] { command.action = [&command, only] { return list(command, *only); }; });
  auto* showing = drill->add_subcommand("show", "One drill's report");
  auto id = std::make_shared<std::string>();
  auto verify = std::make_shared<bool>(false);
  auto shown_as = std::make_shared<Outputs>();
  showing->add_option("ID", *id, "its id, or how it begins")->required();
  showing->add_flag("--verify", *verify,
                    "hold it against the reports beside it and the store's journal");
  add_outputs(*showing, *shown_as);
  showing->callback([&command, id, shown_as, verify] {
    command.action = [&command, id, shown_as, verify] {
      return show(command, *id, *shown_as, *verify);
    };
  });
}

}  // namespace tidemark
