#include "catalog/rebuild.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"
#include "catalog/internal/rebuilder.h"
#include "catalog/internal/walk.h"

namespace tidemark {

Result<RebuildReport> rebuild_catalog(Backend& backend, const std::filesystem::path& directory,
                                      const StoreId& store,
                                      const std::function<void(const RebuildProgress&)>& progress,
                                      std::stop_token stop) {
  return catalog::rebuild(backend, directory, store, progress, std::move(stop), {});
}

}  // namespace tidemark

namespace tidemark::catalog {
namespace {

constexpr std::size_t kIndexThreads = 4;
constexpr std::size_t kPointsPerBatch = 1024;
// Holds the index of most packs, so that one read does.
constexpr std::size_t kTailBytes = 64 * kKiB;
constexpr std::string_view kMarksPrefix = "marks/";
constexpr std::string_view kPinSuffix = ".pin";
constexpr std::string_view kDeletedSuffix = ".deleted";
constexpr std::string_view kDamagedSuffix = ".damaged";
constexpr std::size_t kMarkBytes = 8;
// A record with what the store adds to it.
constexpr std::uint64_t kPointBlobBytesMax = kRecordBytesMax + 64 * kKiB;

// A blob that names a newer format ends the rebuild: it must not be missing from the catalog. One
// whose bytes are damaged may say so by accident; it is told apart by the hash that every format
// ends with (points) or is named by (packs).
bool has_trailing_hash(ByteView bytes) {
  if (bytes.size() < Digest::kSize) return false;
  const std::size_t body = bytes.size() - Digest::kSize;
  return sha256(bytes.first(body)) == Digest::from(bytes.subspan(body));
}

// Damage of one blob is reported and passed over; any other error ends the rebuild.
bool is_damage(const Error& error) {
  return error.code() == ErrorCode::corruption || error.code() == ErrorCode::not_found ||
         error.code() == ErrorCode::invalid_argument;
}

}  // namespace

void Rebuilder::find(std::string finding) {
  std::lock_guard lock(mutex_);
  ++report_.findings_total;
  log::warn("rebuild of the catalog: {}", finding);
  if (report_.findings.size() < kRebuildFindingsMax) report_.findings.push_back(std::move(finding));
}

void Rebuilder::advance(std::string_view stage, std::uint64_t total) {
  std::lock_guard lock(mutex_);
  if (stage != stage_) done_ = 0;
  stage_ = stage;
  ++done_;
  if (progress_) progress_({stage, done_, total});
}

Status Rebuilder::check_stop() const {
  if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "rebuild of the catalog");
  return {};
}

Result<std::vector<BlobInfo>> Rebuilder::list(std::string_view prefix) {
  std::vector<BlobInfo> blobs;
  const auto keep = [&](const BlobInfo& blob) {
    blobs.push_back(blob);
    return check_stop();
  };
  const Status listed = backend_.list(prefix, keep);
  if (!listed) return listed.error().context("list " + std::string(prefix));
  // An order that does not depend on the backend makes two rebuilds alike.
  std::ranges::sort(blobs, {}, &BlobInfo::name);
  return blobs;
}

Status Rebuilder::index_packs() {
  TM_TRY(const auto blobs, list("packs/"));
  const auto index = [&](std::size_t i) -> Status {
    TM_DO(check_stop());
    const auto id = pack_of_blob_name(blobs[i].name);
    if (!id || !set_aside_.contains(*id)) TM_DO(index_pack(blobs[i]));
    advance("packs", blobs.size());
    return {};
  };
  TM_DO(parallel_for(blobs.size(), kIndexThreads, index));
  // Behind the others, so that nothing is looked for in them that lies elsewhere too.
  for (const BlobInfo& blob : blobs) {
    const auto id = pack_of_blob_name(blob.name);
    if (!id || !set_aside_.contains(*id)) continue;
    TM_DO(index_pack(blob));
    const Status marked = catalog_.mark_pack_damaged(*id);
    if (!marked && marked.error().code() != ErrorCode::not_found) return marked;
    find(blob.name + ": was set aside as damaged");
  }
  return {};
}

