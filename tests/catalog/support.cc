#include "support.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

namespace tidemark {

TempDir::TempDir() {
  // Memory where there is some: no test here depends on a disk, and syncing one takes most of the
  // time.
  std::error_code ignored;
  const std::filesystem::path memory = "/dev/shm";
  const bool usable = std::filesystem::is_directory(memory, ignored);
  const auto parent = usable ? memory : std::filesystem::temp_directory_path();
  std::string pattern = (parent / "tm-catalog-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::unique_ptr<Catalog> open_catalog(const std::filesystem::path& directory) {
  return must(Catalog::open(directory, test_store()));
}

PointRow make_point(std::uint64_t number, std::string site, std::string asset, Timestamp time,
                    const std::optional<PointRow>& last) {
  PointRow row;
  PointRecord& record = row.point.record;
  record.id = nth<PointId>(number);
  record.store = test_store();
  record.site = std::move(site);
  record.asset = std::move(asset);
  record.time = time;
  record.size_bytes = number * kMiB;
  record.region_bytes = 4 * kMiB;
  record.labels = {{"number", std::to_string(number)}};
  row.point.received = time + std::chrono::seconds(5);
  row.point.sequence = last ? last->point.sequence + 1 : 1;
  if (last) row.point.previous = last->record_hash;
  row.record_hash = sha256(encode(row.point));
  return row;
}

PointRow commit(Catalog& catalog, std::uint64_t number, std::string site, std::string asset,
                Timestamp time) {
  const auto last = must(catalog.last_point());
  PointRow row = make_point(number, std::move(site), std::move(asset), time, last);
  must(catalog.commit_point(row, {}, std::nullopt));
  return row;
}

PackEntry make_entry(std::uint64_t chunk, std::uint32_t ordinal, BlobKind kind) {
  return {nth<ChunkId>(chunk),
          kind,
          Codec::zstd,
          ordinal,
          64 + 100 * std::uint64_t{ordinal},
          100,
          4096};
}

TestPack make_pack(std::uint64_t number, const std::vector<std::uint64_t>& chunks, BlobKind kind) {
  TestPack pack;
  for (const std::uint64_t chunk : chunks)
    pack.entries.push_back(
        make_entry(chunk, static_cast<std::uint32_t>(pack.entries.size()), kind));
  pack.row.id = nth<PackId>(number);
  pack.row.size_bytes = 1000 + 100 * chunks.size();
  pack.row.entries = static_cast<std::uint32_t>(chunks.size());
  return pack;
}

Status add(Catalog& catalog, const TestPack& pack) {
  return catalog.add_pack(pack.row, pack.entries);
}

std::optional<ChunkRow> find_chunk(Catalog& catalog, std::uint64_t chunk) {
  const ChunkId id = nth<ChunkId>(chunk);
  return must(catalog.find_chunks(std::span(&id, 1))).at(0);
}

std::vector<JournalEntry> journal(Catalog& catalog, std::uint64_t first) {
  std::vector<JournalEntry> entries;
  must(catalog.each_journal_entry(first, [&](const JournalEntry& entry) {
    entries.push_back(entry);
    return Status();
  }));
  return entries;
}

std::vector<PointRow> points(Catalog& catalog, std::string_view site, std::string_view asset) {
  std::vector<PointRow> rows;
  must(catalog.each_point(site, asset, [&](const PointRow& row) {
    rows.push_back(row);
    return Status();
  }));
  return rows;
}

bool same_row(const PointRow& a, const PointRow& b) {
  return encode(a.point) == encode(b.point) && a.record_hash == b.record_hash &&
         a.pinned == b.pinned && a.deleted == b.deleted && a.verified == b.verified;
}

std::map<std::string, std::string> files_of(const std::filesystem::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.starts_with("LOG")) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::stringstream bytes;
    bytes << in.rdbuf();
    files[std::filesystem::relative(entry.path(), directory).string()] = bytes.str();
  }
  return files;
}

std::uint64_t test_seed() {
  const char* given = std::getenv("TM_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}() % 1'000'000;
  std::cout << "TM_SEED=" << seed << std::endl;
  return seed;
}

}  // namespace tidemark
