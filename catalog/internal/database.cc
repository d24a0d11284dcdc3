#include "catalog/internal/database.h"

#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <array>

#include "base/bytes.h"

namespace tidemark::catalog {
namespace {

// With the caches, filters and write buffers below, a catalog of ten million chunks stays within
// some 250 MiB of memory.
constexpr std::size_t kBlockCacheBytes = 96 * kMiB;
constexpr std::size_t kChunkBufferBytes = 16 * kMiB;
constexpr std::size_t kRowBufferBytes = 8 * kMiB;
constexpr int kBuffers = 3;
// Bounds what is replayed after a crash, and so the time until the catalog is open again.
constexpr std::uint64_t kLogBytesMax = 64 * kMiB;
constexpr int kOpenFilesMax = 256;
constexpr std::size_t kKeysPerGet = 1024;
constexpr double kFilterBitsPerKey = 10;

rocksdb::DBOptions database_options(bool create) {
  rocksdb::DBOptions options;
  options.create_if_missing = create;
  options.create_missing_column_families = create;
  options.paranoid_checks = true;
  // A power failure leaves the unsynced end of the log torn, pages of it in any order, and that
  // must open: kTolerateCorruptedTailRecords would refuse it. What this mode could hide, a loss in
  // the synced part, shows by the count in the control file and by the links of the journal.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_total_wal_size = kLogBytesMax;
  options.max_open_files = kOpenFilesMax;
  options.max_background_jobs = 2;
  options.bytes_per_sync = kMiB;
  options.wal_bytes_per_sync = kMiB;
  options.max_manifest_file_size = 16 * kMiB;
  options.skip_stats_update_on_db_open = true;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = kMiB;
  options.keep_log_file_num = 3;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

rocksdb::ColumnFamilyOptions family_options(Table table,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions blocks;
  blocks.block_cache = cache;
  // Inside the cache, filters and index blocks are under its bound.
  blocks.cache_index_and_filter_blocks = true;
  blocks.cache_index_and_filter_blocks_with_high_priority = true;
  blocks.pin_l0_filter_and_index_blocks_in_cache = true;
  blocks.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kFilterBitsPerKey, false));
  blocks.format_version = 5;

  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(blocks));
  // Ids and sealed records do not shrink.
  options.compression = rocksdb::kNoCompression;
  options.max_write_buffer_number = kBuffers;
  options.level_compaction_dynamic_level_bytes = true;
  options.write_buffer_size = kRowBufferBytes;
  if (table == Table::chunks) {
    options.write_buffer_size = kChunkBufferBytes;
    options.target_file_size_base = 32 * kMiB;
    options.max_bytes_for_level_base = 128 * kMiB;
    // Most lookups of a backup ask for what is not there.
    options.memtable_whole_key_filtering = true;
    options.memtable_prefix_bloom_size_ratio = 0.05;
  }
  return options;
}

// Files that RocksDB misses on opening are damage, not an absent request.
Error open_error(const rocksdb::Status& status, const std::filesystem::path& directory) {
  Error error = to_error(status, "open the catalog in " + directory.string());
  if (status.IsInvalidArgument() || status.IsNotFound() || status.IsPathNotFound() ||
      error.code() == ErrorCode::corruption)
    return Error(ErrorCode::corruption, error.message()).with_hint("rebuild the catalog");
  return error;
}

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Error to_error(const rocksdb::Status& status, std::string_view doing) {
  ErrorCode code = ErrorCode::internal;
  if (status.IsCorruption()) code = ErrorCode::corruption;
  if (status.IsNotFound() || status.IsPathNotFound()) code = ErrorCode::not_found;
  if (status.IsNoSpace() || status.IsMemoryLimit()) code = ErrorCode::resource_exhausted;
  if (status.IsTimedOut() || status.IsBusy() || status.IsTryAgain()) code = ErrorCode::unavailable;
  if (status.IsNotSupported()) code = ErrorCode::unsupported;
  return Error(code, status.ToString()).context(doing);
}

