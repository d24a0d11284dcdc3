#include "agent/drill/run.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "agent/drill/points.h"
#include "agent/drill/predict.h"
#include "agent/drill/probe.h"
#include "agent/drill/recovery.h"
#include "agent/site/s3_access.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/text.h"

namespace tidemark {
namespace {

using Method = DrillConfig::Method;

constexpr std::chrono::milliseconds kWatchStep{100};
// Cleaning up goes on after a stop, for as long as people wait for a program to end.
constexpr std::chrono::seconds kCleanUpAfterStop{60};

bool needs_cluster(Method method) { return method != Method::file && method != Method::serve; }

std::string_view name_of(Method method) {
  switch (method) {
    case Method::restore:
      return "restore";
    case Method::file:
      return "file";
    case Method::instant:
      return "instant";
    case Method::serve:
      return "serve";
    case Method::standby:
      return "standby";
  }
  return "";
}

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  std::array<std::uint8_t, sizeof seed> bytes{};
  random_bytes(bytes);
  for (const std::uint8_t byte : bytes) seed = seed << 8 | byte;
  return seed;
}

// The note, kept in step with what there is. Safe from any thread.
class Notes {
 public:
  Notes(const DrillBook& book, DrillNote note) : book_(book), note_(std::move(note)) {}
  Status begin() { return book_.write_note(note_); }
  Status add(const std::vector<DrillThing>& things) {
    const std::lock_guard lock(mutex_);
    if (things.empty()) return {};
    note_.things.insert(note_.things.end(), things.begin(), things.end());
    return book_.write_note(note_);
  }
  Status remove(const DrillThing& thing) {
    const std::lock_guard lock(mutex_);
    std::erase(note_.things, thing);
    return book_.write_note(note_);
  }
  // Once the report is there: what is left is removed by whoever comes next.
  Status end() {
    const std::lock_guard lock(mutex_);
    if (note_.things.empty()) return book_.remove_note(note_.id);
    note_.reported = true;
    return book_.write_note(note_);
  }

 private:
  const DrillBook& book_;
  std::mutex mutex_;
  DrillNote note_;  // guarded by mutex_
};

// What is open for a drill.
struct Opened {
  StoreAccess own;
  const StoreAccess* access = nullptr;
  std::unique_ptr<s3::Client> s3;
  DrillTools tools;
};

Status open_tools(const Config& config, const DrillConfig& plan, Clock& clock,
                  const DrillOptions& options, Opened& opened) {
  opened.access = options.store;
  if (opened.access == nullptr) {
    TM_TRY(opened.own, open_store_named(config, plan.from, clock, options.stop));
    opened.access = &opened.own;
  }
  DrillTools& tools = opened.tools;
  tools.config = &config;
  tools.plan = &plan;
  tools.store = opened.access->store.get();
  TM_TRY(tools.keys, opened.access->need_keys());
  tools.clock = &clock;
  if (!plan.pool.empty() && needs_cluster(plan.method)) {
    TM_TRY(tools.cluster, CephCluster::connect(ceph_config(config.ceph)));
  }
  if (config.s3) {
    TM_TRY(opened.s3, connect_s3(*config.s3));
    tools.s3 = opened.s3.get();
  }
  return {};
}

// One asset, from its note to its removal.
class AssetDrill {
 public:
  AssetDrill(const DrillTools& tools, const DrillChoice& choice, std::string label,
             std::uint64_t seed, std::chrono::microseconds drill_began, Timestamp started,
             const Predictor& predictor, Notes& notes, std::stop_token stop,
             std::stop_token clean_stop)
      : tools_(tools),
        choice_(choice),
        label_(std::move(label)),
        seed_(seed),
        drill_began_(drill_began),
        predictor_(predictor),
        notes_(notes),
        stop_(std::move(stop)),
        clean_stop_(std::move(clean_stop)) {
    const DrillConfig& plan = *tools_.plan;
    out_.site = choice.site;
    out_.asset = choice.asset;
    out_.method = name_of(plan.method);
    out_.rpo = {plan.objective.rpo, std::max(Duration::zero(), started - choice.newest)};
    out_.rto.objective = plan.objective.rto;
  }