void Rebuilder::skip_pack(const BlobInfo& blob, std::string_view why) {
  find(blob.name + ": " + std::string(why));
  std::lock_guard lock(mutex_);
  ++report_.damaged_packs;
}

Status Rebuilder::index_pack(const BlobInfo& blob) {
  const auto id = pack_of_blob_name(blob.name);
  if (!id) {
    find(blob.name + ": not the name of a pack");
    return {};
  }
  if (blob.size_bytes < kPackHeaderBytes + kPackTrailerBytes || blob.size_bytes > kPackBytesMax) {
    skip_pack(blob, "no pack has " + std::to_string(blob.size_bytes) + " bytes");
    return {};
  }
  std::size_t tail_bytes =
      static_cast<std::size_t>(std::min<std::uint64_t>(kTailBytes, blob.size_bytes));
  while (true) {
    auto tail = backend_.read(blob.name, blob.size_bytes - tail_bytes, tail_bytes);
    if (!tail && !is_damage(tail.error())) return tail.error().context("read " + blob.name);
    auto index = tail ? parse_pack_index(*tail, blob.size_bytes)
                      : Result<PackIndex>(std::move(tail).error());
    const bool more = index && index->tail_needed > tail_bytes;
    if (more && index->tail_needed <= blob.size_bytes) {
      tail_bytes = index->tail_needed;
      continue;
    }
    if (!index && index.error().code() == ErrorCode::unsupported)
      TM_DO(refuse_newer_pack(blob, *id, index.error()));
    if (!index || index->tail_needed != 0) {
      skip_pack(blob, index ? "its index has an impossible size" : index.error().message());
      return {};
    }
    const PackRow row{*id, blob.size_bytes, static_cast<std::uint32_t>(index->entries.size()),
                      false};
    const Status added = catalog_.add_pack(row, index->entries);
    if (!added && added.error().code() != ErrorCode::invalid_argument) return added;
    if (!added) skip_pack(blob, added.error().message());
    return {};
  }
}

Status Rebuilder::refuse_newer_pack(const BlobInfo& blob, const PackId& id, const Error& error) {
  const auto bytes = read_blob(backend_, blob.name, kPackBytesMax);
  if (!bytes) return is_damage(bytes.error()) ? Status() : bytes.error();
  if (sha256(*bytes).bytes == id.bytes) return error.context(blob.name);
  return {};
}

Status Rebuilder::read_marks() {
  TM_TRY(const auto blobs, list(kMarksPrefix));
  for (const BlobInfo& blob : blobs) {
    TM_DO(check_stop());
    TM_DO(read_mark(blob));
  }
  return {};
}

Status Rebuilder::read_mark(const BlobInfo& blob) {
  std::string_view name = blob.name;
  name.remove_prefix(kMarksPrefix.size());
  const bool pin = name.ends_with(kPinSuffix);
  if (name.ends_with(kDamagedSuffix)) {
    const auto pack = PackId::from_hex(name.substr(0, name.size() - kDamagedSuffix.size()));
    if (pack) set_aside_.insert(*pack);
    if (!pack) find(blob.name + ": does not name a pack");
    return {};
  }
  if (!pin && !name.ends_with(kDeletedSuffix)) {
    find(blob.name + ": not the name of a mark");
    return {};
  }
  const auto id = PointId::from_hex(
      name.substr(0, name.size() - (pin ? kPinSuffix.size() : kDeletedSuffix.size())));
  if (!id) {
    find(blob.name + ": does not name a point");
    return {};
  }
  if (pin) {
    // That it is there says all.
    marks_[*id].pinned = true;
    return {};
  }
  const auto bytes = read_blob(backend_, blob.name, kMarkBytes);
  if (!bytes && !is_damage(bytes.error())) return bytes.error().context("read " + blob.name);
  if (!bytes || bytes->size() != kMarkBytes) {
    // A point that is wrongly listed can be deleted again; one that is wrongly collected is gone.
    find(blob.name + ": unreadable; the point is listed as not deleted");
    return {};
  }
  ByteReader reader(*bytes);
  marks_[*id].deleted = Timestamp{static_cast<std::int64_t>(reader.u64())};
  return {};
}

