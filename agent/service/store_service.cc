#include "agent/service/store_service.h"

#include <unistd.h>

#include <algorithm>
#include <future>
#include <unordered_set>

#include "agent/retention/points.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/text.h"
#include "catalog/rebuild.h"
#include "store/tree.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kDescriptorBytesMax = 64 * kKiB;
// A record with what the store adds to it.
constexpr std::uint64_t kPointBlobBytesMax = kRecordBytesMax + 256;
constexpr std::size_t kNodeReadThreads = 8;
constexpr std::chrono::minutes kSessionRenewal{5};
// How long a store may have received nothing before it is started, with its clock believed all the
// same.
constexpr std::chrono::hours kSleepMax{48};
// After which time a clock is believed that nobody confirms: whatever sets clocks has set it by
// then, which shows as a jump.
constexpr std::chrono::hours kEvenClock{48};
// How far clocks may be apart before nothing is removed by them any more.
constexpr std::chrono::microseconds kSkewMax = std::chrono::minutes(5);

Bytes timestamp_bytes(Timestamp t) {
  ByteWriter w;
  w.u64(static_cast<std::uint64_t>(t.us));
  return w.take();
}

// Not the source's mistake: what it was told is there may have been lost since.
Error incomplete(std::string_view what) {
  return Error(ErrorCode::corruption, "the point is not complete: " + std::string(what))
      .with_hint("start the backup again; what arrived is not sent twice");
}

Error session_ended() { return Error(ErrorCode::refused, "the upload session has ended"); }

// A newer one may begin, and end this session, between any two steps of a call.
Status unless_ended(Status status) {
  if (!status && status.error().code() == ErrorCode::not_found) return session_ended();
  return status;
}

bool same_record(const PointRow& row, const PointRecord& record) {
  return row.point.record.id == record.id && row.point.record.mac == record.mac &&
         row.point.record.root == record.root && row.point.record.asset == record.asset;
}

std::string owner_text() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return std::string("tidemark on ") + host.data() + ", pid " + std::to_string(::getpid());
}

// True where the backend holds any pack or point: an empty catalog is not the whole truth then.
Result<bool> holds_anything(Backend& backend) {
  for (const char* prefix : {"points/", "packs/"}) {
    bool any = false;
    const auto status = backend.list(prefix, [&](const BlobInfo&) -> Status {
      any = true;
      return Error(ErrorCode::cancelled, "one is enough");
    });
    if (any) return true;
    if (!status) return status.error();
  }
  return false;
}

// Without a key the store can hold every blob against its id itself: nobody may give another site's
// chunk a content of his own.
Status check_plain_blobs(ByteView pack, const std::vector<PackEntry>& entries) {
  static const StoreKeys keys = StoreKeys::unencrypted();
  for (const PackEntry& entry : entries) {
    const auto plain =
        decode_blob(keys, pack, entry, pack.subspan(entry.offset, entry.stored_size));
    if (!plain)
      return Error(ErrorCode::invalid_argument, plain.error().message()).context("pack refused");
  }
  return {};
}

}  // namespace

Status StoreService::create(Backend& backend, const StoreDescriptor& descriptor) {
  auto created = backend.create(StoreDescriptor::kBlobName, encode(descriptor));
  if (!created && created.error().code() == ErrorCode::already_exists)
    return Error(ErrorCode::already_exists, backend.url() + " holds a store already");
  return created;
}

Result<StoreDescriptor> StoreService::read_descriptor(Backend& backend) {
  auto bytes = read_blob(backend, StoreDescriptor::kBlobName, kDescriptorBytesMax);
  if (!bytes && bytes.error().code() == ErrorCode::not_found)
    return Error(ErrorCode::not_found, backend.url() + " holds no store")
        .with_hint("create one with: tidemark store init");
  if (!bytes) return std::move(bytes).error();
  return decode_store_descriptor(*bytes);
}

