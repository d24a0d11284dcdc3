// The catalog over RocksDB. Each group of functions has a file of its own beside this one.
//
// Locks: write_mutex_ is held by every function that changes rows, from reading what the change is
// based on until it is written; readers take no lock and see whole batches. No lock is held while a
// caller's function runs, so that it may call the catalog.
#pragma once

#include <functional>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <unordered_set>

#include "base/files.h"
#include "catalog/catalog.h"
#include "catalog/internal/control.h"
#include "catalog/internal/database.h"
#include "catalog/internal/keys.h"
#include "catalog/internal/rows.h"

namespace tidemark::catalog {

// The first file of the catalog's directory, and RocksDB's directory in it.
inline constexpr std::string_view kControlFile = "control";
inline constexpr std::string_view kDatabaseDirectory = "rocksdb";

// Remembers which pack has which number; numbers are never given twice, so nothing in it gets old.
// Bounded: where two numbers fall on one slot, the later stays. Safe from any thread.
class PackNumberCache {
 public:
  PackNumberCache() : slots_(kSlots) {}
  std::optional<PackId> find(std::uint64_t number) const;
  void add(std::uint64_t number, const PackId& id);

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 16;
  struct Slot {
    std::uint64_t number = 0;  // 0: free
    PackId id;
  };
  mutable std::shared_mutex mutex_;
  std::vector<Slot> slots_;  // guarded by mutex_
};

class RocksCatalog final : public Catalog {
 public:
  // `lock` is held as long as the catalog is open. `fence_floor` is for a catalog that is created.
  static Result<std::unique_ptr<RocksCatalog>> open(const std::filesystem::path& directory,
                                                    const StoreId& store, Fd lock,
                                                    std::uint64_t fence_floor = 0);

  Result<std::vector<std::optional<ChunkRow>>> find_chunks(std::span<const ChunkId> ids) override;
  Result<std::optional<PackRow>> find_pack(const PackId& id) override;
  Status add_pack(const PackRow& pack, std::span<const PackEntry> entries) override;
  Status move_chunks(const PackRow& pack, std::span<const PackEntry> entries,
                     std::span<const PackId> from) override;
  Status mark_pack_damaged(const PackId& id) override;
  std::uint64_t damaged_packs() const override {
    const std::shared_lock lock(damage_mutex_);
    return damaged_packs_.size();
  }
  Status each_pack(const std::function<Status(const PackRow&)>& each) override;
  Status drop_packs(std::span<const PackId> packs, std::span<const ChunkId> chunks) override;
  Result<std::unique_ptr<CatalogView>> view() override;

  Status commit_point(const PointRow& row, std::span<const ChunkId> closed_nodes,
                      const std::optional<SessionId>& session) override;
  Result<std::optional<PointRow>> find_point(const PointId& id) override;
  Result<std::vector<PointRow>> find_points_by_prefix(std::string_view prefix,
                                                      std::size_t limit) override;
  Result<std::optional<PointRow>> find_point_as_of(std::string_view site, std::string_view asset,
                                                   Timestamp time) override;
  Status each_point_id(const std::function<Status(const PointId&)>& each) override;
  Result<std::optional<PointRow>> find_newest_point(std::string_view site,
                                                    std::string_view asset) override;
  Status each_latest_point(const std::function<Status(const PointRow&)>& each) override;
  Status each_point(std::string_view site, std::string_view asset,
                    const std::function<Status(const PointRow&)>& each) override;
  Result<std::optional<PointRow>> last_point() override;
  Status set_pinned(const PointId& id, bool pinned, Timestamp now) override;
  Status set_deleted(const PointId& id, std::optional<Timestamp> deleted, Timestamp now) override;
  Status set_verified(const PointId& id, Timestamp when) override;
  Status drop_point(const PointId& id, Timestamp now) override;

  Result<SessionRow> open_session(SessionRow row) override;
  Result<std::optional<SessionRow>> find_session(const SessionId& id) override;
  Result<std::uint64_t> newest_fence(std::string_view site, std::string_view asset) override;
  Status renew_session(const SessionId& id, Timestamp now, std::uint64_t added_bytes) override;
  Status close_session(const SessionId& id) override;
  Status each_session(const std::function<Status(const SessionRow&)>& each) override;
  Status pin_packs(const SessionId& id, std::span<const PackId> packs) override;
  Status each_pinned_pack(const SessionId& id,
                          const std::function<Status(const PackId&)>& each) override;