Status Rebuilder::restore_points() {
  TM_TRY(const auto blobs, list("points/"));
  // Records are read side by side, and come into the catalog in their order.
  for (std::size_t at = 0; at < blobs.size(); at += kPointsPerBatch) {
    const std::size_t count = std::min(kPointsPerBatch, blobs.size() - at);
    std::vector<std::optional<PointRow>> rows(count);
    const auto read = [&](std::size_t i) -> Status {
      TM_DO(check_stop());
      TM_TRY(rows[i], read_point_blob(blobs[at + i]));
      return {};
    };
    TM_DO(parallel_for(count, kIndexThreads, read));
    for (std::size_t i = 0; i < count; ++i) {
      if (rows[i]) TM_DO(restore_point(blobs[at + i], *std::move(rows[i])));
      advance("points", blobs.size());
    }
  }
  // A deleted point's mark goes last when it is dropped.
  for (const auto& [id, marks] : marks_)
    if (marks.pinned) find("a mark names point " + id.hex() + ", which is not there");
  return {};
}

Result<std::optional<PointRow>> Rebuilder::read_point_blob(const BlobInfo& blob) {
  const auto skip = [&](std::string_view why) {
    find(blob.name + ": " + std::string(why));
    const std::lock_guard lock(mutex_);
    ++report_.damaged_points;
    return std::optional<PointRow>();
  };
  const auto id = point_of_blob_name(blob.name);
  if (!id) return skip("not the name of a point");
  const auto bytes = read_blob(backend_, blob.name, kPointBlobBytesMax);
  if (!bytes && !is_damage(bytes.error())) return bytes.error().context("read " + blob.name);
  if (!bytes) return skip(bytes.error().message());
  auto point = decode_committed_point(*bytes);
  if (!point && point.error().code() == ErrorCode::unsupported && has_trailing_hash(*bytes))
    return point.error().context(blob.name);
  if (!point) return skip(point.error().message());
  if (point->record.id != *id) return skip("holds the record of another point");
  if (point->record.store != store_) return skip("belongs to another store");
  PointRow row;
  row.point = *std::move(point);
  row.record_hash = sha256(*bytes);
  return std::optional<PointRow>(std::move(row));
}

void Rebuilder::apply_marks(PointRow& row) {
  const auto marks = marks_.find(row.point.record.id);
  if (marks == marks_.end()) return;
  row.pinned = marks->second.pinned;
  row.deleted = marks->second.deleted;
  if (row.pinned && row.deleted) {
    row.deleted.reset();
    find("point " + row.point.record.id.hex() + " is marked as pinned and as deleted; it is kept");
  }
  marks_.erase(marks);
}

Status Rebuilder::restore_point(const BlobInfo& blob, PointRow row) {
  apply_marks(row);
  const Status restored = catalog_.restore_point(row);
  if (!restored && restored.error().code() != ErrorCode::invalid_argument) return restored;
  if (!restored) {
    find(blob.name + ": " + restored.error().message());
    ++report_.damaged_points;
    return {};
  }
  chain_.push_back({row.point.sequence, row.point.record.id, row.record_hash, row.point.previous});
  ++report_.points;
  return {};
}

Result<ExpiredPoints> Rebuilder::read_expired() {
  auto expired = read_expired_points(backend_);
  if (expired || !is_damage(expired.error())) return expired;
  find(expired.error().message());
  return ExpiredPoints();
}