Result<PointRow> StoreService::read_record(Backend& backend, const PointId& id,
                                           const StoreId& store) {
  TM_TRY(const Bytes bytes, read_blob(backend, point_blob_name(id), kPointBlobBytesMax));
  PointRow row;
  TM_TRY(row.point, decode_committed_point(bytes));
  if (row.point.record.id != id)
    return Error(ErrorCode::corruption, "holds the record of another point");
  if (row.point.record.store != store)
    return Error(ErrorCode::corruption, "belongs to another store");
  row.record_hash = sha256(bytes);
  return row;
}

Status StoreService::write_descriptor(Backend& backend, const StoreDescriptor& descriptor) {
  return backend.replace(StoreDescriptor::kBlobName, encode(descriptor));
}

Result<std::unique_ptr<StoreService>> StoreService::open(
    std::unique_ptr<Backend> backend, const std::filesystem::path& catalog_directory,
    Clock& clock) {
  std::unique_ptr<StoreService> service(new StoreService(std::move(backend), clock));
  service->started_ = clock.now();
  service->started_uptime_ = clock.uptime();
  TM_TRY(service->descriptor_, read_descriptor(*service->backend_));
  TM_TRY(service->lock_, service->backend_->lock_writer(owner_text()));
  TM_DO(service->read_roles());
  TM_DO(service->open_catalog(catalog_directory));
  auto recovered = service->recover();
  if (!recovered && (recovered.error().code() == ErrorCode::refused ||
                     recovered.error().code() == ErrorCode::corruption ||
                     recovered.error().code() == ErrorCode::not_found)) {
    // A power cut took rows that were not synced yet, or a blob that an open session refers to is
    // damaged: the backend has what there is, and a rebuild reports the rest.
    log::warn("{}; rebuilding the catalog", recovered.error().message());
    TM_DO(service->rebuild(catalog_directory));
    recovered = {};
  }
  TM_DO(std::move(recovered));
  TM_TRY(const bool outdated, service->misses_points());
  if (outdated) TM_DO(service->rebuild(catalog_directory));
  std::lock_guard lock(service->commit_mutex_);
  TM_DO(service->expire_sessions());
  return service;
}

// True where the backend has a point that the catalog does not know: the catalog is an old copy, or
// another owner wrote it.
Result<bool> StoreService::misses_points() {
  std::vector<PointId> ids, known, missing;
  // Both at once and in the same order: a store of many points is opened in little time.
  auto known_all = std::async(std::launch::async, [&] {
    return catalog_->each_point_id([&](const PointId& id) -> Status {
      known.push_back(id);
      return {};
    });
  });
  const auto listed = backend_->list_names("points/", [&](std::string_view name) -> Status {
    if (const auto id = point_of_blob_name(name)) ids.push_back(*id);
    return {};
  });
  std::ranges::sort(ids);
  TM_DO(known_all.get());
  TM_DO(listed);
  std::ranges::set_difference(ids, known, std::back_inserter(missing));
  for (const PointId& id : missing) {
    const auto unknown = read_record(*backend_, id, descriptor_.id);
    if (!unknown && unknown.error().retryable()) return unknown.error();
    if (!unknown) continue;  // what is damaged no rebuild brings back
    log::warn("point {} is not in the catalog; rebuilding it", id.hex());
    return true;
  }
  return false;
}

Status StoreService::rebuild(const std::filesystem::path& directory) {
  catalog_.reset();
  TM_TRY(const auto report, rebuild_catalog(*backend_, directory, descriptor_.id, {}, {}));
  for (const auto& finding : report.findings) log::error("catalog rebuild: {}", finding);
  log::warn("catalog rebuilt from {}: {} points, {} packs", backend_->url(), report.points,
            report.packs);
  TM_TRY(catalog_, Catalog::open(directory, descriptor_.id));
  return {};
}

// The catalog can always be made anew: where it is gone or damaged, it is.
Status StoreService::open_catalog(const std::filesystem::path& directory) {
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  auto opened = Catalog::open(directory, descriptor_.id);
  if (!opened && opened.error().code() == ErrorCode::corruption) {
    log::error("{}", opened.error().describe());
    return rebuild(directory);
  }
  if (!opened) return std::move(opened).error();
  catalog_ = *std::move(opened);
  TM_TRY(const CatalogStats stats, catalog_->stats());
  if (stats.points != 0 || stats.packs != 0) return {};
  TM_TRY(const bool lost, holds_anything(*backend_));
  return lost ? rebuild(directory) : Status();
}

