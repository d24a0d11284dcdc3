#include "agent/site/set_run.h"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <semaphore>
#include <thread>

#include "base/crypto.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/text.h"

namespace tidemark {
namespace {

// A cluster that is busy for some seconds lets a lock's owner or a snapshot be late, and nobody's
// writes shall wait for it long.
constexpr int kTries = 3;

std::string new_set_id(const std::string& name) {
  std::array<std::uint8_t, 4> digits{};
  random_bytes(digits);
  return name + "-" + to_hex(digits);
}

Status check(const SetPlan& plan) {
  const auto wrong = [&](const std::string& what) {
    return Error(ErrorCode::invalid_argument, "set " + plan.name + ": " + what);
  };
  if (plan.jobs.empty()) return wrong("it has no members");
  if (plan.jobs.size() > SetMoment::kMembersMax)
    return wrong(std::to_string(plan.jobs.size()) + " members, 64 are the most");
  for (const BackupJob& job : plan.jobs) {
    if (job.to != plan.jobs.front().to) return wrong("its members go to different stores");
    if (std::ranges::count(plan.jobs, job.asset, &BackupJob::asset) > 1)
      return wrong(job.asset.text() + " is named twice");
  }
  return check_name(plan.name, "set");
}

// Whether nothing is written to the members between the policy's hooks, as far as those say: both
// must be there, and end the set where they fail. A bucket is read long after them.
bool quiesces(const Config& config, const SetPlan& plan) {
  const auto policy = config.policies.find(plan.policy);
  if (policy == config.policies.end()) return false;
  const auto& [before, after, pods] = policy->second.hooks;
  const auto strict = [](const std::optional<HookConfig>& hook) {
    return hook && hook->on_failure == HookConfig::OnFailure::abort;
  };
  return strict(before) && after && std::ranges::all_of(plan.jobs, [](const BackupJob& job) {
           return job.asset.kind() == AssetName::Kind::rbd;
         });
}

std::string label_of(const PointRecord& record, std::string_view name) {
  const auto at = record.labels.find(std::string(name));
  return at == record.labels.end() ? std::string() : at->second;
}

// One try. `missed`: what SetMoment says of it.
std::vector<Result<BackupReport>> run_once(
    const Config& config, const std::shared_ptr<PolicyLimits>& limits, Clock& clock,
    StoreAccess* own_store, const SetPlan& plan,
    const std::vector<std::shared_ptr<BackupProgress>>& progress, const std::stop_token& stop,
    std::optional<Error>& missed) {
  const std::size_t count = plan.jobs.size();
  // Two sets that share images would hold some each, and wait for the others.
  static std::binary_semaphore one_moment{1};
  one_moment.acquire();
  std::once_flag past;
  const auto leave = [&past] { std::call_once(past, [] { one_moment.release(); }); };
  BackupRunner hooking(config, limits, clock, stop);
  std::string members;
  std::vector<ClaimName> claims;
  for (const BackupJob& job : plan.jobs)
    if (job.claim) claims.push_back(job.claim->name);
  for (const BackupJob& job : plan.jobs) members += (members.empty() ? "" : ",") + job.asset.text();
  SetMoment::Options options;
  options.id = new_set_id(plan.name);
  options.members = count;
  options.transfers = config.concurrency.total;
  options.quiesced = quiesces(config, plan);
  options.hooks = hooking.hooks_of(plan.policy, members, claims);
  options.stop = stop;
  options.on_past = leave;
  SetMoment moment(std::move(options), clock);
  std::vector<Result<BackupReport>> reports(count,
                                            Error(ErrorCode::internal, "the backup did not end"));
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < count; ++i)
      threads.emplace_back([&, i, job_name = std::string(log::current_job())] {
        const log::JobScope scope(job_name);
        BackupRunner runner(config, limits, clock, stop);
        if (own_store != nullptr) runner.use_own_store(own_store);
        SetMember member(moment);
        runner.join(member);
        reports[i] = runner.run(plan.jobs[i], progress[i].get(), plan.full);
        member.end(reports[i] ? Status() : Status(reports[i].error()));
      });
  }
  leave();
  missed = moment.missed();
  const auto taken = static_cast<std::size_t>(
      std::ranges::count_if(reports, [](const auto& report) { return report.has_value(); }));
  if (taken == count) {
    const auto labels = moment.labels();
    log::info("set {}: {} points, {}, within {} us", moment.id(), count,
              labels.at(std::string(kSetGuaranteeLabel)), labels.at(std::string(kSetWindowLabel)));
  } else if (taken > 0) {
    log::error("set {} is not complete: {} of {} points were taken", moment.id(), taken, count);
  }
  return reports;
}

}  // namespace

std::vector<Result<BackupReport>> run_set(
    const Config& config, const std::shared_ptr<PolicyLimits>& limits, Clock& clock,
    StoreAccess* own_store, const SetPlan& plan,
    const std::vector<std::shared_ptr<BackupProgress>>& progress, std::stop_token stop) {
  if (const auto good = check(plan); !good)
    return std::vector<Result<BackupReport>>(std::max<std::size_t>(plan.jobs.size(), 1),
                                             good.error());
  for (int tries = 1;; ++tries) {
    std::optional<Error> missed;
    auto reports = run_once(config, limits, clock, own_store, plan, progress, stop, missed);
    if (!missed || tries == kTries) return reports;
    log::warn("set {}: its moment was missed, it is tried again: {}", plan.name,
              missed->describe());
  }
}

std::vector<SetView> sets_of(const std::vector<PointRow>& points) {
  std::map<std::string, SetView> sets;
  for (const PointRow& row : points) {
    const PointRecord& record = row.point.record;
    if (record.set.empty()) continue;
    SetView& set = sets[record.site + "\n" + record.set];
    set.id = record.set;
    set.guarantee = label_of(record, kSetGuaranteeLabel);
    set.time = record.time;
    const std::string members = label_of(record, kSetMembersLabel);
    std::from_chars(members.data(), members.data() + members.size(), set.members);
    ++set.points;
  }
  std::vector<SetView> out;
  for (auto& [key, set] : sets) out.push_back(std::move(set));
  std::ranges::sort(out, [](const SetView& a, const SetView& b) {
    return std::tie(b.time, b.id) < std::tie(a.time, a.id);
  });
  return out;
}

Result<std::optional<SetView>> choose_set(const std::vector<PointRow>& points,
                                          const std::string& name,
                                          const std::function<bool(const PointRow&)>& ours) {
  std::optional<SetView> found;
  for (SetView& set : sets_of(points)) {
    const bool is_ours = std::ranges::any_of(
        points, [&](const PointRow& row) { return row.point.record.set == set.id && ours(row); });
    const bool meant = name == "latest" ? set.complete() : set.id.starts_with(name);
    if (!is_ours || !meant) continue;
    if (found)
      return Error(ErrorCode::invalid_argument, "several sets begin with '" + name + "'")
          .with_hint("see: tidemark points --json");
    found = std::move(set);
    if (name == "latest") break;
    if (!found->complete())
      log::warn("set {} is not complete: {} of {} points are there", found->id, found->points,
                found->members);
  }
  return found;
}

}  // namespace tidemark
