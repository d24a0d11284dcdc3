// How long a store's agent that was killed takes until it accepts data again: restart [ROUNDS].
//
// A store of 10,000 points and 1,000,000 chunks, ROUNDS (20) times: a process opens it and writes
// point after point, is killed after a random while, and the next one opens it, begins a session
// and sends a pack. What is measured begins with the kill and ends with the acknowledgement of the
// pack. One JSON line; the files lie in TMPDIR.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
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

constexpr int kPoints = 10'000;
constexpr std::uint64_t kPacks = 1000, kChunksPerPack = 1000;
constexpr std::uint64_t kChunksPerPoint = 100;
constexpr std::size_t kChunkBytes = 256;

std::unique_ptr<StoreService> open(const fs::path& directory) {
  return must(StoreService::open(must(open_file_backend(directory / "store", false)),
                                 directory / "catalog", Clock::system()));
}

// A point of new chunks. Calls `on_sent` once its packs are acknowledged.
void add_point(StoreService& store, const StoreKeys& keys, const std::string& asset,
               std::mt19937_64& random, const std::function<void()>& on_sent = {}) {
  const UploadSession session = must(store.begin("tokyo", asset, {}));
  PackSender sender(store, session, keys, nullptr);
  TreeBuilder builder(keys, node_sink(sender, 1));
  Bytes plain(kChunkBytes);
  for (std::uint64_t n = 0; n < kChunksPerPoint; ++n) {
    for (std::uint8_t& byte : plain) byte = static_cast<std::uint8_t>(random());
    const EncodedBlob blob = must(encode_blob(keys.chunk_id(plain), BlobKind::chunk, plain, 0, 1));
    must(sender.add(blob));
    std::array<char, 24> key{};
    std::snprintf(key.data(), key.size(), "%020llu", static_cast<unsigned long long>(n));
    must(builder.add({key.data(), Bytes(8, 0), {blob.id}}));
  }
  PointRecord record;
  record.root = must(builder.finish(nullptr));
  must(sender.finish());
  if (on_sent) on_sent();
  record.id = session.point;
  record.store = must(store.descriptor()).id;
  record.site = "tokyo";
  record.asset = asset;
  record.time = Clock::system().now();
  must(store.commit(session, encode(record, keys)));
}

void fill(const fs::path& directory, const StoreKeys& keys) {
  StoreDescriptor descriptor;
  random_bytes(descriptor.id.bytes);
  descriptor.encrypted = false;
  descriptor.key_id = keys.key_id();
  must(StoreService::create(*must(open_file_backend(directory / "store", true)), descriptor));
  const auto store = open(directory);
  // Rows and empty blobs: nobody reads them here.
  for (std::uint64_t p = 0; p < kPacks; ++p) {
    PackRow pack;
    random_bytes(pack.id.bytes);
    std::vector<PackEntry> entries(kChunksPerPack);
    for (std::uint32_t n = 0; n < kChunksPerPack; ++n) {
      entries[n] = {{}, BlobKind::chunk, Codec::raw, n, kPackHeaderBytes + n * kChunkBytes,
                    kChunkBytes, kChunkBytes};
      random_bytes(entries[n].id.bytes);
    }
    pack.size_bytes = kPackHeaderBytes + kChunksPerPack * kChunkBytes;
    pack.entries = static_cast<std::uint32_t>(entries.size());
    must(store->backend().create(pack_blob_name(pack.id), {}));
    must(store->catalog().add_pack(pack, entries));
  }
  for (int n = 0; n < kPoints; ++n) {
    const std::string asset = "rbd/rbd/volume-" + std::to_string(n % 100);
    const UploadSession session = must(store->begin("tokyo", asset, {}));
    PointRecord record;
    record.id = session.point;
    record.store = descriptor.id;
    record.site = "tokyo";
    record.asset = asset;
    record.time = Clock::system().now();
    must(store->commit(session, encode(record, keys)));
  }
}

// What the processes tell each other.
struct Shared {
  std::atomic<bool> writing{false};
  std::atomic<std::int64_t> accepted_us{0};  // by the monotonic clock, which all share
};

// A process that writes points until it is killed.
pid_t start_writer(const fs::path& directory, const StoreKeys& keys, Shared& shared, int round) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const auto store = open(directory);
  std::mt19937_64 random(static_cast<std::uint64_t>(round) + 1000);
  for (;;) {
    const auto sent = [&] {
      if (!shared.writing.exchange(true)) shared.accepted_us = Clock::system().uptime().count();
    };
    add_point(*store, keys, "rbd/rbd/killed", random, sent);
  }
}

int run(int rounds) {
  const auto directory = fs::temp_directory_path() / ("restart-" + std::to_string(::getpid()));
  fs::create_directories(directory);
  const StoreKeys keys = StoreKeys::unencrypted();
  in_process([&] { fill(directory, keys); });
  void* const memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  Shared& shared = *new (memory) Shared;
  std::mt19937 random(7);
  std::vector<double> seconds;
  std::int64_t killed_us = 0;
  for (int round = 0; round <= rounds; ++round) {
    shared.writing = false;
    const pid_t child = start_writer(directory, keys, shared, round);
    while (!shared.writing) {
      if (::waitpid(child, nullptr, WNOHANG) == child) return 1;
      ::usleep(500);
    }
    if (round > 0) seconds.push_back(1e-6 * static_cast<double>(shared.accepted_us - killed_us));
    ::usleep(std::uniform_int_distribution<useconds_t>(0, 800'000)(random));
    killed_us = Clock::system().uptime().count();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  std::ranges::sort(seconds);
  std::cout << nlohmann::json{{"points", kPoints},
                              {"chunks", kPacks * kChunksPerPack},
                              {"restarts", seconds.size()},
                              {"median_seconds", seconds[seconds.size() / 2]},
                              {"worst_seconds", seconds.back()}}
                   .dump()
            << "\n";
  fs::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) { return tidemark::run(argc > 1 ? std::stoi(argv[1]) : 20); }
