#include "agent/service/bare_store.h"

#include <algorithm>
#include <mutex>
#include <tuple>

#include "agent/service/store_service.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::size_t kTailBytes = 64 * kKiB;
constexpr std::size_t kIndexThreads = 8;

Result<PackIndex> read_index(Backend& backend, const std::string& name, std::uint64_t size) {
  std::uint64_t tail = std::min<std::uint64_t>(size, kTailBytes);
  while (true) {
    TM_TRY(const Bytes bytes, backend.read(name, size - tail, static_cast<std::size_t>(tail)));
    TM_TRY(PackIndex index, parse_pack_index(bytes, size));
    if (index.tail_needed == 0) return index;
    tail = index.tail_needed;
  }
}

// What is wrong with one blob, and not with the way to it.
bool is_damage(const Error& error) {
  return error.code() == ErrorCode::corruption || error.code() == ErrorCode::invalid_argument ||
         error.code() == ErrorCode::not_found || error.code() == ErrorCode::unsupported;
}

Error read_only() {
  return Error(ErrorCode::refused, "the store was opened read-only, without its agent");
}

}  // namespace

Result<std::unique_ptr<BareStore>> BareStore::open(std::unique_ptr<Backend> backend) {
  std::unique_ptr<BareStore> store(new BareStore(std::move(backend)));
  TM_TRY(const auto descriptor, store->descriptor());
  store->id_ = descriptor.id;
  TM_DO(store->backend_->list("marks/", [&](const BlobInfo& blob) -> Status {
    store->marks_.insert(blob.name);
    return {};
  }));
  TM_DO(store->load_points());
  TM_DO(store->load_packs());
  return store;
}

Result<StoreDescriptor> BareStore::descriptor() { return StoreService::read_descriptor(*backend_); }

Status BareStore::load_points() {
  std::vector<PointId> ids;
  TM_DO(backend_->list("points/", [&](const BlobInfo& blob) -> Status {
    if (const auto id = point_of_blob_name(blob.name)) ids.push_back(*id);
    return {};
  }));
  for (const PointId& id : ids) {
    auto row = StoreService::read_record(*backend_, id, id_);
    if (!row && !is_damage(row.error())) return std::move(row).error();
    if (!row) {
      log::error("point {}: {}", id.hex(), row.error().message());
      damaged_.push_back({id.hex(), row.error().message()});
      continue;
    }
    row->pinned = marks_.contains(point_mark_name(id, PointMark::pin));
    if (!marks_.contains(point_mark_name(id, PointMark::deleted)))
      points_.push_back(*std::move(row));
  }
  std::sort(points_.begin(), points_.end(), [](const PointRow& a, const PointRow& b) {
    const auto &ra = a.point.record, &rb = b.point.record;
    return std::tie(ra.site, ra.asset, ra.time, a.point.sequence) <
           std::tie(rb.site, rb.asset, rb.time, b.point.sequence);
  });
  stats_.points = points_.size();
  return {};
}

Status BareStore::load_packs() {
  std::vector<BlobInfo> blobs;
  TM_DO(backend_->list("packs/", [&](const BlobInfo& blob) -> Status {
    const auto id = pack_of_blob_name(blob.name);
    if (id && !marks_.contains(pack_mark_name(*id))) blobs.push_back(blob);
    return {};
  }));
  std::mutex mutex;
  return parallel_for(blobs.size(), kIndexThreads, [&](std::size_t i) -> Status {
    auto index = read_index(*backend_, blobs[i].name, blobs[i].size_bytes);
    if (!index && index.error().code() == ErrorCode::corruption) {
      log::error("{}: {}", blobs[i].name, index.error().message());
      return {};
    }
    if (!index) return std::move(index).error();
    std::lock_guard lock(mutex);
    const auto place = static_cast<std::uint32_t>(packs_.size());
    packs_.push_back(*pack_of_blob_name(blobs[i].name));
    ++stats_.packs;
    stats_.pack_bytes += blobs[i].size_bytes;
    for (const PackEntry& entry : index->entries) {
      if (!chunks_.emplace(entry.id, Place{place, entry}).second) continue;
      stats_.plain_bytes += entry.plain_size;
      ++(entry.kind == BlobKind::node ? stats_.nodes : stats_.chunks);
    }
    return {};
  });
}

Result<PointRow> BareStore::find(const PointQuery& query) {
  if ((query.newest || query.as_of) && !damaged_.empty())
    return Error(ErrorCode::corruption, "the record of point " + damaged_.front().id +
                                            " is damaged: it may be the one that is meant")
        .with_hint("choose a point by its id: tidemark points, then --point");
  const PointRow* found = nullptr;
  // What was discarded is meant only where there is no other.
  const auto place = [&](const PointRow& row) {
    return std::tuple(!is_discarded(row.point.record), query.newest ? 0 : row.point.record.time.us,
                      row.point.sequence);
  };
  std::string prefix = query.id_prefix;
  for (char& c : prefix)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  for (const PointRow& row : points_) {
    const PointRecord& record = row.point.record;
    if (query.newest || query.as_of) {
      const bool asked = record.site == query.site && record.asset == query.asset &&
                         (query.newest || record.time <= *query.as_of);
      if (asked && (found == nullptr || place(row) > place(*found))) found = &row;
    } else if (record.id.hex().starts_with(prefix)) {
      if (found != nullptr)
        return Error(ErrorCode::invalid_argument, "several points begin with " + query.id_prefix);
      found = &row;
    }
  }
  if (found == nullptr) return Error(ErrorCode::not_found, "no such point in the store");
  return *found;
}

Result<std::vector<PointRow>> BareStore::points(std::string_view site, std::string_view asset) {
  std::vector<PointRow> rows;
  for (const PointRow& row : points_)
    if ((site.empty() || row.point.record.site == site) &&
        (asset.empty() || row.point.record.asset == asset))
      rows.push_back(row);
  return rows;
}

Result<std::vector<BlobLocation>> BareStore::locate(std::span<const ChunkId> ids) {
  if (ids.size() > kIdsPerCallMax) return Error(ErrorCode::invalid_argument, "too many ids");
  std::vector<BlobLocation> out;
  for (const ChunkId& id : ids) {
    const auto it = chunks_.find(id);
    if (it == chunks_.end())
      return Error(ErrorCode::corruption, "blob " + id.hex() + " is not in the store");
    out.push_back({packs_[it->second.pack], it->second.entry});
  }
  return out;
}

Result<Bytes> BareStore::read(const PackId& pack, std::uint64_t offset, std::size_t size) {
  if (size > kReadBytesMax) return Error(ErrorCode::invalid_argument, "too large a read");
  return backend_->read(pack_blob_name(pack), offset, size);
}

Result<CatalogStats> BareStore::stats() { return stats_; }

Result<UploadSession> BareStore::begin(std::string_view, std::string_view, const PointId&) {
  return read_only();
}
Result<std::vector<bool>> BareStore::missing(const UploadSession&, std::span<const ChunkId>) {
  return read_only();
}
Status BareStore::put_pack(const UploadSession&, const PackId&, ByteView) { return read_only(); }
Result<PointRow> BareStore::commit(const UploadSession&, ByteView) { return read_only(); }
Status BareStore::abandon(const UploadSession&) { return read_only(); }
Status BareStore::set_pinned(const PointId&, bool) { return read_only(); }
Status BareStore::remove(const PointId&) { return read_only(); }
Status BareStore::undelete(const PointId&) { return read_only(); }
Status BareStore::set_verified(const PointId&) { return read_only(); }
Result<CollectReport> BareStore::collect(const CollectRequest&) { return read_only(); }

}  // namespace tidemark
