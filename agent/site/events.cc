#include "agent/site/events.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/site/state_list.h"
#include "agent/site/status.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;
using std::chrono::hours;
using std::chrono::minutes;

constexpr int kVersion = 1;
constexpr const char* kKey = "events";
constexpr std::uint64_t kFileBytesMax = 8 * kMiB;
constexpr std::uint64_t kNoteBytesMax = 4096;
constexpr std::size_t kIdDigits = 8;
// Whoever acknowledges may be another user than the agent.
constexpr unsigned kReadableByAll = 0644;
constexpr std::size_t kOverKept = 200;
constexpr std::size_t kOpenMax = 2000;
constexpr Duration kGoneFor = minutes(5);
constexpr Duration kRaisedFor = hours(7 * 24);
// What passes by itself, as a peer that restarts, needs nobody.
constexpr Duration kProblemPatience = minutes(10);
constexpr std::uint64_t kFailuresMin = 3;
constexpr double kCriticalUse = 0.95;

// --- what is so now

void add_asset(const AssetStatus& asset, Timestamp now, std::vector<Condition>& out) {
  if (asset.policy.empty()) return;  // its own site watches it
  const std::string subject = asset.asset + " to " + asset.to;
  // After a start: the store was not asked yet, no backup was tried.
  const auto unclear = [&](const char* kind) {
    out.push_back({kind, subject, Severity::warning, {}, {}, true});
  };
  if (!asset.known && !asset.newest && asset.rpo) unclear("objective_missed");
  if (asset.failures_in_a_row == 0 && asset.counters.points == 0) unclear("backup_failing");
  if (asset.objective_met(now) == false) {
    const auto age = asset.age(now);
    const Duration rpo = asset.rpo.value_or(Duration::zero());
    const std::string found =
        age ? "the newest point is " + format_duration(*age) + " old" : "there is no point";
    // A new asset has its time to get a first point.
    out.push_back({"objective_missed", subject, Severity::critical,
                   found + "; the objective is " + format_duration(rpo), age ? Duration() : rpo});
  }
  if (asset.failures_in_a_row >= kFailuresMin)
    out.push_back({"backup_failing",
                   subject,
                   Severity::warning,
                   fmt::format("{} backups in a row failed; the last one: {}",
                               asset.failures_in_a_row, asset.last_error),
                   {}});
}

void add_store(const StoreStatus& store, const EventsConfig& config, Timestamp now,
               std::vector<Condition>& out) {
  if (store.damaged_packs > 0)
    out.push_back(
        {"damage",
         "",
         Severity::critical,
         fmt::format("{} packs of the store are damaged and set aside", store.damaged_packs),
         {}});
  const bool scrubs = store.scrub && store.scrub_period > Duration::zero() &&
                      store.scrub->completed != Timestamp();  // known since its first step
  if (scrubs && now - store.scrub->completed > 2 * store.scrub_period)
    out.push_back({"scrub_overdue",
                   "",
                   Severity::warning,
                   "the store was last read as a whole at " + format_time(store.scrub->completed),
                   {}});
  if (!store.collect_error.empty())
    out.push_back(
        {"collection_failing", "", Severity::warning, store.collect_error, kProblemPatience});
  if (!store.clock_error.empty())
    out.push_back(
        {"clock_not_believed", "", Severity::warning, store.clock_error, kProblemPatience});
  for (const StoreStatus::Quota& quota : store.quotas) {
    const double used = static_cast<double>(quota.used_bytes) /
                        static_cast<double>(std::max<std::uint64_t>(quota.quota_bytes, 1));
    if (used >= config.store_used)
      out.push_back(
          {"quota_nearly_used",
           quota.site,
           used >= kCriticalUse ? Severity::critical : Severity::warning,
           fmt::format("the points of site {} take {} of the {} that it may take", quota.site,
                       format_bytes(quota.used_bytes), format_bytes(quota.quota_bytes)),
           {}});
  }
  if (!store.space || store.space->total_bytes == 0) return;
  const double used = 1 - static_cast<double>(store.space->free_bytes) /
                              static_cast<double>(store.space->total_bytes);
  if (used < config.store_used) return;
  std::string message = fmt::format("{:.1f}% of the store's space are used", 100 * used);
  if (store.full_at) message += "; it will be full about " + format_time(*store.full_at);
  out.push_back({"store_nearly_full",
                 "",
                 used >= kCriticalUse ? Severity::critical : Severity::warning,
                 message,
                 {}});
}

