// The steps of a rebuild, one function each; rebuild_catalog calls them in this order.
#pragma once

#include <map>
#include <mutex>
#include <set>

#include "catalog/internal/rocks_catalog.h"
#include "catalog/internal/swap.h"
#include "catalog/rebuild.h"
#include "store/expired.h"

namespace tidemark::catalog {

// rebuild_catalog, with a hook for tests that end the process at a step.
Result<RebuildReport> rebuild(Backend& backend, const std::filesystem::path& directory,
                              const StoreId& store,
                              const std::function<void(const RebuildProgress&)>& progress,
                              std::stop_token stop, const StepHook& hook);

// Fills an empty catalog. Used by one thread; works on several.
class Rebuilder {
 public:
  // All must outlive the rebuilder.
  Rebuilder(Backend& backend, RocksCatalog& catalog, const StoreId& store,
            const std::function<void(const RebuildProgress&)>& progress, std::stop_token stop)
      : backend_(backend), catalog_(catalog), store_(store), progress_(progress), stop_(stop) {}

  Status index_packs();
  Status read_marks();
  Status restore_points();
  Status check_chain();
  Status walk_trees();
  Status write_journal(Timestamp now);
  RebuildReport take_report() { return std::move(report_); }

 private:
  // What an operator decided about a point, kept on the backend beside it.
  struct Marks {
    bool pinned = false;
    std::optional<Timestamp> deleted;
  };
  // A point's place in the chain of records.
  struct ChainLink {
    std::uint64_t sequence = 0;
    PointId id;
    Digest hash, previous;
  };

  Result<ExpiredPoints> read_expired();
  Result<std::vector<BlobInfo>> list(std::string_view prefix);
  Status index_pack(const BlobInfo& blob);
  Status refuse_newer_pack(const BlobInfo& blob, const PackId& id, const Error& error);
  Status read_mark(const BlobInfo& blob);
  Status restore_point(const BlobInfo& blob, PointRow row);
  Result<std::optional<PointRow>> read_point_blob(const BlobInfo& blob);
  void apply_marks(PointRow& row);
  void find(std::string finding);
  void skip_pack(const BlobInfo& blob, std::string_view why);
  void advance(std::string_view stage, std::uint64_t total);
  Status check_stop() const;

  Backend& backend_;
  RocksCatalog& catalog_;
  const StoreId store_;
  const std::function<void(const RebuildProgress&)>& progress_;
  const std::stop_token stop_;

  std::map<PointId, Marks> marks_;
  std::set<PackId> set_aside_;
  std::vector<ChainLink> chain_;
  std::mutex mutex_;        // what follows is changed by the threads of index_packs
  RebuildReport report_;    // guarded by mutex_
  std::string_view stage_;  // guarded by mutex_
  std::uint64_t done_ = 0;  // guarded by mutex_
};

}  // namespace tidemark::catalog