Status StoreService::still_owner() const {
  if (broken_)
    return Error(ErrorCode::refused, "the store's catalog could not be written")
        .with_hint("see the log; the agent has to be started again");
  if (lock_->held()) return {};
  return Error(ErrorCode::refused, "this process lost the store's writer lock")
      .with_hint("another agent may have taken over; restart this one");
}

// A record is written before the catalog knows of it. Its session is still open then, and a point's
// id is its session's.
Status StoreService::recover() {
  std::vector<PointId> open;
  TM_DO(catalog_->each_session([&](const SessionRow& row) -> Status {
    open.push_back(PointId::from(row.id.view()));
    return {};
  }));
  for (const PointId& id : open) {
    const auto size = backend_->size(point_blob_name(id));
    if (!size && size.error().code() == ErrorCode::not_found) continue;
    if (!size) return size.error();
    std::lock_guard lock(commit_mutex_);
    TM_TRY(const PointRow row, adopt_record(id));
    log::warn("finished the interrupted commit of point {} of {}", id.hex(),
              row.point.record.asset);
  }
  return {};
}

Result<PointRow> StoreService::adopt_record(const PointId& id) {
  TM_TRY(const Bytes bytes, read_blob(*backend_, point_blob_name(id), kPointBlobBytesMax));
  PointRow row;
  TM_TRY(row.point, decode_committed_point(bytes));
  row.record_hash = sha256(bytes);
  TM_TRY(const auto closed, check_complete(row.point.record.root));
  TM_DO(catalog_->commit_point(row, closed, SessionId::from(id.view())));
  note_commit(row);
  return row;
}

void StoreService::note_commit(const PointRow& point) {
  usage_.add(point.point.record.site, point.point.stored_bytes);
  {
    const std::lock_guard lock(commits_mutex_);
    ++commits_;
  }
  commits_changed_.notify_all();
}

std::uint64_t StoreService::wait_for_commit(std::uint64_t seen, std::chrono::microseconds limit,
                                            std::stop_token stop) {
  std::unique_lock lock(commits_mutex_);
  commits_changed_.wait_for(lock, stop, limit, [&] { return commits_ != seen; });
  return commits_;
}

Status StoreService::settle() {
  settle_roles();
  if (!unsettled_) return {};
  const PointId id = *unsettled_;
  const auto size = backend_->size(point_blob_name(id));
  if (!size && size.error().code() != ErrorCode::not_found) return size.error();
  if (size) {
    TM_TRY(const auto session, catalog_->find_session(SessionId::from(id.view())));
    if (!session) TM_DO(backend_->remove(point_blob_name(id)));
    const auto adopted = session ? adopt_record(id) : Result<PointRow>(PointRow());
    // What cannot be finished here is left to the next start.
    if (!adopted && !adopted.error().retryable()) broken_ = true;
    if (!adopted) return adopted.error();
  }
  unsettled_.reset();
  return {};
}

// A newer session fences the older ones of its asset: they cannot commit any more.
Status StoreService::close_sessions_of(std::string_view asset, std::string_view site) {
  std::vector<SessionId> old;
  TM_DO(catalog_->each_session([&](const SessionRow& row) -> Status {
    if (row.asset == asset && row.site == site) old.push_back(row.id);
    return {};
  }));
  for (const SessionId& id : old) TM_DO(catalog_->close_session(id));
  return {};
}

Status StoreService::expire_sessions() {
  std::vector<SessionId> old;
  const Timestamp now = clock_.now();
  TM_DO(catalog_->each_session([&](const SessionRow& row) -> Status {
    if (now - row.renewed > kSessionLease) old.push_back(row.id);
    return {};
  }));
  for (const SessionId& id : old) TM_DO(catalog_->close_session(id));
  return {};
}

Result<StoreDescriptor> StoreService::descriptor() { return read_descriptor(*backend_); }

