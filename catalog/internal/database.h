// RocksDB, as the catalog uses it: two column families, our options, our errors.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark::catalog {

// Translates RocksDB's status; REQUIRES: !status.ok().
Error to_error(const rocksdb::Status& status, std::string_view doing);

// Chunk rows are many and small and asked for by id: they have options of their own.
enum class Table { rows, chunks };

// Moves over the keys of a half-open range. Used by one thread.
class Cursor {
 public:
  bool valid() const { return iterator_->Valid(); }
  std::string_view key() const { return view(iterator_->key()); }
  std::string_view value() const { return view(iterator_->value()); }
  void first() { iterator_->SeekToFirst(); }
  void last() { iterator_->SeekToLast(); }
  // The last key at or before `key`.
  void seek_back(std::string_view key) { iterator_->SeekForPrev(rocksdb::Slice(key)); }
  void seek(std::string_view key) { iterator_->Seek(rocksdb::Slice(key)); }
  void next() { iterator_->Next(); }
  void previous() { iterator_->Prev(); }
  // To be asked once valid() is false: whether that was the end, or an error.
  Status status() const;

 private:
  friend class Database;
  static std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }
  // On the heap: the iterator keeps pointers to the slices, and the cursor may be moved.
  struct Bounds {
    std::string lower, upper;
    rocksdb::Slice lower_slice, upper_slice;
  };
  std::unique_ptr<Bounds> bounds_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

// Safe from any thread.
class Database {
 public:
  // Opens the database in `directory`. With `create` unset, an absent database is `corruption`.
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& directory,
                                                bool create);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // A view that later writes do not change.
  using Snapshot = std::shared_ptr<const rocksdb::Snapshot>;
  Snapshot snapshot();

  Result<std::optional<std::string>> get(Table table, std::string_view key,
                                         const Snapshot& snapshot = nullptr);
  // Calls each(i, value) for every key in turn, with nothing where it is absent.
  // REQUIRES: keys are sorted.
  Status get_many(Table table, std::span<const rocksdb::Slice> keys,
                  const std::function<Status(std::size_t, std::optional<std::string_view>)>& each);
  // The keys in [lower, upper); an empty upper bound is the table's end.
  Cursor cursor(Table table, std::string lower, std::string upper,
                const Snapshot& snapshot = nullptr, bool fill_cache = true);

  void put(rocksdb::WriteBatch& batch, Table table, std::string_view key, std::string_view value);
  void erase(rocksdb::WriteBatch& batch, Table table, std::string_view key);
  // Synced: durable when it returns, and everything written before it as well.
  Status write(rocksdb::WriteBatch& batch, bool sync);
  // Moves everything into table files.
  Status flush();

 private:
  Database() = default;
  rocksdb::ColumnFamilyHandle* family(Table table) const {
    return families_[static_cast<std::size_t>(table)];
  }

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  std::atomic<bool> failed_ = false;  // a write failed; the next one tries to resume first
};

}  // namespace tidemark::catalog
