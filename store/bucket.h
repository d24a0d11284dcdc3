// The entries of a bucket's tree: one for each version of each object. Format:
// docs/format/bucket.md.
//
// An entry holds what makes the object what it is: bytes, headers, metadata, tags, ACL, lock. Bytes
// lie in chunks of kObjectChunkBytes (the last one is shorter), or, where they are few, in the
// entry itself.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/tree.h"

namespace tidemark {

inline constexpr std::uint32_t kObjectChunkBytes = 4 << 20;
// Objects of at most so many bytes lie in the entry.
inline constexpr std::size_t kInlineBytesMax = 512;
inline constexpr std::size_t kObjectKeyBytesMax = 1024;
inline constexpr std::size_t kVersionIdBytesMax = 1024;
// Objects larger than this cannot be kept: an entry refers to so many chunks at most.
inline constexpr std::uint64_t kObjectBytesMax =
    std::uint64_t{kTreeEntryRefsMax} * kObjectChunkBytes;

// Which version of which object. Entries are ordered by key (as bytes), those of one key from the
// newest to the oldest, as S3 lists them.
struct ObjectPlace {
  std::string key;         // 1 to 1024 bytes, any
  Timestamp modified;      // as the listing says it
  std::uint32_t rank = 0;  // among versions of one key with the same time: 0 is the newest
  // "null" for what was written without versioning. In a bucket that never had versioning, empty.
  std::string version_id;
  bool operator==(const ObjectPlace&) const = default;
};

struct ObjectLock {
  std::string mode;  // "GOVERNANCE", "COMPLIANCE" or empty
  Timestamp until;
  bool legal_hold = false;
  bool operator==(const ObjectLock&) const = default;
};

struct ObjectEntry {
  ObjectPlace place;
  bool delete_marker = false;  // then all below is empty, but for `latest`
  bool latest = false;         // the current version of its key
  std::uint64_t size_bytes = 0;
  std::string etag;  // as the server said it, without quotation marks
  Digest sha256;     // of the bytes
  std::string storage_class;
  std::map<std::string, std::string> headers;   // content-type and its like, lower case
  std::map<std::string, std::string> metadata;  // x-amz-meta-…, without that prefix
  std::map<std::string, std::string> tags;
  std::string
      acl;  // the document as the server wrote it; empty: nothing but the owner's full control
  std::string owner;
  std::optional<ObjectLock> lock;
  std::vector<std::uint64_t> part_sizes;  // empty: one part, or not known
  Bytes inline_data;                      // where size_bytes <= kInlineBytesMax
  std::vector<ChunkId> chunks;            // otherwise
  bool operator==(const ObjectEntry&) const = default;

  // True where the server's listing calls the two the same bytes and settings: place, ETag and
  // size. Such an object is not read again.
  bool listed_alike(const ObjectEntry& other) const;
};

// Tree keys: order-preserving.
std::string object_tree_key(const ObjectPlace& place);
// All entries of keys that begin with `prefix` have tree keys that begin with this.
std::string object_tree_prefix(std::string_view key_prefix);
Result<ObjectPlace> object_of_tree_key(std::string_view tree_key);

TreeEntry encode_object(const ObjectEntry& entry);
// Checks limits, order, and that chunks and size fit.
Result<ObjectEntry> decode_object(const TreeEntry& entry);

}  // namespace tidemark