// --- what is kept

std::optional<Timestamp> time_of(const json& from, const char* key, bool& good) {
  const json value = from.value(key, json());
  if (value.is_null()) return std::nullopt;
  const auto time = value.is_string() ? parse_time(value.get<std::string>(), {})
                                      : Result<Timestamp>(Error(ErrorCode::corruption, "no time"));
  good = good && time;
  return time ? std::optional(*time) : std::nullopt;
}

std::optional<Event> parse_event(const json& from) {
  if (!from.is_object()) return std::nullopt;
  bool good = true;
  const auto text = [&](const char* key) {
    const json value = from.value(key, json());
    good = good && value.is_string();
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  Event event;
  event.id = text("id");
  event.kind = text("kind");
  event.subject = text("subject");
  event.message = text("message");
  event.note = text("note");
  event.severity =
      text("severity") == name_of(Severity::critical) ? Severity::critical : Severity::warning;
  const auto since = time_of(from, "since", good);
  event.over = time_of(from, "resolved_at", good);
  event.acknowledged = time_of(from, "acknowledged_at", good);
  event.lasting = from.value("lasting", json()) == true;
  event.told_open = from.value("told_open", json()) == true;
  event.told_over = from.value("told_over", json()) == true;
  if (!good || !since || event.id.empty()) return std::nullopt;
  event.since = *since;
  return event;
}

json kept_json(const Event& event) {
  json out = event_json(event, "");
  out["lasting"] = event.lasting;
  out["told_open"] = event.told_open;
  out["told_over"] = event.told_over;
  return out;
}

fs::path file_in(const fs::path& directory) { return directory / "events.json"; }
fs::path acks_in(const fs::path& directory) { return directory / "acks"; }

}  // namespace

std::string_view name_of(Severity severity) {
  return severity == Severity::critical ? "critical" : "warning";
}

std::vector<Condition> conditions_of(const SiteStatus& status, const EventsConfig& config) {
  std::vector<Condition> out;
  const Timestamp now = status.time;
  for (const AssetStatus& asset : status.assets) add_asset(asset, now, out);
  if (status.store) add_store(*status.store, config, now, out);
  if (status.certificate_end && *status.certificate_end - now < config.certificate_left) {
    const bool ended = *status.certificate_end <= now;
    out.push_back({"certificate_ending",
                   "",
                   ended ? Severity::critical : Severity::warning,
                   std::string("this site's certificate ") + (ended ? "ended at " : "ends at ") +
                       format_time(*status.certificate_end),
                   {}});
  }
  for (const StandbyStatus& standby : status.standby) {
    const std::string subject = standby.site + ":" + standby.asset;
    if (!standby.error.empty())
      out.push_back(
          {"standby_failing", subject, Severity::warning, standby.error, kProblemPatience});
    if (standby.mended > 0)
      out.push_back({"standby_changed",
                     subject,
                     Severity::warning,
                     "image " + standby.image + " was changed by somebody else, and mended",
                     {}});
  }
  for (const DrillStatus& drill : status.drills) {
    if (drill.last_result == DrillResult::failed)
      out.push_back({"drill_failed",
                     drill.plan,
                     Severity::warning,
                     "drill " + drill.last + " of plan " + drill.plan + " failed",
                     {}});
    if (!drill.error.empty())
      out.push_back({"drill_not_run", drill.plan, Severity::warning, drill.error, {}});
    for (const std::string& asset : drill.overdue(status.time))
      out.push_back({"drill_overdue",
                     asset.empty() ? drill.plan : drill.plan + ": " + asset,
                     Severity::warning,
                     "no drill passed for " + format_duration(drill.overdue_after),
                     {}});
  }
  for (const std::string& policy : status.idle_policies)
    out.push_back({"policy_matches_nothing", policy, Severity::warning,
                   "no asset fits policy " + policy + ": nothing is protected by it",
                   kProblemPatience});
  for (const std::string& problem : status.problems) {
    const auto colon = problem.find(": ");
    out.push_back(
        {"problem", problem.substr(0, colon), Severity::warning, problem, kProblemPatience});
  }
  const auto key = [](const Condition& c) { return std::tie(c.kind, c.subject); };
  std::ranges::stable_sort(out, {}, key);
  const auto doubles = std::ranges::unique(out, {}, key);
  out.erase(doubles.begin(), doubles.end());
  return out;
}

