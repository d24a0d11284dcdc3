// What changed in a bucket by the log that radosgw keeps of the bucket's index, where its zone has
// `log_data`: an idle bucket of many millions of objects then costs no listing.
//
// Each change of an index shard is one transaction with its log entry. It raises the version of the
// shard by one, and the entry carries the version it was made at. So the log is whole between two
// versions exactly where it has an entry of each version between them; what was trimmed, was
// written while logging was off, or belongs to another instance of the bucket (a reshard, one
// removed and made again) shows as a gap, and then only a listing can tell.
//
// An object whose gateway died between writing it and indexing it is in neither: the next listing
// by anybody brings it into the index. So a listing is needed now and then all the same.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "transport/s3/client.h"

namespace tidemark {

struct IndexShard {
  std::uint64_t version = 0;
  std::string marker;  // of its last log entry; empty: none yet
  bool operator==(const IndexShard&) const = default;
};

// Where a bucket's index log ends.
struct IndexPosition {
  std::string instance;  // "[tenant/]bucket:id"
  std::vector<IndexShard> shards;
  bool operator==(const IndexPosition&) const = default;
};

inline constexpr std::size_t kIndexShardsMax = 4096;

// Whatever is done to the bucket after the call began lies behind the position. Nothing where the
// server does not tell it (no radosgw, or not the caps `buckets=read;bilog=read`). A delete marker
// raises a shard's version only by its log entry: with `versions`, nothing too where the last
// change of some shard is not in its log, as then logging may be off. The only error is
// `cancelled`: whoever cannot know lists.
Result<std::optional<IndexPosition>> read_index_position(const s3::Client& client,
                                                         const std::string& bucket, bool versions,
                                                         std::stop_token stop);

// The keys that were written, deleted or set otherwise between the two positions, and perhaps more,
// in ascending order, each once. Nothing where the log is not whole between them, names a key that
// JSON does not carry, or has more than `keys_max` keys.
Result<std::optional<std::vector<std::string>>> read_changed_keys(const s3::Client& client,
                                                                  const IndexPosition& from,
                                                                  const IndexPosition& to,
                                                                  std::size_t keys_max,
                                                                  std::stop_token stop);

}  // namespace tidemark
