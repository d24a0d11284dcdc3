#include "agent/site/daemon.h"

#include <systemd/sd-daemon.h>

#include <map>
#include <memory>

#include "agent/retention/points.h"
#include "agent/service/routes.h"
#include "agent/site/access.h"
#include "agent/site/backup_run.h"
#include "base/log.h"
#include "base/queue.h"
#include "transport/http.h"

namespace tidemark {
namespace {

constexpr std::chrono::seconds kStopGrace{10};
constexpr std::chrono::seconds kScheduleStep{1};
// New images are found this often, and what failed is tried again.
constexpr Duration kLookAgain = std::chrono::minutes(1);
constexpr Duration kRetentionStep = std::chrono::hours(1);
constexpr Duration kFirstCollection = std::chrono::minutes(15);

class Daemon {
 public:
  Daemon(Config config, Clock& clock, std::stop_token stop)
      : config_(std::move(config)), clock_(clock), stop_(std::move(stop)) {}

  Status run(const std::function<void(std::uint16_t)>& on_ready) {
    for (const std::string& warning : config_warnings(config_)) log::warn("{}", warning);
    TM_DO(open_store());
    TM_DO(serve());
    ::sd_notify(0, "READY=1");
    on_ready(server_ ? server_->port() : std::uint16_t{0});
    log::info("site {} is ready{}", config_.site,
              server_ ? ", port " + std::to_string(server_->port()) : std::string());
    std::jthread keeper;
    if (service_ != nullptr) keeper = std::jthread([this] { keep_store(); });
    schedule();
    ::sd_notify(0, "STOPPING=1");
    if (server_) server_->stop(kStopGrace);
    log::info("site {} stopped", config_.site);
    return {};
  }

 private:
  Status open_store() {
    if (!config_.store) return {};
    TM_TRY(auto backend, open_backend(backend_config(config_.store->backend), false));
    own_.name = backend->url();
    auto service = StoreService::open(std::move(backend), config_.store->catalog, clock_);
    if (!service) return std::move(service).error().context("store " + own_.name);
    service_ = service->get();
    own_.store = *std::move(service);
    TM_TRY(own_.descriptor, own_.store->descriptor());
    TM_TRY(own_.keys, open_keys(own_.descriptor, config_.store->key, config_.store->passphrase));
    return {};
  }

  Status serve() {
    if (!config_.listen) return {};
    if (!config_.tls)
      return Error(ErrorCode::invalid_argument, config_.name + ": 'listen' needs 'tls'");
    ApiPolicy policy;
    policy.own_site = config_.site;
    policy.known = [this](const std::string& site) {
      return site == config_.site || config_.peers.contains(site);
    };
    policy.may_read = [this](const std::string& reader, const std::string& owner,
                             const AssetName& asset) {
      return config_.may_read(reader, owner, asset);
    };
    api_ = std::make_unique<StoreApi>(service_, std::move(policy));
    HttpServerOptions options;
    options.address = config_.listen->host;
    options.port = config_.listen->port;
    options.tls = tls_files(*config_.tls);
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
    return api_->handle(request);
  }

  // Looks at the policies every `kScheduleStep`. When an asset is due follows from its newest
  // point, so that a restart takes no points of its own, and after an outage the backlog is one
  // point.
  void schedule() {
    BackupRunner runner(config_, clock_, stop_);
    if (own_.store) runner.use_own_store(&own_);
    do {
      for (const auto& [name, policy] : config_.policies) {
        if ((!policy.every && !policy.cron && !policy.calendar) || stop_.stop_requested()) continue;
        std::chrono::microseconds& next = next_look_[name];
        if (clock_.uptime() < next) continue;
        next = clock_.uptime() + std::min<Duration>(policy.every.value_or(kLookAgain), kLookAgain);
        run_policy(runner, name, policy);
      }
    } while (sleep_for(stop_, kScheduleStep));
  }

  void run_policy(BackupRunner& runner, const std::string& name, const PolicyConfig& policy) {
    const auto jobs = runner.jobs_of_policy(name);
    if (!jobs) {
      log::error("policy {}: {}", name, jobs.error().describe());
      return;
    }
    for (const BackupJob& job : *jobs) {
      if (stop_.stop_requested()) return;
      const auto due = runner.is_due(job, policy);
      if (!due) log::error("policy {}: {}", name, due.error().describe());
      if (due && *due) run_job(runner, name, job);
    }
  }

  // Retention and garbage collection of the store that is served here. The first collection comes a
  // while after the start: an agent that is started again and again would do nothing else.
  void keep_store() {
    const CollectConfig& gc = config_.store->gc;
    auto next_retention = clock_.uptime();
    auto next_collection = clock_.uptime() + std::min<Duration>(gc.every, kFirstCollection);
    do {
      if (clock_.uptime() >= next_retention) {
        next_retention = clock_.uptime() + std::min<Duration>(gc.every, kRetentionStep);
        if (const auto applied = apply_retention(); !applied)
          log::error("retention: {}", applied.error().describe());
      }
      if (clock_.uptime() < next_collection) continue;
      next_collection = clock_.uptime() + gc.every;
      CollectRequest request;
      request.grace = gc.grace;
      request.stop = stop_;
      const auto done = service_->collect(request);
      if (!done)
        log::error("{}", done.error().describe());
      else
        log::info(
            "garbage collection: {} removed in {} packs, {} waiting, {} points dropped, {} ms",
            format_bytes(done->bytes_removed), done->packs_removed,
            format_bytes(done->bytes_waiting), done->points_dropped, done->duration_ms);
    } while (sleep_for(stop_, kScheduleStep));
  }

  Status apply_retention() {
    TM_DO(service_->check_clock());
    TM_TRY(auto rows, service_->points("", ""));
    for (const PlannedPoint& point : plan_retention(std::move(rows), clock_.now())) {
      if (point.decision.keep() || stop_.stop_requested()) continue;
      const PointRecord& record = point.row.point.record;
      TM_DO(service_->remove(record.id));
      log::info("point {} of {}:{} is dropped: no line of 'keep' wants it", record.id.hex(),
                record.site, record.asset);
    }
    return {};
  }

  void run_job(BackupRunner& runner, const std::string& policy, const BackupJob& job) {
    const auto report = runner.run(job, nullptr, false);
    if (!report) {
      log::error("policy {}: {}", policy, report.error().describe());
      return;
    }
    const PointRecord& record = report->point.point.record;
    log::info("point {} of {} to {}: {}, {} changed, {} shipped, {} ms", record.id.hex(),
              record.asset, job.to, report->mode, format_bytes(record.changed_bytes),
              format_bytes(record.shipped_bytes), record.duration_ms);
    if (report->unsettled.count > 0)
      log::warn("point {} of {} is taken in part: {} keys are not in it as the bucket has them",
                record.id.hex(), record.asset, report->unsettled.count);
  }

  const Config config_;
  Clock& clock_;
  std::stop_token stop_;
  std::map<std::string, std::chrono::microseconds> next_look_;  // by policy
  StoreAccess own_;
  StoreService* service_ = nullptr;  // own_.store
  std::unique_ptr<StoreApi> api_;
  std::unique_ptr<HttpServer> server_;  // last: its threads use the rest
};

}  // namespace

Status run_daemon(Config config, Clock& clock, std::stop_token stop,
                  const std::function<void(std::uint16_t)>& on_ready) {
  return Daemon(std::move(config), clock, std::move(stop)).run(on_ready);
}

}  // namespace tidemark
