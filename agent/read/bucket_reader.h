// A bucket's point read back: which objects it holds, and their bytes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/backup/bucket_meta.h"
#include "agent/read/blob_reader.h"
#include "store/bucket.h"

namespace tidemark {

// Which part of a bucket is meant.
struct BucketSelection {
  std::string prefix;   // keys that begin with it; empty: all
  std::string key;      // this key alone
  std::string version;  // of `key`: this version alone
  bool one_key() const { return !key.empty(); }
};

// All versions of one key, newest first. Never empty.
struct KeyVersions {
  std::string key;
  std::vector<ObjectEntry> versions;

  // The version that a GET answers with; null where the key is deleted.
  const ObjectEntry* current() const;
};

// Walks the keys of a point in ascending order, those of a selection. Memory is that of one key.
// Used by one thread; `nodes` must outlive it.
class KeyCursor {
 public:
  KeyCursor(TreeNodes& nodes, const TreeRoot& root, BucketSelection selection);
  // The next key; nothing at the end. `corruption` where the tree is not one of objects.
  Result<std::optional<KeyVersions>> next();

 private:
  Status start();
  bool selected(const ObjectEntry& entry) const;

  TreeCursor cursor_;
  const BucketSelection selection_;
  const std::string first_;  // what selected keys begin with
  bool started_ = false;
};

// A bucket's point. Safe from any thread; `store` and `keys` must outlive it.
class BucketPoint {
 public:
  // Checks the record's authentication. `invalid_argument` for a point of something else.
  static Result<std::unique_ptr<BucketPoint>> open(PointStore& store, const StoreKeys& keys,
                                                   PointRow row);

  const PointRow& row() const { return row_; }
  const BucketMeta& meta() const { return meta_; }
  BlobReader& reader() { return reader_; }
  TreeNodes& nodes() { return nodes_; }
  KeyCursor keys(BucketSelection selection) {
    return {nodes_, row_.point.record.root, std::move(selection)};
  }
  // Whether the point has this very key, whatever version.
  Result<bool> has_key(const std::string& key);

 private:
  BucketPoint(PointStore& store, const StoreKeys& keys, PointRow row)
      : row_(std::move(row)), reader_(store, keys), nodes_(reader_) {}
  const PointRow row_;
  BucketMeta meta_;
  BlobReader reader_;
  TreeNodes nodes_;
};

// The bytes of one object in order, one chunk in memory. All of them are hashed, and the last ones
// are given out only after the hash was found to be the entry's: what is sent on piece by piece
// stays incomplete where anything differs. Used by one thread; `reader` and `entry` must outlive
// it.
class ObjectBytes {
 public:
  ObjectBytes(BlobReader& reader, const ObjectEntry& entry) : reader_(reader), entry_(entry) {}
  // With the bytes of its only chunk, read before.
  ObjectBytes(BlobReader& reader, const ObjectEntry& entry, Bytes chunk);

  std::uint64_t size() const { return entry_.size_bytes; }
  // Bytes from `offset` on, at least one, until the next call. REQUIRES: offset < size(), and no
  // more than what was given out lies before it.
  Result<ByteView> at(std::uint64_t offset);
  // Reads all of it, from the beginning; `corruption` where it is not what was captured.
  Status check_all();
  // True once at() has failed: what the store gave was not the object.
  bool failed() const { return failed_; }

 private:
  Result<ByteView> find(std::uint64_t offset);
  Status check_end();
  Status load(std::size_t chunk);
  Status hash(std::uint64_t offset, ByteView bytes);

  BlobReader& reader_;
  const ObjectEntry& entry_;
  std::optional<std::size_t> loaded_;
  Bytes chunk_;
  Sha256 hash_;
  std::uint64_t hashed_ = 0;
  Status status_;  // what check_end() found
  bool failed_ = false;
};

// A run of an object's bytes as the body of a request.
class ObjectBody final : public s3::BodySource {
 public:
  // `bytes` must outlive it.
  ObjectBody(ObjectBytes& bytes, std::uint64_t offset, std::uint64_t length)
      : bytes_(bytes), offset_(offset), length_(length) {}
  std::uint64_t length() const override { return length_; }
  Result<std::size_t> read(ByteSpan into) override;
  Status rewind() override {
    position_ = 0;
    return {};
  }

 private:
  ObjectBytes& bytes_;
  const std::uint64_t offset_, length_;
  std::uint64_t position_ = 0;
};

}  // namespace tidemark