Result<UploadSession> StoreService::begin(std::string_view site, std::string_view asset,
                                          const PointId& parent) {
  return begin_session(site, asset, parent, false, [&] { return check_holder(site, site, asset); });
}

Result<UploadSession> StoreService::begin_session(std::string_view site, std::string_view asset,
                                                  const PointId& parent, bool held,
                                                  const std::function<Status()>& let_in) {
  TM_DO(still_owner());
  TM_DO(check_name(site, "site"));
  TM_TRY(const AssetName name, AssetName::parse(asset));
  std::lock_guard lock(commit_mutex_);
  if (!parent.is_null()) {
    TM_TRY(const auto row, catalog_->find_point(parent));
    if (!row) return Error(ErrorCode::not_found, "the parent point is not in this store");
    if (row->point.record.site != site || row->point.record.asset != asset)
      return Error(ErrorCode::invalid_argument, "the parent point is of another asset");
  }
  TM_DO(settle());
  TM_DO(expire_sessions());
  TM_DO(close_sessions_of(name.text(), site));
  TM_DO(check_quota(site, 0));
  TM_DO(let_in());
  SessionRow row;
  row.id = random_id<SessionId>();
  row.site = site;
  row.asset = name.text();
  row.parent = parent;
  row.opened = row.renewed = clock_.now();
  TM_TRY(row, catalog_->open_session(std::move(row)));
  if (held) {
    const std::lock_guard roles_lock(roles_mutex_);
    holder_sessions_.insert(row.id);
  }
  return UploadSession{row.id, PointId::from(row.id.view()), row.fence};
}

Result<SessionRow> StoreService::session(const SessionId& id) {
  TM_TRY(auto row, catalog_->find_session(id));
  if (!row) return session_ended();
  return *std::move(row);
}

Result<SessionRow> StoreService::live_session(const UploadSession& upload) {
  TM_DO(still_owner());
  TM_TRY(SessionRow row, session(upload.id));
  TM_TRY(const std::uint64_t newest, catalog_->newest_fence(row.site, row.asset));
  if (row.fence != upload.fence || row.fence != newest)
    return Error(ErrorCode::refused, "fenced: a newer backup of " + row.asset + " has begun")
        .with_hint("two agents may be protecting the same asset");
  {
    const std::lock_guard lock(roles_mutex_);
    if (holder_sessions_.contains(row.id)) return row;
  }
  TM_DO(check_holder(row.site, row.site, row.asset));
  return row;
}

Result<std::vector<bool>> StoreService::missing(const UploadSession& upload,
                                                std::span<const ChunkId> ids) {
  if (ids.size() > kIdsPerCallMax) return Error(ErrorCode::invalid_argument, "too many ids");
  TM_TRY(const SessionRow row, live_session(upload));
  const std::shared_lock gate(pin_gate_);
  TM_TRY(auto out, hold(row.id, ids));
  if (clock_.now() - row.renewed > kSessionRenewal)
    TM_DO(unless_ended(catalog_->renew_session(row.id, clock_.now(), 0)));
  return out;
}

// REQUIRES: pin_gate_ is held.
Status StoreService::pin(const SessionId& session, std::span<const PackId> packs) {
  TM_DO(unless_ended(catalog_->pin_packs(session, packs)));
  if (!tracking_) return {};
  const std::lock_guard lock(tracked_mutex_);
  tracked_.insert(packs.begin(), packs.end());
  return {};
}

Result<std::vector<bool>> StoreService::hold(const SessionId& session,
                                             std::span<const ChunkId> ids) {
  TM_TRY(const auto found, catalog_->find_chunks(ids));
  std::vector<bool> missing(ids.size());
  std::unordered_set<PackId, IdHash> packs;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    missing[i] = !found[i];
    if (found[i]) packs.insert(found[i]->location.pack);
  }
  const std::vector<PackId> pins(packs.begin(), packs.end());
  if (!pins.empty()) TM_DO(pin(session, pins));
  return missing;
}