  Result<JournalEntry> append_journal(std::string_view kind, std::string_view text,
                                      Timestamp now) override;
  Status each_journal_entry(std::uint64_t first,
                            const std::function<Status(const JournalEntry&)>& each) override;

  Result<CatalogStats> stats() override;
  Result<std::vector<std::string>> check() override;

  // --- for the rebuild, which finds points in no particular order and with gaps
  // Enters a point without regard to its place in the chain. Not synced.
  Status restore_point(const PointRow& row);
  // Marks nodes as closed. Not synced.
  Status mark_closed(std::span<const ChunkId> nodes);
  // Every point, deleted ones included, in the order of their sequence.
  Status each_point_by_sequence(const std::function<Status(const PointRow&)>& each);
  Status each_pack(const std::function<Status(const PackRow&)>& each,
                   const Database::Snapshot& snapshot);
  Status each_point_by_sequence(const std::function<Status(const PointRow&)>& each,
                                const Database::Snapshot& snapshot);
  // Makes all rows durable in table files.
  Status finish_rebuild();

 private:
  friend class RocksView;
  // A point of the two chains: the last one's number and hash.
  struct Link {
    std::uint64_t sequence = 0;
    Digest hash;
  };
  // A batch in the making, and what is known once it was written.
  struct Change {
    rocksdb::WriteBatch batch;
    State state;
    Link journal, point;
  };

  RocksCatalog(Fd lock, Control control) : lock_(std::move(lock)), control_(std::move(control)) {}
  Status initialize(const StoreId& store, std::uint64_t fence_floor);
  Status load(const StoreId& store);
  Status load_damaged();
  Status load_journal();
  Status load_last_point();

  // All that follow: REQUIRES write_mutex_.
  Change begin();
  Status apply(Change& change, bool sync);
  // `from`: the numbers of packs whose chunks go over to this one.
  Status index_pack(const PackRow& pack, std::span<const PackEntry> entries,
                    const std::unordered_set<std::uint64_t>& from, bool sync);
  // The row of `pack`, new or whole again, and its place in the indexes.
  void put_pack(Change& change, const PackRow& pack, const StoredPack& row, bool mended);
  void put(Change& change, std::string_view key, std::string_view value) {
    database_->put(change.batch, Table::rows, key, value);
  }
  void erase(Change& change, std::string_view key) {
    database_->erase(change.batch, Table::rows, key);
  }
  Status add_journal(Change& change, std::string_view kind, std::string_view text, Timestamp now);
  void put_new_point(Change& change, const PointRow& row);
  Status put_closed(Change& change, std::span<const ChunkId> nodes);
  Status erase_session(Change& change, const SessionId& id);
  Status check_session(const SessionId& id, const PointRow& row);
  Status change_point(const PointId& id, const std::function<Result<bool>(PointRow&)>& change_row,
                      std::string_view kind, Timestamp now);

  // Rows of the ids in turn; sorted lookups underneath.
  Result<std::vector<std::optional<StoredChunk>>> read_chunks(std::span<const ChunkId> ids);
  Status resolve_packs(std::unordered_map<std::uint64_t, PackId>& numbers);
  Result<std::optional<StoredPack>> read_pack(const PackId& id);
  Result<std::optional<PointRow>> read_point(const PointId& id,
                                             const Database::Snapshot& snapshot = nullptr);

  const Fd lock_;
  Identity identity_;  // constant once opened
  std::unique_ptr<Database> database_;
  PackNumberCache pack_numbers_;

  std::mutex write_mutex_;
  Control control_;       // guarded by write_mutex_
  State state_;           // guarded by write_mutex_
  Link journal_, point_;  // guarded by write_mutex_

  mutable std::shared_mutex damage_mutex_;           // taken after write_mutex_
  std::unordered_set<std::uint64_t> damaged_packs_;  // numbers; guarded by damage_mutex_
  std::uint64_t closed_epoch_ = 1;                   // guarded by damage_mutex_
};

}  // namespace tidemark::catalog
