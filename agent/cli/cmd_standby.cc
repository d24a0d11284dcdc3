#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/service/point_json.h"
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

struct PromoteArguments {
  std::vector<std::string> assets;
  bool all = false;
  std::string point;
};

// Those of `list` that are meant.
Result<std::vector<std::string>> choose(const PromoteArguments& arguments, const json& list) {
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

// Each is decided on durably; then all are waited for.
Result<int> run_promote(Command& command, const PromoteArguments& arguments) {
  TM_TRY(json list, ask(command, "GET", kListTarget));
  TM_TRY(const auto assets, choose(arguments, list));
  for (const std::string& asset : assets) {
    std::string target = "/v1/standby/promote?asset=" + url_encode(asset);
    if (!arguments.point.empty()) target += "&point=" + url_encode(arguments.point);
    TM_TRY(list, ask(command, "POST", target));
  }
  while (true) {
    json ours = json::array();
    bool done = true, failed = false;
    for (const json& one : list) {
      if (std::ranges::find(assets, word(one, "site") + ":" + word(one, "asset")) == assets.end())
        continue;
      ours.push_back(one);
      done = done && (word(one, "state") == "primary" || word(one, "state") == "problem");
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

}  // namespace

void add_standby_commands(CLI::App& app, Command& command) {
  auto* standby = app.add_subcommand("standby", "Images kept ready for use at this site");
  standby->require_subcommand(1);
  auto* list = standby->add_subcommand("list", "What is kept, and how current it is");
  list->footer("Exit codes: 0 all is well, 3 a standby has a problem.");
  list->callback([&command] { command.action = [&command] { return run_list(command); }; });
  auto* promote = standby->add_subcommand(
      "promote", "Release standby images for use; their site sends no more points from then on");
  auto arguments = std::make_shared<PromoteArguments>();
  promote->add_option("ASSET", arguments->assets, "[SITE:]ASSET");
  promote->add_flag("--all", arguments->all, "every standby that is kept here");
  promote->add_option("--point", arguments->point, "at this point (default: the newest)");
  promote->footer("Repeating it is safe. Exit codes: 0 all are released, 3 some are not yet.");
  promote->callback([&command, arguments] {
    command.action = [&command, arguments] { return run_promote(command, *arguments); };
  });
}

}  // namespace tidemark
