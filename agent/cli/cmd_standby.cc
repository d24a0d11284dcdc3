#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/service/point_json.h"
#include "agent/standby/failback.h"
#include "base/queue.h"
#include "base/text.h"
#include "transport/http.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr const char* kListTarget = "/v1/standby";
constexpr std::chrono::milliseconds kAskAgain{200};

std::string word(const json& from, const char* key) {
  const json value = from.value(key, json());
  return value.is_string() ? value.get<std::string>() : std::string();
}

Result<json> ask(Command& command, std::string_view method, const std::string& target) {
  TM_TRY(const Config* const config, command.config());
  TM_TRY(const std::string answer,
         ask_own_agent(*config, method, target, command.stop.get_token()));
  TM_TRY(const json parsed, parse_json(answer));
  const json list = parsed.value("standby", json());
  if (!list.is_array()) return Error(ErrorCode::corruption, "the agent's answer is malformed");
  return list;
}

void print_list(const Command& command, const json& list) {
  command.print({{"standby", list}}, [&] {
    std::vector<std::vector<std::string>> table = {
        {"ASSET", "IMAGE", "STATE", "POINT", "OF", "ERROR"}};
    for (const json& one : list)
      table.push_back({word(one, "site") + ":" + word(one, "asset"), word(one, "image"),
                       word(one, "state"), word(one, "point").substr(0, 12),
                       word(one, "point_time").substr(0, 19), word(one, "error")});
    print_table(table);
  });
}

Result<int> run_list(Command& command) {
  TM_TRY(const json list, ask(command, "GET", kListTarget));
  print_list(command, list);
  return std::ranges::any_of(list, [](const json& one) { return word(one, "state") == "problem"; })
             ? kExitPartial
             : kExitDone;
}

struct ChangeArguments {
  std::vector<std::string> assets;
  bool all = false, lost = false;
  std::string point, set;
};

// What is to be changed, and at which point (empty: the newest).
struct Chosen {
  std::string asset, point;
};

// Those of `list` that are meant.
Result<std::vector<std::string>> choose(const ChangeArguments& arguments, const json& list) {
  std::vector<std::string> out;
  if (arguments.all)
    for (const json& one : list) out.push_back(word(one, "site") + ":" + word(one, "asset"));
  for (const std::string& text : arguments.assets) {
    TM_TRY(const SiteAsset asset, parse_site_asset(text));
    const auto before = out.size();
    for (const json& one : list)
      if (word(one, "asset") == asset.asset.text() &&
          (asset.site.empty() || word(one, "site") == asset.site))
        out.push_back(word(one, "site") + ":" + word(one, "asset"));
    if (out.size() == before)
      return Error(ErrorCode::not_found, "no standby of " + text + " is kept")
          .with_hint("'tidemark standby list' shows what is");
    if (out.size() > before + 1)
      return Error(ErrorCode::invalid_argument, "several sites have " + text)
          .with_hint("write it as SITE:" + text);
  }
  if (out.empty())
    return Error(ErrorCode::invalid_argument, "name the assets, or give --all")
        .with_hint("'tidemark standby list' shows what there is");
  return out;
}

// The point of each in a set. Of all that are kept, those of the set are meant.
Result<std::vector<Chosen>> choose_in_set(Command& command, const ChangeArguments& arguments,
                                          const std::vector<std::string>& assets) {
  TM_TRY(StoreAccess access, command.open_store());
  std::vector<Chosen> out;
  std::string set;
  for (const std::string& asset : assets) {
    const auto row = command.find_point(access, asset, "", "", arguments.set);
    if (!row && row.error().code() == ErrorCode::not_found && arguments.all) continue;
    if (!row) return row.error();
    const PointRecord& record = row->point.record;
    if (!out.empty() && record.set != set)
      return Error(ErrorCode::invalid_argument,
                   asset + " is not of the set of " + out.front().asset)
          .with_hint("name one set by its id: tidemark points --json");
    set = record.set;
    out.push_back({asset, record.id.hex()});
  }
  if (out.empty())
    return Error(ErrorCode::not_found, "no standby has a point in a set '" + arguments.set + "'");
  return out;
}

