#include "agent/backup/bucket_backup.h"

#include <algorithm>

#include "agent/backup/bucket_meta.h"
#include "agent/backup/manifests.h"
#include "agent/read/blob_reader.h"
#include "agent/retention/keep.h"
#include "base/log.h"

namespace tidemark {
namespace {

// A key's own look costs a request, a page of the listing one for a thousand keys: from one key in
// so many on, all are listed. The most is what may be held in memory.
constexpr std::uint64_t kEntriesPerLook = 50;
constexpr std::size_t kLooksMin = 1000, kLooksMax = 100'000;

class BucketBackup {
 public:
  BucketBackup(const s3::Client& client, const std::string& bucket, PointStore& store,
               const StoreKeys& keys, const BucketBackupOptions& options, Clock& clock)
      : client_(client),
        bucket_(bucket),
        asset_("s3/" + bucket),
        store_(store),
        keys_(keys),
        options_(options),
        clock_(clock),
        reader_(store, keys),
        nodes_(reader_) {}

  Result<BackupReport> run();

 private:
  Result<std::optional<PointRow>> find_parent();
  Result<BackupReport> run_with(const std::optional<PointRow>& parent, bool incremental);
  Result<BackupReport> capture_and_commit(const std::optional<PointRow>& parent, bool incremental,
                                          const UploadSession& session);
  Result<BucketMeta> begin_meta();
  Result<std::optional<std::vector<std::string>>> changed_keys(const PointRecord& parent,
                                                               const BucketMeta& before,
                                                               const BucketMeta& now);
  Result<BucketCaptureResult> capture(const PointRecord* base,
                                      const std::vector<std::string>* changed,
                                      const BucketMeta& meta, const UploadSession& session);
  PointRecord record_of(const std::optional<PointRow>& parent, const BucketCaptureResult& captured,
                        const UploadSession& session) const;

