// What a catalog of many points takes: catalog_scale [ASSETS [POINTS]].
//
// A store of ASSETS (1,000) assets with POINTS (1,000) points each, of which only the records are
// there, is made; its catalog is rebuilt from them, opened, and asked what operators ask. Each
// phase is a process and prints one JSON line. The files lie in TMPDIR: in memory, as what a disk
// adds is the disk's.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "agent/schedule/due.h"
#include "agent/service/store_service.h"
#include "agent/site/status.h"
#include "base/crypto.h"
#include "bench/process.h"
#include "catalog/rebuild.h"
#include "store/backend/file_backend.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

double seconds(const std::function<void()>& body) {
  const auto begin = Clock::system().uptime();
  body();
  return std::chrono::duration<double>(Clock::system().uptime() - begin).count();
}
// The median of `rounds` calls, in milliseconds.
double median_ms(int rounds, const std::function<void(int)>& body) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) times.push_back(1e3 * seconds([&] { body(i); }));
  std::ranges::sort(times);
  return times[times.size() / 2];
}

std::string nth_asset(std::uint64_t n) { return "rbd/rbd/volume-" + std::to_string(n); }

// As a commit writes it, without its syncs: a million of these would be all that is measured.
void write_blob(const fs::path& store, const std::string& name, const Bytes& bytes) {
  const fs::path path = store / name;
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

void fill(const fs::path& directory, const StoreKeys& keys, std::uint64_t assets,
          std::uint64_t points) {
  StoreDescriptor descriptor;
  random_bytes(descriptor.id.bytes);
  descriptor.encrypted = false;
  descriptor.key_id = keys.key_id();
  must(StoreService::create(*must(open_file_backend(directory / "store", true)), descriptor));
  const auto backend = must(open_file_backend(directory / "store", false));
  Digest previous;
  std::uint64_t sequence = 0;
  for (std::uint64_t n = 0; n < points; ++n) {
    for (std::uint64_t asset = 0; asset < assets; ++asset) {
      CommittedPoint point;
      random_bytes(point.record.id.bytes);
      point.record.store = descriptor.id;
      point.record.site = "tokyo";
      point.record.asset = nth_asset(asset);
      point.record.time = {1'700'000'000'000'000 + static_cast<std::int64_t>(n) * 3'600'000'000};
      point.record.labels = {{"keep", "last=6 hourly=24 daily=14"}, {"policy", "hourly"}};
      point.record.sealed_meta = Bytes(400, 7);
      encode(point.record, keys);  // sets its MAC
      point.received = point.record.time;
      point.sequence = ++sequence;
      point.previous = previous;
      const Bytes blob = encode(point);
      previous = sha256(blob);
      write_blob(directory / "store", point_blob_name(point.record.id), blob);
    }
  }
}

void rebuild(const fs::path& directory) {
  const auto backend = must(open_file_backend(directory / "store", false));
  const auto descriptor = must(StoreService::read_descriptor(*backend));
  RebuildReport report;
  const double took = seconds([&] {
    report = must(rebuild_catalog(*backend, directory / "catalog", descriptor.id, {}, {}));
  });
  std::cout << nlohmann::json{{"rebuilt_points", report.points},
                              {"findings", report.findings_total},
                              {"rebuild_seconds", took},
                              {"points_per_second", static_cast<double>(report.points) / took},
                              {"peak_rss_mib", memory_mib("VmHWM")}}
                   .dump()
            << "\n";
}

void ask(const fs::path& directory, std::uint64_t assets) {
  std::unique_ptr<StoreService> store;
  nlohmann::json json;
  json["start_ms"] =
      1e3 * seconds([&] {
        store = must(StoreService::open(must(open_file_backend(directory / "store", false)),
                                        directory / "catalog", Clock::system()));
      });
  const auto some = [&](int i) { return nth_asset(static_cast<std::uint64_t>(i) * 7919 % assets); };
  json["points_of_an_asset_ms"] =
      median_ms(51, [&](int i) { must(store->points("tokyo", some(i))); });
  json["newest_ms"] = median_ms(501, [&](int i) { must(find_newest(*store, "tokyo", some(i))); });
  json["as_of_ms"] = median_ms(501, [&](int i) {
    PointQuery query;
    query.site = "tokyo";
    query.asset = some(i);
    query.as_of = Timestamp{1'701'000'000'000'000};
    must(store->find(query));
  });
  json["status_ms"] = median_ms(11, [&](int) {
    SiteStatus status;
    status.site = "osaka";
    status.store.emplace();
    status.store->stats = must(store->stats());
    must(add_received(*store, status));
    if (status.assets.size() != assets || status_json(status).dump().empty()) ::_exit(1);
  });
  json["metrics_ms"] = median_ms(11, [&](int) {
    SiteStatus status;
    must(add_received(*store, status));
    if (metrics_text(status).empty()) ::_exit(1);
  });
  json["peak_rss_mib"] = memory_mib("VmHWM");
  std::cout << json.dump() << "\n";
}

// 10,000 assets of which half are due.
void schedule() {
  constexpr std::size_t kAssets = 10'000;
  Schedule hourly, nightly;
  hourly.every = std::chrono::hours(1);
  hourly.jitter = std::chrono::minutes(30);
  nightly.calendar = must(parse_calendar("02:30 Europe/Berlin"));
  nightly.jitter = std::chrono::hours(1);
  const Timestamp now{1'795'440'600'000'000};
  std::vector<AssetState> states(kAssets);
  for (std::size_t i = 0; i < kAssets; ++i) {
    states[i].asset = nth_asset(i);
    states[i].schedule = i % 3 == 0 ? &nightly : &hourly;
    states[i].newest = now + -std::chrono::seconds(i % 7200);
  }
  std::size_t due = 0;
  const double took = median_ms(21, [&](int) { due = due_assets(states, now).size(); });
  std::cout << nlohmann::json{{"assets", kAssets}, {"due", due}, {"decide_ms", took}}.dump()
            << "\n";
}

int run(std::uint64_t assets, std::uint64_t points) {
  const auto directory =
      fs::temp_directory_path() / ("catalog-scale-" + std::to_string(::getpid()));
  fs::create_directories(directory);
  in_process([&] { fill(directory, StoreKeys::unencrypted(), assets, points); });
  in_process([&] { rebuild(directory); });
  in_process([&] { ask(directory, assets); });
  in_process([&] { schedule(); });
  fs::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  return tidemark::run(argc > 1 ? std::stoull(argv[1]) : 1000,
                       argc > 2 ? std::stoull(argv[2]) : 1000);
}