Status Cursor::status() const {
  const rocksdb::Status status = iterator_->status();
  if (!status.ok()) return to_error(status, "read the catalog");
  return {};
}

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& directory,
                                                 bool create) {
  const auto cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, family_options(Table::rows, cache)},
      {"chunks", family_options(Table::chunks, cache)}};
  std::unique_ptr<Database> database(new Database);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(database_options(create), directory.string(),
                                                   families, &database->families_, &db);
  if (!status.ok()) return open_error(status, directory);
  database->db_.reset(db);
  return database;
}

Database::~Database() {
  if (!db_) return;
  for (rocksdb::ColumnFamilyHandle* handle : families_)
    db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  // What is written but not flushed stays in the log and is replayed.
  db_->Close().PermitUncheckedError();
}

Database::Snapshot Database::snapshot() {
  return {db_->GetSnapshot(), [this](const rocksdb::Snapshot* s) { db_->ReleaseSnapshot(s); }};
}

Result<std::optional<std::string>> Database::get(Table table, std::string_view key,
                                                 const Snapshot& snapshot) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot.get();
  std::string value;
  const rocksdb::Status status = db_->Get(options, family(table), slice(key), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return to_error(status, "read the catalog");
  return std::optional<std::string>(std::move(value));
}

Status Database::get_many(
    Table table, std::span<const rocksdb::Slice> keys,
    const std::function<Status(std::size_t, std::optional<std::string_view>)>& each) {
  std::array<rocksdb::PinnableSlice, kKeysPerGet> values;
  std::array<rocksdb::Status, kKeysPerGet> statuses;
  for (std::size_t begin = 0; begin < keys.size(); begin += kKeysPerGet) {
    const std::size_t count = std::min(kKeysPerGet, keys.size() - begin);
    db_->MultiGet(rocksdb::ReadOptions(), family(table), count, keys.data() + begin, values.data(),
                  statuses.data(), true);
    for (std::size_t i = 0; i < count; ++i) {
      if (statuses[i].ok()) {
        TM_DO(each(begin + i, std::string_view(values[i].data(), values[i].size())));
      } else if (statuses[i].IsNotFound()) {
        TM_DO(each(begin + i, std::nullopt));
      } else {
        return to_error(statuses[i], "read the catalog");
      }
      values[i].Reset();
    }
  }
  return {};
}

Cursor Database::cursor(Table table, std::string lower, std::string upper, const Snapshot& snapshot,
                        bool fill_cache) {
  Cursor cursor;
  cursor.bounds_ = std::make_unique<Cursor::Bounds>();
  Cursor::Bounds& bounds = *cursor.bounds_;
  bounds.lower = std::move(lower);
  bounds.upper = std::move(upper);
  bounds.lower_slice = slice(bounds.lower);
  bounds.upper_slice = slice(bounds.upper);
  rocksdb::ReadOptions options;
  options.snapshot = snapshot.get();
  options.fill_cache = fill_cache;
  if (!bounds.lower.empty()) options.iterate_lower_bound = &bounds.lower_slice;
  if (!bounds.upper.empty()) options.iterate_upper_bound = &bounds.upper_slice;
  cursor.iterator_.reset(db_->NewIterator(options, family(table)));
  return cursor;
}

void Database::put(rocksdb::WriteBatch& batch, Table table, std::string_view key,
                   std::string_view value) {
  batch.Put(family(table), slice(key), slice(value)).PermitUncheckedError();
}

void Database::erase(rocksdb::WriteBatch& batch, Table table, std::string_view key) {
  batch.Delete(family(table), slice(key)).PermitUncheckedError();
}

Status Database::write(rocksdb::WriteBatch& batch, bool sync) {
  if (failed_.load()) {
    // After a full disk RocksDB refuses writes until it is told to go on.
    const rocksdb::Status resumed = db_->Resume();
    if (!resumed.ok()) return to_error(resumed, "write to the catalog after an error");
    failed_.store(false);
  }
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = db_->Write(options, &batch);
  if (status.ok()) return {};
  failed_.store(true);
  return to_error(status, "write to the catalog");
}

Status Database::flush() {
  const rocksdb::Status status = db_->Flush(rocksdb::FlushOptions(), families_);
  if (!status.ok()) return to_error(status, "flush the catalog");
  return {};
}

}  // namespace tidemark::catalog
