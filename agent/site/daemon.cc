#include "agent/site/daemon.h"

#include <systemd/sd-daemon.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "agent/drill/keeper.h"
#include "agent/kube/api_claims.h"
#include "agent/kube/frozen.h"
#include "agent/kube/kube_site.h"
#include "agent/service/routes.h"
#include "agent/site/access.h"
#include "agent/site/events.h"
#include "agent/site/norm.h"
#include "agent/site/orphans.h"
#include "agent/site/scheduler.h"
#include "agent/site/status.h"
#include "agent/site/store_keeper.h"
#include "agent/site/webhook.h"
#include "agent/standby/keeper.h"
#include "base/asset.h"
#include "base/files.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/queue.h"
#include "transport/http.h"
#include "transport/pki.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kStopGrace{10};
constexpr std::chrono::milliseconds kStep{500};
constexpr Duration kConfigStep = std::chrono::seconds(5);
// How often snapshots that nobody needs are looked for.
constexpr Duration kTidyStep = std::chrono::minutes(10), kMinTidyStep = std::chrono::seconds(1);
constexpr Duration kThawStep = std::chrono::seconds(10);
constexpr Duration kClaimsStep = std::chrono::seconds(2), kClaimsSettle = std::chrono::minutes(1);
// The status is written this often, and no more of the time than this part is spent on it.
constexpr Duration kStatusStep = std::chrono::seconds(2);
constexpr int kStatusPart = 20;

using ConfigPtr = std::shared_ptr<const Config>;

// When a file was written last; equal stamps mean an equal file.
struct FileStamp {
  fs::file_time_type time{};
  std::uintmax_t size = 0;
  bool operator==(const FileStamp&) const = default;
};
FileStamp stamp_of(const fs::path& path) {
  std::error_code failed;
  FileStamp stamp;
  stamp.time = fs::last_write_time(path, failed);
  stamp.size = fs::file_size(path, failed);
  return stamp;
}

// What the agent took up when it started and cannot change while it runs: put into `next` as it is
// now. The names of what would have changed are returned.
std::vector<std::string> keep_fixed_parts(const Config& now, Config& next) {
  std::vector<std::string> kept;
  const auto keep = [&](const char* name, const auto& old_value, auto& new_value) {
    if (old_value == new_value) return;
    kept.emplace_back(name);
    new_value = old_value;
  };
  keep("site", now.site, next.site);
  keep("tls", now.tls, next.tls);
  keep("listen", now.listen, next.listen);
  keep("state", now.state, next.state);
  if (now.kubernetes.has_value() != next.kubernetes.has_value() ||
      (now.kubernetes && (now.kubernetes->custom_resources != next.kubernetes->custom_resources ||
                          now.kubernetes->lease != next.kubernetes->lease)))
    keep("kubernetes", now.kubernetes, next.kubernetes);
  if (now.store && next.store) {
    const CollectConfig gc = std::exchange(next.store->gc, now.store->gc);
    const ScrubConfig scrub = std::exchange(next.store->scrub, now.store->scrub);
    keep("store", now.store, next.store);
    next.store->gc = gc;
    next.store->scrub = scrub;
  } else {
    keep("store", now.store, next.store);
  }
  return kept;
}

class Daemon {
 public:
  Daemon(Config config, fs::path config_path, Clock& clock, ReloadRequests reloads,
         std::stop_token stop)
      : config_(std::make_shared<const Config>(std::move(config))),
        file_config_(config_),
        config_path_(std::move(config_path)),
        clock_(clock),
        reloads_(std::move(reloads)),
        stop_(std::move(stop)),
        since_(clock.now()),
        events_(config_->state),
        webhook_(
            events_, [this] { return this->config(); }, stop_),
        norms_(config_->state / "norms.json") {}

