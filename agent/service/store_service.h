// A store that this process owns: backend and catalog under one writer lock, and the commit
// protocol.
//
// Order of writes (docs/crash-ordering.md):
//   1. a pack's bytes are durable on the backend, then its chunks are in the catalog, then it is
//      acknowledged;
//   2. a point's record is durable on the backend, then in the catalog (one synced batch), then it
//   is
//      acknowledged.
// A crash between the two halves of 2 is mended by open(): the record of an open session that is
// found on the backend is brought into the catalog. Where writing the record failed it may be there
// all the same: before anything else is begun or committed, the same is done.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "agent/retention/points.h"
#include "agent/service/point_store.h"
#include "agent/service/site_usage.h"
#include "base/clock.h"
#include "catalog/catalog.h"
#include "store/backend.h"
#include "store/role.h"

namespace tidemark {

class StoreService final : public PointStore {
 public:
  // An upload that is not heard of for so long has ended.
  static constexpr std::chrono::hours kSessionLease{24};

  // Creates a new store on an empty backend: `already_exists` where there is one.
  static Status create(Backend& backend, const StoreDescriptor& descriptor);
  static Result<StoreDescriptor> read_descriptor(Backend& backend);
  // A record as a source sent it: where it is malformed that is the source's mistake
  // (`invalid_argument`), not damage of ours.
  static Result<PointRecord> decode_sent_record(ByteView bytes);
  // The record of one point as the backend has it, held against its name and its store:
  // `corruption`, `invalid_argument` (too large) or `unsupported` where it is none.
  static Result<PointRow> read_record(Backend& backend, const PointId& id, const StoreId& store);
  // Replaces the descriptor (key slots changed). REQUIRES: the caller holds the writer lock.
  static Status write_descriptor(Backend& backend, const StoreDescriptor& descriptor);

  // Takes the writer lock, opens the catalog (rebuilding it where it is gone) and mends what a
  // crash left. `refused` where another process serves the store.
  static Result<std::unique_ptr<StoreService>> open(std::unique_ptr<Backend> backend,
                                                    const std::filesystem::path& catalog_directory,
                                                    Clock& clock);

  Result<StoreDescriptor> descriptor() override;
  Result<UploadSession> begin(std::string_view site, std::string_view asset,
                              const PointId& parent) override;
  Result<std::vector<bool>> missing(const UploadSession& session,
                                    std::span<const ChunkId> ids) override;
  Status put_pack(const UploadSession& session, const PackId& id, ByteView bytes) override;
  Result<PointRow> commit(const UploadSession& session, ByteView record) override;
  Status abandon(const UploadSession& session) override;
  // Returns once points were committed since the call that gave `seen` (0 before the first one), or
  // after `limit`, or at the stop. What it gives is to be passed next time.
  std::uint64_t wait_for_commit(std::uint64_t seen, std::chrono::microseconds limit,
                                std::stop_token stop);
  Result<PointRow> find(const PointQuery& query) override;
  Result<std::vector<PointRow>> points(std::string_view site, std::string_view asset) override;
  Status each_latest_point(const std::function<Status(const PointRow&)>& each) override {
    return catalog_->each_latest_point(each);
  }
  Result<std::vector<BlobLocation>> locate(std::span<const ChunkId> ids) override;
  Result<Bytes> read(const PackId& pack, std::uint64_t offset, std::size_t size) override;
  Status set_pinned(const PointId& id, bool pinned) override;
  Status remove(const PointId& id) override;
  Status undelete(const PointId& id) override;
  Status set_verified(const PointId& id) override;
  Result<CatalogStats> stats() override;
  Result<JournalEntry> record_drill(std::string_view text) override;
  Result<JournalEntry> journal_entry(std::uint64_t sequence) override;
  Result<CollectReport> collect(const CollectRequest& request) override;

  // What sites are held to from now on. Where points have to be counted for a quota and cannot be,
  // the locks hold and nothing is taken in from the sites that have a quota.
  Status set_rules(StoreRules rules);
  // What the points of a site take, deleted ones that are still there included; nothing where no
  // quota was ever set.
  std::optional<std::uint64_t> used_by(std::string_view site) const { return usage_.of(site); }

