#include "agent/drill/keeper.h"

#include "agent/schedule/due.h"
#include "base/files.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::chrono::seconds kStep{1};
// Commands write reports too.
constexpr std::chrono::seconds kReadStep{10};

Schedule schedule_of(const DrillConfig& plan) {
  Schedule schedule;
  schedule.every = plan.every;
  schedule.calendar = plan.cron ? plan.cron : plan.calendar;
  return schedule;
}

}  // namespace

DrillKeeper::DrillKeeper(ConfigSource config, const StoreAccess* own, Clock& clock,
                         std::stop_token stop)
    : config_(std::move(config)), own_(own), clock_(clock), stop_(std::move(stop)) {}

DrillOptions DrillKeeper::options(const Config& config, const std::string& plan) const {
  DrillOptions options;
  options.trigger = "schedule";
  options.stop = stop_;
  const auto found = config.drills.find(plan);
  if (own_ != nullptr && (found == config.drills.end() || found->second.from == config.site))
    options.store = own_;
  return options;
}

void DrillKeeper::run() {
  const log::JobScope lines("drills");
  if (const auto config = config_(); !config->drills.empty())
    if (const auto found = recover_drills(*config, clock_, options(*config, "")); !found)
      log::warn("drills: {}", found.error().message());
  auto next_look = clock_.uptime();
  do {
    if (clock_.uptime() >= next_look) {
      look();
      next_look = clock_.uptime() + kReadStep;
    }
    const auto config = config_();
    for (const DrillStatus& status : list()) {
      if (stop_.stop_requested()) return;
      if (!status.next_due || clock_.now() < *status.next_due) continue;
      run_plan(config, status.plan);
      look();
    }
  } while (sleep_for(stop_, kStep));
}

void DrillKeeper::run_plan(const std::shared_ptr<const Config>& config, const std::string& plan) {
  {
    const std::lock_guard lock(mutex_);
    plans_[plan].running = clock_.now();
  }
  const auto done = run_drill(*config, plan, clock_, options(*config, plan));
  if (done)
    log::info("drill {} of plan {}: {}", done->report.id, plan, summary(done->report));
  else
    log::error("drill of plan {}: {}", plan, done.error().describe());
  const std::lock_guard lock(mutex_);
  DrillStatus& status = plans_[plan];
  status.running.reset();
  // Somebody runs it by hand: that counts, once its report is there.
  const bool busy = !done && done.error().code() == ErrorCode::refused;
  status.error = done || busy ? std::string() : done.error().message();
}

Timestamp DrillKeeper::known_since(const std::filesystem::path& directory,
                                   const std::string& plan) const {
  const std::filesystem::path file = directory / ("since." + plan);
  const Timestamp now = clock_.now();
  if (const auto text = read_file(file, 64); text)
    return parse_time(as_text(*text), now).value_or(now);
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  if (const Status kept = write_file_durably(file, as_bytes(format_time(now))); !kept)
    log::warn("drills: {}", kept.error().message());
  return now;
}

void DrillKeeper::look() {
  const auto config = config_();
  if (config->drills.empty() && list().empty()) return;
  const auto book = drill_book(*config).all();
  std::vector<DrillReport> reports;
  if (book)
    for (const DrillBook::Entry& entry : *book) reports.push_back(entry.report);
  std::map<std::string, DrillStatus> next;
  for (const auto& [name, plan] : config->drills) {
    DrillStatus status = drill_status_of(name, reports);
    status.known_since = known_since(config->state / "drills", name);
    status.overdue_after = plan.overdue_after;
    // A failed drill is one, too: it is not repeated before the next slot.
    const Timestamp last =
        std::max(status.last_started.value_or(status.known_since), status.known_since);
    // Where the last one is of the future, by a clock that was set back, its time has to come
    // first: a drill taken now would not be the last one, and be due again at once.
    const auto due = next_due(schedule_of(plan), name, last, clock_.now());
    if (due && due->why != Due::Why::clock_set_back) status.next_due = due->at;
    if (!book) status.error = book.error().message();
    next.emplace(name, std::move(status));
  }
  const std::lock_guard lock(mutex_);
  for (auto& [name, status] : next)
    if (const auto before = plans_.find(name); before != plans_.end()) {
      status.running = before->second.running;
      if (status.error.empty()) status.error = before->second.error;
    }
  plans_ = std::move(next);
}

std::vector<DrillStatus> DrillKeeper::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<DrillStatus> out;
  for (const auto& [name, status] : plans_) out.push_back(status);
  return out;
}

}  // namespace tidemark
