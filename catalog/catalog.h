// The catalog of a store: an index over what the backend holds, in RocksDB. It can be lost: all
// in it is rebuilt from the backend alone (catalog/rebuild.h). Schema: docs/format/catalog.md.
//
// Writes that merely index (packs, chunks, sessions) are not synced each; commit_point() is, and
// as the log is one sequence it makes everything written before it durable too.
// All functions are safe from any thread. No RocksDB type leaves this folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/pack.h"
#include "store/record.h"

namespace tidemark {

// A point as the catalog knows it: the committed record, and what was decided about it since.
struct PointRow {
  CommittedPoint point;
  Digest record_hash;  // SHA-256 of the record's blob
  bool pinned = false;
  std::optional<Timestamp> deleted;   // dropped by an operator; kept until the grace is over
  std::optional<Timestamp> verified;  // last time that all of it was read and found good
};

struct ChunkRow {
  BlobLocation location;
  // Node only: everything reachable from it was present when a point with it was committed.
  bool closed = false;
};

struct PackRow {
  PackId id;
  std::uint64_t size_bytes = 0;
  std::uint32_t entries = 0;
  bool damaged = false;      // its bytes were found to differ from its name
  std::uint64_t number = 0;  // the catalog's own short name for it; never given twice
};

// An open upload. It protects the packs that it wrote or was told of from garbage collection.
struct SessionRow {
  SessionId id;
  std::string site, asset;
  PointId parent;
  std::uint64_t fence = 0;  // grows with each session of an asset; an older one may not commit
  Timestamp opened, renewed;
  std::uint64_t stored_bytes = 0;
};

struct JournalEntry {
  std::uint64_t sequence = 0;  // 1, 2, 3 …
  Timestamp time;
  std::string kind;  // "commit", "pin", "unpin", "delete", "rebuild", …
  std::string text;  // JSON
  Digest previous;   // hash of the entry before; null for the first
  Digest hash;       // of this entry, `previous` included
};

struct CatalogStats {
  std::uint64_t points = 0, packs = 0, pack_bytes = 0, chunks = 0, nodes = 0, plain_bytes = 0;
  // The number of the journal's last entry: where it is the same, no point came, went, or was
  // decided about. 0 where there is no journal. It begins anew when a catalog is rebuilt.
  std::uint64_t journal = 0;
};

// The catalog as it was at one moment, whatever is written to it later. Used by one thread; must
// not outlive the catalog.
class CatalogView {
 public:
  virtual ~CatalogView() = default;
  // Every chunk and node, in the order of their ids; `pack` is the number of the pack it lies in.
  virtual Status each_chunk(const std::function<Status(const ChunkId&, std::uint64_t pack,
                                                       std::uint32_t stored_size)>& each) = 0;
  virtual Status each_pack(const std::function<Status(const PackRow&)>& each) = 0;
  // Deleted ones included, in the order of their sequence.
  virtual Status each_point(const std::function<Status(const PointRow&)>& each) = 0;
};

class Catalog {
 public:
  virtual ~Catalog() = default;

  // Opens the catalog in `directory`; creates it where absent. `refused` where another one has it
  // open, `unsupported` where its schema is newer than this build, `corruption` where RocksDB says
  // (rebuild it then), `invalid_argument` where it belongs to another store.
  static Result<std::unique_ptr<Catalog>> open(const std::filesystem::path& directory,
                                               const StoreId& store);

  // --- packs and chunks
  // For each id in turn: where it is, or nothing.
  virtual Result<std::vector<std::optional<ChunkRow>>> find_chunks(
      std::span<const ChunkId> ids) = 0;
  virtual Result<std::optional<PackRow>> find_pack(const PackId& id) = 0;
  // Indexes a pack that is durable on the backend. A chunk that is known already keeps its place,
  // unless that place is a damaged pack. Of a pack that is known, chunks that have no place any
  // more get one again. Idempotent. A pack that was marked as damaged is whole from then on.
  // REQUIRES, of such a pack: its bytes were written anew.
  virtual Status add_pack(const PackRow& pack, std::span<const PackEntry> entries) = 0;
  // As add_pack(), in one synced batch, and those of `entries` that lie in one of the packs `from`
  // lie in this pack from then on. Closed marks stay. Packs of `from` that are not known are passed
  // over.
  virtual Status move_chunks(const PackRow& pack, std::span<const PackEntry> entries,
                             std::span<const PackId> from) = 0;
  // Marks a pack as damaged: its chunks read as absent from then on, so that the next backup of an
  // asset sends them again.
  virtual Status mark_pack_damaged(const PackId& id) = 0;
  virtual Status each_pack(const std::function<Status(const PackRow&)>& each) = 0;
  // How many are marked as damaged now.
  virtual std::uint64_t damaged_packs() const = 0;
  // Forgets packs and those of `chunks` that lie in them, in one synced batch: what is not among
  // `chunks` must not lie in any. Closed marks are void from then on. Packs that are not known are
  // passed over.
  virtual Status drop_packs(std::span<const PackId> packs, std::span<const ChunkId> chunks) = 0;