Result<std::vector<Chosen>> choose_points(Command& command, const ChangeArguments& arguments,
                                          const json& list) {
  TM_TRY(const auto assets, choose(arguments, list));
  if (!arguments.set.empty()) return choose_in_set(command, arguments, assets);
  std::vector<Chosen> out;
  for (const std::string& asset : assets) out.push_back({asset, arguments.point});
  return out;
}

// Has the agent begin `verb` for each asset; then all are waited for.
Result<int> change(Command& command, const ChangeArguments& arguments, const std::string& verb,
                   const std::string& wanted) {
  TM_TRY(json list, ask(command, "GET", kListTarget));
  TM_TRY(const auto chosen, choose_points(command, arguments, list));
  for (const auto& [asset, point] : chosen) {
    std::string target = "/v1/standby/" + verb + "?asset=" + url_encode(asset);
    if (!point.empty()) target += "&point=" + url_encode(point);
    if (arguments.lost) target += "&lost=true";
    TM_TRY(list, ask(command, "POST", target));
  }
  while (true) {
    json ours = json::array();
    bool done = true, failed = false;
    for (const json& one : list) {
      const std::string name = word(one, "site") + ":" + word(one, "asset");
      if (std::ranges::find(chosen, name, &Chosen::asset) == chosen.end()) continue;
      ours.push_back(one);
      done = done && (word(one, "state") == wanted || word(one, "state") == "problem");
      failed = failed || word(one, "state") == "problem";
    }
    if (done) {
      print_list(command, ours);
      return failed ? kExitPartial : kExitDone;
    }
    if (!sleep_for(command.stop.get_token(), kAskAgain))
      return Error(ErrorCode::cancelled,
                   "interrupted; the agent goes on with what was decided: 'tidemark standby list'");
    TM_TRY(list, ask(command, "GET", kListTarget));
  }
}

json plan_json(const FailbackPlan& plan) {
  const auto optional = [](const std::optional<PointId>& id) {
    return id ? json(id->hex()) : json(nullptr);
  };
  return {{"token", plan.role.token},
          {"holder", plan.role.holder},
          {"point", plan.role.point.hex()},
          {"image_here", plan.image_here},
          {"common_point", optional(plan.common)},
          {"changed_here_bytes", plan.changed_here_bytes},
          {"changed_there_bytes", plan.changed_there_bytes},
          {"discarded_point", optional(plan.discarded)}};
}

void print_plan(const std::string& asset, const FailbackPlan& plan) {
  if (!plan.role.holder.empty()) {
    std::printf("%s is in use here again; its first point is to be taken\n", asset.c_str());
    return;
  }
  std::printf("%s was handed over at point %s (token %llu)\n", asset.c_str(),
              plan.role.point.hex().substr(0, 12).c_str(),
              static_cast<unsigned long long>(plan.role.token));
  if (!plan.image_here) {
    std::puts("  there is no image here: it is made anew");
    return;
  }
  std::printf("  last point in common: %s\n",
              plan.common ? plan.common->hex().substr(0, 12).c_str() : "none is known");
  std::printf("  here, and not there:  %s%s\n", format_bytes(plan.changed_here_bytes).c_str(),
              plan.changed_here_bytes == 0 ? "" : "; kept as a point before it is rolled over");
  std::printf("  to be written here:   %s\n", format_bytes(plan.changed_there_bytes).c_str());
}

