#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/service/point_json.h"
#include "agent/site/backup_run.h"
#include "agent/site/status.h"
#include "base/files.h"
#include "base/queue.h"
#include "transport/pki.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kWatchStep{2};
constexpr std::uint64_t kStatusBytesMax = 64 * kMiB;
// An agent that wrote no status for so long hangs.
constexpr Duration kSilentMax = std::chrono::seconds(60);
constexpr std::chrono::seconds kPatience{5};

bool has(const json& object, const char* key, json::value_t type, bool or_null) {
  const auto it = object.find(key);
  if (it == object.end()) return false;
  const bool number = type == json::value_t::number_unsigned && it->is_number();
  return it->type() == type || number || (or_null && it->is_null());
}

// True where all that is printed is there, and of the kind that it should be: the agent may be of
// another version.
bool is_status(const json& status) {
  using Type = json::value_t;
  const bool whole =
      status.is_object() && has(status, "site", Type::string, false) &&
      has(status, "time", Type::string, false) && has(status, "agent_since", Type::string, true) &&
      has(status, "problems", Type::array, false) && has(status, "assets", Type::array, false) &&
      has(status, "store", Type::object, true);
  if (!whole) return false;
  const json& store = status["store"];
  if (store.is_object())
    for (const char* key : {"points", "packs", "pack_bytes", "free_bytes"})
      if (!has(store, key, Type::number_unsigned, std::string_view(key) == "free_bytes"))
        return false;
  return std::ranges::all_of(status["assets"], [](const json& asset) {
    if (!asset.is_object()) return false;
    for (const char* key : {"site", "asset", "policy", "to", "state", "last_error", "next_due"})
      if (!has(asset, key, Type::string, true)) return false;
    for (const char* key : {"age_seconds", "rpo_seconds"})
      if (!has(asset, key, Type::number_unsigned, true)) return false;
    if (!has(asset, "running", Type::object, true)) return false;
    const json& running = asset["running"];
    if (!running.is_object()) return true;
    for (const char* key : {"size_bytes", "position_bytes", "bytes_per_second", "eta_seconds"})
      if (!has(running, key, Type::number_unsigned, std::string_view(key) == "eta_seconds"))
        return false;
    return true;
  });
}

// As the agent wrote it; nothing where none runs.
Result<std::optional<json>> ask_agent(const Config& config, Timestamp now) {
  std::error_code absent;
  if (!std::filesystem::exists(agent_lock_file(config), absent)) return std::optional<json>();
  const auto lock = lock_file(agent_lock_file(config));
  if (lock || lock.error().code() != ErrorCode::refused) return std::optional<json>();
  auto bytes = read_file(status_file(config), kStatusBytesMax);
  if (!bytes && bytes.error().code() == ErrorCode::not_found) return std::optional<json>();
  if (!bytes) return std::move(bytes).error();
  auto parsed = parse_json(as_text(*bytes));
  if (!parsed || !is_status(*parsed))
    return Error(ErrorCode::unavailable,
                 status_file(config).string() + " is no status of this version's agent");
  json status = *std::move(parsed);
  TM_TRY(const Timestamp time, parse_time(status["time"].get<std::string>(), now));
  if (now - time > kSilentMax)
    status["problems"].push_back("the agent has written no status since " + format_time(time));
  return std::optional(std::move(status));
}

void add_policies(const Config& config, BackupRunner& runner, SiteStatus& status) {
  for (const auto& [name, policy] : config.policies) {
    const auto jobs = runner.jobs_of_policy(name);
    if (!jobs) {
      status.problems.push_back("policy " + name + ": " + jobs.error().message());
      continue;
    }
    for (const BackupJob& job : *jobs) {
      AssetStatus asset;
      asset.site = config.site;
      asset.asset = job.asset.text();
      asset.policy = name;
      asset.to = job.to;
      asset.rpo = policy.objective.rpo;
      const auto newest = runner.newest(job);
      asset.known = newest.has_value();
      if (!newest)
        status.problems.push_back(asset.asset + " at " + job.to + ": " + newest.error().message());
      if (newest && *newest) asset.newest = newest_of(**newest);
      status.assets.push_back(std::move(asset));
    }
  }
}

// Without an agent: clusters and stores are asked.
Result<json> find_out(Command& command, const Config& config) {
  SiteStatus status;
  status.site = config.site;
  status.time = command.clock.now();
  std::optional<StoreAccess> own;
  if (config.store) {
    TM_TRY(own, open_own_store(config, command.clock, command.stop.get_token()));
  }
  BackupRunner runner(config, command.clock, command.stop.get_token());
  runner.set_patience(kPatience);
  if (own) runner.use_own_store(&*own);
  add_policies(config, runner, status);
  if (own) {
    status.store.emplace();
    TM_TRY(status.store->stats, own->store->stats());
    TM_DO(add_received(*own->store, status));
  }
  if (config.tls)
    if (const auto end = certificate_expiry(config.tls->cert); end) status.certificate_end = *end;
  return status_json(status);
}

std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

std::string span_of(const json& seconds) {
  if (!seconds.is_number()) return "";
  return format_duration(std::chrono::seconds(seconds.get<std::int64_t>()));
}

