#include "agent/site/status.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/retention/keep.h"

namespace tidemark {
namespace {

using nlohmann::json;

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
double seconds(Timestamp t) { return static_cast<double>(t.us) / 1e6; }

json optional_time(const std::optional<Timestamp>& t) {
  return t ? json(format_time(*t)) : json(nullptr);
}
json optional_seconds(const std::optional<Duration>& d) {
  if (!d) return nullptr;
  return std::chrono::duration_cast<std::chrono::seconds>(*d).count();
}
json optional_text(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json running_json(const RunningBackup& running, Timestamp now) {
  const double elapsed = std::max(0.001, seconds(now - running.since));
  json out = {{"since", format_time(running.since)},
              {"size_bytes", running.size_bytes},
              {"position_bytes", running.position_bytes},
              {"read_bytes", running.read_bytes},
              {"sent_bytes", running.sent_bytes},
              {"bytes_per_second",
               static_cast<std::uint64_t>(static_cast<double>(running.position_bytes) / elapsed)},
              {"eta_seconds", nullptr}};
  if (running.position_bytes > 0 && running.size_bytes >= running.position_bytes) {
    const double share =
        static_cast<double>(running.position_bytes) / static_cast<double>(running.size_bytes);
    out["eta_seconds"] = static_cast<std::uint64_t>(elapsed * (1 - share) / share);
  }
  return out;
}

json asset_json(const AssetStatus& asset, Timestamp now) {
  json newest;
  if (asset.newest)
    newest = {{"id", asset.newest->id},
              {"time", format_time(asset.newest->time)},
              {"in_part", asset.newest->in_part}};
  return {{"site", asset.site},
          {"asset", asset.asset},
          {"policy", optional_text(asset.policy)},
          {"to", optional_text(asset.to)},
          {"state", asset.state(now)},
          {"newest", std::move(newest)},
          {"age_seconds", optional_seconds(asset.age(now))},
          {"rpo_seconds", optional_seconds(asset.rpo)},
          {"next_due", optional_time(asset.next_due)},
          {"running", asset.running ? running_json(*asset.running, now) : json(nullptr)},
          {"last_error", optional_text(asset.last_error)},
          {"failed_at", optional_time(asset.failed_at)},
          {"failures_in_a_row", asset.failures_in_a_row}};
}

json standby_list(const SiteStatus& status) {
  json out = json::array();
  for (const StandbyStatus& standby : status.standby) out.push_back(standby_json(standby));
  return out;
}

json drill_list(const SiteStatus& status) {
  json out = json::array();
  for (const DrillStatus& drill : status.drills)
    out.push_back(drill_status_json(drill, status.time));
  return out;
}

json events_json(const SiteStatus& status) {
  json out = json::array();
  for (const Event& event : status.events) out.push_back(event_json(event, status.site));
  return out;
}

json quotas_json(const StoreStatus& store) {
  json out = json::array();
  for (const StoreStatus::Quota& quota : store.quotas)
    out.push_back({{"site", quota.site},
                   {"used_bytes", quota.used_bytes},
                   {"quota_bytes", quota.quota_bytes}});
  return out;
}

json store_json(const StoreStatus& store) {
  json out = {{"points", store.stats.points},
              {"packs", store.stats.packs},
              {"pack_bytes", store.stats.pack_bytes},
              {"plain_bytes", store.stats.plain_bytes},
              {"total_bytes", nullptr},
              {"free_bytes", nullptr},
              {"full_at", optional_time(store.full_at)},
              {"logical_bytes", store.logical_bytes},
              {"collected_at", optional_time(store.collected_at)},
              {"damaged_packs", store.damaged_packs},
              {"clock_error", optional_text(store.clock_error)},
              {"quotas", quotas_json(store)},
              {"scrub", nullptr}};
  if (store.scrub)
    out["scrub"] = {{"round_began", format_time(store.scrub->round_began)},
                    {"completed", format_time(store.scrub->completed)},
                    {"progress", store.scrub->progress()},
                    {"unreadable_packs", store.scrub->unreadable_packs},
                    {"deep", store.scrub->deep}};
  if (store.space) {
    out["total_bytes"] = store.space->total_bytes;
    out["free_bytes"] = store.space->free_bytes;
  }
  return out;
}

// --- Prometheus

// As the format wants it within quotes.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '"' || c == '\\')
      (out += '\\') += c;
    else
      out += c;
  }
  return out;
}

std::string labels_of(const AssetStatus& asset) {
  return "{site=\"" + escaped(asset.site) + "\",asset=\"" + escaped(asset.asset) + "\",policy=\"" +
         escaped(asset.policy) + "\",to=\"" + escaped(asset.to) + "\"}";
}

class MetricsWriter {
 public:
  // Each metric is headed once, before its first sample.
  void head(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    heading_ = fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void sample(std::string_view labels, double value) {
    out_ += std::exchange(heading_, {});
    // Whole numbers in full: counters grow beyond what six digits show.
    out_ += value == std::floor(value) && std::abs(value) < 1e15
                ? fmt::format("{}{} {}\n", name_, labels, static_cast<std::int64_t>(value))
                : fmt::format("{}{} {:.6f}\n", name_, labels, value);
  }
  void sample(std::string_view labels, std::uint64_t value) {
    sample(labels, static_cast<double>(value));
  }
  void gauge(std::string_view name, std::string_view help, auto value) {
    head(name, "gauge", help);
    sample("", value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string name_, heading_, out_;
};

void write_assets(const SiteStatus& status, MetricsWriter& out) {
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help,
                        const auto& value_of) {
    out.head(name, type, help);
    for (const AssetStatus& asset : status.assets)
      if (const std::optional<double> value = value_of(asset)) out.sample(labels_of(asset), *value);
  };
  const auto count = [&](std::string_view name, std::string_view help,
                         std::uint64_t BackupCounters::*member) {
    each(name, "counter", help, [member](const AssetStatus& asset) -> std::optional<double> {
      if (asset.policy.empty()) return std::nullopt;
      return static_cast<double>(asset.counters.*member);
    });
  };
  using Value = std::optional<double>;
  each("tidemark_asset_newest_point_timestamp_seconds", "gauge",
       "When the newest point of the asset was taken, by the source's clock.",
       [](const AssetStatus& a) { return a.newest ? Value(seconds(a.newest->time)) : Value(); });
  each("tidemark_asset_newest_point_age_seconds", "gauge",
       "How old the newest point of the asset is.", [&](const AssetStatus& a) {
         const auto age = a.age(status.time);
         return age ? Value(seconds(*age)) : Value();
       });
  each("tidemark_asset_has_point", "gauge", "Whether the asset has a point at all.",
       [](const AssetStatus& a) { return a.known ? Value(a.newest ? 1 : 0) : Value(); });
  each("tidemark_asset_newest_point_in_part", "gauge",
       "Whether the newest point lacks a part of the asset.",
       [](const AssetStatus& a) { return a.newest ? Value(a.newest->in_part ? 1 : 0) : Value(); });
  each("tidemark_asset_objective_seconds", "gauge", "How old the newest point may become.",
       [](const AssetStatus& a) { return a.rpo ? Value(seconds(*a.rpo)) : Value(); });
  each("tidemark_asset_objective_met", "gauge",
       "Whether the newest point is as young as the objective wants.", [&](const AssetStatus& a) {
         const auto met = a.objective_met(status.time);
         return met ? Value(*met ? 1 : 0) : Value();
       });
  each("tidemark_asset_last_try_failed", "gauge", "Whether the last backup of the asset failed.",
       [](const AssetStatus& a) {
         return a.policy.empty() ? Value() : Value(a.last_error.empty() ? 0 : 1);
       });
  count("tidemark_backups_total", "Points taken by this agent.", &BackupCounters::points);
  count("tidemark_backup_failures_total", "Backups that failed.", &BackupCounters::failures);
  count("tidemark_backup_read_bytes_total", "Bytes read from the sources.",
        &BackupCounters::read_bytes);
  count("tidemark_backup_changed_bytes_total", "Bytes that differed from the points before.",
        &BackupCounters::changed_bytes);
  count("tidemark_backup_shipped_bytes_total", "Bytes sent to the stores.",
        &BackupCounters::shipped_bytes);
  each("tidemark_backup_last_duration_seconds", "gauge", "How long the last point took.",
       [](const AssetStatus& a) {
         if (a.counters.points == 0) return Value();
         return Value(static_cast<double>(a.counters.last_duration_ms) / 1e3);
       });
}

void write_store(const StoreStatus& store, MetricsWriter& out) {
  out.gauge("tidemark_store_points", "Points in the store.", store.stats.points);
  out.gauge("tidemark_store_packs", "Packs in the store.", store.stats.packs);
  out.gauge("tidemark_store_chunks", "Different chunks in the store.", store.stats.chunks);
  out.gauge("tidemark_store_pack_bytes", "Bytes of all packs.", store.stats.pack_bytes);
  out.gauge("tidemark_store_plain_bytes", "Bytes of all different chunks before compression.",
            store.stats.plain_bytes);
  out.gauge("tidemark_store_logical_bytes",
            "Bytes of all points, as if each were a full copy; counted every hour.",
            store.logical_bytes);
  const auto ratio = [&](std::string_view name, std::string_view help, std::uint64_t of,
                         std::uint64_t to) {
    if (of > 0 && to > 0) out.gauge(name, help, static_cast<double>(of) / static_cast<double>(to));
  };
  ratio("tidemark_store_dedup_ratio", "Bytes of all points to those of all different chunks.",
        store.logical_bytes, store.stats.plain_bytes);
  ratio("tidemark_store_compression_ratio", "Bytes of all different chunks to those of all packs.",
        store.stats.plain_bytes, store.stats.pack_bytes);
  if (store.full_at)
    out.gauge("tidemark_store_full_timestamp_seconds",
              "When the store is full, if it goes on as in the last two weeks.",
              seconds(*store.full_at));
  if (store.space) {
    out.gauge("tidemark_store_capacity_bytes", "Size of the medium that the store lies on.",
              store.space->total_bytes);
    out.gauge("tidemark_store_free_bytes", "What is free of it.", store.space->free_bytes);
  }
  out.gauge("tidemark_scrub_damaged_packs",
            "Packs that were found to be damaged and are set aside.", store.damaged_packs);
  if (store.scrub) {
    out.gauge("tidemark_scrub_period_seconds", "In how much time every pack is to be read.",
              seconds(store.scrub_period));
    out.gauge("tidemark_scrub_completed_timestamp_seconds",
              "When the last round was complete; before the first one, when that began.",
              seconds(store.scrub->completed));
    out.gauge("tidemark_scrub_progress_ratio", "How far this round has come.",
              store.scrub->progress());
    out.gauge("tidemark_scrub_unreadable_packs", "Packs that could not be read in this round.",
              store.scrub->unreadable_packs);
    out.head("tidemark_scrub_read_bytes_total", "counter", "Bytes that were read again.");
    out.sample("", store.scrub->total_read_bytes);
  }
}

// What of a store goes, and what it waits for.
void write_keeping(const StoreStatus& store, MetricsWriter& out) {
  const auto each_quota = [&](std::string_view name, std::string_view help,
                              std::uint64_t StoreStatus::Quota::*member) {
    out.head(name, "gauge", help);
    for (const StoreStatus::Quota& quota : store.quotas)
      out.sample("{site=\"" + escaped(quota.site) + "\"}", quota.*member);
  };
  each_quota("tidemark_site_stored_bytes", "What the points of a site with a quota take.",
             &StoreStatus::Quota::used_bytes);
  each_quota("tidemark_site_quota_bytes", "What the points of the site may take.",
             &StoreStatus::Quota::quota_bytes);
  out.gauge("tidemark_store_clock_believed", "Whether anything is removed by the store's clock.",
            std::uint64_t{store.clock_error.empty() ? 1U : 0U});
  out.head("tidemark_store_repacked_packs_total", "counter",
           "Packs that were mostly dead and were written anew.");
  out.sample("", store.repacked_packs);
  if (!store.collected_at) return;
  out.gauge("tidemark_store_collected_timestamp_seconds", "When garbage was collected last.",
            seconds(*store.collected_at));
  out.gauge("tidemark_store_live_bytes", "Bytes that points reach, as of the last collection.",
            store.collected.live_bytes);
  out.gauge("tidemark_store_waiting_bytes", "Bytes of packs that wait for their removal.",
            store.collected.bytes_waiting);
  out.gauge("tidemark_store_to_repack_bytes", "Bytes of packs that are mostly dead.",
            store.collected.bytes_to_repack);
}

void write_standby(const SiteStatus& status, MetricsWriter& out) {
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help,
                        const auto& value_of) {
    out.head(name, type, help);
    for (const StandbyStatus& standby : status.standby)
      if (const std::optional<double> value = value_of(standby))
        out.sample("{site=\"" + escaped(standby.site) + "\",asset=\"" + escaped(standby.asset) +
                       "\",image=\"" + escaped(standby.image) + "\"}",
                   *value);
  };
  using Value = std::optional<double>;
  each("tidemark_standby_lag_seconds", "gauge",
       "How much older the standby image is than the newest point of its asset.",
       [](const StandbyStatus& s) {
         return s.lag() == Duration::max() ? Value() : Value(seconds(s.lag()));
       });
  each("tidemark_standby_failed", "gauge", "Whether the standby could not be brought to the point.",
       [](const StandbyStatus& s) { return Value(s.error.empty() ? 0 : 1); });
  each("tidemark_standby_primary", "gauge", "Whether the image was released for use.",
       [](const StandbyStatus& s) { return Value(s.state == "primary" ? 1 : 0); });
  each("tidemark_standby_mended_total", "counter",
       "Times that the image was found changed by somebody else.",
       [](const StandbyStatus& s) { return Value(static_cast<double>(s.mended)); });
}

void write_drills(const SiteStatus& status, MetricsWriter& out) {
  const auto of_plans = [&](std::string_view name, std::string_view help, const auto& value_of) {
    out.head(name, "gauge", help);
    for (const DrillStatus& drill : status.drills)
      if (const std::optional<double> value = value_of(drill))
        out.sample("{plan=\"" + escaped(drill.plan) + "\"}", *value);
  };
  using Value = std::optional<double>;
  of_plans("tidemark_drill_running", "Whether the agent runs the drill.",
           [](const DrillStatus& d) { return Value(d.running ? 1 : 0); });
  of_plans("tidemark_drill_last_timestamp_seconds", "When the last drill of the plan began.",
           [](const DrillStatus& d) {
             return d.last_started ? Value(seconds(*d.last_started)) : Value();
           });
  of_plans("tidemark_drill_last_passed", "Whether the last drill of the plan passed.",
           [](const DrillStatus& d) {
             return d.last_result ? Value(*d.last_result == DrillResult::passed ? 1 : 0) : Value();
           });
  of_plans("tidemark_drill_overdue", "Assets of the plan without a drill that passed for too long.",
           [&](const DrillStatus& d) {
             return Value(static_cast<double>(d.overdue(status.time).size()));
           });
  const auto of_assets = [&](std::string_view name, std::string_view help, const auto& value_of) {
    out.head(name, "gauge", help);
    for (const DrillStatus& drill : status.drills)
      for (const DrillAssetStatus& asset : drill.assets)
        if (const std::optional<double> value = value_of(asset))
          out.sample("{plan=\"" + escaped(drill.plan) + "\",site=\"" + escaped(asset.site) +
                         "\",asset=\"" + escaped(asset.asset) + "\"}",
                     *value);
  };
  of_assets("tidemark_drill_last_success_timestamp_seconds",
            "When the last drill began in which the asset passed.", [](const DrillAssetStatus& a) {
              return a.passed ? Value(seconds(*a.passed)) : Value();
            });
  of_assets("tidemark_drill_rto_seconds", "How long its recovery took in that drill.",
            [](const DrillAssetStatus& a) { return a.rto ? Value(seconds(*a.rto)) : Value(); });
}

void write_events(const SiteStatus& status, MetricsWriter& out) {
  out.head("tidemark_events_open", "gauge",
           "Events that need a person and that nobody has acknowledged.");
  for (const Severity severity : {Severity::critical, Severity::warning})
    out.sample(
        "{severity=\"" + std::string(name_of(severity)) + "\"}",
        static_cast<std::uint64_t>(std::ranges::count_if(status.events, [&](const Event& event) {
          return event.alarms() && event.severity == severity;
        })));
  out.head("tidemark_webhook_failures_total", "counter", "Events that the webhook did not take.");
  out.sample("", status.webhook_failures);
}

}  // namespace

std::optional<Duration> AssetStatus::age(Timestamp now) const {
  if (!newest) return std::nullopt;
  return std::max<Duration>(now - newest->time, Duration::zero());
}

std::optional<bool> AssetStatus::objective_met(Timestamp now) const {
  // What a store said before it fell silent grows older all the same.
  if (!rpo || (!known && !newest)) return std::nullopt;
  return newest && *age(now) <= *rpo;
}

std::string_view AssetStatus::state(Timestamp now) const {
  if (!known && !newest) return "unknown";
  if (rpo && newest && *age(now) > *rpo) return "late";
  if (!newest) return "no point";
  return newest->in_part ? "in part" : "ok";
}

AssetStatus::Newest newest_of(const PointRow& row) {
  const PointRecord& record = row.point.record;
  return {record.id.hex(), record.time, record.labels.contains(std::string(kInPartLabel))};
}

Status add_received(PointStore& store, SiteStatus& status) {
  std::set<std::pair<std::string, std::string>> own;
  for (const AssetStatus& asset : status.assets)
    if (asset.to == status.site) own.emplace(asset.site, asset.asset);
  return store.each_latest_point([&](const PointRow& row) -> Status {
    AssetStatus asset;
    asset.site = row.point.record.site;
    asset.asset = row.point.record.asset;
    if (own.contains({asset.site, asset.asset})) return {};
    asset.newest = newest_of(row);
    status.assets.push_back(std::move(asset));
    return {};
  });
}

nlohmann::json status_json(const SiteStatus& status) {
  json assets = json::array();
  std::ptrdiff_t running = 0;
  for (const AssetStatus& asset : status.assets) {
    assets.push_back(asset_json(asset, status.time));
    running += asset.running ? 1 : 0;
  }
  return {{"site", status.site},
          {"time", format_time(status.time)},
          {"agent_since", optional_time(status.agent_since)},
          {"running", running},
          {"waiting", status.waiting},
          {"certificate_end", optional_time(status.certificate_end)},
          {"store", status.store ? store_json(*status.store) : json(nullptr)},
          {"standby", standby_list(status)},
          {"drills", drill_list(status)},
          {"problems", status.problems},
          {"events", events_json(status)},
          {"assets", std::move(assets)}};
}

std::string metrics_text(const SiteStatus& status) {
  MetricsWriter out;
  write_assets(status, out);
  out.head("tidemark_backups_running", "gauge", "Backups under way.");
  out.sample("", static_cast<std::uint64_t>(std::ranges::count_if(
                     status.assets, [](const AssetStatus& a) { return a.running.has_value(); })));
  out.head("tidemark_backups_waiting", "gauge", "Backups that are due and held back by limits.");
  out.sample("", status.waiting);
  out.head("tidemark_problems", "gauge",
           "What the agent could not find out; its status says what.");
  out.sample("", std::uint64_t{status.problems.size()});
  write_events(status, out);
  write_standby(status, out);
  write_drills(status, out);
  if (status.store) {
    write_store(*status.store, out);
    write_keeping(*status.store, out);
  }
  if (status.certificate_end) {
    out.head("tidemark_certificate_end_timestamp_seconds", "gauge",
             "When this site's certificate ends.");
    out.sample("", seconds(*status.certificate_end));
  }
  return out.take();
}

std::filesystem::path status_file(const Config& config) { return config.state / "status.json"; }

std::filesystem::path agent_lock_file(const Config& config) { return config.state / "agent.lock"; }

}  // namespace tidemark