  virtual Result<std::unique_ptr<CatalogView>> view() = 0;

  // --- points
  // Makes the point exist: one synced batch with the point, its place in time, the closed marks of
  // `closed_nodes`, the end of `session` and a journal entry. Idempotent for an equal record.
  virtual Status commit_point(const PointRow& row, std::span<const ChunkId> closed_nodes,
                              const std::optional<SessionId>& session) = 0;
  virtual Result<std::optional<PointRow>> find_point(const PointId& id) = 0;
  // The ids of all points, deleted ones included, in ascending order.
  virtual Status each_point_id(const std::function<Status(const PointId&)>& each) = 0;
  // The points whose hex id starts with `prefix`; at most `limit`.
  virtual Result<std::vector<PointRow>> find_points_by_prefix(std::string_view prefix,
                                                              std::size_t limit) = 0;
  // The newest point of an asset captured at or before `time`, deleted ones left out: one seek.
  virtual Result<std::optional<PointRow>> find_point_as_of(std::string_view site,
                                                           std::string_view asset,
                                                           Timestamp time) = 0;
  // The point of an asset that the store took in last, deleted ones left out: by its own order, as
  // the clock that times were read from may have been wrong.
  virtual Result<std::optional<PointRow>> find_newest_point(std::string_view site,
                                                            std::string_view asset) = 0;
  // Of each asset the point with the highest time, deleted ones left out: two seeks each.
  virtual Status each_latest_point(const std::function<Status(const PointRow&)>& each) = 0;
  // Points in the order of (site, asset, time), deleted ones left out; of one site or asset where
  // given (empty: all).
  virtual Status each_point(std::string_view site, std::string_view asset,
                            const std::function<Status(const PointRow&)>& each) = 0;
  // The point with the highest sequence; nothing in an empty store.
  virtual Result<std::optional<PointRow>> last_point() = 0;
  virtual Status set_pinned(const PointId& id, bool pinned, Timestamp now) = 0;
  // Marks or unmarks a point as deleted. `refused` where it is pinned.
  virtual Status set_deleted(const PointId& id, std::optional<Timestamp> deleted,
                             Timestamp now) = 0;
  virtual Status set_verified(const PointId& id, Timestamp when) = 0;
  // Forgets a point. `refused` unless it is marked as deleted, and of the newest point of all,
  // which the next one links to. Success where it is not known.
  virtual Status drop_point(const PointId& id, Timestamp now) = 0;

  // --- sessions
  // Stores a new session with the next fence of its asset, which is returned in the row.
  virtual Result<SessionRow> open_session(SessionRow row) = 0;
  virtual Result<std::optional<SessionRow>> find_session(const SessionId& id) = 0;
  // The highest fence ever given to the asset.
  virtual Result<std::uint64_t> newest_fence(std::string_view site, std::string_view asset) = 0;
  virtual Status renew_session(const SessionId& id, Timestamp now, std::uint64_t added_bytes) = 0;
  virtual Status close_session(const SessionId& id) = 0;
  virtual Status each_session(const std::function<Status(const SessionRow&)>& each) = 0;
  // Protects packs until the session ends; known before the call returns to any later reader.
  virtual Status pin_packs(const SessionId& id, std::span<const PackId> packs) = 0;
  virtual Status each_pinned_pack(const SessionId& id,
                                  const std::function<Status(const PackId&)>& each) = 0;

  // --- journal
  // The entry as it was written, durable.
  virtual Result<JournalEntry> append_journal(std::string_view kind, std::string_view text,
                                              Timestamp now) = 0;
  // Entries from `first` on, links verified on the way; `corruption` at the first that does not.
  virtual Status each_journal_entry(std::uint64_t first,
                                    const std::function<Status(const JournalEntry&)>& each) = 0;

  virtual Result<CatalogStats> stats() = 0;
  // Reads every row, checks its checksum and coding and that the indexes agree with each other; the
  // findings, in words; empty where all is well.
  virtual Result<std::vector<std::string>> check() = 0;
};

}  // namespace tidemark