  DrillAsset run() {
    const Status done = bring_back_and_check();
    if (!done) out_.problem = done.error().message();
    probe_.reset();
    recovery_.reset();  // closes what is to be removed
    clean_up();
    judge(done);
    return std::move(out_);
  }

 private:
  Status bring_back_and_check() {
    if (!choice_.point) return Error(ErrorCode::not_found, "the plan's rule finds no point of it");
    note_point();
    const DrillLimitsConfig& limits = tools_.plan->limits;
    if (limits.size && out_.size_bytes > *limits.size) {
      skipped_ = true;
      return Error(ErrorCode::refused, "larger than limits.size, " + format_bytes(*limits.size));
    }
    const bool bucket = choice_.point->point.record.kind == PointKind::bucket;
    TM_TRY(recovery_, bucket ? plan_bucket_recovery(tools_, *choice_.point, label_)
                             : plan_volume_recovery(tools_, *choice_.point, label_));
    out_.target = recovery_->target();
    std::uint64_t bytes = 0;
    TM_DO(step("plan", [&]() -> Status {
      TM_TRY(bytes, recovery_->estimate());
      return recovery_->check_room(bytes);
    }));
    const Prediction prediction = predictor_.predict(out_.site, out_.asset, out_.method, bytes);
    out_.predicted = prediction.time;
    out_.predicted_from = prediction.from;
    things_ = recovery_->things();
    if (!bucket && wants_probe()) {
      probe_ = std::make_unique<Probe>(tools_.plan->checks,
                                       tools_.plan->scratch / drill_name(label_ + ".probe"));
      things_.push_back({DrillThing::Kind::directory, probe_->directory().string(), ""});
    }
    TM_DO(notes_.add(things_));
    TM_DO(step("bring back", [&]() -> Status {
      TM_TRY(const Recovery::Usable usable, recovery_->bring_back(stop_));
      out_.rto.measured = usable.after;
      out_.written_bytes = usable.written_bytes;
      out_.fetched_bytes = usable.fetched_bytes;
      return {};
    }));
    return check(bucket);
  }

  bool wants_probe() const {
    const DrillChecksConfig& checks = tools_.plan->checks;
    return checks.fsck || !checks.mount.empty() || !checks.command.empty();
  }

  void note_point() {
    const PointRow& row = *choice_.point;
    const PointRecord& record = row.point.record;
    out_.point = record.id.hex();
    out_.point_time = record.time;
    out_.set = record.set;
    out_.root = record.root.id.is_null() ? std::string() : record.root.id.hex();
    out_.record_hash = row.record_hash.hex();
    out_.size_bytes = record.size_bytes;
  }

  Status check(bool bucket) {
    const DrillChecksConfig& checks = tools_.plan->checks;
    if (checks.content) TM_DO(checked("content", [&] { return found(recovery_->compare(stop_)); }));
    if (bucket && checks.sample > 0)
      TM_DO(checked("sample", [&]() -> Result<DrillCheck> {
        TM_TRY(const auto report, recovery_->sample(checks.sample, seed_, stop_));
        if (report) return found(*report);
        DrillCheck skipped;
        skipped.message = "only a bucket has metadata to be read back";
        return skipped;
      }));
    if (bucket && !checks.command.empty())
      TM_DO(checked("command", [&] {
        return run_check_command(checks, {{"TIDEMARK_BUCKET", out_.target}}, stop_);
      }));
    if (!probe_) return {};
    TM_TRY(BlockView* const disk, recovery_->disk(stop_));
    TM_DO(probe_->open(*disk));
    if (checks.fsck) TM_DO(checked("fsck", [&] { return probe_->fsck(stop_); }));
    if (!checks.mount.empty()) TM_DO(checked("mount", [&] { return probe_->mount(stop_); }));
    if (!checks.command.empty()) TM_DO(checked("command", [&] { return probe_->command(stop_); }));
    return {};
  }

  static Result<DrillCheck> found(const Result<ContentReport>& report) {
    if (!report) return report.error();
    DrillCheck check;
    check.result =
        report->difference.empty() ? DrillCheck::Result::passed : DrillCheck::Result::failed;
    check.message = report->difference;
    check.bytes = report->bytes;
    return check;
  }