Result<int> run_failback(Command& command, const std::string& text, bool plan_only) {
  TM_TRY(const Config* const config, command.config());
  TM_TRY(const SiteAsset asset, command.parse_asset(text));
  if (asset.site != config->site)
    return Error(ErrorCode::invalid_argument, text + " is not of this site")
        .with_hint("failback runs at the site that the asset is of");
  if (asset.asset.kind() != AssetName::Kind::rbd)
    return Error(ErrorCode::unsupported, "only images are kept as standby");
  BackupRunner runner(*config, command.clock, command.stop.get_token());
  TM_TRY(BackupJob job, runner.job_of_asset(asset.asset));
  Failback failback(*config, runner, std::move(job), command.stop.get_token());
  if (plan_only) {
    TM_TRY(const FailbackPlan plan, failback.plan());
    command.print({{"plan", plan_json(plan)}}, [&] { print_plan(asset.asset.text(), plan); });
    return kExitDone;
  }
  TM_TRY(const FailbackReport report, failback.run());
  json out = {
      {"plan", plan_json(report.plan)},
      {"written_bytes", report.written_bytes},
      {"fetched_bytes", report.fetched_bytes},
      {"first_point", point_json(report.first)},
      {"discarded_point", report.discarded ? point_json(*report.discarded) : json(nullptr)}};
  command.print(out, [&] {
    print_plan(asset.asset.text(), report.plan);
    if (report.discarded)
      std::printf("kept what was only here as point %s\n",
                  report.discarded->point.record.id.hex().substr(0, 12).c_str());
    std::printf("%s written, %s fetched; in use here, first point %s\n",
                format_bytes(report.written_bytes).c_str(),
                format_bytes(report.fetched_bytes).c_str(),
                report.first.point.record.id.hex().substr(0, 12).c_str());
  });
  return kExitDone;
}

}  // namespace

void add_standby_commands(CLI::App& app, Command& command) {
  auto* standby = app.add_subcommand("standby", "Images kept ready for use at this site");
  standby->require_subcommand(1);
  auto* list = standby->add_subcommand("list", "What is kept, and how current it is");
  list->footer("Exit codes: 0 all is well, 3 a standby has a problem.");
  list->callback([&command] { command.action = [&command] { return run_list(command); }; });
  auto* promote = standby->add_subcommand(
      "promote", "Release standby images for use; their site sends no more points from then on");
  auto arguments = std::make_shared<ChangeArguments>();
  promote->add_option("ASSET", arguments->assets, "[SITE:]ASSET");
  promote->add_flag("--all", arguments->all, "every standby that is kept here");
  auto* point =
      promote->add_option("--point", arguments->point, "at this point (default: the newest)");
  promote
      ->add_option(
          "--set", arguments->set,
          "each at its point of a set: an id, how one begins, or 'latest' (that is complete)")
      ->excludes(point);
  auto* demote = standby->add_subcommand(
      "demote", "Take a last point of images that were released, and hand them over");
  auto handed = std::make_shared<ChangeArguments>();
  demote->add_option("ASSET", handed->assets, "[SITE:]ASSET");
  demote->add_flag("--all", handed->all, "every one that was released here");
  demote->add_flag(
      "--lost", handed->lost,
      "the images cannot be read any more: hand over at the newest points, and give up "
      "what was written since");
  demote->footer("Nothing may use the images. Exit codes: 0 all are handed over, 3 some are not.");
  demote->callback([&command, handed] {
    command.action = [&command, handed] { return change(command, *handed, "demote", "demoted"); };
  });
  auto* failback = standby->add_subcommand(
      "failback", "Bring an asset of this site back that was handed over elsewhere");
  auto text = std::make_shared<std::string>();
  auto plan_only = std::make_shared<bool>(false);
  failback->add_option("ASSET", *text)->required();
  failback->add_flag("--plan", *plan_only, "only say what each side has that the other lacks");
  failback->footer("What only this side has is kept as a point. Repeating it is safe.");
  failback->callback([&command, text, plan_only] {
    command.action = [&command, text, plan_only] {
      return run_failback(command, *text, *plan_only);
    };
  });
  promote->footer("Repeating it is safe. Exit codes: 0 all are released, 3 some are not yet.");
  promote->callback([&command, arguments] {
    command.action = [&command, arguments] {
      return change(command, *arguments, "promote", "primary");
    };
  });
}

}  // namespace tidemark
