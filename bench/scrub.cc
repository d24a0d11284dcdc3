// How fast a scrub reads a store: scrub [MIB]. A store of MIB (1024) of incompressible chunks of
// 4 MiB is read as fast as it goes, without the key (digests of packs) and with it (every blob is
// opened as well). One JSON line; the files lie in TMPDIR, and are in the page cache where it holds
// them: then it is the processor that is measured.
#include "agent/service/scrub.h"

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "agent/backup/pack_sender.h"
#include "agent/service/store_service.h"
#include "base/crypto.h"
#include "bench/process.h"
#include "store/backend/file_backend.h"
#include "store/tree.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<StoreService> fill(const fs::path& directory, const StoreKeys& keys,
                                   std::uint64_t mib) {
  StoreDescriptor descriptor;
  random_bytes(descriptor.id.bytes);
  descriptor.key_id = keys.key_id();
  must(StoreService::create(*must(open_file_backend(directory / "store", true)), descriptor));
  auto store = must(StoreService::open(must(open_file_backend(directory / "store", false)),
                                       directory / "catalog", Clock::system()));
  const UploadSession session = must(store->begin("tokyo", "rbd/rbd/volume", {}));
  PackSender sender(*store, session, keys, nullptr);
  Bytes plain(kBlobPlainBytesMax);
  for (std::uint64_t sent = 0; sent < mib * kMiB; sent += plain.size()) {
    random_bytes(plain);
    must(sender.add(must(encode_blob(keys.chunk_id(plain), BlobKind::chunk, plain, 0, 1))));
  }
  must(sender.finish());
  return store;
}

double mib_per_second(StoreService& store, const fs::path& directory,
                      std::shared_ptr<const StoreKeys> keys) {
  Scrubber::Options options;
  options.state_file = directory / (keys ? "deep.json" : "plain.json");
  options.keys = std::move(keys);
  Scrubber scrubber(store, Clock::system(), std::move(options));
  constexpr std::chrono::milliseconds kPeriod{10};
  const auto began = Clock::system().uptime();
  must(scrubber.step(kPeriod));
  const Timestamp first = scrubber.status().completed;
  while (scrubber.status().completed == first) must(scrubber.step(kPeriod));
  const std::chrono::duration<double> took = Clock::system().uptime() - began;
  return static_cast<double>(scrubber.status().total_read_bytes) / static_cast<double>(kMiB) /
         took.count();
}

int run(std::uint64_t mib) {
  std::string directory = (fs::temp_directory_path() / "tidemark-scrub-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return 1;
  {
    const auto keys = std::make_shared<const StoreKeys>(SecretKey::random());
    const auto store = fill(directory, *keys, mib);
    const double plain = mib_per_second(*store, directory, nullptr);
    const double deep = mib_per_second(*store, directory, keys);
    std::cout << nlohmann::json{{"mib", mib},
                                {"gib_per_minute", plain * 60 / 1024},
                                {"gib_per_minute_deep", deep * 60 / 1024},
                                {"tib_in_30_days_deep", deep * 86400 * 30 / 1024 / 1024}}
                     .dump()
              << "\n";
  }
  fs::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) { return tidemark::run(argc > 1 ? std::stoull(argv[1]) : 1024); }