  // A check that could not be made has failed; only a stop ends the others.
  template <class Check>
  Status checked(const char* name, const Check& check) {
    return step(std::string("check ") + name, [&]() -> Status {
      const auto began = now();
      Result<DrillCheck> result = check();
      if (!result && result.error().code() == ErrorCode::cancelled) return result.error();
      DrillCheck done;
      if (result)
        done = *std::move(result);
      else
        done.message = result.error().message(), done.result = DrillCheck::Result::failed;
      done.name = name;
      done.took = now() - began;
      out_.checks.push_back(std::move(done));
      return {};
    });
  }

  template <class Work>
  Status step(std::string name, const Work& work) {
    if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
    const auto began = now();
    Status done = work();
    out_.steps.push_back({std::move(name), began - drill_began_, now() - began});
    return done;
  }

  void clean_up() {
    const auto began = now();
    for (const DrillThing& thing : things_) {
      const Status removed = remove_drill_thing(tools_, thing, clean_stop_);
      if (!removed) {
        out_.left.push_back(thing.name + ": " + removed.error().message());
        continue;
      }
      if (const Status noted = notes_.remove(thing); !noted)
        log::warn("drill: {}", noted.error().message());
    }
    if (!things_.empty()) out_.steps.push_back({"clean up", began - drill_began_, now() - began});
  }

  void judge(const Status& done) {
    const bool good = done && out_.left.empty() && out_.rpo.met() && out_.rto.met() &&
                      std::ranges::none_of(out_.checks, [](const DrillCheck& check) {
                        return check.result == DrillCheck::Result::failed;
                      });
    out_.result = good ? DrillResult::passed : DrillResult::failed;
    if (skipped_) out_.result = DrillResult::skipped;
    if (!done && done.error().code() == ErrorCode::cancelled)
      out_.result = DrillResult::interrupted;
  }

  std::chrono::microseconds now() const { return tools_.clock->uptime(); }

  const DrillTools& tools_;
  const DrillChoice& choice_;
  const std::string label_;
  const std::uint64_t seed_;
  const std::chrono::microseconds drill_began_;
  const Predictor& predictor_;
  Notes& notes_;
  const std::stop_token stop_, clean_stop_;
  DrillAsset out_;
  std::unique_ptr<Recovery> recovery_;
  std::unique_ptr<Probe> probe_;  // after recovery_, whose disk it serves
  std::vector<DrillThing> things_;
  bool skipped_ = false;
};

// Requests a stop when the caller does, and when the time is over.
class Limit {
 public:
  Limit(std::stop_token outer, std::chrono::microseconds limit, const Clock& clock)
      : watch_([this, outer, end = clock.uptime() + limit, &clock](std::stop_token over) {
          while (!over.stop_requested()) {
            if (outer.stop_requested()) interrupted_ = true;
            if (clock.uptime() >= end) late_ = true;
            if (interrupted_ || late_) {
              stop_.request_stop();
              if (sleep_for(over, kCleanUpAfterStop)) clean_stop_.request_stop();
              return;
            }
            sleep_for(over, kWatchStep);
          }
        }) {}
  std::stop_token token() const { return stop_.get_token(); }
  std::stop_token clean_token() const { return clean_stop_.get_token(); }
  bool interrupted() const { return interrupted_; }
  bool late() const { return late_ && !interrupted_; }

 private:
  std::stop_source stop_, clean_stop_;
  std::atomic<bool> interrupted_{false}, late_{false};
  std::jthread watch_;  // last: it uses the rest
};

class DrillRun {
 public:
  DrillRun(const Config& config, const DrillConfig& plan, const DrillBook& book, Clock& clock,
           const DrillOptions& options, DrillReport& report)
      : config_(config),
        plan_(plan),
        book_(book),
        clock_(clock),
        options_(options),
        report_(report),
        limit_(options.stop, plan.limits.time, clock) {}