json event_json(const Event& event, const std::string& site) {
  const auto optional = [](const std::optional<Timestamp>& time) {
    return time ? json(format_time(*time)) : json(nullptr);
  };
  return {{"version", kVersion},
          {"id", event.id},
          {"site", site},
          {"state", event.over ? "resolved" : "open"},
          {"severity", name_of(event.severity)},
          {"kind", event.kind},
          {"subject", event.subject},
          {"message", event.message},
          {"since", format_time(event.since)},
          {"resolved_at", optional(event.over)},
          {"acknowledged_at", optional(event.acknowledged)},
          {"note", event.note}};
}

EventLog::EventLog(fs::path directory) : directory_(std::move(directory)) {}

Result<std::vector<Event>> read_events(const fs::path& directory) {
  std::vector<Event> out;
  const fs::path file = file_in(directory);
  TM_TRY(const json items, read_state_list(file, kKey, kVersion, kFileBytesMax));
  for (const json& item : items) {
    auto event = parse_event(item);
    if (!event) return Error(ErrorCode::corruption, file.string() + " cannot be understood");
    out.push_back(*std::move(event));
  }
  return out;
}

void EventLog::open() {
  auto kept = read_events(directory_);
  if (!kept) {
    log::warn("{}: the log of events begins anew", kept.error().message());
    std::error_code ignored;
    fs::rename(file_in(directory_), directory_ / "events.json.damaged", ignored);
  }
  // Ours, so that what others write into it can be removed.
  std::error_code failed;
  fs::create_directories(acks_in(directory_), failed);
  const std::lock_guard lock(mutex_);
  events_ = kept ? *std::move(kept) : std::vector<Event>();
  saved_ = events_;
}

std::vector<fs::path> EventLog::take_acknowledgements(Timestamp now) {
  std::vector<fs::path> taken;
  std::error_code failed;
  for (const auto& file : fs::directory_iterator(acks_in(directory_), failed)) {
    const std::string id = file.path().filename().string();
    // What a command is still writing has another name.
    if (id.size() != kIdDigits) continue;
    taken.push_back(file.path());
    const auto event = std::ranges::find(events_, id, &Event::id);
    if (event == events_.end() || event->acknowledged) continue;
    const auto note = read_file(file.path(), kNoteBytesMax);
    event->acknowledged = now;
    event->note = note ? std::string(as_text(*note)) : "";
    // A note is a person's text: what JSON cannot carry does not go in.
    if (utf8_prefix(event->note) != event->note.size()) event->note.clear();
    if (!event->lasting && !event->over) event->over = now;
    log::info("event {} ({} {}) is acknowledged", id, event->kind, event->subject);
  }
  return taken;
}

Event& EventLog::add(const Condition& condition, Timestamp now, bool lasting) {
  std::array<std::uint8_t, 4> digits{};
  random_bytes(digits);
  Event event;
  event.id = to_hex(digits);
  event.kind = condition.kind;
  event.subject = condition.subject;
  event.severity = condition.severity;
  event.message = condition.message;
  event.since = now;
  event.lasting = lasting;
  log::warn("event {}: {}{}{}: {}", event.id, event.kind, event.subject.empty() ? "" : " ",
            event.subject, event.message);
  return events_.emplace_back(std::move(event));
}