  const s3::Client& client_;
  const std::string& bucket_;
  const std::string asset_;
  PointStore& store_;
  const StoreKeys& keys_;
  const BucketBackupOptions& options_;
  Clock& clock_;
  BlobReader reader_;
  TreeNodes nodes_;
  std::chrono::microseconds started_{};
};

Result<std::optional<PointRow>> BucketBackup::find_parent() {
  TM_TRY(auto row, find_newest(store_, options_.site, asset_));
  if (!row) return row;
  const auto authentic = check_record_mac(row->point.record, keys_);
  if (!authentic || row->point.record.kind != PointKind::bucket) {
    // Whoever wrote it had no key. It must not keep the asset from being protected.
    log::error("{}: the last point cannot be trusted; a new line begins", asset_);
    return std::optional<PointRow>();
  }
  return row;
}

Result<BackupReport> BucketBackup::run() {
  started_ = clock_.uptime();
  TM_TRY(const auto parent, find_parent());
  const bool incremental = parent && !options_.full;
  auto report = run_with(parent, incremental);
  if (report || report.error().code() != ErrorCode::corruption || !incremental) return report;
  log::error("{}: {}; reading the whole bucket", asset_, report.error().message());
  return run_with(parent, false);
}

Result<BackupReport> BucketBackup::run_with(const std::optional<PointRow>& parent,
                                            bool incremental) {
  TM_TRY(const UploadSession session,
         store_.begin(options_.site, asset_, parent ? parent->point.record.id : PointId{}));
  auto report = capture_and_commit(parent, incremental, session);
  if (!report && !report.error().retryable() && report.error().code() != ErrorCode::cancelled)
    ignore_error(store_.abandon(session), "it ends by itself");
  return report;
}

// The end of the log is asked for before any key is looked at: what changes from then on is for the
// next point.
Result<BucketMeta> BucketBackup::begin_meta() {
  const Timestamp taken = clock_.now();
  TM_TRY(BucketSettings settings, read_bucket_settings(client_, bucket_, options_.stop));
  const bool versions = settings.versioning != s3::Versioning::never;
  TM_TRY(auto index, read_index_position(client_, bucket_, versions, options_.stop));
  BucketMeta meta;
  meta.name = bucket_;
  meta.versioning = settings.versioning;
  meta.owner = std::move(settings.owner);
  meta.quota = std::move(settings.quota);
  meta.documents = std::move(settings.documents);
  meta.index = std::move(index);
  meta.listed = taken;
  return meta;
}

// What can differ from the point before, as far as the log of the index can tell; nothing where the
// bucket has to be listed.
Result<std::optional<std::vector<std::string>>> BucketBackup::changed_keys(
    const PointRecord& parent, const BucketMeta& before, const BucketMeta& now) {
  std::optional<std::vector<std::string>> keys;
  if (!before.index || !now.index) return keys;
  // The first versioning gives every object another place.
  const bool placed_alike =
      (before.versioning == s3::Versioning::never) == (now.versioning == s3::Versioning::never);
  const auto age = now.listed - before.listed;
  if (!placed_alike || age < age.zero() || age >= options_.list_every) return keys;
  // A key that the point does not have as the bucket had it need not have changed since.
  const UnsettledKeys& unsettled = before.unsettled;
  if (unsettled.count != unsettled.named.size()) return keys;
  const auto keys_max = std::clamp<std::size_t>(
      static_cast<std::size_t>(parent.root.entries / kEntriesPerLook), kLooksMin, kLooksMax);
  TM_TRY(keys, read_changed_keys(client_, *before.index, *now.index, keys_max, options_.stop));
  if (!keys) return keys;
  for (const UnsettledKey& one : unsettled.named) keys->push_back(one.key);
  std::ranges::sort(*keys);
  keys->erase(std::ranges::unique(*keys).begin(), keys->end());
  return keys;
}

Result<BucketCaptureResult> BucketBackup::capture(const PointRecord* base,
                                                  const std::vector<std::string>* changed,
                                                  const BucketMeta& meta,
                                                  const UploadSession& session) {
  BackupProgress own_progress;
  BucketCaptureInput input;
  input.client = &client_;
  input.bucket = bucket_;
  input.versions = meta.versioning != s3::Versioning::never;
  if (base != nullptr) {
    input.base_root = base->root;
    input.base_size_bytes = base->size_bytes;
  }
  input.keys = changed;
  input.zstd_level = options_.zstd_level;
  input.progress = options_.progress != nullptr ? options_.progress : &own_progress;
  input.limiter = options_.limiter;
  input.stop = options_.stop;
  return capture_bucket(input, store_, session, keys_, nodes_);
}

PointRecord BucketBackup::record_of(const std::optional<PointRow>& parent,
                                    const BucketCaptureResult& captured,
                                    const UploadSession& session) const {
  PointRecord record;
  record.id = session.point;
  record.kind = PointKind::bucket;
  record.site = options_.site;
  record.asset = asset_;
  if (parent) record.parent = parent->point.record.id;
  record.labels = options_.labels;
  if (options_.member != nullptr) {
    record.set = options_.member->set().id();
    record.labels.merge(options_.member->set().labels());
  }
  if (captured.unsettled.count > 0)
    record.labels.emplace(kInPartLabel, std::to_string(captured.unsettled.count));
  record.root = captured.root;
  record.size_bytes = captured.size_bytes;
  record.region_bytes = 0;
  record.changed_bytes = captured.changed_bytes;
  record.shipped_bytes = captured.sent_bytes;
  record.duration_ms =
      static_cast<std::uint64_t>((clock_.uptime() - started_) / std::chrono::milliseconds(1));
  return record;
}

Result<BackupReport> BucketBackup::capture_and_commit(const std::optional<PointRow>& parent,
                                                      bool incremental,
                                                      const UploadSession& session) {
  HookedMoment moment(options_.hooks);
  if (options_.member != nullptr && !options_.member->is_past()) {
    TM_DO(options_.member->ready());
    TM_DO(options_.member->held());
    TM_DO(options_.member->taken({}, false));
  }
  TM_DO(moment.begin());
  TM_TRY(const StoreDescriptor descriptor, store_.descriptor());
  TM_TRY(BucketMeta meta, begin_meta());
  const Timestamp taken = meta.listed;
  const PointRecord* const base = incremental ? &parent->point.record : nullptr;
  std::optional<std::vector<std::string>> changed;
  if (base != nullptr) {
    TM_TRY(const BucketMeta before, read_bucket_meta(*base, keys_));
    TM_TRY(changed, changed_keys(*base, before, meta));
    if (changed) meta.listed = before.listed;
  }
  TM_TRY(const BucketCaptureResult captured,
         capture(base, changed ? &*changed : nullptr, meta, session));
  TM_DO(moment.end());
  meta.unsettled = captured.unsettled;
  if (captured.moved_keys > 0)
    log::info("{}: {} keys changed while they were read, and are as they were afterwards", asset_,
              captured.moved_keys);
  if (captured.unsettled.count > 0)
    log::warn("{}: the point is taken in part: {} keys are not in it as the bucket has them",
              asset_, captured.unsettled.count);

  BackupReport report;
  report.read_bytes = captured.read_bytes;
  report.objects_read = captured.read_objects;
  report.keys_moved = captured.moved_keys;
  report.by_index_log = changed.has_value();
  report.unsettled = captured.unsettled;
  report.mode = incremental ? "incremental" : parent ? "full" : "first";
  PointRecord record = record_of(parent, captured, session);
  record.store = descriptor.id;
  record.time = options_.member != nullptr ? options_.member->set().time() : taken;
  record.sealed_meta =
      seal_meta(with_manifests(format_bucket_meta(meta), options_.manifests), record.id, keys_);
  TM_TRY(report.point, store_.commit(session, encode(record, keys_)));
  return report;
}

}  // namespace

Result<BackupReport> back_up_bucket(const s3::Client& client, const std::string& bucket,
                                    PointStore& store, const StoreKeys& keys,
                                    const BucketBackupOptions& options, Clock& clock) {
  BucketBackup backup(client, bucket, store, keys, options, clock);
  auto report = backup.run();
  if (!report) return std::move(report).error().context("back up s3/" + bucket);
  return report;
}

}  // namespace tidemark
