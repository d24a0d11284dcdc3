// What the tests of agent/service share: a store in memory under its service, ways to reach it, and
// a source that makes small points.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "agent/service/routes.h"
#include "agent/service/store_service.h"
#include "store/tree.h"
#include "tests/fakes/faulty_backend.h"
#include "tests/fakes/memory_backend.h"
#include "tests/store/support.h"
#include "transport/http.h"

namespace tidemark::test {

// The value; ends the test where there is none.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().describe());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// The time is what it was set to.
class SetClock final : public Clock {
 public:
  Timestamp now() const override { return {now_us_.load() + set_off_us_.load()}; }
  std::chrono::microseconds uptime() const override { return std::chrono::microseconds(now_us_); }
  void set(Timestamp t) { now_us_ = t.us; }
  void advance(std::chrono::microseconds d) { now_us_ += d.count(); }
  // The wall clock is set; no time passes.
  void jump(std::chrono::microseconds d) { set_off_us_ += d.count(); }

 private:
  std::atomic<std::int64_t> set_off_us_{0};
  std::atomic<std::int64_t> now_us_{1'700'000'000'000'000};
};

// A directory that is gone with the test; in memory where there is such a place.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What one point consists of, in packs as they are sent.
struct Content {
  std::vector<PackWriter::Pack> packs;  // first the chunks', then the nodes'; few blobs each
  TreeRoot root;
  std::vector<ChunkId> chunks, nodes;
  std::map<ChunkId, Bytes> plain;  // of both

  std::vector<ChunkId> ids() const;
};

// `entries` keys, one chunk each. Of equal `entries` and `shared`, equal texts for the first
// `shared` keys; the rest is the seed's.
Content make_content(const StoreKeys& keys, std::size_t entries, std::uint64_t seed,
                     std::size_t shared = 0);

// A store in memory, its service, and what a restart of the service leaves.
class TestService {
 public:
  explicit TestService(bool encrypted = true);

  StoreService& service() { return *service_; }
  Result<std::unique_ptr<StoreService>> try_open();
  // Ends the service; the backend's faults stay.
  void close() { service_.reset(); }
  // As a restart of the process, over a backend that works.
  void reopen();
  // As reopen(), with the catalog lost in between.
  void reopen_without_catalog();

  const StoreKeys& keys() const { return keys_; }
  const StoreDescriptor& descriptor() const { return descriptor_; }
  MemoryMedium& medium() { return *medium_; }
  std::unique_ptr<Backend> backend() const { return std::make_unique<MemoryBackend>(medium_); }
  // Stands between the service and the medium, also of a service that is opened anew.
  FaultyBackend& faults() { return *faults_; }
  SetClock& clock() { return clock_; }

  // A record that fits the session.
  PointRecord record(const UploadSession& session, std::string site, std::string asset,
                     const TreeRoot& root, const PointId& parent = {}) const;
  Bytes sealed(PointRecord record) const { return encode(record, keys_); }
  // begin to commit, with nothing in the way.
  PointRow add_point(std::string site, std::string asset, const Content& content,
                     std::optional<Timestamp> time = {});

 private:
  Scratch scratch_;
  SetClock clock_;
  StoreKeys keys_;
  StoreDescriptor descriptor_;
  std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
  std::unique_ptr<FaultyBackend> faults_;
  int catalogs_ = 0;
  std::unique_ptr<StoreService> service_;
};

// Which of the three kinds of PointStore stands in front of the service.
enum class Access { direct, remote, bare };
struct Kind {
  Access access = Access::direct;
  bool encrypted = true;
};
std::string kind_name(const Kind& kind);

// The store of site osaka as sites see it. The service must outlive it.
class Reach {
 public:
  Reach(TestService& store, Access access);
  ~Reach();

  // The store as `site` has it; the same object for the same site. Sites: osaka (the store's own),
  // tokyo and kyoto (peers; tokyo may read what kyoto has of "rbd/shared/…"), and nara, whom
  // nobody knows. A bare store shows what the backend holds at the time of the call.
  PointStore& as(const std::string& site);

 private:
  void start_server();
  TestService& store_;
  const Access access_;
  std::unique_ptr<StoreApi> api_;
  std::map<std::string, std::unique_ptr<PointStore>> stores_;
  std::unique_ptr<HttpServer> server_;  // last: its threads use the rest
};

// Sends all that the store calls missing. Stops at the first failure.
Status send(PointStore& store, const UploadSession& session, const Content& content);

// What a bare reader makes of a point: every blob of it, opened under the keys.
std::set<ChunkId> read_all(PointStore& store, const StoreKeys& keys, const TreeRoot& root);

bool same_row(const PointRow& a, const PointRow& b);

PointQuery by_id(std::string prefix);
PointQuery newest_of(std::string site, std::string asset);
PointQuery as_of(std::string site, std::string asset, Timestamp time);

}  // namespace tidemark::test