Status StoreService::write_pack(const PackId& id, ByteView bytes) {
  // A writer would keep what is there: a blob that the catalog does not know as whole may hold
  // anything.
  const auto size = backend_->size(pack_blob_name(id));
  if (!size && size.error().code() != ErrorCode::not_found) return size.error();
  if (size) return backend_->replace(pack_blob_name(id), bytes);
  TM_TRY(const auto writer, backend_->writer(pack_blob_name(id)));
  TM_DO(writer->append(bytes));
  return writer->commit();
}

Status StoreService::put_pack(const UploadSession& upload, const PackId& id, ByteView bytes) {
  TM_TRY(const SessionRow row, live_session(upload));
  std::optional<PackRow> known;
  {
    const std::shared_lock gate(pin_gate_);
    TM_TRY(known, catalog_->find_pack(id));
    TM_DO(pin(row.id, std::span(&id, 1)));
  }
  auto index = check_pack(bytes, id);
  // What a peer sends is its mistake, not damage of ours.
  if (!index)
    return Error(ErrorCode::invalid_argument, index.error().message()).context("pack refused");
  std::vector<ChunkId> ids;
  for (const PackEntry& entry : index->entries) ids.push_back(entry.id);
  // What another pack has already keeps its place there, and the session counts on that one then.
  if (known && !known->damaged) {
    // What was in it may lie in another pack since, which went: then it is kept once more.
    const std::shared_lock gate(pin_gate_);
    TM_TRY(const auto missing, hold(row.id, ids));
    if (std::ranges::find(missing, true) == missing.end())
      return unless_ended(catalog_->renew_session(row.id, clock_.now(), 0));
  }
  TM_DO(check_quota(row.site, bytes.size()));
  TM_DO(check_pack_key(bytes, descriptor_.encrypted, descriptor_.key_id));
  if (!descriptor_.encrypted) TM_DO(check_plain_blobs(bytes, index->entries));
  TM_DO(keep_pack(id, bytes));
  {
    const std::shared_lock gate(pin_gate_);
    TM_DO(catalog_->add_pack(row_of(id, bytes, index->entries.size()), index->entries));
    TM_DO(hold(row.id, ids));
  }
  return unless_ended(catalog_->renew_session(row.id, clock_.now(), bytes.size()));
}

PackRow StoreService::row_of(const PackId& id, ByteView bytes, std::size_t entries) {
  PackRow pack;
  pack.id = id;
  pack.size_bytes = bytes.size();
  pack.entries = static_cast<std::uint32_t>(entries);
  return pack;
}

Status StoreService::keep_pack(const PackId& id, ByteView bytes) {
  TM_DO(write_pack(id, bytes));
  return backend_->remove(pack_mark_name(id));
}

Status StoreService::set_aside(const PackId& id) {
  TM_DO(still_owner());
  TM_DO(backend_->replace(pack_mark_name(id), timestamp_bytes(clock_.now())));
  return catalog_->mark_pack_damaged(id);
}

Status StoreService::add_saved(const PackId& id, ByteView bytes,
                               std::span<const PackEntry> entries) {
  TM_DO(still_owner());
  // No session holds it: a collection that met it earlier as nobody's must not take it now.
  const std::shared_lock gate(pin_gate_);
  if (tracking_) {
    const std::lock_guard lock(tracked_mutex_);
    tracked_.insert(id);
  }
  TM_DO(keep_pack(id, bytes));
  return catalog_->add_pack(row_of(id, bytes, entries.size()), entries);
}

Status StoreService::check_chunks_present(std::span<const ChunkId> ids) {
  for (std::size_t at = 0; at < ids.size(); at += kIdsPerCallMax) {
    const auto batch = ids.subspan(at, std::min(kIdsPerCallMax, ids.size() - at));
    TM_TRY(const auto found, catalog_->find_chunks(batch));
    for (std::size_t i = 0; i < batch.size(); ++i)
      if (!found[i] || found[i]->location.entry.kind != BlobKind::chunk)
        return incomplete("chunk " + batch[i].hex() + " is missing");
  }
  return {};
}

