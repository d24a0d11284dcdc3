// One garbage collection of a store, beside running backups (docs/decisions/0009-collection.md).
//
//   drop deleted points whose grace is over
//     -> look at the catalog as it is now; from here on note every pack that a session is handed
//     -> mark what points reach: the clear part of the nodes is read, no key is needed
//     -> list the packs of the backend
//     -> a pack without anything marked, and that no session holds:
//          no mark of it yet: write garbage/<id> with the time
//          marked for as long as the grace: drop it, unless a session was handed it meanwhile
//     -> a mark of a pack that something reaches again: remove it
//     -> packs of which little is reached are written anew without the rest (repacker.h)
//
// A stop, a crash or an error at any step leaves a store that is whole: nothing of the run is
// needed by the next one. Only packs that two complete runs found unreached go.
//
// Memory: 17 bytes for each chunk and node of the store, and some 100 for each pack.
#pragma once

#include <unordered_map>
#include <vector>

#include "agent/service/store_service.h"

namespace tidemark {

// Which chunks and nodes of a store are reached. Used by one thread, but for mark().
class ReachedSet {
 public:
  // How many will be added; more are no mistake, but cost memory for a while.
  void reserve(std::size_t count);
  // REQUIRES: ids come in ascending order.
  void add(const ChunkId& id);
  // True where it was not marked before; false also for what is not in the set.
  bool mark(const ChunkId& id);
  bool contains(const ChunkId& id) const { return find(id) != kNone; }
  bool is_marked(std::size_t index) const { return marked_[index]; }
  bool is_marked(const ChunkId& id) const {
    const std::size_t at = find(id);
    return at != kNone && marked_[at];
  }

 private:
  // Half an id tells them apart: whoever could make two alike by trying holds the key, and would
  // have to try 2^64 times.
  using Half = std::array<std::uint8_t, 16>;
  static constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t find(const ChunkId& id) const;
  std::vector<Half> ids_;
  std::vector<bool> marked_;
};

// Used by one thread, once.
class Collector {
 public:
  Collector(StoreService& store, Clock& clock, const CollectRequest& request)
      : store_(store), clock_(clock), request_(request) {}
  Result<CollectReport> run();

 private:
  struct Pack {
    PackId id;
    std::uint64_t number = 0, size_bytes = 0, live_bytes = 0;
    std::uint32_t entries = 0, live_entries = 0;
    bool damaged = false;
  };
  Status collect();
  Status drop_points();
  Status load(CatalogView& view);
  Status mark_points(CatalogView& view);
  Status mark_tree(const PointRecord& record);
  Status count_live(CatalogView& view);
  Status read_marks();
  Status find_dead();
  // `pack`: null for an orphan, which the catalog does not know.
  Status consider(const PackId& id, std::uint64_t size, Pack* pack);
  Status drop_dead(CatalogView& view);
  Status drop_some(CatalogView& view, std::span<Pack* const> packs);
  Status drop_orphans();
  Status forget_marks();
  Status forget_leftovers();
  Status repack();
  Status check_stop() const;

  StoreService& store_;
  Clock& clock_;
  const CollectRequest request_;
  CollectReport report_;
  ReachedSet reached_;
  std::unordered_map<std::uint64_t, Pack> packs_;  // by number
  std::unordered_map<PackId, std::uint64_t, IdHash> numbers_;
  // Those that stand, by when they count from; in the end, those that are of use no more.
  std::unordered_map<PackId, std::optional<Timestamp>, IdHash> marks_;
  std::vector<Pack*> dead_;
  std::vector<std::pair<PackId, std::uint64_t>> dead_orphans_;
};

}  // namespace tidemark