Status EventLog::update(const std::vector<Condition>& conditions, Timestamp now) {
  const std::lock_guard lock(mutex_);
  const auto acknowledgements = take_acknowledgements(now);
  std::map<Key, Event*> open;
  for (Event& event : events_)
    if (!event.over && event.lasting) open[{event.kind, event.subject}] = &event;
  std::set<Key> seen;
  std::vector<const Condition*> fresh;
  for (const Condition& condition : conditions) {
    const Key key(condition.kind, condition.subject);
    seen.insert(key);
    if (const auto at = open.find(key); at != open.end()) {
      gone_.erase(at->second->id);
      if (condition.unclear) continue;
      at->second->message = condition.message;
      at->second->severity = condition.severity;
      continue;
    }
    if (condition.unclear) continue;
    const auto first = first_seen_.try_emplace(key, now).first;
    // A clock that was set back begins the wait anew.
    if (first->second > now) first->second = now;
    if (now - first->second >= condition.patience) fresh.push_back(&condition);
  }
  std::erase_if(first_seen_, [&](const auto& entry) { return !seen.contains(entry.first); });
  for (const auto& [key, event] : open) {
    if (seen.contains(key)) continue;
    const auto since = gone_.try_emplace(event->id, now).first;
    if (since->second > now) since->second = now;
    if (now - since->second < kGoneFor) continue;
    event->over = now;
    gone_.erase(event->id);
    log::info("event {} ({} {}) is over", event->id, event->kind, event->subject);
  }
  for (Event& event : events_)
    if (!event.over && !event.lasting && now - event.since >= kRaisedFor) event.over = now;
  for (const Condition* condition : fresh) {
    if (events_.size() >= kOpenMax + kOverKept) break;
    add(*condition, now, true);
    first_seen_.erase({condition->kind, condition->subject});
  }
  forget_old();
  TM_DO(save());
  std::error_code ignored;
  for (const fs::path& file : acknowledgements) fs::remove(file, ignored);
  return {};
}

void EventLog::raise(const Condition& what, Timestamp now) {
  const std::lock_guard lock(mutex_);
  for (const Event& event : events_)
    if (!event.over && event.kind == what.kind && event.subject == what.subject) return;
  if (events_.size() >= kOpenMax + kOverKept) return;
  add(what, now, false);
  ignore_error(save(), "the next update does");
}

// Of what is over, and was told where somebody is to be told.
void EventLog::forget_old() {
  auto over = static_cast<std::size_t>(
      std::ranges::count_if(events_, [](const Event& event) { return event.over.has_value(); }));
  std::erase_if(events_, [&](const Event& event) {
    if (!event.over || !event.told_over || over <= kOverKept) return false;
    --over;
    return true;
  });
}

Status EventLog::save() {
  if (events_ == saved_) return {};
  json items = json::array();
  for (const Event& event : events_) items.push_back(kept_json(event));
  const std::string text = format_state_list(kKey, kVersion, std::move(items));
  TM_DO(write_file_durably(file_in(directory_), as_bytes(text)));
  saved_ = events_;
  return {};
}

std::vector<Event> EventLog::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

std::vector<Event> EventLog::untold() const {
  const std::lock_guard lock(mutex_);
  std::vector<Event> out;
  for (const Event& event : events_)
    if (event.over ? !event.told_over : !event.told_open) out.push_back(event);
  return out;
}

Status EventLog::told(const Event& event) {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(events_, event.id, &Event::id);
  if (at == events_.end()) return {};
  at->told_open = true;
  if (event.over) at->told_over = true;
  return save();
}

Status acknowledge_event(const fs::path& directory, const std::string& id,
                         const std::string& note) {
  TM_TRY(const auto events, read_events(directory));
  std::vector<const Event*> meant;
  for (const Event& event : events)
    if (!event.over && event.id.starts_with(id)) meant.push_back(&event);
  if (meant.empty() || id.empty())
    return Error(ErrorCode::not_found, "no open event '" + id + "'")
        .with_hint("'tidemark events' lists them");
  if (meant.size() > 1)
    return Error(ErrorCode::invalid_argument, "several events begin with '" + id + "'");
  if (note.size() > kNoteBytesMax || utf8_prefix(note) != note.size())
    return Error(ErrorCode::invalid_argument, "a note is UTF-8 text of at most 4096 bytes");
  std::error_code failed;
  fs::create_directories(acks_in(directory), failed);
  if (failed) return errno_error(failed.value(), "create " + acks_in(directory).string());
  const fs::path file = acks_in(directory) / meant.front()->id;
  return write_file_durably(file, as_bytes(note), kReadableByAll);
}

}  // namespace tidemark