  // What concerns the drill as a whole; assets are judged one by one.
  Status run(Opened& opened, Notes& notes) {
    TM_TRY(auto choices,
           choose_drill_points(*opened.tools.store, plan_, report_.started, *report_.seed));
    report_.rule = choices.rule;
    TM_TRY(const auto earlier, book_.all());
    std::vector<DrillReport> reports;
    for (const auto& entry : earlier) reports.push_back(entry.report);
    const Predictor predictor(reports);
    const auto began = clock_.uptime();
    report_.assets.resize(choices.assets.size());
    std::atomic<std::size_t> next{0};
    ThreadGroup threads([] {});
    const std::size_t width = std::min<std::size_t>(plan_.limits.parallel, choices.assets.size());
    for (std::size_t i = 0; i < width; ++i)
      threads.start("tm-drill-asset", [&]() -> Status {
        for (std::size_t at = next++; at < choices.assets.size(); at = next++) {
          const DrillChoice& choice = choices.assets[at];
          tell(fmt::format("{}:{} …", choice.site, choice.asset));
          AssetDrill drill(opened.tools, choice, fmt::format("{}.{}", report_.id, at),
                           *report_.seed + at, began, report_.started, predictor, notes,
                           limit_.token(), limit_.clean_token());
          report_.assets[at] = drill.run();
          const DrillAsset& done = report_.assets[at];
          tell(fmt::format("{}:{}: {}{}{}", done.site, done.asset, name_of(done.result),
                           done.problem.empty() ? "" : ": ", done.problem));
        }
        return {};
      });
    return threads.join();
  }

  void judge(const Status& done) {
    const auto any = [&](DrillResult result) {
      return std::ranges::any_of(report_.assets,
                                 [&](const DrillAsset& asset) { return asset.result == result; });
    };
    if (!done) report_.problem = done.error().message();
    if (limit_.late()) report_.problem = "not done within " + format_duration(plan_.limits.time);
    if (limit_.interrupted()) report_.problem = "interrupted";
    const bool good = report_.problem.empty() && any(DrillResult::passed) &&
                      !any(DrillResult::failed) && !any(DrillResult::interrupted);
    report_.result = good ? DrillResult::passed : DrillResult::failed;
    if (limit_.interrupted()) report_.result = DrillResult::interrupted;
  }

 private:
  void tell(const std::string& line) const {
    if (options_.tell) options_.tell(line);
    log::info("drill {}: {}", report_.plan, line);
  }
  const Config& config_;
  const DrillConfig& plan_;
  const DrillBook& book_;
  Clock& clock_;
  const DrillOptions& options_;
  DrillReport& report_;
  Limit limit_;
};

std::string journal_text(const DrillReport& report, const Digest& hash) {
  return nlohmann::json{{"drill", report.id},
                        {"plan", report.plan},
                        {"result", name_of(report.result)},
                        {"sha256", hash.hex()}}
      .dump();
}

Status link_to_journal(const DrillBook& book, PointStore& store, const DrillBook::Entry& written) {
  const DrillReport& report = written.report;
  TM_TRY(const JournalEntry entry, store.record_drill(journal_text(report, written.hash)));
  return book.add_link(report.id, {entry.sequence, entry.hash.hex(), entry.previous.hex()});
}

// The reports of a plan on this store that the journal does not name yet: the last one, and those
// that were written while the store was away. Without a link they are reports all the same: their
// chain holds them. REQUIRES: the plan is locked.
void link_reports(const DrillBook& book, const std::string& plan, const StoreAccess& access) {
  const auto all = book.all();
  if (!all) return log::warn("drill: {}", all.error().message());
  for (const DrillBook::Entry& entry : *all) {
    if (entry.link || entry.report.plan != plan) continue;
    const std::string& store = entry.report.store;  // empty: it was away from the beginning
    if (!store.empty() && store != access.descriptor.id.hex()) continue;
    if (const Status linked = link_to_journal(book, *access.store, entry); !linked)
      log::warn("drill {}: the store's journal does not name it: {}", entry.report.id,
                linked.error().message());
  }
}

Result<const DrillConfig*> find_plan(const Config& config, const std::string& name) {
  const auto found = config.drills.find(name);
  if (found != config.drills.end()) return &found->second;
  return Error(ErrorCode::not_found, "there is no drill '" + name + "' in " + config.name)
      .with_hint("the plans are those under 'drills'");
}

DrillReport interrupted_report(const Config& config, const DrillNote& note, Timestamp now,
                               const StoreAccess& access) {
  DrillReport report;
  report.id = note.id;
  report.plan = note.plan;
  report.site = config.site;
  report.store = access.descriptor.id.hex();
  report.version = TM_VERSION;
  report.trigger = "recovery";
  report.rule = "unknown";
  report.started = note.started;
  report.ended = std::max(now, note.started);
  report.result = DrillResult::interrupted;
  report.problem = "its process was killed";
  return report;
}

Status recover_one(const Config& config, const DrillBook& book, DrillNote note, Clock& clock,
                   const DrillOptions& options) {
  // A plan that is not configured any more left things all the same.
  DrillConfig plan;
  if (const auto found = config.drills.find(note.plan); found != config.drills.end())
    plan = found->second;
  else if (const auto peers = peers_with_url(config); !config.store && peers.size() == 1)
    plan.from = peers.front();
  else
    plan.from = config.store ? config.site : std::string();
  const auto of_kind = [&](DrillThing::Kind kind) {
    return std::ranges::any_of(note.things, [&](const auto& thing) { return thing.kind == kind; });
  };
  if (of_kind(DrillThing::Kind::image) && (plan.pool.empty() || !needs_cluster(plan.method))) {
    plan.method = Method::restore;
    plan.pool = "-";
  }
  Opened opened;
  TM_DO(open_tools(config, plan, clock, options, opened));
  std::vector<DrillThing> left;
  for (const DrillThing& thing : note.things) {
    const Status removed = remove_drill_thing(opened.tools, thing, options.stop);
    if (removed) continue;
    log::warn("drill {}: {} is left: {}", note.id, thing.name, removed.error().message());
    left.push_back(thing);
  }
  // Killed behind the report: it is there, and only not linked.
  const auto written = book.find(note.id);
  if (!written || written->report.id != note.id) {
    DrillReport report = interrupted_report(config, note, clock.now(), *opened.access);
    TM_DO(book.add(report));
  }
  link_reports(book, note.plan, *opened.access);
  note.reported = true;
  note.things = std::move(left);
  return note.things.empty() ? book.remove_note(note.id) : book.write_note(note);
}

}  // namespace

