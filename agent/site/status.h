// How things stand at a site: for people (`tidemark status`), for scripts (JSON) and for
// Prometheus.
//
// Plain values and pure functions; the agent fills them in (agent/site/scheduler.h), or a command
// does where no agent runs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/drill/drill_status.h"
#include "agent/service/point_store.h"
#include "agent/service/scrub.h"
#include "agent/site/events.h"
#include "agent/standby/standby_status.h"
#include "base/clock.h"
#include "config/config.h"
#include "store/backend.h"

namespace tidemark {

struct RunningBackup {
  Timestamp since;
  std::uint64_t size_bytes = 0, position_bytes = 0;  // of the asset; how far the backup has come
  std::uint64_t read_bytes = 0, sent_bytes = 0;
};

// Since the agent's start.
struct BackupCounters {
  std::uint64_t points = 0, failures = 0;
  std::uint64_t read_bytes = 0, changed_bytes = 0, shipped_bytes = 0;
  std::uint64_t last_duration_ms = 0;  // of the last point
  bool operator==(const BackupCounters&) const = default;
};

// An asset under one policy, or one of another site whose points lie in the store here.
struct AssetStatus {
  std::string site, asset;
  std::string policy, to;  // empty for another site's asset
  struct Newest {
    std::string id;
    Timestamp time;        // by the source's clock
    bool in_part = false;  // it is not all of the asset
  };
  bool known = true;             // false: its store was not asked yet, or did not answer
  std::optional<Newest> newest;  // in that store
  std::optional<Duration> rpo;
  std::optional<Timestamp> next_due;  // nothing: by hand only, or not known
  std::optional<RunningBackup> running;
  std::string last_error;  // of the last try; empty where it went well
  std::optional<Timestamp> failed_at;
  std::uint64_t failures_in_a_row = 0;
  BackupCounters counters;

  // Zero where the newest point is of the future.
  std::optional<Duration> age(Timestamp now) const;
  // "ok", "late" (older than the objective, or without a point though there is one), "in part",
  // "no point", "unknown".
  std::string_view state(Timestamp now) const;
  // Nothing where there is no objective, or nobody knows of a point.
  std::optional<bool> objective_met(Timestamp now) const;
};

struct StoreStatus {
  CatalogStats stats;
  std::optional<BackendSpace> space;
  std::optional<Timestamp> full_at;       // as far as the last two weeks tell
  std::uint64_t logical_bytes = 0;        // of all points, as if each were a full copy; hourly
  std::optional<Timestamp> collected_at;  // the last collection of this agent
  CollectReport collected;
  std::uint64_t repacked_packs = 0;  // since the agent's start
  std::string collect_error;         // of the last try; empty where it went well
  std::string clock_error;           // why nothing is removed by this clock; empty: it is believed
  struct Quota {
    std::string site;
    std::uint64_t used_bytes = 0, quota_bytes = 0;
  };
  std::vector<Quota> quotas;  // of the peers that have one
  std::uint64_t damaged_packs = 0;
  std::optional<ScrubStatus> scrub;
  Duration scrub_period{};
};

struct SiteStatus {
  std::string site;
  Timestamp time;
  std::optional<Timestamp> agent_since;    // nothing: no agent runs
  std::vector<AssetStatus> assets;         // in the order of (site, asset, store, policy)
  std::uint64_t waiting = 0;               // due, and held back by the limits
  std::vector<std::string> problems;       // what could not be found out, in words
  std::vector<std::string> idle_policies;  // that match no asset
  std::optional<StoreStatus> store;        // served here
  std::vector<StandbyStatus> standby;      // kept here
  std::vector<DrillStatus> drills;         // of this site's plans
  std::optional<Timestamp> certificate_end;
  std::vector<Event> events;           // that are not over, oldest first
  std::uint64_t webhook_failures = 0;  // since the agent's start
};

// The point as a status has it.
AssetStatus::Newest newest_of(const PointRow& row);
// Adds what other sites sent to this store, `own_site` being that of the assets already there.
Status add_received(PointStore& store, SiteStatus& status);

nlohmann::json status_json(const SiteStatus& status);
// Prometheus text format 0.0.4. https://prometheus.io/docs/instrumenting/exposition_formats/
std::string metrics_text(const SiteStatus& status);

// Where a running agent writes status_json(), every two seconds.
std::filesystem::path status_file(const Config& config);
// Held by the agent while it runs.
std::filesystem::path agent_lock_file(const Config& config);

}  // namespace tidemark
