// How much memory the backup of a bucket of many objects takes: bucket_memory [OBJECTS [FIRST]].
//
// A generated bucket of OBJECTS (2,000,000) small objects, one in a hundred changed since the point
// before, is backed up incrementally; and one of FIRST (200,000) for the first time, which reads
// each. The S3 server is a process of its own. The store is served by the process that is measured,
// as where a site keeps its own points, so that its catalog counts too. Each phase is a process,
// and prints one JSON line with its peak of resident memory.
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>

#include "agent/backup/bucket_backup.h"
#include "agent/backup/bucket_meta.h"
#include "agent/service/store_service.h"
#include "base/crypto.h"
#include "bench/process.h"
#include "snapshot/bucket/pages.h"
#include "store/backend/file_backend.h"
#include "tests/fakes/generated_bucket.h"

namespace tidemark {
namespace {

using testing::GeneratedBucket;

constexpr std::uint64_t kChangedEach = 100;
const std::string kMany = "many", kFirst = "first";

std::unique_ptr<s3::Client> client_of(const std::string& endpoint) {
  s3::ClientOptions options;
  options.endpoint = endpoint;
  options.credentials = []() -> Result<s3::Credentials> {
    return s3::Credentials{"AKIDFAKE", "fakesecret", {}};
  };
  options.connections_max = kObjectReaders + kListedAtOnce;
  return must(s3::Client::create(std::move(options)));
}

// Serves both buckets until the parent has gone; its endpoint.
std::string start_server(std::uint64_t objects, std::uint64_t first) {
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) ::_exit(1);
  if (::fork() == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    testing::S3Server server;
    const GeneratedBucket many(kMany, objects, kChangedEach), some(kFirst, first);
    const auto client = client_of(server.endpoint());
    for (const std::string& name : {kMany, kFirst}) must(client->create_bucket(name));
    many.attach(server);
    some.attach(server);
    const std::string endpoint = server.endpoint() + "\n";
    if (::write(pipe[1], endpoint.data(), endpoint.size()) < 0) ::_exit(1);
    while (true) ::pause();
  }
  ::close(pipe[1]);
  std::string endpoint;
  for (char c = 0; ::read(pipe[0], &c, 1) == 1 && c != '\n';) endpoint += c;
  ::close(pipe[0]);
  return endpoint;
}

class Store {
 public:
  explicit Store(const std::filesystem::path& directory) {
    const auto place = directory / "store";
    if (!std::filesystem::exists(place)) {
      StoreDescriptor descriptor;
      random_bytes(descriptor.id.bytes);
      descriptor.encrypted = false;
      descriptor.key_id = keys.key_id();
      must(StoreService::create(*must(open_file_backend(place, true)), descriptor));
    }
    service = must(StoreService::open(must(open_file_backend(place, false)), directory / "catalog",
                                      Clock::system()));
  }
  StoreKeys keys = StoreKeys::unencrypted();
  std::unique_ptr<StoreService> service;
};

// A point of the bucket as it was at first, without reading it.
void prepare(Store& store, const GeneratedBucket& bucket) {
  const UploadSession session = must(store.service->begin("tokyo", "s3/" + kMany, {}));
  PackSender sender(*store.service, session, store.keys, nullptr);
  TreeBuilder builder(store.keys, node_sink(sender, 1));
  for (std::uint64_t i = 0; i < bucket.count(); ++i)
    must(builder.add(encode_object(bucket.entry_at_first(i))));
  PointRecord record;
  record.root = must(builder.finish(nullptr));
  must(sender.finish());
  record.id = session.point;
  record.store = must(store.service->descriptor()).id;
  record.kind = PointKind::bucket;
  record.site = "tokyo";
  record.asset = "s3/" + kMany;
  record.time = Clock::system().now();
  record.region_bytes = 0;
  BucketMeta meta;
  meta.name = kMany;
  record.sealed_meta = seal_meta(format_bucket_meta(meta), record.id, store.keys);
  must(store.service->commit(session, encode(record, store.keys)));
}

void back_up(Store& store, const std::string& endpoint, const std::string& bucket) {
  const auto client = client_of(endpoint);
  BucketBackupOptions options;
  options.site = "tokyo";
  const std::uint64_t before = memory_mib("VmRSS");
  const auto began = std::chrono::steady_clock::now();
  const BackupReport report =
      must(back_up_bucket(*client, bucket, *store.service, store.keys, options, Clock::system()));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::cout << "{\"mode\":\"" << report.mode
            << "\",\"objects\":" << report.point.point.record.root.entries
            << ",\"objects_read\":" << report.objects_read << ",\"seconds\":" << took.count()
            << ",\"before_mib\":" << before << ",\"peak_rss_mib\":" << memory_mib("VmHWM") << "}\n";
}

int run(std::uint64_t objects, std::uint64_t first) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("bucket-memory-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const std::string endpoint = start_server(objects, first);
  in_process([&] {
    Store store(directory);
    prepare(store, GeneratedBucket(kMany, objects));
  });
  for (const std::string& bucket : {kMany, kFirst})
    in_process([&] {
      Store store(directory);
      back_up(store, endpoint, bucket);
    });
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  return tidemark::run(argc > 1 ? std::stoull(argv[1]) : 2'000'000,
                       argc > 2 ? std::stoull(argv[2]) : 200'000);
}