Result<std::vector<ChunkId>> StoreService::check_complete(const TreeRoot& root) {
  std::vector<ChunkId> closed;
  if (root.id.is_null()) return closed;
  if (root.level > kTreeLevelMax)
    return Error(ErrorCode::invalid_argument, "the tree is impossibly high");
  std::unordered_set<ChunkId, IdHash> seen = {root.id};
  std::vector<ChunkId> level_ids = {root.id};
  for (int level = root.level; level >= 0 && !level_ids.empty(); --level) {
    std::vector<BlobLocation> open;
    for (std::size_t at = 0; at < level_ids.size(); at += kIdsPerCallMax) {
      const auto batch =
          std::span(level_ids).subspan(at, std::min(kIdsPerCallMax, level_ids.size() - at));
      TM_TRY(const auto found, catalog_->find_chunks(batch));
      for (std::size_t i = 0; i < batch.size(); ++i) {
        if (!found[i] || found[i]->location.entry.kind != BlobKind::node)
          return incomplete("tree node " + batch[i].hex() + " is missing");
        if (!found[i]->closed) open.push_back(found[i]->location);
      }
    }
    TM_TRY(const auto refs, read_node_refs(*backend_, open, kNodeReadThreads));
    level_ids.clear();
    std::vector<ChunkId> chunks;
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (refs[i].level != level) return incomplete("a tree node is at the wrong level");
      closed.push_back(open[i].entry.id);
      for (const ChunkId& id : refs[i].refs)
        if (seen.insert(id).second) (level == 0 ? chunks : level_ids).push_back(id);
    }
    TM_DO(check_chunks_present(chunks));
  }
  return closed;
}

Result<PointRecord> StoreService::decode_sent_record(ByteView bytes) {
  auto record = decode_point_record(bytes);
  if (!record && record.error().code() == ErrorCode::corruption)
    return Error(ErrorCode::invalid_argument, record.error().message());
  return record;
}

Status StoreService::check_record(const PointRecord& record, const SessionRow& session) {
  if (record.id != PointId::from(session.id.view()) || record.site != session.site ||
      record.asset != session.asset || record.parent != session.parent)
    return Error(ErrorCode::invalid_argument, "the point record does not fit its session");
  if (record.store != descriptor_.id)
    return Error(ErrorCode::invalid_argument, "the point record is meant for another store");
  if (descriptor_.encrypted == record.mac.is_null())
    return Error(ErrorCode::invalid_argument, "the point record's authentication does not fit");
  return {};
}

Result<PointRow> StoreService::commit(const UploadSession& upload, ByteView bytes) {
  TM_DO(still_owner());
  TM_TRY(const PointRecord record, decode_sent_record(bytes));
  std::lock_guard lock(commit_mutex_);
  TM_DO(settle());
  // The answer to an earlier try may have been lost.
  TM_TRY(auto existing, catalog_->find_point(record.id));
  if (existing && same_record(*existing, record)) return *std::move(existing);
  TM_TRY(const SessionRow row, live_session(upload));
  TM_DO(check_record(record, row));
  TM_TRY(const auto closed, check_complete(record.root));
  // Walking a large tree takes time, in which a lease can end.
  TM_DO(still_owner());

  PointRow point;
  point.point.record = record;
  point.point.received = clock_.now();
  point.point.stored_bytes = row.stored_bytes;
  TM_TRY(const auto last, catalog_->last_point());
  point.point.sequence = last ? last->point.sequence + 1 : 1;
  if (last) {
    point.point.previous = last->record_hash;
    // Receive times never run backwards, whatever the clock does: retention counts by them.
    point.point.received = std::max(point.point.received, last->point.received);
  }
  const Bytes encoded = encode(point.point);
  point.record_hash = sha256(encoded);
  auto created = backend_->create(point_blob_name(record.id), encoded);
  if (!created && created.error().code() == ErrorCode::already_exists)
    return adopt_record(record.id);
  if (!created) {
    unsettled_ = record.id;
    return created.error();
  }
  watch_clock_of(record);
  const auto recorded = catalog_->commit_point(point, closed, upload.id);
  if (recorded) {
    note_commit(point);
    return point;
  }
  // Where the batch was refused, nothing of it was written, and the next point will take the
  // number: the record must not stay. Any other failure may have reached the log all the same: then
  // the record stays, nothing more is written, and the next start brings it into the catalog.
  const bool refused = recorded.error().code() == ErrorCode::refused ||
                       recorded.error().code() == ErrorCode::invalid_argument ||
                       recorded.error().code() == ErrorCode::not_found;
  if (!refused || !backend_->remove(point_blob_name(record.id))) broken_ = true;
  return recorded.error();
}

