// What every part of the agent sees of a store, wherever it is: in this process (StoreService),
// behind a peer's HTTPS (RemoteStore), or as bare blobs on a backend without a catalog (BareStore).
// Protocol: docs/protocol.md.
//
// The order of a backup:
//   begin -> missing* -> put_pack* -> commit
// begin() names the point to come. missing() tells which chunks must be sent; those it calls
// present stay protected until the session ends. put_pack() is durable when it returns, and may be
// repeated. commit() makes the point exist or fails; repeated with the same record it succeeds
// again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "catalog/catalog.h"
#include "store/keys.h"
#include "store/pack.h"
#include "store/record.h"
#include "store/role.h"

namespace tidemark {

struct UploadSession {
  SessionId id;
  PointId point;  // the point that this session may commit; the same bytes as `id`
  std::uint64_t fence = 0;
};

// Which point is meant: exactly one way of saying it is used. One that was discarded
// (agent/retention/keep.h) is the newest, or as of a time, only where there is no other.
struct PointQuery {
  std::string site, asset;         // with newest and as_of: whose asset; empty otherwise
  bool newest = false;             // the last one that the store took in
  std::optional<Timestamp> as_of;  // the newest point at or before
  std::string id_prefix;           // hex of either case; must be unique
};

// The most ids in one call of missing() or locate().
inline constexpr std::size_t kIdsPerCallMax = 16384;
// The most bytes in one call of read().
inline constexpr std::size_t kReadBytesMax = 8 * kMiB;

// A point record that cannot be read: what it was of is not known.
struct DamagedRecord {
  std::string id;  // hex
  std::string message;
};

// Garbage collection (docs/operations.md). What nothing reaches is marked first; it goes when a
// later collection, at least `grace` after the mark, finds the same.
struct CollectRequest {
  std::chrono::microseconds grace = std::chrono::hours(24);
  bool dry_run = false;  // looks, marks nothing, writes nothing and removes nothing
  // Packs of which points reach less than this part are written anew without the rest; 0: none.
  double repack = 0;
  // The store's; without them nothing is written anew. Only of use where the store is served.
  std::shared_ptr<const StoreKeys> keys;
  std::stop_token stop;
  std::function<void()> on_step;  // called between any two steps, with nothing locked; may be empty
};
struct CollectReport {
  std::uint64_t points_dropped = 0;         // deleted ones whose grace is over
  std::uint64_t packs = 0, pack_bytes = 0;  // found in the store
  std::uint64_t live_bytes = 0;             // of chunks and nodes that points reach
  std::uint64_t packs_removed = 0, bytes_removed = 0;
  std::uint64_t packs_waiting = 0, bytes_waiting = 0;    // unreached, their grace is not over
  std::uint64_t orphans = 0;                             // of both: packs the catalog did not know
  std::uint64_t packs_repacked = 0, bytes_repacked = 0;  // written anew; the bytes reached in them
  // Mostly dead packs that were left as they are (no key, a session holds them, enough was done for
  // one run, damage, a dry run), and how many of their bytes nothing reaches.
  std::uint64_t packs_to_repack = 0, bytes_to_repack = 0;
  std::uint64_t duration_ms = 0;
};

class PointStore {
 public:
  virtual ~PointStore() = default;

  virtual Result<StoreDescriptor> descriptor() = 0;

  // --- writing. `refused` from any of these once a newer session of the asset was begun (fenced)
  // or the session ended.
  virtual Result<UploadSession> begin(std::string_view site, std::string_view asset,
                                      const PointId& parent) = 0;
  // For each id in turn: true where its bytes must be sent.
  virtual Result<std::vector<bool>> missing(const UploadSession& session,
                                            std::span<const ChunkId> ids) = 0;
  virtual Status put_pack(const UploadSession& session, const PackId& id, ByteView bytes) = 0;
  virtual Result<PointRow> commit(const UploadSession& session, ByteView record) = 0;
  virtual Status abandon(const UploadSession& session) = 0;

  // --- reading
  // `not_found` where there is none.
  virtual Result<PointRow> find(const PointQuery& query) = 0;
  // Points in the order of (site, asset, time); of one site or asset where given.
  virtual Result<std::vector<PointRow>> points(std::string_view site, std::string_view asset) = 0;
  // Of each asset the point with the highest time, in the order of (site, asset).
  virtual Status each_latest_point(const std::function<Status(const PointRow&)>& each);
  // Records that points() had to leave out. Empty where a catalog stands in for them.
  virtual std::vector<DamagedRecord> damaged_records() const { return {}; }
  // Where each blob lies; `corruption` where one is not there.
  virtual Result<std::vector<BlobLocation>> locate(std::span<const ChunkId> ids) = 0;
  virtual Result<Bytes> read(const PackId& pack, std::uint64_t offset, std::size_t size) = 0;

  // --- where an asset is in use
  // Token 0 and `site` itself where that never changed. `unsupported` without an agent.
  virtual Result<AssetRole> role_of(std::string_view site, std::string_view asset);
  // Makes `site` the holder of its own asset again, which nobody may hold: whoever did must have
  // handed it over. Success where it is the holder already; `refused` while another site is.
  virtual Status take_back(std::string_view site, std::string_view asset);
  // As begin(), for the last point of what `site` had when its asset, which was handed over with
  // `token`, comes back. `refused` for any other.
  virtual Result<UploadSession> begin_discarded(std::string_view site, std::string_view asset,
                                                const PointId& parent, std::uint64_t token);

  // --- administration: for the operators of the store's own site, never for a peer
  virtual Status set_pinned(const PointId& id, bool pinned) = 0;
  // Marks a point as deleted; its bytes stay until the grace is over and nothing else needs them.
  virtual Status remove(const PointId& id) = 0;
  // Takes a deletion back. `not_found` once the point was dropped; success where it is not deleted.
  virtual Status undelete(const PointId& id) = 0;
  virtual Status set_verified(const PointId& id) = 0;
  virtual Result<CatalogStats> stats() = 0;
  // Writes down in the store's journal that a drill ended: `text` is JSON. Durable, and linked to
  // all that was written there before. `unsupported` where there is no journal.
  virtual Result<JournalEntry> record_drill(std::string_view text);
  // `not_found` where the journal has no such entry: it begins anew when a catalog is rebuilt.
  virtual Result<JournalEntry> journal_entry(std::uint64_t sequence);
  // `refused` while another collection runs, where the store's clock cannot be trusted, and where a
  // tree cannot be followed: nothing is removed then.
  virtual Result<CollectReport> collect(const CollectRequest& request) = 0;
};

// The newest point of an asset, by the store's order; nothing where it has none.
Result<std::optional<PointRow>> find_newest(PointStore& store, std::string_view site,
                                            std::string_view asset);

// The JSON keys of a point (CLI.md) are made in one place, agent/service/point_json.h.

}  // namespace tidemark
