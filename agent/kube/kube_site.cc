#include "agent/kube/kube_site.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <thread>

#include "agent/kube/api_claims.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"
#include "transport/kube/lease.h"

namespace tidemark {
namespace {

constexpr std::chrono::seconds kTellStep{1};
constexpr Duration kTellEvery = std::chrono::seconds(10);
// Others may act five seconds after we have lost by our own judgement.
constexpr std::chrono::seconds kStopMax{4};

std::string own_identity(const std::string& site) {
  std::string host(256, '\0');
  if (::gethostname(host.data(), host.size() - 1) != 0) host = site;
  Bytes chance(4);
  random_bytes(chance);
  return std::string(host.c_str()) + "_" + to_hex(chance);
}

}  // namespace

KubeSite::KubeSite(std::unique_ptr<kube::Client> client, ConfigSource config,
                   const StoreAccess* own_store, Clock& clock, std::stop_token stop)
    : client_(std::move(client)),
      stop_(stop),
      policies_(*client_, clock, config, client_->default_namespace(), stop),
      drills_(*client_, clock,
              {.config = config,
               .own_store = own_store,
               .own_ns = client_->default_namespace(),
               .stop = stop}),
      restores_(*client_, clock,
                {.config = config,
                 .own_store = own_store,
                 .own_ns = client_->default_namespace(),
                 .stop = stop}),
      points_(*client_, clock,
              {.config = config,
               .own_store = own_store,
               .own_ns = client_->default_namespace(),
               .stop = stop}) {}

Result<std::unique_ptr<KubeSite>> KubeSite::create(ConfigSource config,
                                                   const StoreAccess* own_store, Clock& clock,
                                                   std::stop_token stop) {
  TM_TRY(auto client, connect_kube(*config()->kubernetes));
  return std::unique_ptr<KubeSite>(
      new KubeSite(std::move(client), std::move(config), own_store, clock, std::move(stop)));
}

void KubeSite::run() {
  const std::jthread following([this] { policies_.run(); });
  const std::jthread rehearsing([this] { drills_.run(); });
  const std::jthread restoring([this] { restores_.run(); });
  const std::jthread showing([this] { points_.run(); });
  auto next = Clock::system().uptime();
  std::optional<SiteStatus> status;
  while (sleep_for(stop_, kTellStep)) {
    policies_.settle();
    drills_.settle();
    {
      const std::lock_guard lock(mutex_);
      if (told_) status.swap(told_);
      told_.reset();
    }
    if (!status) continue;
    drills_.report(*status);
    if (Clock::system().uptime() < next) continue;
    policies_.report(*status);
    next = Clock::system().uptime() + kTellEvery;
  }
}

void KubeSite::tell(SiteStatus status) {
  const std::lock_guard lock(mutex_);
  told_ = std::move(status);
}

Config KubeSite::with_objects(Config config) {
  config.policies.merge(policies_.policies());
  drills_.add_plans(config);
  return config;
}

Status run_while_leading(const Config& config, Clock& clock, const std::stop_token& stop,
                         const std::function<Status(std::stop_token)>& work) {
  TM_TRY(const auto client, connect_kube(*config.kubernetes));
  kube::LeaseOptions options;
  options.ns = client->default_namespace();
  options.name = config.kubernetes->lease;
  options.identity = own_identity(config.site);
  kube::LeaseElection election(*client, options, clock);
  std::stop_source leaving;  // ends the election: by the caller, or with the work
  std::stop_source working;
  std::atomic<bool> begun = false;
  // The lease is kept until the work has ended, however long that takes, and given up then.
  const std::stop_callback leave(stop, [&] {
    working.request_stop();
    if (!begun) leaving.request_stop();
  });
  std::jthread worker;
  std::promise<Status> ended;
  auto end = ended.get_future();
  log::info("waits for the lease {}/{}", options.ns, options.name);
  const Status elected = election.run(
      leaving.get_token(),
      [&] {
        begun = true;
        if (stop.stop_requested()) {
          leaving.request_stop();
          return;
        }
        log::info("holds the lease {}/{} as {}", options.ns, options.name, options.identity);
        worker = std::jthread([&] {
          ended.set_value(work(working.get_token()));
          leaving.request_stop();
        });
      },
      [&] {
        working.request_stop();
        leaving.request_stop();
        if (!worker.joinable() || end.wait_for(kStopMax) == std::future_status::ready) return;
        log::error("the lease is lost, and work does not end: this process does");
        std::_Exit(EXIT_FAILURE);
      });
  if (!worker.joinable()) return elected;
  worker.join();
  TM_DO(end.get());
  if (stop.stop_requested()) return elected;
  return Error(ErrorCode::refused, "the lease " + options.ns + "/" + options.name + " was lost");
}

}  // namespace tidemark