Status StoreService::abandon(const UploadSession& upload) {
  // After a failed commit the next start looks for a record by its open session.
  TM_DO(still_owner());
  std::lock_guard lock(commit_mutex_);
  TM_TRY(const SessionRow row, live_session(upload));
  if (unsettled_ == upload.point) {
    TM_DO(backend_->remove(point_blob_name(upload.point)));
    unsettled_.reset();
  }
  return catalog_->close_session(row.id);
}

Result<PointRow> StoreService::find(const PointQuery& query) {
  if (query.newest) {
    TM_TRY(auto newest, catalog_->find_newest_point(query.site, query.asset));
    if (newest && is_discarded(newest->point.record)) {
      TM_TRY(newest, find_kept(query));
    }
    if (newest) return *std::move(newest);
    return Error(ErrorCode::not_found, "no point of " + query.site + ":" + query.asset);
  }
  if (query.as_of) {
    TM_TRY(auto row, catalog_->find_point_as_of(query.site, query.asset, *query.as_of));
    if (row && is_discarded(row->point.record)) {
      TM_TRY(row, find_kept(query));
    }
    if (row) return *std::move(row);
    return Error(ErrorCode::not_found,
                 "no point of " + query.site + ":" + query.asset + " at that time");
  }
  TM_TRY(auto rows, catalog_->find_points_by_prefix(query.id_prefix, 2));
  if (rows.empty()) return Error(ErrorCode::not_found, "no point " + query.id_prefix);
  if (rows.size() > 1)
    return Error(ErrorCode::invalid_argument, "several points begin with " + query.id_prefix);
  return std::move(rows.front());
}

Result<std::vector<PointRow>> StoreService::points(std::string_view site, std::string_view asset) {
  std::vector<PointRow> rows;
  TM_DO(catalog_->each_point(site, asset, [&](const PointRow& row) -> Status {
    rows.push_back(row);
    return {};
  }));
  return rows;
}

Result<std::vector<BlobLocation>> StoreService::locate(std::span<const ChunkId> ids) {
  if (ids.size() > kIdsPerCallMax) return Error(ErrorCode::invalid_argument, "too many ids");
  TM_TRY(const auto found, catalog_->find_chunks(ids));
  std::vector<BlobLocation> out;
  out.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!found[i])
      return Error(ErrorCode::corruption, "blob " + ids[i].hex() + " is not in the store");
    out.push_back(found[i]->location);
  }
  return out;
}

Result<Bytes> StoreService::read(const PackId& pack, std::uint64_t offset, std::size_t size) {
  if (size > kReadBytesMax) return Error(ErrorCode::invalid_argument, "too large a read");
  return backend_->read(pack_blob_name(pack), offset, size);
}

Status StoreService::set_pinned(const PointId& id, bool pinned) {
  TM_DO(still_owner());
  std::lock_guard lock(decision_mutex_);
  TM_TRY(const auto row, catalog_->find_point(id));
  if (!row) return Error(ErrorCode::not_found, "no point " + id.hex());
  if (row->deleted) return Error(ErrorCode::refused, "the point was deleted");
  // The mark outlives the catalog. A pin is written first and lifted last, so that a crash between
  // the two leaves the point held.
  const Timestamp now = clock_.now();
  if (pinned) TM_DO(backend_->replace(point_mark_name(id, PointMark::pin), timestamp_bytes(now)));
  TM_DO(catalog_->set_pinned(id, pinned, now));
  if (!pinned) TM_DO(backend_->remove(point_mark_name(id, PointMark::pin)));
  return {};
}