DrillBook drill_book(const Config& config) { return DrillBook(config.state / "drills"); }

Result<DrillBook::Entry> run_drill(const Config& config, const std::string& name, Clock& clock,
                                   const DrillOptions& options) {
  TM_TRY(const DrillConfig* const plan, find_plan(config, name));
  const DrillBook book = drill_book(config);
  if (const auto recovered = recover_drills(config, clock, options); !recovered)
    log::warn("drill {}: {}", name, recovered.error().message());
  TM_TRY(const Fd lock, book.lock_plan(name));
  DrillReport report;
  report.started = clock.now();
  report.id = options.id.empty() ? new_drill_id(report.started) : options.id;
  report.plan = name;
  report.site = config.site;
  report.version = TM_VERSION;
  report.ceph = librbd_version();
  report.trigger = options.trigger;
  report.rule = plan->point;
  report.seed = options.seed ? *options.seed : random_seed();
  DrillNote note;
  note.id = report.id;
  note.plan = name;
  note.started = report.started;
  Notes notes(book, note);
  TM_DO(notes.begin());
  Opened opened;
  {
    DrillRun run(config, *plan, book, clock, options, report);
    Status done = open_tools(config, *plan, clock, options, opened);
    if (opened.access != nullptr) report.store = opened.access->descriptor.id.hex();
    if (done) done = run.run(opened, notes);
    run.judge(done);
  }
  report.ended = std::max(clock.now(), report.started);
  TM_DO(book.add(report));
  if (opened.access != nullptr) link_reports(book, name, *opened.access);
  TM_DO(notes.end());
  return book.find(report.id);
}

Result<std::size_t> recover_drills(const Config& config, Clock& clock,
                                   const DrillOptions& options) {
  const DrillBook book = drill_book(config);
  TM_TRY(const auto notes, book.notes());
  std::size_t found = 0;
  for (const DrillNote& note : notes) {
    const auto lock = book.lock_plan(note.plan);
    if (!lock) continue;  // it runs
    // It may have ended while the lock was not ours.
    TM_TRY(const auto now, book.notes());
    if (std::ranges::find(now, note.id, &DrillNote::id) == now.end()) continue;
    ++found;
    if (const Status recovered = recover_one(config, book, note, clock, options); !recovered)
      log::warn("drill {}: what it left is not removed yet: {}", note.id,
                recovered.error().message());
  }
  return found;
}

}  // namespace tidemark
