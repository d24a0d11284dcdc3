#include "agent/backup/bucket_backup.h"

#include "agent/backup/bucket_meta.h"
#include "agent/read/blob_reader.h"
#include "base/log.h"

namespace tidemark {
namespace {

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
  Result<BucketCaptureResult> capture(const TreeRoot& base, const BucketSettings& settings,
                                      const UploadSession& session);

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

Result<BucketCaptureResult> BucketBackup::capture(const TreeRoot& base,
                                                  const BucketSettings& settings,
                                                  const UploadSession& session) {
  BackupProgress own_progress;
  BucketCaptureInput input;
  input.client = &client_;
  input.bucket = bucket_;
  input.versions = settings.versioning != s3::Versioning::never;
  input.base_root = base;
  input.zstd_level = options_.zstd_level;
  input.progress = options_.progress != nullptr ? options_.progress : &own_progress;
  input.stop = options_.stop;
  return capture_bucket(input, store_, session, keys_, nodes_);
}

Result<BackupReport> BucketBackup::capture_and_commit(const std::optional<PointRow>& parent,
                                                      bool incremental,
                                                      const UploadSession& session) {
  TM_TRY(const StoreDescriptor descriptor, store_.descriptor());
  TM_TRY(const BucketSettings settings, read_bucket_settings(client_, bucket_, options_.stop));
  const Timestamp taken = clock_.now();
  const TreeRoot base = incremental ? parent->point.record.root : TreeRoot{};
  TM_TRY(const BucketCaptureResult captured, capture(base, settings, session));
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
  report.unsettled = captured.unsettled;
  report.mode = incremental ? "incremental" : parent ? "full" : "first";
  PointRecord record;
  record.id = session.point;
  record.store = descriptor.id;
  record.kind = PointKind::bucket;
  record.site = options_.site;
  record.asset = asset_;
  if (parent) record.parent = parent->point.record.id;
  record.set = options_.set;
  record.labels = options_.labels;
  record.time = taken;
  record.root = captured.root;
  record.size_bytes = captured.size_bytes;
  record.region_bytes = 0;
  record.changed_bytes = captured.changed_bytes;
  record.shipped_bytes = captured.sent_bytes;
  record.duration_ms =
      static_cast<std::uint64_t>((clock_.uptime() - started_) / std::chrono::milliseconds(1));
  const BucketMeta meta{bucket_,        settings.versioning, settings.owner,
                        settings.quota, settings.documents,  captured.unsettled};
  record.sealed_meta = seal_meta(format_bucket_meta(meta), record.id, keys_);
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