  // `corruption` where the role was changed and cannot be read: nobody sends points of it then.
  Result<AssetRole> role_of(std::string_view site, std::string_view asset) override;
  Status take_back(std::string_view site, std::string_view asset) override;
  Result<UploadSession> begin_discarded(std::string_view site, std::string_view asset,
                                        const PointId& parent, std::uint64_t token) override;
  // As begin(), by the site that holds an asset of `site`, out of this process.
  Result<UploadSession> begin_as(std::string_view holder, std::string_view site,
                                 std::string_view asset, const PointId& parent);
  // Makes it durable. From then on no other site than the holder may begin a point of the asset or
  // finish one that it has begun. `refused` where the token is not higher than the one known.
  // A write whose answer was lost counts by what is there; while that cannot be read, nobody sends
  // points of the asset, and role_of() is `unavailable`.
  Status set_role(const AssetRole& role);
  // The same at the point that `choose` gives, and no point of the asset is committed between the
  // two. The role as it is now is returned.
  Result<AssetRole> set_role_at(AssetRole role, const std::function<Result<PointRow>()>& choose);
  // As role_of(), and finds out first what became of a write whose answer was lost.
  Result<AssetRole> settled_role_of(std::string_view site, std::string_view asset);

  // Marks a pack as damaged, on the backend and in the catalog: what it holds counts as absent,
  // also after a rebuild and without a catalog, until the pack is sent again. Idempotent.
  Status set_aside(const PackId& id);
  // Adds a pack of blobs that were saved out of damaged ones.
  Status add_saved(const PackId& id, ByteView bytes, std::span<const PackEntry> entries);

  // A collection on a thread of its own. `refused` while another one runs.
  struct Collection {
    std::uint64_t number = 0;  // of those started so, by this process
    bool running = false;
    std::optional<Result<CollectReport>> last;  // how the last one ended
  };
  Result<std::uint64_t> start_collection(CollectRequest request);
  Collection collection() const;

  // --- for the collector (agent/service/collector.h), one at a time
  // From now until end_tracking() every pack that sessions hold, or are handed, is noted.
  Status begin_tracking();
  void end_tracking();
  bool is_tracked(const PackId& id) const;
  // Takes packs out of the catalog, then off the backend; those that a session was handed meanwhile
  // stay. The ones that went are returned. `chunks`: as of Catalog::drop_packs().
  Result<std::vector<PackId>> drop_packs(std::span<const PackId> packs,
                                         std::span<const ChunkId> chunks);
  // Adds a pack of blobs that lie in the packs `from`, and takes it for their place: durable first,
  // then in the catalog. Where a session was handed one of `from`, what lies there stays there.
  Status add_repacked(const PackId& id, ByteView bytes, std::span<const PackEntry> entries,
                      std::span<const PackId> from);
  // Drops deleted points: a note of their links, the record, its row, its marks. Parents of open
  // sessions and the newest point of all stay. The number that went is returned.
  Result<std::uint64_t> drop_points(std::span<const PointRow> points);
  // Removes the mark of a deleted point that is not there any more.
  Status forget_deleted_mark(const PointId& id);
  // `refused` where the clock went another way than time: nothing is removed by such a clock.
  Status check_clock();

  // Whose session it is: the HTTP layer holds it against who asks.
  Result<SessionRow> session(const SessionId& id);
  Catalog& catalog() { return *catalog_; }
  Backend& backend() { return *backend_; }
  // `refused` once the writer lock was lost.
  Status still_owner() const;

