// What of the store's service is there for garbage collection.

#include <algorithm>

#include "agent/service/collector.h"
#include "agent/service/store_service.h"
#include "base/log.h"
#include "store/expired.h"

namespace tidemark {

Status StoreService::begin_tracking() {
  const std::lock_guard lock(commit_mutex_);
  TM_DO(expire_sessions());
  const std::unique_lock gate(pin_gate_);
  std::vector<SessionId> sessions;
  TM_DO(catalog_->each_session([&](const SessionRow& row) -> Status {
    sessions.push_back(row.id);
    return {};
  }));
  tracking_ = true;
  const std::lock_guard tracked(tracked_mutex_);
  tracked_.clear();
  for (const SessionId& id : sessions)
    TM_DO(catalog_->each_pinned_pack(id, [&](const PackId& pack) -> Status {
      tracked_.insert(pack);
      return {};
    }));
  return {};
}

void StoreService::end_tracking() {
  const std::unique_lock gate(pin_gate_);
  tracking_ = false;
  tracked_.clear();
}

bool StoreService::is_tracked(const PackId& id) const {
  const std::lock_guard lock(tracked_mutex_);
  return tracked_.contains(id);
}

Result<std::vector<PackId>> StoreService::drop_packs(std::span<const PackId> packs,
                                                     std::span<const ChunkId> chunks) {
  const std::unique_lock gate(pin_gate_);
  TM_DO(still_owner());
  std::vector<PackId> dropped;
  for (const PackId& id : packs)
    if (!is_tracked(id)) dropped.push_back(id);
  // Rows first: a pack that nobody knows is garbage, one that is known and gone is a loss.
  TM_DO(catalog_->drop_packs(dropped, chunks));
  for (const PackId& id : dropped) {
    TM_DO(backend_->remove(pack_blob_name(id)));
    TM_DO(backend_->remove(pack_mark_name(id)));
  }
  return dropped;
}

Status StoreService::add_repacked(const PackId& id, ByteView bytes,
                                  std::span<const PackEntry> entries,
                                  std::span<const PackId> from) {
  TM_DO(still_owner());
  const auto tracked = [this](const PackId& pack) { return is_tracked(pack); };
  if (std::ranges::all_of(from, tracked)) return {};
  TM_DO(keep_pack(id, bytes));
  // Whoever was told of a chunk counts on the pack that it was in then.
  const std::unique_lock gate(pin_gate_);
  TM_DO(still_owner());
  std::vector<PackId> free;
  for (const PackId& pack : from)
    if (!is_tracked(pack)) free.push_back(pack);
  return catalog_->move_chunks(row_of(id, bytes, entries.size()), entries, free);
}

Result<std::uint64_t> StoreService::drop_points(std::span<const PointRow> points) {
  const std::lock_guard lock(commit_mutex_);
  const std::lock_guard decisions(decision_mutex_);
  TM_DO(still_owner());
  std::unordered_set<PointId, IdHash> parents;
  TM_DO(catalog_->each_session([&](const SessionRow& row) -> Status {
    parents.insert(row.parent);
    return {};
  }));
  TM_TRY(const auto last, catalog_->last_point());
  std::vector<PointRow> going;
  for (const PointRow& point : points) {
    TM_TRY(auto row, catalog_->find_point(point.point.record.id));
    if (!row || !row->deleted) continue;
    // It may have been deleted before the store had a rule that locks it.
    const auto locked = lock_of(*row);
    const bool stays =
        row->pinned || needed_by_role(*row) || parents.contains(point.point.record.id) ||
        row->point.sequence == last->point.sequence || (locked && clock_.now() < *locked);
    if (!stays) going.push_back(*std::move(row));
  }
  if (going.empty()) return std::uint64_t{0};
  TM_TRY(ExpiredPoints expired, read_expired_points(*backend_));
  for (const PointRow& row : going)
    TM_DO(expired.add(row.point.sequence, row.point.previous, row.record_hash));
  TM_DO(backend_->replace(ExpiredPoints::kBlobName, encode(expired)));
  for (const PointRow& row : going) {
    const PointId& id = row.point.record.id;
    TM_DO(backend_->remove(point_blob_name(id)));
    TM_DO(catalog_->drop_point(id, clock_.now()));
    usage_.subtract(row.point.record.site, row.point.stored_bytes);
    TM_DO(backend_->remove(point_mark_name(id, PointMark::deleted)));
  }
  return std::uint64_t{going.size()};
}

Status StoreService::forget_deleted_mark(const PointId& id) {
  const std::lock_guard decisions(decision_mutex_);
  TM_TRY(const auto row, catalog_->find_point(id));
  return row ? Status() : backend_->remove(point_mark_name(id, PointMark::deleted));
}

Result<CollectReport> StoreService::collect(const CollectRequest& request) {
  const std::unique_lock one(collect_mutex_, std::try_to_lock);
  if (!one) return Error(ErrorCode::refused, "a collection is running already");
  return Collector(*this, clock_, request).run();
}

Result<std::uint64_t> StoreService::start_collection(CollectRequest request) {
  const std::lock_guard lock(collection_mutex_);
  if (collection_.running) return Error(ErrorCode::refused, "a collection is running already");
  collection_.running = true;
  collect_thread_ = std::jthread([this, request](const std::stop_token& stop) mutable {
    request.stop = stop;
    auto done = collect(request);
    if (!done) log::error("{}", done.error().describe());
    const std::lock_guard ended(collection_mutex_);
    collection_.running = false;
    collection_.last = std::move(done);
  });
  return ++collection_.number;
}

StoreService::Collection StoreService::collection() const {
  const std::lock_guard lock(collection_mutex_);
  return collection_;
}

}  // namespace tidemark
