#include "catalog/internal/rocks_catalog.h"

#include <algorithm>

#include "base/log.h"
#include "catalog/internal/swap.h"

namespace tidemark {

Result<std::unique_ptr<Catalog>> Catalog::open(const std::filesystem::path& directory,
                                               const StoreId& store) {
  const catalog::Directories directories(directory);
  TM_TRY(Fd lock, catalog::lock_catalog(directories));
  TM_DO(catalog::finish_swap(directories));
  TM_TRY(std::unique_ptr<Catalog> opened,
         catalog::RocksCatalog::open(directories.current, store, std::move(lock)));
  return opened;
}

}  // namespace tidemark

namespace tidemark::catalog {
namespace {

// How far back the journal's links are verified on opening: further than one log file reaches, so
// that a log lost between others shows.
constexpr std::uint64_t kJournalLinksOnOpen = 1000;

Error damaged(std::string message) {
  return Error(ErrorCode::corruption, std::move(message)).with_hint("rebuild the catalog");
}

// A step from one schema to the next: changes the rows, in any number of batches, so that it can be
// repeated after a crash; the identity row is written by the caller, last.
struct Migration {
  std::uint32_t from_schema;
  Status (*run)(Database& database);
};
constexpr std::span<const Migration> kMigrations;

Status migrate(Database& database, Identity& identity) {
  while (identity.schema < kSchemaVersion) {
    const auto step = std::ranges::find(kMigrations, identity.schema, &Migration::from_schema);
    if (step == kMigrations.end())
      return Error(ErrorCode::unsupported,
                   "the catalog's schema " + std::to_string(identity.schema) + " is too old")
          .with_hint("rebuild the catalog");
    TM_DO(step->run(database));
    ++identity.schema;
    const std::string key = kind_key(RowKind::identity);
    rocksdb::WriteBatch batch;
    database.put(batch, Table::rows, key, encode_identity(key, identity));
    TM_DO(database.write(batch, true));
  }
  return {};
}

// Nothing of the file may be relied on before this has passed.
Status check_identity(std::uint32_t schema, const StoreId& of, const StoreId& store) {
  if (schema > kSchemaVersion)
    return Error(ErrorCode::unsupported, "the catalog has schema " + std::to_string(schema) +
                                             ", this build knows " + std::to_string(kSchemaVersion))
        .with_hint("use a newer build, or rebuild the catalog");
  if (of != store)
    return Error(ErrorCode::invalid_argument,
                 "the catalog belongs to store " + of.hex() + ", not to " + store.hex());
  return {};
}

// Opens the control file, and creates it where there is no catalog yet.
Result<Control> open_control(const std::filesystem::path& directory, const StoreId& store) {
  const std::filesystem::path path = directory / kControlFile;
  auto control = Control::open(path);
  if (control) return control;
  if (control.error().code() == ErrorCode::not_found) {
    std::error_code error;
    const bool had_database = std::filesystem::exists(directory / kDatabaseDirectory, error);
    if (had_database || error) return damaged(path.string() + " is missing");
    std::filesystem::create_directories(directory, error);
    if (error) return errno_error(error.value(), "create " + directory.string());
    TM_DO(Control::create(path, kSchemaVersion, store));
    TM_DO(sync_directory(parent_of(directory)));
    return Control::open(path);
  }
  if (control.error().code() == ErrorCode::corruption) return damaged(control.error().message());
  return control;
}

}  // namespace

std::optional<PackId> PackNumberCache::find(std::uint64_t number) const {
  std::shared_lock lock(mutex_);
  const Slot& slot = slots_[number % kSlots];
  if (slot.number != number) return std::nullopt;
  return slot.id;
}

void PackNumberCache::add(std::uint64_t number, const PackId& id) {
  std::unique_lock lock(mutex_);
  slots_[number % kSlots] = {number, id};
}

Result<std::unique_ptr<RocksCatalog>> RocksCatalog::open(const std::filesystem::path& directory,
                                                         const StoreId& store, Fd lock,
                                                         std::uint64_t fence_floor) {
  TM_TRY(Control control, open_control(directory, store));
  TM_DO(check_identity(control.schema(), control.store(), store));
  // Until its first batch is counted, a catalog is in the making; afterwards, absent files are
  // damage.
  const bool create = control.synced() == 0;
  std::unique_ptr<RocksCatalog> opened(new RocksCatalog(std::move(lock), std::move(control)));
  TM_TRY(opened->database_, Database::open(directory / kDatabaseDirectory, create));
  TM_DO(sync_directory(directory));
  if (create) TM_DO(opened->initialize(store, fence_floor));
  TM_DO(opened->load(store));
  return opened;
}

Status RocksCatalog::initialize(const StoreId& store, std::uint64_t fence_floor) {
  const std::string key = kind_key(RowKind::identity);
  TM_TRY(const auto value, database_->get(Table::rows, key));
  if (value) return {};  // a crash came before the control file counted the batch
  for (const Table table : {Table::rows, Table::chunks}) {
    Cursor cursor = database_->cursor(table, "", "");
    cursor.first();
    if (cursor.valid()) return damaged("the catalog's identity row is missing");
    TM_DO(cursor.status());
  }
  std::lock_guard lock(write_mutex_);
  Change change = begin();
  put(change, key, encode_identity(key, {kSchemaVersion, store, fence_floor}));
  return apply(change, true);
}

Status RocksCatalog::load(const StoreId& store) {
  std::lock_guard lock(write_mutex_);
  const std::string identity_key = kind_key(RowKind::identity);
  const std::string state_key = kind_key(RowKind::state);
  TM_TRY(const auto identity, database_->get(Table::rows, identity_key));
  TM_TRY(const auto state, database_->get(Table::rows, state_key));
  if (!identity || !state) return damaged("the catalog's first rows are missing");
  TM_TRY(identity_, decode_identity(identity_key, *identity));
  TM_DO(check_identity(identity_.schema, identity_.store, store));
  TM_DO(migrate(*database_, identity_));
  TM_TRY(state_, decode_state(state_key, *state));
  if (state_.synced < control_.synced())
    return damaged("the catalog has lost " + std::to_string(control_.synced() - state_.synced) +
                   " acknowledged changes");
  if (state_.synced > control_.synced()) TM_DO(control_.advance(state_.synced));
  TM_DO(load_damaged());
  TM_DO(load_journal());
  return load_last_point();
}

Status RocksCatalog::load_damaged() {
  std::unique_lock lock(damage_mutex_);
  closed_epoch_ = state_.closed_epoch;
  const std::string prefix = kind_key(RowKind::damaged_pack);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix));
  for (cursor.first(); cursor.valid(); cursor.next()) {
    TM_DO(decode_mark(cursor.key(), cursor.value()));
    const auto number = parse_number_key(cursor.key());
    if (!number) return damaged("malformed key of a damaged pack");
    damaged_packs_.insert(*number);
  }
  return cursor.status();
}

