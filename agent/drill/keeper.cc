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
// What could not be begun is not tried again before.
constexpr std::chrono::seconds kBeginAgain{10};

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
  // Also where no plan is there any more, or is not known yet.
  const auto first = config_();
  if (const auto found = recover_drills(*first, clock_, options(*first, "")); !found)
    log::warn("drills: {}", found.error().message());
  auto next_look = clock_.uptime();
  std::shared_ptr<const Config> config;
  do {
    if (config_() != config || clock_.uptime() >= next_look) {
      config = config_();
      look();
      next_look = clock_.uptime() + kReadStep;
    }
    for (const DrillStatus& status : list()) {
      if (stop_.stop_requested()) return;
      if (!status.next_due || clock_.now() < *status.next_due) continue;
      run_plan(*config, status.plan, "schedule");
    }
    if (guard_ == nullptr) continue;
    for (const std::string& plan : guard_->wanted()) {
      if (stop_.stop_requested()) return;
      run_plan(*config, plan, "object");
    }
  } while (sleep_for(stop_, kStep));
}

void DrillKeeper::run_plan(const Config& config, const std::string& plan,
                           const std::string& trigger) {
  const auto not_before = not_before_.find(plan);
  if (not_before != not_before_.end() && clock_.uptime() < not_before->second) return;
  not_before_.erase(plan);
  if (!config.drills.contains(plan)) return;  // not taken up yet, or not there any more
  const Status done = run_guarded(config, plan, trigger);
  if (!done) not_before_[plan] = clock_.uptime() + kBeginAgain;
  {
    const std::lock_guard lock(mutex_);
    DrillStatus& status = plans_[plan];
    status.running.reset();
    // Somebody runs it by hand: that counts, once its report is there.
    const bool nothing = done || done.error().code() == ErrorCode::cancelled;
    status.error = nothing ? std::string() : done.error().message();
  }
  look();
}

// `cancelled` where it is not to be run after all, or runs elsewhere.
Status DrillKeeper::run_guarded(const Config& config, const std::string& plan,
                                const std::string& trigger) {
  DrillOptions how = options(config, plan);
  how.trigger = trigger;
  how.id = new_drill_id(clock_.now());
  std::stop_source end;
  how.stop = end.get_token();
  const std::stop_callback with_us(stop_, [&] { end.request_stop(); });
  if (guard_ != nullptr) TM_DO(guard_->begin(plan, config.drills.at(plan), how.id, end));
  {
    const std::lock_guard lock(mutex_);
    plans_[plan].running = clock_.now();
  }
  const auto done = run_drill(config, plan, clock_, how);
  if (guard_ != nullptr) guard_->end(plan);
  if (done) {
    log::info("drill {} of plan {}: {}", done->report.id, plan, summary(done->report));
    return {};
  }
  log::error("drill of plan {}: {}", plan, done.error().describe());
  return done.error().code() == ErrorCode::refused ? Error(ErrorCode::cancelled, "it runs already")
                                                   : done.error();
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