// A lock is part of the record, which nobody can change, or of our configuration, of which no
// source has a say. One that has run out did so by a clock that can be believed.
Status StoreService::check_lock(const PointId& id) {
  TM_TRY(const auto row, catalog_->find_point(id));
  if (!row) return {};
  const auto until = lock_of(*row);
  if (!until) return {};
  if (clock_.now() < *until)
    return Error(ErrorCode::refused, "the point is locked until " + format_time(*until));
  return check_clock();
}

Status StoreService::remove(const PointId& id) {
  TM_DO(still_owner());
  TM_DO(check_lock(id));
  std::lock_guard lock(decision_mutex_);
  TM_TRY(const auto row, catalog_->find_point(id));
  if (!row) return Error(ErrorCode::not_found, "no point " + id.hex());
  if (row->pinned)
    return Error(ErrorCode::refused, "the point is pinned")
        .with_hint("tidemark points unpin " + id.hex().substr(0, 12));
  if (needed_by_role(*row))
    return Error(ErrorCode::refused,
                 "the asset is in use at another site, or was handed over there, as this point")
        .with_hint("it can go once the asset is back: 'tidemark standby failback'");
  const Timestamp now = clock_.now();
  TM_DO(catalog_->set_deleted(id, now, now));
  return backend_->replace(point_mark_name(id, PointMark::deleted), timestamp_bytes(now));
}

// The mark goes first: after a crash in between the point is deleted, and can be taken back again.
Status StoreService::undelete(const PointId& id) {
  TM_DO(still_owner());
  std::lock_guard lock(decision_mutex_);
  TM_TRY(const auto row, catalog_->find_point(id));
  if (!row) return Error(ErrorCode::not_found, "no point " + id.hex());
  TM_DO(backend_->remove(point_mark_name(id, PointMark::deleted)));
  return catalog_->set_deleted(id, std::nullopt, clock_.now());
}

Status StoreService::set_verified(const PointId& id) {
  return catalog_->set_verified(id, clock_.now());
}

// The source took its snapshot `duration_ms` ago by its own reckoning: both clocks have to agree on
// when that was.
void StoreService::watch_clock_of(const PointRecord& record) {
  const auto end = record.time + std::chrono::milliseconds(record.duration_ms);
  const auto skew = std::chrono::abs(clock_.now() - end);
  const bool agrees = skew < kSkewMax;
  if (!agrees && skewed_site_.empty())
    log::warn("the clocks of {} and of this store differ by {}", record.site,
              format_duration(skew));
  skewed_site_ = agrees ? std::string() : record.site;
  clock_confirmed_ = clock_confirmed_ || agrees;
}

Status StoreService::check_clock() {
  const auto refuse = [](const std::string& why) {
    return Error(ErrorCode::refused, "nothing is removed: " + why)
        .with_hint("set the clock right; then start the agent again");
  };
  const auto drift =
      std::chrono::abs((clock_.now() - started_) - (clock_.uptime() - started_uptime_));
  if (drift > kSkewMax) return refuse("the clock jumped by " + format_duration(drift));
  const std::lock_guard lock(commit_mutex_);
  if (!skewed_site_.empty())
    return refuse("the clocks of " + skewed_site_ + " and of this store differ");
  TM_TRY(const auto last, catalog_->last_point());
  if (last && last->point.received - clock_.now() > kSkewMax)
    return refuse("the newest point is ahead of the clock");
  // A clock that was set forward while nobody looked is like a long sleep.
  const bool believed = clock_confirmed_ || clock_.uptime() - started_uptime_ >= kEvenClock;
  const auto slept = last ? started_ - last->point.received : std::chrono::microseconds();
  if (!believed && slept > kSleepMax)
    return Error(ErrorCode::refused,
                 "nothing is removed: by the clock, the newest point came " +
                     format_duration(std::chrono::floor<std::chrono::hours>(slept)) +
                     " before the start, and none has come since")
        .with_hint(
            "a new point of any source tells whether the clock is right; so do two days in "
            "which it runs evenly");
  return {};
}

Result<CatalogStats> StoreService::stats() { return catalog_->stats(); }

}  // namespace tidemark