Status RocksCatalog::load_journal() {
  const std::string prefix = kind_key(RowKind::journal);
  Cursor cursor = database_->cursor(Table::rows, prefix, prefix_end(prefix));
  Digest expected;
  std::uint64_t next = 0, seen = 0;
  for (cursor.last(); cursor.valid() && seen < kJournalLinksOnOpen; cursor.previous(), ++seen) {
    TM_TRY(const JournalEntry entry, decode_journal(cursor.key(), cursor.value()));
    if (seen == 0) journal_ = {entry.sequence, entry.hash};
    if (seen != 0 && (entry.sequence + 1 != next || entry.hash != expected))
      return damaged("the journal has a gap before entry " + std::to_string(next));
    next = entry.sequence;
    expected = entry.previous;
  }
  TM_DO(cursor.status());
  const bool whole = seen < kJournalLinksOnOpen;
  if (whole && seen > 0 && (next != 1 || !expected.is_null()))
    return damaged("the journal has no beginning");
  return {};
}

Status RocksCatalog::load_last_point() {
  TM_TRY(const auto last, last_point());
  if (last) point_ = {last->point.sequence, last->record_hash};
  return {};
}

RocksCatalog::Change RocksCatalog::begin() {
  Change change;
  change.state = state_;
  change.journal = journal_;
  change.point = point_;
  return change;
}

Status RocksCatalog::apply(Change& change, bool sync) {
  // A count that lags behind is made good before the next batch, so that an error from here always
  // comes before the write or from it, and never after a batch that is durable.
  if (sync && control_.synced() < state_.synced) TM_DO(control_.advance(state_.synced));
  if (sync) ++change.state.synced;
  const std::string key = kind_key(RowKind::state);
  put(change, key, encode_state(key, change.state));
  TM_DO(database_->write(change.batch, sync));
  state_ = change.state;
  journal_ = change.journal;
  point_ = change.point;
  if (!sync) return {};
  const Status counted = control_.advance(state_.synced);
  if (!counted) log::error("catalog: {}", counted.error().describe());
  return {};
}

Result<CatalogStats> RocksCatalog::stats() {
  std::lock_guard lock(write_mutex_);
  CatalogStats stats = state_.stats;
  stats.journal = journal_.sequence;
  return stats;
}

Status RocksCatalog::finish_rebuild() { return database_->flush(); }

}  // namespace tidemark::catalog
