#include "agent/site/store_keeper.h"

#include "agent/retention/points.h"
#include "agent/verify/repair.h"
#include "base/log.h"
#include "base/log_context.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::chrono::milliseconds kStep{500};
constexpr Duration kRetentionStep = std::chrono::hours(1);
constexpr Duration kFirstCollection = std::chrono::minutes(15);
constexpr std::chrono::seconds kScrubStep{1};
constexpr Duration kSpaceStep = std::chrono::minutes(1);

}  // namespace

Result<std::unique_ptr<StoreKeeper>> StoreKeeper::open(ConfigSource config, Clock& clock,
                                                       std::stop_token stop) {
  const auto now = config();
  std::unique_ptr<StoreKeeper> keeper(new StoreKeeper(std::move(config), clock, std::move(stop)));
  TM_DO(keeper->open_store(*now));
  return keeper;
}

Status StoreKeeper::open_store(const Config& config) {
  TM_TRY(auto backend, open_backend(backend_config(config.store->backend), false));
  access_.name = backend->url();
  auto service = StoreService::open(std::move(backend), config.store->catalog, clock_);
  if (!service) return std::move(service).error().context("store " + access_.name);
  TM_DO((*service)->set_rules(store_rules(config)));
  service_ = service->get();
  access_.store = *std::move(service);
  TM_TRY(access_.descriptor, access_.store->descriptor());
  TM_TRY(access_.keys, open_keys(access_.descriptor, config.store->key, config.store->passphrase));
  if (access_.keys) keys_ = std::make_shared<const StoreKeys>(access_.keys->clone());
  Scrubber::Options options;
  options.state_file = config.state / "scrub.json";
  options.on_damage = [this](const PackId& id, const Bytes& pack) { save_from(id, pack); };
  options.keys = keys_;
  options.stop = stop_;
  scrubber_ = std::make_unique<Scrubber>(*service_, clock_, std::move(options));
  return {};
}

void StoreKeeper::configure(const Config& config) {
  if (const auto set = service_->set_rules(store_rules(config)); !set)
    log::error("the rules for peers: {}", set.error().describe());
}

void StoreKeeper::add_repacking(const CollectConfig& gc, CollectRequest& request) const {
  request.repack = gc.repack;
  request.keys = keys_;
}

void StoreKeeper::add_to(SiteStatus& status) {
  const auto config = config_();
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
  store.scrub_period = config->store->scrub.every;
  for (const auto& [site, peer] : config->peers)
    if (const auto used = service_->used_by(site); used && peer.quota_bytes)
      store.quotas.push_back({site, *used, *peer.quota_bytes});
  {
    const std::lock_guard lock(mutex_);
    store.space = found_.space;
    store.full_at = found_.full_at;
    store.logical_bytes = found_.logical_bytes;
    store.collected_at = found_.collected_at;
    store.collected = found_.collected;
    store.repacked_packs = found_.repacked_packs;
    store.collect_error = found_.collect_error;
    store.clock_error = found_.clock_error;
  }
  status.store = std::move(store);
}

void StoreKeeper::keep() {
  auto next_retention = clock_.uptime(), next_space = clock_.uptime();
  std::optional<Duration> last_collection;
  const Duration started = clock_.uptime();
  do {
    const CollectConfig gc = config_()->store->gc;
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

void StoreKeeper::scrub() {
  const log::JobScope scope(log::new_job("scrub"));
  bool failed = false;
  do {
    const auto done = scrubber_->step(config_()->store->scrub.every);
    if (!done && !std::exchange(failed, true)) log::error("scrub: {}", done.error().describe());
    if (done) failed = false;
  } while (sleep_for(stop_, kScrubStep));
}

void StoreKeeper::save_from(const PackId& id, const Bytes& pack) {
  if (!keys_) return;
  const auto saved = save_whole_blobs(*service_, *keys_, pack);
  if (saved)
    log::info("scrub: {} chunks and nodes of pack {} were whole and are saved", *saved, id.hex());
  else
    log::error("scrub: {}", saved.error().describe());
}

void StoreKeeper::measure_space() {
  const auto space = service_->backend().space();
  std::optional<Timestamp> full;
  if (space && *space) {
    const std::uint64_t total = (*space)->total_bytes;
    const auto kept = usage_.add({clock_.now(), total - std::min(total, (*space)->free_bytes)});
    if (!kept) log::warn("the store's usage is not remembered: {}", kept.error().message());
    full = full_at(usage_.samples(), total);
  }
  // Asked here and not where the status is written: a commit that hangs would hold it up.
  const auto believed = service_->check_clock();
  const std::lock_guard lock(mutex_);
  found_.space = space ? *space : std::nullopt;
  found_.full_at = full;
  found_.clock_error = believed ? std::string() : believed.error().message();
}

void StoreKeeper::collect(const CollectConfig& gc) {
  const log::JobScope scope(log::new_job("gc"));
  CollectRequest request;
  request.grace = gc.grace;
  add_repacking(gc, request);
  request.stop = stop_;
  const auto done = service_->collect(request);
  {
    const std::lock_guard lock(mutex_);
    found_.collect_error = done ? std::string() : done.error().message();
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
  const std::lock_guard lock(mutex_);
  found_.collected_at = clock_.now();
  found_.collected = *done;
  found_.repacked_packs += done->packs_repacked;
}

Status StoreKeeper::apply_retention() {
  const log::JobScope scope(log::new_job("retention"));
  TM_DO(service_->check_clock());
  TM_TRY(auto rows, service_->points("", ""));
  std::uint64_t logical = 0;
  for (const PointRow& row : rows) logical += row.point.record.size_bytes;
  {
    const std::lock_guard lock(mutex_);
    found_.logical_bytes = logical;
  }
  const auto role_of = [this](const std::string& site, const std::string& asset) {
    return service_->role_of(site, asset);
  };
  const auto planned =
      plan_retention(std::move(rows), store_rules(*config_()), clock_.now(), role_of);
  for (const PlannedPoint& point : planned) {
    if (point.decision.keep() || stop_.stop_requested()) continue;
    const PointRecord& record = point.row.point.record;
    TM_DO(service_->remove(record.id));
    log::info("point {} of {}:{} is dropped: no line of 'keep' wants it", record.id.hex(),
              record.site, record.asset);
  }
  return {};
}

}  // namespace tidemark
