// Builds a store's catalog from its backend alone.
//
// The new catalog is built beside the old one and takes its place in one step at the end; until
// then the old one stays as it is. What a rebuild cannot know: open uploads (their packs stay,
// until they are collected), when points were last verified, which packs a scrub found damaged, and
// the journal's earlier entries; they are in the catalog that was replaced, which is kept as
// <directory>.old-<n>.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/backend.h"

namespace tidemark {

struct RebuildReport {
  std::uint64_t packs = 0;              // indexed
  std::uint64_t chunks = 0;             // chunks and nodes
  std::uint64_t points = 0;             // listed, deleted ones included
  std::uint64_t damaged_packs = 0;      // skipped: index unreadable or size impossible
  std::uint64_t damaged_points = 0;     // skipped: record unreadable
  std::uint64_t incomplete_points = 0;  // listed, but something that they reach is absent
  // What is not as it should be, in words; the first kRebuildFindingsMax.
  std::vector<std::string> findings;
  std::uint64_t findings_total = 0;
};
inline constexpr std::size_t kRebuildFindingsMax = 10000;

struct RebuildProgress {
  std::string_view stage;  // "packs", "points", "trees"
  std::uint64_t done = 0, total = 0;
};

// Rebuilds the catalog in `directory`. The caller holds the store's writer lock: nothing may be
// added to the backend or removed from it meanwhile. `progress` may be empty; it is called on any
// thread, one call at a time. `refused` where the catalog is open, `cancelled` where `stop` was
// requested. A listing or a read that fails for any other reason than damage of that very blob ends
// the rebuild with that error: a catalog that holds less than the backend never comes of it.
Result<RebuildReport> rebuild_catalog(Backend& backend, const std::filesystem::path& directory,
                                      const StoreId& store,
                                      const std::function<void(const RebuildProgress&)>& progress,
                                      std::stop_token stop);

}  // namespace tidemark
