// What the collection of a large store takes: store_scale [CHUNKS].
//
// A store of CHUNKS (10,000,000) chunks, half of which only a deleted point reaches, is collected
// twice. The chunks' packs are rows and empty blobs, as a collection never reads them; trees, their
// packs and the catalog are real. Each phase is a process and prints one JSON line.
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "agent/backup/pack_sender.h"
#include "agent/service/point_json.h"
#include "agent/service/store_service.h"
#include "base/crypto.h"
#include "bench/process.h"
#include "store/backend/file_backend.h"
#include "store/tree.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kChunksPerPack = 4096;
constexpr std::uint32_t kChunkBytes = 4096;

ChunkId nth_chunk(std::uint64_t n) {
  ByteWriter w;
  w.u64(n);
  return ChunkId::from(sha256(w.bytes()).view());
}

std::unique_ptr<StoreService> open(const std::filesystem::path& directory) {
  return must(StoreService::open(must(open_file_backend(directory / "store", false)),
                                 directory / "catalog", Clock::system()));
}

// A point that reaches the chunks from `begin` to `end`, whose packs nobody else has.
PointId add_point(StoreService& store, const StoreKeys& keys, std::uint64_t begin,
                  std::uint64_t end) {
  for (std::uint64_t at = begin; at < end; at += kChunksPerPack) {
    std::vector<PackEntry> entries;
    for (std::uint64_t n = at; n < std::min(end, at + kChunksPerPack); ++n) {
      const auto ordinal = static_cast<std::uint32_t>(entries.size());
      entries.push_back({nth_chunk(n), BlobKind::chunk, Codec::raw, ordinal,
                         kPackHeaderBytes + std::uint64_t{ordinal} * kChunkBytes, kChunkBytes,
                         kChunkBytes});
    }
    PackRow pack;
    pack.id = PackId::from(nth_chunk(~at).view());
    pack.size_bytes = kPackHeaderBytes + entries.size() * kChunkBytes;
    pack.entries = static_cast<std::uint32_t>(entries.size());
    must(store.backend().create(pack_blob_name(pack.id), {}));
    must(store.catalog().add_pack(pack, entries));
  }
  const std::string asset = "rbd/rbd/from-" + std::to_string(begin);
  const UploadSession session = must(store.begin("tokyo", asset, {}));
  PackSender sender(store, session, keys, nullptr);
  TreeBuilder builder(keys, node_sink(sender, 1));
  for (std::uint64_t n = begin; n < end; ++n) {
    std::array<char, 24> key{};
    std::snprintf(key.data(), key.size(), "%020llu", static_cast<unsigned long long>(n));
    must(builder.add({key.data(), Bytes(8, 0), {nth_chunk(n)}}));
  }
  PointRecord record;
  record.root = must(builder.finish(nullptr));
  must(sender.finish());
  record.id = session.point;
  record.store = must(store.descriptor()).id;
  record.site = "tokyo";
  record.asset = asset;
  record.time = Clock::system().now();
  must(store.commit(session, encode(record, keys)));
  return session.point;
}

void collect(const std::filesystem::path& directory) {
  const auto store = open(directory);
  CollectRequest request;
  request.grace = {};
  auto json = collect_report_json(must(store->collect(request)));
  json["peak_rss_mib"] = memory_mib("VmHWM");
  std::cout << json.dump() << "\n";
}

int run(std::uint64_t chunks) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("store-scale-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  in_process([&] {
    const StoreKeys keys = StoreKeys::unencrypted();
    StoreDescriptor descriptor;
    random_bytes(descriptor.id.bytes);
    descriptor.encrypted = false;
    descriptor.key_id = keys.key_id();
    must(StoreService::create(*must(open_file_backend(directory / "store", true)), descriptor));
    const auto store = open(directory);
    const PointId old = add_point(*store, keys, 0, chunks / 2);
    add_point(*store, keys, chunks / 2, chunks);
    must(store->remove(old));
  });
  for (int i = 0; i < 2; ++i) in_process([&] { collect(directory); });
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  return tidemark::run(argc > 1 ? std::stoull(argv[1]) : 10'000'000);
}