std::string work_of(const json& asset) {
  const json& running = asset["running"];
  if (running.is_object()) {
    const auto size = running.value("size_bytes", std::uint64_t{0}),
               position = running.value("position_bytes", std::uint64_t{0});
    std::string text = "running";
    if (size > 0)
      text += " " + std::to_string(std::min<std::uint64_t>(100, 100 * position / size)) + "%";
    text += ", " + format_bytes(running.value("bytes_per_second", std::uint64_t{0})) + "/s";
    if (running["eta_seconds"].is_number())
      text += ", " + span_of(running["eta_seconds"]) + " left";
    return text;
  }
  if (asset["last_error"].is_string()) return "failed";
  return asset["next_due"].is_string() ? "next " + text_of(asset["next_due"]).substr(0, 19) + "Z"
                                       : "";
}

// Those that nobody has acknowledged, one line each.
void print_events(const json& status) {
  std::size_t known = 0;
  for (const json& event : status.value("events", json::array())) {
    if (!event.is_object() || event.value("acknowledged_at", json()).is_string()) {
      ++known;
      continue;
    }
    const auto text = [&](const char* key) { return text_of(event.value(key, json())); };
    std::string what = text("kind");
    if (!text("subject").empty()) what += " of " + text("subject");
    std::printf("!! %s %s, %s since %s: %s\n", text("severity").c_str(), text("id").c_str(),
                what.c_str(), text("since").substr(0, 19).c_str(), text("message").c_str());
  }
  if (known > 0) std::printf("%zu events are acknowledged ('tidemark events')\n", known);
}

void print_status(const json& status) {
  std::printf("site %s, %s, %s\n", text_of(status["site"]).c_str(),
              text_of(status["time"]).substr(0, 19).c_str(),
              status["agent_since"].is_string() ? "agent running" : "no agent running");
  if (const json& store = status["store"]; store.is_object()) {
    std::printf("store: %llu points, %s in %llu packs",
                static_cast<unsigned long long>(store.value("points", std::uint64_t{0})),
                format_bytes(store.value("pack_bytes", std::uint64_t{0})).c_str(),
                static_cast<unsigned long long>(store.value("packs", std::uint64_t{0})));
    if (store["free_bytes"].is_number())
      std::printf(", %s free", format_bytes(store["free_bytes"].get<std::uint64_t>()).c_str());
    std::printf("\n");
  }
  print_events(status);
  std::vector<std::vector<std::string>> table = {
      {"ASSET", "POLICY", "TO", "NEWEST POINT", "OBJECTIVE", "STATE", "WORK"}};
  for (const json& asset : status["assets"]) {
    const std::string age = span_of(asset["age_seconds"]);
    table.push_back({text_of(asset["site"]) + ":" + text_of(asset["asset"]),
                     text_of(asset["policy"]), text_of(asset["to"]),
                     age.empty() ? "none" : age + " ago", span_of(asset["rpo_seconds"]),
                     text_of(asset["state"]), work_of(asset)});
  }
  print_table(table);
  for (const json& asset : status["assets"])
    if (asset["last_error"].is_string())
      std::printf("! %s: %s\n", text_of(asset["asset"]).c_str(),
                  text_of(asset["last_error"]).c_str());
  // Of an agent that keeps none, or knows of none yet.
  for (const json& drill : status.value("drills", json::array())) {
    const auto word = [&](const char* key) {
      const json value = drill.value(key, json());
      return value.is_string() ? value.get<std::string>() : std::string("-");
    };
    const std::size_t overdue = drill.value("overdue", json::array()).size();
    std::printf("drill %s  last %s: %s%s; next %s%s\n", word("plan").c_str(),
                word("last_started").c_str(), word("last_result").c_str(),
                overdue == 0 ? "" : (", " + std::to_string(overdue) + " overdue").c_str(),
                word("next_due").c_str(),
                drill.value("running_since", json()).is_string() ? "; running now" : "");
  }
  for (const json& standby : status.value("standby", json::array())) {
    const auto word = [&](const char* key) { return text_of(standby.value(key, json())); };
    std::printf("standby %s of %s:%s  %s%s%s\n", word("image").c_str(), word("site").c_str(),
                word("asset").c_str(), word("state").c_str(),
                standby.value("error", json()).is_string() ? ": " : "",
                standby.value("error", json()).is_string() ? word("error").c_str() : "");
  }
  for (const json& problem : status["problems"]) std::printf("! %s\n", text_of(problem).c_str());
}

Result<int> show(Command& command, bool watch) {
  TM_TRY(const Config* const config, command.config());
  const bool clears = watch && !command.globals.json && ::isatty(STDOUT_FILENO) == 1;
  while (true) {
    TM_TRY(auto told, ask_agent(*config, command.clock.now()));
    if (!told) {
      TM_TRY(told, find_out(command, *config));
    }
    if (clears) std::printf("\033[H\033[2J");
    if (watch && command.globals.json)
      std::puts(told->dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    else
      command.print(*told, [&] { print_status(*told); });
    std::fflush(stdout);
    if (!watch) return (*told)["problems"].empty() ? kExitDone : kExitPartial;
    if (!sleep_for(command.stop.get_token(), kWatchStep)) return kExitDone;
  }
}

}  // namespace

void add_status_command(CLI::App& app, Command& command) {
  auto* status = app.add_subcommand(
      "status", "How old the newest points are, what is under way, and what is amiss");
  auto watch = std::make_shared<bool>(false);
  status->add_flag("--watch", *watch, "again every two seconds; with --json one line each");
  status->footer("Exit codes: 0 everything could be found out, 3 not everything.");
  status->callback(
      [&command, watch] { command.action = [&command, watch] { return show(command, *watch); }; });
}

}  // namespace tidemark
