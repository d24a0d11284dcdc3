// What the tests of the catalog share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.h"
#include "catalog/catalog.h"

namespace tidemark {

// The value, or a failed test that says why.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().describe());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

template <class T>
ErrorCode code_of(const Result<T>& result) {
  if (result) throw std::runtime_error("succeeded, though it was not to");
  return result.error().code();
}

// Where a sanitizer makes each round slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
// How many rounds of a random test: fewer there.
constexpr int rounds(int wanted) { return kSanitized ? wanted / 4 + 1 : wanted; }

// A directory that is gone with the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The id of this number; equal numbers give equal ids.
template <class Id>
Id nth(std::uint64_t number) {
  ByteWriter writer;
  writer.u64(number);
  return Id::from(sha256(writer.bytes()).view().first(Id::kSize));
}

inline StoreId test_store() { return nth<StoreId>(1); }
std::unique_ptr<Catalog> open_catalog(const std::filesystem::path& directory);

// A point that follows `last`.
PointRow make_point(std::uint64_t number, std::string site, std::string asset, Timestamp time,
                    const std::optional<PointRow>& last);
// Commits the point as the next one of the catalog, and returns it.
PointRow commit(Catalog& catalog, std::uint64_t number, std::string site, std::string asset,
                Timestamp time);

// An entry of 100 stored bytes at its ordinal's place.
PackEntry make_entry(std::uint64_t chunk, std::uint32_t ordinal, BlobKind kind = BlobKind::chunk);
// A pack of these chunks.
struct TestPack {
  PackRow row;
  std::vector<PackEntry> entries;
};
TestPack make_pack(std::uint64_t number, const std::vector<std::uint64_t>& chunks,
                   BlobKind kind = BlobKind::chunk);
Status add(Catalog& catalog, const TestPack& pack);
std::optional<ChunkRow> find_chunk(Catalog& catalog, std::uint64_t chunk);

std::vector<JournalEntry> journal(Catalog& catalog, std::uint64_t first = 1);
std::vector<PointRow> points(Catalog& catalog, std::string_view site = "",
                             std::string_view asset = "");
bool same_row(const PointRow& a, const PointRow& b);

// Every file below a directory with its bytes; RocksDB's own log lines are left out.
std::map<std::string, std::string> files_of(const std::filesystem::path& directory);

// From TM_SEED, or random; printed, so that a failed run can be repeated.
std::uint64_t test_seed();

}  // namespace tidemark