 private:
  StoreService(std::unique_ptr<Backend> backend, Clock& clock)
      : backend_(std::move(backend)), clock_(clock) {}
  Status open_catalog(const std::filesystem::path& directory);
  Status rebuild(const std::filesystem::path& directory);
  Status recover();
  Result<bool> misses_points();
  Status expire_sessions();
  Status close_sessions_of(std::string_view asset, std::string_view site);
  Result<SessionRow> live_session(const UploadSession& session);
  Status pin(const SessionId& session, std::span<const PackId> packs);
  // Pins the packs in which `ids` lie, so that what is there now still is at the commit; for each
  // whether it is not. REQUIRES: pin_gate_ is held.
  Result<std::vector<bool>> hold(const SessionId& session, std::span<const ChunkId> ids);
  void watch_clock_of(const PointRecord& record);
  Status check_lock(const PointId& id);
  // When the last lock of a point ends, the source's or the store's own.
  std::optional<Timestamp> lock_of(const PointRow& row) const;
  // `resource_exhausted` where `more` bytes are too many for the site.
  Status check_quota(std::string_view site, std::uint64_t more);
  // REQUIRES: commit_mutex_.
  Status count_usage();
  Status read_roles();
  Status read_role(const std::string& name);
  // Best effort: those that cannot be read stay unsettled. REQUIRES: commit_mutex_.
  void settle_roles();
  // REQUIRES: commit_mutex_.
  Status write_role(const AssetRole& role);
  // Also where the role of the point's asset cannot be read.
  bool needed_by_role(const PointRow& row);
  // The point that a query for the newest, or as of a time, means where the catalog's answer was
  // discarded: that one only where there is no other.
  Result<std::optional<PointRow>> find_kept(const PointQuery& query);
  // `refused` where another site than `holder` holds the asset.
  Status check_holder(std::string_view holder, std::string_view site, std::string_view asset);
  // Begins a session where `let_in` lets it. `held`: not by the asset's own site, or not as usual;
  // later calls are let in too.
  Result<UploadSession> begin_session(std::string_view site, std::string_view asset,
                                      const PointId& parent, bool held,
                                      const std::function<Status()>& let_in);
  Status check_record(const PointRecord& record, const SessionRow& session);
  // All nodes below `root` that were not known to be complete; `refused` where anything is missing.
  Result<std::vector<ChunkId>> check_complete(const TreeRoot& root);
  Status check_chunks_present(std::span<const ChunkId> ids);
  // Makes the pack durable; other bytes that lie under its name are replaced.
  Status keep_pack(const PackId& id, ByteView bytes);
  static PackRow row_of(const PackId& id, ByteView bytes, std::size_t entries);
  Status write_pack(const PackId& id, ByteView bytes);
  Result<PointRow> adopt_record(const PointId& id);
  // To be called when a point is in the catalog.
  void note_commit(const PointRow& point);
  // Finds out what became of `unsettled_`: finishes its commit, or takes the record back where its
  // session has ended. REQUIRES: commit_mutex_.
  Status settle();

  std::unique_ptr<Backend> backend_;
  Clock& clock_;
  StoreDescriptor descriptor_;
  std::unique_ptr<WriterLock> lock_;
  std::unique_ptr<Catalog> catalog_;
  std::mutex decision_mutex_;  // one pin or deletion at a time: a row and its mark agree
  std::mutex commit_mutex_;    // one commit or begin at a time: sequence, chain, fences
  // A point whose record may be on the backend though writing it failed: its number is taken until
  // that is known. Guarded by commit_mutex_.
  std::optional<PointId> unsettled_;
  std::atomic<bool> broken_{false};
  std::mutex commits_mutex_;
  std::condition_variable_any commits_changed_;
  std::uint64_t commits_ = 0;  // since the start; guarded by commits_mutex_
  mutable std::mutex rules_mutex_;
  StoreRules rules_;  // guarded by rules_mutex_
  SiteUsage usage_;   // changed under commit_mutex_ only
  mutable std::mutex roles_mutex_;
  // By the name of the blob; nothing: it cannot be read. Guarded by roles_mutex_, and changed
  // under commit_mutex_.
  std::map<std::string, std::optional<AssetRole>, std::less<>> roles_;
  // Names of blobs whose last write may be there or not. Guarded by roles_mutex_, and changed under
  // commit_mutex_.
  std::set<std::string, std::less<>> unsettled_roles_;
  // Sessions that were begun as `held`. Guarded by roles_mutex_.
  std::unordered_set<SessionId, IdHash> holder_sessions_;

  // Held shared while sessions are told what is there and what they hold is noted, and alone while
  // packs go: nobody is told of a pack that is about to go.
  mutable std::shared_mutex pin_gate_;
  bool tracking_ = false;                       // guarded by pin_gate_
  mutable std::mutex tracked_mutex_;            // taken after pin_gate_
  std::unordered_set<PackId, IdHash> tracked_;  // guarded by tracked_mutex_
  std::mutex collect_mutex_;                    // one collection at a time
  Timestamp started_;
  std::chrono::microseconds started_uptime_{};
  mutable std::mutex collection_mutex_;
  Collection collection_;         // guarded by collection_mutex_
  std::string skewed_site_;       // guarded by commit_mutex_
  bool clock_confirmed_ = false;  // likewise; by a source, since the start
  std::jthread collect_thread_;   // last: it uses the rest. Guarded by collection_mutex_
};

}  // namespace tidemark