  Status run() {
    const ConfigPtr config = this->config();
    config_stamp_ = stamp_of(config_path_);
    for (const std::string& warning : config_warnings(*config)) log::warn("{}", warning);
    TM_DO(lock_state(*config));
    if (config->store) {
      TM_TRY(keeper_, StoreKeeper::open([this] { return this->config(); }, clock_, stop_));
    }
    if (keeper_ && keeper_->access().keys)
      standby_ =
          std::make_unique<StandbyKeeper>([this] { return this->config(); }, keeper_->service(),
                                          *keeper_->access().keys, clock_, stop_);
    drills_ = std::make_unique<DrillKeeper>([this] { return this->config(); },
                                            keeper_ ? &keeper_->access() : nullptr, clock_, stop_);
    scheduler_ =
        std::make_unique<Scheduler>(config, clock_, keeper_ ? &keeper_->access() : nullptr, stop_);
    scheduler_->on_point([this](const BackupJob& job, const BackupReport& report,
                                std::optional<Timestamp> before) { judge(job, report, before); });
    if (config->kubernetes && config->kubernetes->custom_resources) {
      TM_TRY(kube_, KubeSite::create([this] { return this->config(); },
                                     keeper_ ? &keeper_->access() : nullptr, clock_, stop_));
      drills_->set_guard(&kube_->drills());
    }
    events_.open();
    TM_DO(serve(*config));
    ::sd_notify(0, "READY=1");
    log::info("site {} is ready{}", config->site,
              server_ ? ", port " + std::to_string(server_->port()) : std::string());
    {
      const std::jthread scheduling([this] { scheduler_->run(); });
      const std::jthread drilling([this] { drills_->run(); });
      std::jthread keeping, scrubbing, following, carrying_out;
      if (kube_) carrying_out = std::jthread([this] { kube_->run(); });
      if (standby_) following = std::jthread([this] { standby_->run(); });
      if (keeper_) keeping = std::jthread([this] { keeper_->keep(); });
      if (keeper_) scrubbing = std::jthread([this] { keeper_->scrub(); });
      const std::jthread telling([this] { webhook_.run(); });
      const std::jthread tidying([this] { tidy_sources(); });
      supervise();
      ::sd_notify(0, "STOPPING=1");
    }
    if (server_) server_->stop(kStopGrace);
    std::error_code ignored;
    fs::remove(status_file(*config), ignored);
    log::info("site {} stopped", config->site);
    return {};
  }

 private:
  ConfigPtr config() const {
    const std::lock_guard lock(config_mutex_);
    return config_;
  }

  Status lock_state(const Config& config) {
    std::error_code failed;
    fs::create_directories(config.state, failed);
    if (failed) return errno_error(failed.value(), "create " + config.state.string());
    auto lock = lock_file(agent_lock_file(config));
    if (!lock && lock.error().code() == ErrorCode::refused)
      return Error(ErrorCode::refused,
                   "another agent runs with state '" + config.state.string() + "'")
          .with_hint("give each agent a 'state' directory of its own");
    if (!lock) return std::move(lock).error();
    state_lock_ = *std::move(lock);
    return {};
  }

  Status serve(const Config& config) {
    if (!config.listen) return {};
    if (!config.tls)
      return Error(ErrorCode::invalid_argument, config.name + ": 'listen' needs 'tls'");
    ApiPolicy policy;
    policy.own_site = config.site;
    policy.known = [this](const std::string& site) {
      const ConfigPtr now = this->config();
      return site == now->site || now->peers.contains(site);
    };
    policy.may_read = [this](const std::string& reader, const std::string& owner,
                             const AssetName& asset) {
      return this->config()->may_read(reader, owner, asset);
    };
    policy.prepare_collection = [this](CollectRequest& request) {
      keeper_->add_repacking(this->config()->store->gc, request);
    };
    api_ = std::make_unique<StoreApi>(keeper_ ? &keeper_->service() : nullptr, std::move(policy));
    HttpServerOptions options;
    options.address = config.listen->host;
    options.port = config.listen->port;
    options.tls = tls_files(*config.tls);
    TM_TRY(server_, HttpServer::start(std::move(options),
                                      [this](HttpRequest& request) { return answer(request); }));
    return {};
  }