Status Rebuilder::check_chain() {
  TM_TRY(const ExpiredPoints expired, read_expired());
  std::ranges::sort(chain_, {},
                    [](const ChainLink& link) { return std::pair(link.sequence, link.id); });
  ChainLink last;  // number 0, with the null hash that the first point refers to
  for (const ChainLink& link : chain_) {
    if (expired.contains(link.sequence)) continue;  // about to be dropped
    // What the list says of dropped points stands in for their records.
    if (const ExpiredRange* gone = expired.starting_at(last.sequence + 1);
        gone != nullptr && gone->previous == last.hash) {
      last.sequence = gone->last;
      last.hash = gone->hash;
    }
    const std::string name =
        "point " + link.id.hex() + " (number " + std::to_string(link.sequence) + ")";
    if (link.sequence == last.sequence) {
      find(name + " has the number of point " + last.id.hex());
    } else if (link.sequence != last.sequence + 1) {
      find("the points between number " + std::to_string(last.sequence) + " and " +
           std::to_string(link.sequence) + " are missing");
    } else if (link.previous != last.hash) {
      find(name + " does not link to the record of the point before it");
    }
    last = link;
  }
  return {};
}

Status Rebuilder::walk_trees() {
  TreeWalker walker(backend_, catalog_);
  return catalog_.each_point_by_sequence([&](const PointRow& row) -> Status {
    TM_DO(check_stop());
    TM_TRY(const auto missing, walker.walk(row.point.record.root, stop_));
    if (!missing.empty()) ++report_.incomplete_points;
    for (const std::string& what : missing)
      find("point " + row.point.record.id.hex() + " is incomplete: " + what);
    advance("trees", report_.points);
    return {};
  });
}

Status Rebuilder::write_journal(Timestamp now) {
  TM_TRY(const CatalogStats stats, catalog_.stats());
  report_.packs = stats.packs;
  report_.chunks = stats.chunks + stats.nodes;
  const nlohmann::json text = {{"packs", report_.packs},
                               {"chunks", report_.chunks},
                               {"points", report_.points},
                               {"damaged_packs", report_.damaged_packs},
                               {"damaged_points", report_.damaged_points},
                               {"incomplete_points", report_.incomplete_points},
                               {"findings", report_.findings_total}};
  const auto written = catalog_.append_journal("rebuild", text.dump(), now);
  return written ? Status() : Status(written.error());
}

Result<RebuildReport> rebuild(Backend& backend, const std::filesystem::path& directory,
                              const StoreId& store,
                              const std::function<void(const RebuildProgress&)>& progress,
                              std::stop_token stop, const StepHook& hook) {
  const Directories directories(directory);
  TM_TRY(const Fd lock, lock_catalog(directories));
  const Status finished = finish_swap(directories, hook);
  if (!finished && finished.error().code() != ErrorCode::corruption) return finished.error();
  TM_DO(clear_successor(directories, hook));

  const Timestamp now = Clock::system().now();
  // Above every fence that can have been given: they count sessions, this counts microseconds.
  const auto fence_floor = static_cast<std::uint64_t>(std::max<std::int64_t>(now.us, 0));
  RebuildReport report;
  {
    TM_TRY(const auto catalog,
           RocksCatalog::open(directories.rebuilding, store, Fd(), fence_floor));
    Rebuilder rebuilder(backend, *catalog, store, progress, stop);
    TM_DO(rebuilder.read_marks());
    if (hook) hook("packs");
    TM_DO(rebuilder.index_packs());
    if (hook) hook("points");
    TM_DO(rebuilder.restore_points());
    TM_DO(rebuilder.check_chain());
    if (hook) hook("trees");
    TM_DO(rebuilder.walk_trees());
    TM_DO(rebuilder.write_journal(now));
    if (hook) hook("flush");
    TM_DO(catalog->finish_rebuild());
    report = rebuilder.take_report();
  }
  TM_DO(swap_successor(directories, hook));
  return report;
}

}  // namespace tidemark::catalog
