#include "agent/site/daemon.h"

#include <systemd/sd-daemon.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "agent/retention/points.h"
#include "agent/service/routes.h"
#include "agent/site/access.h"
#include "agent/site/events.h"
#include "agent/site/norm.h"
#include "agent/site/orphans.h"
#include "agent/site/scheduler.h"
#include "agent/site/status.h"
#include "agent/site/usage.h"
#include "agent/site/webhook.h"
#include "agent/verify/repair.h"
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
constexpr Duration kRetentionStep = std::chrono::hours(1);
constexpr Duration kFirstCollection = std::chrono::minutes(15);
constexpr std::chrono::seconds kScrubStep{1};
constexpr Duration kConfigStep = std::chrono::seconds(5);
constexpr Duration kSpaceStep = std::chrono::minutes(1);
// How often snapshots that nobody needs are looked for.
constexpr Duration kTidyStep = std::chrono::minutes(10), kMinTidyStep = std::chrono::seconds(1);
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
        config_path_(std::move(config_path)),
        clock_(clock),
        reloads_(std::move(reloads)),
        stop_(std::move(stop)),
        since_(clock.now()),
        usage_(config_->state / "usage.json"),
        events_(config_->state),
        webhook_(events_, [this] { return this->config(); }, stop_),
        norms_(config_->state / "norms.json") {}

  Status run() {
    const ConfigPtr config = this->config();
    config_stamp_ = stamp_of(config_path_);
    for (const std::string& warning : config_warnings(*config)) log::warn("{}", warning);
    TM_DO(lock_state(*config));
    TM_DO(open_store(*config));
    scheduler_ = std::make_unique<Scheduler>(config, clock_, own_.store ? &own_ : nullptr, stop_);
    scheduler_->on_point([this](const BackupJob& job, const BackupReport& report,
                                std::optional<Timestamp> before) { judge(job, report, before); });
    events_.open();
    TM_DO(serve(*config));
    ::sd_notify(0, "READY=1");
    log::info("site {} is ready{}", config->site,
              server_ ? ", port " + std::to_string(server_->port()) : std::string());
    {
      const std::jthread scheduling([this] { scheduler_->run(); });
      std::jthread keeping, scrubbing;
      if (service_ != nullptr) keeping = std::jthread([this] { keep_store(); });
      if (service_ != nullptr) scrubbing = std::jthread([this] { scrub(); });
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

  Status open_store(const Config& config) {
    if (!config.store) return {};
    TM_TRY(auto backend, open_backend(backend_config(config.store->backend), false));
    own_.name = backend->url();
    auto service = StoreService::open(std::move(backend), config.store->catalog, clock_);
    if (!service) return std::move(service).error().context("store " + own_.name);
    TM_DO((*service)->set_rules(store_rules(config)));
    service_ = service->get();
    own_.store = *std::move(service);
    TM_TRY(own_.descriptor, own_.store->descriptor());
    TM_TRY(own_.keys, open_keys(own_.descriptor, config.store->key, config.store->passphrase));
    if (own_.keys) keys_ = std::make_shared<const StoreKeys>(own_.keys->clone());
    Scrubber::Options options;
    options.state_file = config.state / "scrub.json";
    options.on_damage = [this](const PackId& id, const Bytes& pack) { save_from(id, pack); };
    options.keys = keys_;
    options.stop = stop_;
    scrubber_ = std::make_unique<Scrubber>(*service_, clock_, std::move(options));
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
      add_repacking(this->config()->store->gc, request);
    };
    api_ = std::make_unique<StoreApi>(service_, std::move(policy));
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
      const auto owner = service_ != nullptr ? service_->still_owner() : Status();
      return owner ? json_response(200, R"({"status":"ready"})") : error_response(owner.error());
    }
    if (request.path == "/metrics") return metrics(request.peer_site);
    return api_->handle(request);
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
    const ConfigPtr old = config();
    for (const std::string& name : keep_fixed_parts(*old, *loaded)) {
      log::warn("'{}' has changed, which needs a restart of the agent", name);
      set_config_problem("a change of '" + name + "' needs a restart");
    }
    if (*loaded == *old) return;
    for (const std::string& warning : config_warnings(*loaded)) log::warn("{}", warning);
    log::set_level(loaded->log.level);
    log::set_format(loaded->log.format);
    const auto next = std::make_shared<const Config>(*std::move(loaded));
    {
      const std::lock_guard lock(config_mutex_);
      config_ = next;
    }
    if (service_ != nullptr)
      if (const auto set = service_->set_rules(store_rules(*next)); !set)
        log::error("the rules for peers: {}", set.error().describe());
    scheduler_->configure(next);
    log::info("the configuration has changed and is in use");
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
    if (service_ != nullptr) add_store(status);
    if (config->tls)
      if (const auto end = certificate_expiry(config->tls->cert); end)
        status.certificate_end = *end;
    std::ranges::sort(status.assets, {}, [](const AssetStatus& asset) {
      return std::tie(asset.site, asset.asset, asset.to, asset.policy);
    });
    return status;
  }

  void add_store(SiteStatus& status) {
    StoreStatus store;
    const auto stats = service_->stats();
    const auto received = add_received(*service_, status);
    for (const Error* const error :
         {stats ? nullptr : &stats.error(), received ? nullptr : &received.error()})
      if (error != nullptr) status.problems.push_back("the store: " + error->message());
    if (const auto owner = service_->still_owner(); !owner)
      status.problems.push_back("the store: " + owner.error().message());
    if (stats) store.stats = *stats;
    store.damaged_packs = service_->catalog().damaged_packs();
    store.scrub = scrubber_->status();
    store.scrub_period = config()->store->scrub.every;
    {
      const std::lock_guard lock(store_mutex_);
      store.space = space_;
      store.full_at = full_at_;
      store.logical_bytes = logical_bytes_;
      store.collected_at = collected_at_;
      store.collected = collected_;
      store.collect_error = collect_error_;
    }
    status.store = store;
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
      events_.raise({"unusual_change", job.asset.text() + " to " + job.to, Severity::critical,
                     *words + " (point " + record.id.hex().substr(0, 12) + ")",
                     {}},
                    clock_.now());
  }

  void write_status() {
    SiteStatus now = status();
    look_for_events(now);
    const auto written = replace_file(
        status_file(*config()),
        as_bytes(status_json(now).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    if (!written && !std::exchange(status_failed_, true))
      log::error("{}", written.error().describe());
    if (written) status_failed_ = false;
  }

  // Retention and garbage collection of the store that is served here. The first collection comes a
  // while after the start: an agent that is started again and again would do nothing else.
  void keep_store() {
    auto next_retention = clock_.uptime(), next_space = clock_.uptime();
    std::optional<Duration> last_collection;
    const Duration started = clock_.uptime();
    do {
      const CollectConfig gc = config()->store->gc;
      const auto now = clock_.uptime();
      if (now >= next_space) {
        next_space = now + kSpaceStep;
        measure_space();
      }
      if (now >= next_retention) {
        next_retention = now + std::min<Duration>(gc.every, kRetentionStep);
        if (const auto applied = apply_retention(); !applied)
          log::error("retention: {}", applied.error().describe());
      }
      const auto due = last_collection ? *last_collection + gc.every
                                       : started + std::min<Duration>(gc.every, kFirstCollection);
      if (now < due) continue;
      last_collection = now;
      collect(gc);
    } while (sleep_for(stop_, kStep));
  }

  void scrub() {
    const log::JobScope scope(log::new_job("scrub"));
    bool failed = false;
    do {
      const auto done = scrubber_->step(config()->store->scrub.every);
      if (!done && !std::exchange(failed, true)) log::error("scrub: {}", done.error().describe());
      if (done) failed = false;
    } while (sleep_for(stop_, kScrubStep));
  }

  // Removes snapshots of ours that no policy needs any more.
  void tidy_sources() {
    SourceBook book(source_book_file(*config()));
    std::shared_ptr<CephCluster> cluster;
    auto next = clock_.uptime();
    bool failed = false;
    do {
      if (clock_.uptime() < next) continue;
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
      const auto swept = sweep_orphans(book, *now, clock_, wanted, connect);
      if (!swept && !std::exchange(failed, true))
        log::error("snapshots that nobody needs: {}", swept.error().describe());
      if (swept) failed = false;
    } while (sleep_for(stop_, kStep));
  }

  // What is whole in a damaged pack need not be sent again, where we can read it.
  void save_from(const PackId& id, const Bytes& pack) {
    if (!own_.keys) return;
    const auto saved = save_whole_blobs(*service_, *own_.keys, pack);
    if (saved)
      log::info("scrub: {} chunks and nodes of pack {} were whole and are saved", *saved, id.hex());
    else
      log::error("scrub: {}", saved.error().describe());
  }

  void measure_space() {
    const auto space = service_->backend().space();
    std::optional<Timestamp> full;
    if (space && *space) {
      const std::uint64_t total = (*space)->total_bytes;
      const auto kept = usage_.add({clock_.now(), total - std::min(total, (*space)->free_bytes)});
      if (!kept) log::warn("the store's usage is not remembered: {}", kept.error().message());
      full = full_at(usage_.samples(), total);
    }
    const std::lock_guard lock(store_mutex_);
    space_ = space ? *space : std::nullopt;
    full_at_ = full;
  }

  void add_repacking(const CollectConfig& gc, CollectRequest& request) const {
    request.repack = gc.repack;
    request.keys = keys_;
  }

  void collect(const CollectConfig& gc) {
    const log::JobScope scope(log::new_job("gc"));
    CollectRequest request;
    request.grace = gc.grace;
    add_repacking(gc, request);
    request.stop = stop_;
    const auto done = service_->collect(request);
    {
      const std::lock_guard lock(store_mutex_);
      collect_error_ = done ? std::string() : done.error().message();
    }
    if (!done) {
      log::error("{}", done.error().describe());
      return;
    }
    log::info(
        "garbage collection: {} removed in {} packs, {} waiting, {} points dropped, "
        "{} packs written anew, {} ms",
        format_bytes(done->bytes_removed), done->packs_removed, format_bytes(done->bytes_waiting),
        done->points_dropped, done->packs_repacked, done->duration_ms);
    const std::lock_guard lock(store_mutex_);
    collected_at_ = clock_.now();
    collected_ = *done;
  }

  Status apply_retention() {
    const log::JobScope scope(log::new_job("retention"));
    TM_DO(service_->check_clock());
    TM_TRY(auto rows, service_->points("", ""));
    std::uint64_t logical = 0;
    for (const PointRow& row : rows) logical += row.point.record.size_bytes;
    {
      const std::lock_guard lock(store_mutex_);
      logical_bytes_ = logical;
    }
    const auto planned =
        plan_retention(std::move(rows), store_rules(*config()), clock_.now());
    for (const PlannedPoint& point : planned) {
      if (point.decision.keep() || stop_.stop_requested()) continue;
      const PointRecord& record = point.row.point.record;
      TM_DO(service_->remove(record.id));
      log::info("point {} of {}:{} is dropped: no line of 'keep' wants it", record.id.hex(),
                record.site, record.asset);
    }
    return {};
  }

  mutable std::mutex config_mutex_;
  ConfigPtr config_;            // guarded by config_mutex_
  std::string config_problem_;  // likewise; empty: the file's content is in use
  const fs::path config_path_;
  Clock& clock_;
  const ReloadRequests reloads_;
  const std::stop_token stop_;
  const Timestamp since_;
  UsageHistory usage_;  // of the thread that keeps the store
  EventLog events_;
  Webhook webhook_;
  NormBook norms_;
  Fd state_lock_;

  // Of the thread that supervises.
  FileStamp config_stamp_;
  bool status_failed_ = false, events_failed_ = false;

  StoreAccess own_;
  std::shared_ptr<const StoreKeys> keys_;  // null: not at hand
  StoreService* service_ = nullptr;  // own_.store
  std::unique_ptr<Scrubber> scrubber_;
  std::mutex store_mutex_;
  std::optional<BackendSpace> space_;  // guarded by store_mutex_, as is the rest
  std::optional<Timestamp> full_at_;
  std::uint64_t logical_bytes_ = 0;
  std::optional<Timestamp> collected_at_;
  CollectReport collected_;
  std::string collect_error_;

  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<StoreApi> api_;
  std::unique_ptr<HttpServer> server_;  // last: its threads use the rest
};

}  // namespace

Status run_daemon(Config config, const std::filesystem::path& config_path, Clock& clock,
                  ReloadRequests reloads, std::stop_token stop) {
  return Daemon(std::move(config), config_path, clock, std::move(reloads), std::move(stop)).run();
}

}  // namespace tidemark
