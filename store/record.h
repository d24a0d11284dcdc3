// Point records: the self-describing blob that makes a recovery point exist. Format:
// docs/format/point.md.
//
// The source writes a PointRecord and authenticates it under the store's key. The store wraps it
// into a CommittedPoint: its own receive time, a running number, and a link to the record before
// it, so that a removed or altered record shows.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/asset.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "store/keys.h"

namespace tidemark {

enum class PointKind : std::uint8_t { volume = 1, bucket = 2 };

// The root of a tree. A null id is the empty tree.
struct TreeRoot {
  ChunkId id;
  std::uint8_t level = 0;
  std::uint64_t entries = 0;
  bool operator==(const TreeRoot&) const = default;
};

// The newest version of records, and the only one that is written. Version 1 had the key of a
// sealed record follow from its point's id alone; it is read for ever.
inline constexpr std::uint16_t kRecordVersion = 2;

struct PointRecord {
  std::uint16_t version = kRecordVersion;
  PointId id;
  StoreId store;
  PointKind kind = PointKind::volume;
  std::string site;   // whose asset it is
  std::string asset;  // AssetName text
  PointId parent;     // null: a first point
  std::string set;    // empty: taken alone
  Timestamp time;     // the instant captured, by the source's clock: a label
  TreeRoot root;
  std::uint64_t size_bytes = 0;
  std::uint32_t region_bytes = 4 << 20;  // volumes: never 0
  std::uint64_t changed_bytes = 0, shipped_bytes = 0, duration_ms = 0;
  std::map<std::string, std::string> labels;
  // What only holders of the key may read: JSON (image features, metadata, identities), sealed.
  Bytes sealed_meta;
  Digest mac;
};

struct CommittedPoint {
  PointRecord record;
  Timestamp received;              // by the store's clock: what retention counts by
  std::uint64_t sequence = 0;      // 1, 2, 3 … over all points of the store
  Digest previous;                 // hash of the CommittedPoint of sequence - 1 as stored
  std::uint64_t stored_bytes = 0;  // what this point added to the store
};

// Limits of what a peer may put into a record.
inline constexpr std::size_t kRecordTextBytesMax = 1024;
inline constexpr std::size_t kRecordLabelsMax = 64;
inline constexpr std::size_t kRecordMetaBytesMax = 1 << 20;
inline constexpr std::size_t kRecordBytesMax = 2 << 20;

// The record with its MAC computed, in its own version; `record.mac` is set.
Bytes encode(PointRecord& record, const StoreKeys& keys);
// Structure and limits only; the MAC is checked by check_record_mac, by whoever has the key.
Result<PointRecord> decode_point_record(ByteView bytes);
Status check_record_mac(const PointRecord& record, const StoreKeys& keys);

// Makes a key that no other call uses: a session may be taken up again, or given out twice by a
// store that means ill, and its record then is sealed more than once.
Bytes seal_meta(std::string_view json, const PointId& point, const StoreKeys& keys,
                const MetaSalt& salt = random_id<MetaSalt>());
Result<std::string> open_meta(const PointRecord& record, const StoreKeys& keys);

Bytes encode(const CommittedPoint& point);
Result<CommittedPoint> decode_committed_point(ByteView bytes);

// "points/<hex id>", and back.
std::string point_blob_name(const PointId& id);
std::optional<PointId> point_of_blob_name(std::string_view name);
// "marks/<hex id>.pin" and "marks/<hex id>.deleted" lie beside a point that is held, or was
// deleted; and back: nothing for any other name.
enum class PointMark { pin, deleted };
std::string point_mark_name(const PointId& id, PointMark mark);
std::optional<PointId> point_of_mark_name(std::string_view name, PointMark mark);

}  // namespace tidemark
