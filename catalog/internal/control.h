// The control file of a catalog: what must be known before RocksDB is opened, and what RocksDB
// alone cannot tell.
//
// It names the schema and the store, so that a catalog of a newer build is refused before anything
// is written to it. And it counts the synced batches that were acknowledged: RocksDB's log may be
// cut short by a power failure, which is normal, or by a lost file or a flipped bit, which is not;
// the count tells which. Two slots are written in turn, so that a torn write leaves the other one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/files.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark::catalog {

class Control {
 public:
  // Creates the file, durably.
  static Status create(const std::filesystem::path& path, std::uint32_t schema,
                       const StoreId& store);
  // Writes nothing. `not_found` where there is no such file, `corruption` where no slot is whole.
  static Result<Control> open(const std::filesystem::path& path);

  std::uint32_t schema() const { return schema_; }
  const StoreId& store() const { return store_; }
  std::uint64_t synced() const { return synced_; }

  // Records, durably, that batch number `synced` was synced. Numbers never go down.
  Status advance(std::uint64_t synced);

 private:
  Control() = default;
  Fd file_;
  std::uint32_t schema_ = 0;
  StoreId store_;
  std::uint64_t synced_ = 0;
};

}  // namespace tidemark::catalog
