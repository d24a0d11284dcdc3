#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/cli/progress.h"
#include "agent/read/bucket_diff.h"
#include "agent/service/point_json.h"
#include "agent/site/backup_run.h"
#include "agent/site/daemon.h"
#include "agent/site/set_run.h"

namespace tidemark {
namespace {

struct BackupArguments {
  std::vector<std::string> assets;
  std::string policy, set;
  bool all = false, full = false;
};

Result<BackupJob> job_named(BackupRunner& runner, const std::string& text) {
  if (is_claim_name(text)) {
    TM_TRY(const ClaimName claim, parse_claim_name(text));
    return runner.job_of_claim(claim);
  }
  TM_TRY(const AssetName asset, AssetName::parse(text));
  return runner.job_of_asset(asset);
}

Result<std::vector<BackupJob>> choose(BackupRunner& runner, const Config& config,
                                      const BackupArguments& arguments) {
  std::vector<BackupJob> jobs;
  for (const std::string& text : arguments.assets) {
    TM_TRY(BackupJob job, job_named(runner, text));
    jobs.push_back(std::move(job));
  }
  std::vector<std::string> policies;
  if (!arguments.policy.empty()) policies.push_back(arguments.policy);
  if (arguments.all)
    for (const auto& [name, unused] : config.policies) policies.push_back(name);
  for (const std::string& policy : policies) {
    TM_TRY(auto more, runner.jobs_of_policy(policy));
    jobs.insert(jobs.end(), more.begin(), more.end());
  }
  if (jobs.empty())
    return Error(ErrorCode::not_found, "nothing to back up")
        .with_hint("name assets, or a policy with --policy, or say --all");
  return jobs;
}

std::string note_of(const BackupProgress& progress) {
  std::string note = format_bytes(progress.sent_bytes) + " sent";
  if (progress.keys_unsettled > 0)
    note += ", " + std::to_string(progress.keys_unsettled) + " keys unsettled";
  return note;
}

void print_outcome(const BackupReport& report) {
  const PointRecord& record = report.point.point.record;
  std::printf("%s  %s  %s  %s changed, %s shipped, %s\n", record.id.hex().substr(0, 12).c_str(),
              record.asset.c_str(), report.mode.c_str(), format_bytes(record.changed_bytes).c_str(),
              format_bytes(record.shipped_bytes).c_str(),
              format_duration(std::chrono::milliseconds(record.duration_ms)).c_str());
}

void print_unsettled(const BackupReport& report) {
  const UnsettledKeys& keys = report.unsettled;
  if (keys.count == 0) return;
  const std::string& asset = report.point.point.record.asset;
  for (const UnsettledKey& one : keys.named)
    std::fprintf(stderr, "tidemark: %s: %s: %s\n", asset.c_str(), printable_key(one.key).c_str(),
                 one.why.message().c_str());
  std::fprintf(stderr,
               "tidemark: %s: taken in part: %llu keys are not in the point as the bucket "
               "has them\n",
               asset.c_str(), static_cast<unsigned long long>(keys.count));
}

nlohmann::json report_json(const BackupReport& report) {
  nlohmann::json point = point_json(report.point);
  point["mode"] = report.mode;
  point["read_bytes"] = report.read_bytes;
  if (report.point.point.record.kind != PointKind::bucket) return point;
  point["objects_read"] = report.objects_read;
  point["keys_moved"] = report.keys_moved;
  point["changes_from"] = report.by_index_log ? "index log" : "listing";
  point["keys_unsettled"] = report.unsettled.count;
  point["unsettled"] = unsettled_json(report.unsettled);
  return point;
}

// What is taken together: those of a policy that says so, all that is named where --set is given,
// and otherwise each alone.
struct Batch {
  std::string set;  // empty: one job, alone
  std::string policy;
  std::vector<BackupJob> jobs;
};

std::vector<Batch> batches_of(const Config& config, const BackupArguments& arguments,
                              const std::vector<BackupJob>& jobs) {
  std::vector<Batch> out;
  if (!arguments.set.empty()) {
    // One policy's hooks, or none.
    const bool one = std::ranges::all_of(
        jobs, [&](const BackupJob& job) { return job.policy == jobs.front().policy; });
    out.push_back({arguments.set, one ? jobs.front().policy : "", jobs});
    return out;
  }
  const bool by_policy = arguments.assets.empty();
  for (const BackupJob& job : jobs) {
    const bool set = by_policy && config.policies.at(job.policy).set;
    if (set && !out.empty() && out.back().set == job.policy)
      out.back().jobs.push_back(job);
    else
      out.push_back({set ? job.policy : "", job.policy, {job}});
  }
  return out;
}

using Reports = std::vector<Result<BackupReport>>;

Reports run_batch(Command& command, const Config& config, BackupRunner& runner, const Batch& batch,
                  bool full) {
  std::vector<std::shared_ptr<BackupProgress>> progress;
  for (std::size_t i = 0; i < batch.jobs.size(); ++i)
    progress.push_back(std::make_shared<BackupProgress>());
  const std::string what = batch.set.empty() ? batch.jobs.front().asset.text() : batch.set;
  const ProgressDisplay display(what, command.globals.quiet, [&] {
    BackupProgress all;
    for (const auto& one : progress) {
      all.position_bytes += one->position_bytes;
      all.size_bytes += one->size_bytes;
      all.read_bytes += one->read_bytes;
      all.sent_bytes += one->sent_bytes;
      all.keys_unsettled += one->keys_unsettled;
    }
    return ProgressState{all.position_bytes, all.size_bytes, all.read_bytes, note_of(all)};
  });
  Reports reports;
  if (batch.set.empty()) {
    reports.push_back(runner.run(batch.jobs.front(), progress.front().get(), full));
    return reports;
  }
  std::optional<StoreAccess> own;
  if (batch.jobs.front().to == config.site) {
    auto opened = open_own_store(config, command.clock, command.stop.get_token());
    if (!opened) {
      reports.assign(batch.jobs.size(), opened.error());
      return reports;
    }
    own = *std::move(opened);
  }
  const SetPlan plan{batch.set, batch.policy, batch.jobs, full};
  return run_set(config, std::make_shared<PolicyLimits>(config, command.clock), command.clock,
                 own ? &*own : nullptr, plan, progress, command.stop.get_token());
}

Result<int> run_backup(Command& command, const BackupArguments& arguments) {
  TM_TRY(const Config* const config, command.config());
  BackupRunner runner(*config, command.clock, command.stop.get_token());
  TM_TRY(const auto jobs, choose(runner, *config, arguments));
  nlohmann::json points = nlohmann::json::array(), failed = nlohmann::json::array();
  std::optional<Error> first;
  bool in_part = false, interrupted = false;
  for (const Batch& batch : batches_of(*config, arguments, jobs)) {
    if (interrupted) break;
    const Reports reports = run_batch(command, *config, runner, batch, arguments.full);
    for (std::size_t i = 0; i < reports.size(); ++i) {
      const auto& report = reports[i];
      if (report) {
        points.push_back(report_json(*report));
        in_part = in_part || report->unsettled.count > 0;
        if (!command.globals.json) print_outcome(*report);
        if (!command.globals.json) print_unsettled(*report);
        continue;
      }
      if (!first) first = report.error();
      failed.push_back({{"asset", batch.jobs[i].asset.text()},
                        {"code", std::string(to_string(report.error().code()))},
                        {"message", report.error().message()}});
      interrupted = interrupted || report.error().code() == ErrorCode::cancelled;
      if (jobs.size() > 1 && !interrupted)
        std::fprintf(stderr, "tidemark: %s\n", report.error().describe().c_str());
    }
  }
  if (first && points.empty()) return *first;
  nlohmann::json result = {{"points", std::move(points)}};
  if (!failed.empty()) result["failed"] = failed;
  command.print(result, [] {});
  return first || in_part ? kExitPartial : kExitDone;
}

}  // namespace

void add_backup_command(CLI::App& app, Command& command) {
  auto* backup = app.add_subcommand("backup", "Take recovery points now");
  auto arguments = std::make_shared<BackupArguments>();
  backup->add_option("ASSET", arguments->assets,
                     "rbd/<pool>[/<namespace>]/<image>, s3/<bucket>, k8s/<namespace>/pvc/<name>");
  backup->add_option("--policy", arguments->policy, "all assets of a policy");
  backup->add_flag("--all", arguments->all, "all assets of all policies");
  backup->add_option("--set", arguments->set,
                     "take all that is named at one instant, as one set of this name");
  backup->add_flag("--full", arguments->full, "read everything again instead of what changed");
  backup->footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 3 some assets or keys failed, 4 not found, "
      "5 refused, 130 interrupted.");
  backup->callback([&command, arguments] {
    command.action = [&command, arguments] { return run_backup(command, *arguments); };
  });
}

void add_agent_command(CLI::App& app, Command& command) {
  auto* agent = app.add_subcommand("agent", "Run the daemon in the foreground");
  agent->callback([&command] {
    command.action = [&command]() -> Result<int> {
      TM_TRY(const Config* const config, command.config());
      TM_DO(run_daemon(*config, command.globals.config_path, command.clock, command.reloads,
                       command.stop.get_token()));
      return kExitDone;
    };
  });
}

}  // namespace tidemark