  HttpResponse answer(HttpRequest& request) {
    if (request.path == "/healthz") return json_response(200, R"({"status":"alive"})");
    if (request.path == "/readyz") {
      const auto owner = keeper_ ? keeper_->service().still_owner() : Status();
      return owner ? json_response(200, R"({"status":"ready"})") : error_response(owner.error());
    }
    if (request.path == "/metrics") return metrics(request.peer_site);
    if (request.path.starts_with("/v1/standby")) {
      auto answered = answer_standby(request);
      return answered ? *std::move(answered) : error_response(answered.error());
    }
    return api_->handle(request);
  }

  // Only for this site's own commands.
  Result<HttpResponse> answer_standby(const HttpRequest& request) {
    if (request.peer_site != config()->site)
      return Error(ErrorCode::permission_denied, "only the store's own site may do this")
          .with_hint("run the command at site " + config()->site);
    if (!standby_)
      return Error(ErrorCode::not_found, "no standby images are kept at site " + config()->site);
    const auto value = [&](const char* key) {
      const auto found = request.query.find(key);
      return found == request.query.end() ? std::string() : found->second;
    };
    if (request.method == "POST" && request.path == "/v1/standby/promote") {
      TM_TRY(const SiteAsset asset, parse_site_asset(value("asset")));
      TM_DO(standby_->promote(asset, value("point")));
    } else if (request.method == "POST" && request.path == "/v1/standby/demote") {
      TM_TRY(const SiteAsset asset, parse_site_asset(value("asset")));
      TM_DO(value("lost") == "true" ? standby_->demote_lost(asset) : standby_->demote(asset));
    } else if (request.method != "GET" || request.path != "/v1/standby") {
      return Error(ErrorCode::not_found, "no such route");
    }
    nlohmann::json out = nlohmann::json::array();
    for (const StandbyStatus& standby : standby_->list()) out.push_back(standby_json(standby));
    return json_response(200, nlohmann::json{{"standby", std::move(out)}}.dump(
                                  -1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  HttpResponse metrics(const std::string& reader) {
    if (!config()->may_read_metrics(reader))
      return error_response(
          Error(ErrorCode::permission_denied, "site '" + reader + "' may not read the metrics"));
    HttpResponse response;
    response.headers["content-type"] = "text/plain; version=0.0.4; charset=utf-8";
    SiteStatus now = status();
    add_events(now);
    append(response.body, as_bytes(metrics_text(now)));
    return response;
  }

  // Until the end: takes up what changes in the configuration, writes the status, and tells systemd
  // that we are alive. Nothing here waits for a cluster or a peer.
  void supervise() {
    std::uint64_t watchdog_us = 0;
    if (::sd_watchdog_enabled(0, &watchdog_us) <= 0) watchdog_us = 0;
    auto next_config = clock_.uptime() + kConfigStep, next_status = clock_.uptime();
    unsigned reloads_seen = 0;
    do {
      const auto now = clock_.uptime();
      if (watchdog_us > 0) ::sd_notify(0, "WATCHDOG=1");
      const unsigned reloads = *reloads_;
      const bool asked = reloads != std::exchange(reloads_seen, reloads);
      if (asked || now >= next_config) {
        next_config = now + kConfigStep;
        reload(asked);
      }
      if (kube_ && kube_->generation() != objects_seen_) use_config();
      if (now >= next_status) {
        write_status();
        next_status = now + std::max(kStatusStep, kStatusPart * (clock_.uptime() - now));
      }
    } while (sleep_for(stop_, kStep));
  }

  void reload(bool asked) {
    const FileStamp stamp = stamp_of(config_path_);
    if (!asked && stamp == config_stamp_) return;
    config_stamp_ = stamp;
    auto loaded = load_config(config_path_);
    if (!loaded) {
      log::error("the configuration is not taken up: {}", loaded.error().describe());
      set_config_problem("the configuration is not taken up: " + loaded.error().message());
      return;
    }
    set_config_problem({});
    const ConfigPtr old = file_config_;
    for (const std::string& name : keep_fixed_parts(*old, *loaded)) {
      log::warn("'{}' has changed, which needs a restart of the agent", name);
      set_config_problem("a change of '" + name + "' needs a restart");
    }
    if (*loaded == *old) return;
    for (const std::string& warning : config_warnings(*loaded)) log::warn("{}", warning);
    log::set_level(loaded->log.level);
    log::set_format(loaded->log.format);
    file_config_ = std::make_shared<const Config>(*std::move(loaded));
    use_config();
    log::info("the configuration has changed and is in use");
  }

  // That of the file, with what objects make.
  void use_config() {
    ConfigPtr next = file_config_;
    if (kube_) {
      objects_seen_ = kube_->generation();
      next = std::make_shared<const Config>(kube_->with_objects(*file_config_));
    }
    {
      const std::lock_guard lock(config_mutex_);
      config_ = next;
    }
    if (keeper_) keeper_->configure(*next);
    scheduler_->configure(next);
  }

  void set_config_problem(std::string problem) {
    const std::lock_guard lock(config_mutex_);
    config_problem_ = std::move(problem);
  }

  SiteStatus status() {
    SiteStatus status;
    ConfigPtr config;
    {
      const std::lock_guard lock(config_mutex_);
      config = config_;
      if (!config_problem_.empty()) status.problems.push_back(config_problem_);
    }
    status.site = config->site;
    status.time = clock_.now();
    status.agent_since = since_;
    scheduler_->add_to(status);
    if (keeper_) keeper_->add_to(status);
    if (standby_)
      status.standby = standby_->list();
    else if (!config->standby.empty())
      status.problems.push_back("standby: the key of the store here is needed");
    status.drills = drills_->list();
    if (config->tls)
      if (const auto end = certificate_expiry(config->tls->cert); end)
        status.certificate_end = *end;
    std::ranges::sort(status.assets, {}, [](const AssetStatus& asset) {
      return std::tie(asset.site, asset.asset, asset.to, asset.policy);
    });
    return status;
  }

  void look_for_events(SiteStatus& now) {
    const auto kept = events_.update(conditions_of(now, config()->events), now.time);
    if (!kept && !std::exchange(events_failed_, true))
      log::error("events: {}", kept.error().describe());
    if (kept) events_failed_ = false;
    add_events(now);
  }

  void add_events(SiteStatus& status) const {
    status.events = events_.events();
    std::erase_if(status.events, [](const Event& event) { return event.over.has_value(); });
    status.webhook_failures = webhook_.failures();
  }

  // Whether the point is far from what is usual. The first one, and one that was captured as a
  // whole, say nothing of what changed.
  void judge(const BackupJob& job, const BackupReport& report, std::optional<Timestamp> before) {
    const PointRecord& record = report.point.point.record;
    if (report.mode != "incremental" || !before || record.time <= *before) return;
    PointNorm norm{record.size_bytes, record.changed_bytes, record.shipped_bytes, 0};
    const auto passed = std::chrono::duration_cast<std::chrono::seconds>(record.time - *before);
    norm.seconds = static_cast<std::uint64_t>(std::max<std::int64_t>(passed.count(), 1));
    const auto words = norms_.add(job.asset.text(), job.to, norm);
    if (!words)
      log::warn("what is usual of {} is not remembered: {}", job.asset.text(),
                words.error().message());
    if (words && !words->empty())
      events_.raise({"unusual_change",
                     job.asset.text() + " to " + job.to,
                     Severity::critical,
                     *words + " (point " + record.id.hex().substr(0, 12) + ")",
                     {}},
                    clock_.now());
  }

  void write_status() {
    SiteStatus now = status();
    look_for_events(now);
    if (kube_) kube_->tell(now);
    const auto written = replace_file(
        status_file(*config()),
        as_bytes(status_json(now).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    if (!written && !std::exchange(status_failed_, true))
      log::error("{}", written.error().describe());
    if (written) status_failed_ = false;
  }

  // Pods that a process froze which died before it thawed them.
  void thaw_pods(const Config& now) {
    std::error_code none;
    if (!now.kubernetes || fs::is_empty(frozen_directory(now), none) || none) return;
    const auto client = connect_kube(*now.kubernetes);
    const auto left =
        client ? thaw_what_is_left(frozen_directory(now),
                                   [&](const PodHook& hook) {
                                     return run_in_pod(**client, hook, hook.after, stop_);
                                   })
               : Result<std::size_t>(client.error());
    if (!left) log::error("pods that are left frozen: {}", left.error().describe());
  }

  // Removes snapshots of ours that no policy needs any more.
  void tidy_sources() {
    SourceBook book(source_book_file(*config()));
    std::shared_ptr<CephCluster> cluster;
    auto next = clock_.uptime();
    bool failed = false;
    auto next_thaw = clock_.uptime();
    std::uint64_t claims_seen = 0;
    auto often = clock_.uptime(), last = clock_.uptime();
    do {
      if (clock_.uptime() >= next_thaw) {
        thaw_pods(*config());
        next_thaw = clock_.uptime() + kThawStep;
      }
      // A claim that went has an image that cannot be deleted before our snapshots are; that it is
      // wanted no more is known a moment later.
      const std::uint64_t claims = scheduler_->claims_generation();
      if (std::exchange(claims_seen, claims) != claims) often = clock_.uptime() + kClaimsSettle;
      if (clock_.uptime() < often) next = std::min(next, last + kClaimsStep);
      if (clock_.uptime() < next) continue;
      last = clock_.uptime();
      const ConfigPtr now = config();
      next = clock_.uptime() + std::min(now->snapshots.orphans_after / 4 + kMinTidyStep, kTidyStep);
      const auto connect = [&]() -> Result<std::shared_ptr<CephCluster>> {
        if (!cluster) {
          TM_TRY(cluster, CephCluster::connect(ceph_config(now->ceph)));
        }
        return cluster;
      };
      const auto wanted = [&](const std::string& asset, const std::string& to) {
        return scheduler_->wants(asset, to);
      };
      // Looked up where it is asked for at all, and once.
      std::optional<std::optional<std::set<std::string>>> claimed;
      const auto claim_gone = [&](const std::string& asset) {
        if (!claimed) claimed = scheduler_->claimed_assets();
        return *claimed && !(*claimed)->contains(asset);
      };
      const auto swept = sweep_orphans(book, *now, clock_, wanted, claim_gone, connect);
      if (!swept && !std::exchange(failed, true))
        log::error("snapshots that nobody needs: {}", swept.error().describe());
      if (swept) failed = false;
    } while (sleep_for(stop_, kStep));
  }

  mutable std::mutex config_mutex_;
  ConfigPtr config_;            // guarded by config_mutex_
  ConfigPtr file_config_;       // without what objects make; of the thread that supervises
  std::string config_problem_;  // likewise; empty: the file's content is in use
  const fs::path config_path_;
  Clock& clock_;
  const ReloadRequests reloads_;
  const std::stop_token stop_;
  const Timestamp since_;
  EventLog events_;
  Webhook webhook_;
  NormBook norms_;
  Fd state_lock_;

  // Of the thread that supervises.
  FileStamp config_stamp_;
  bool status_failed_ = false, events_failed_ = false;
  std::uint64_t objects_seen_ = 0;  // kube_'s generation

  std::unique_ptr<StoreKeeper> keeper_;  // null: no store is served here
  std::unique_ptr<DrillKeeper> drills_;
  std::unique_ptr<StandbyKeeper> standby_;  // null: no store, or no key of it
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<KubeSite> kube_;  // null: no objects are carried out here
  std::unique_ptr<StoreApi> api_;
  std::unique_ptr<HttpServer> server_;  // last: its threads use the rest
};

}  // namespace

Status run_daemon(Config config, const std::filesystem::path& config_path, Clock& clock,
                  ReloadRequests reloads, std::stop_token stop) {
  const auto work = [&](std::stop_token end) {
    return Daemon(config, config_path, clock, reloads, std::move(end)).run();
  };
  const bool alone = !config.kubernetes || config.kubernetes->lease.empty();
  return alone ? work(stop) : run_while_leading(config, clock, stop, work);
}

}  // namespace tidemark
