// Keys of the catalog's rows, in the order that the queries need. Format: docs/format/catalog.md.
//
// Integers stand in big-endian order, so that byte order is numeric order; site and asset names
// each end with a zero byte, which no name may hold, so that no name's key range runs into
// another's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark::catalog {

// First byte of a key in the family of rows. Chunk rows live in a family of their own, where the
// key is the bare chunk id.
enum class RowKind : char {
  identity = 'a',
  state = 'b',
  damaged_pack = 'd',
  fence = 'f',
  journal = 'j',
  pack_pin = 'k',
  pack_number = 'n',
  pack = 'p',
  sequence = 'q',
  point = 'r',
  session = 's',
  live_point = 't',
  deleted_point = 'u',
};

// Bounds of a site's or an asset's name inside a key.
inline constexpr std::size_t kKeyNameBytesMax = 1024;

// A name that a key can hold: not empty, not longer than the limit, no control character.
Status check_key_name(std::string_view name, std::string_view what);

std::string kind_key(RowKind kind);
std::string number_key(RowKind kind, std::uint64_t number);
template <class Id>
std::string id_key(RowKind kind, const Id& id) {
  std::string key = kind_key(kind);
  key += as_text(id.view());
  return key;
}
// REQUIRES (all that follow): the names passed check_key_name.
std::string fence_key(std::string_view site, std::string_view asset);
std::string pin_key(const SessionId& session, const PackId& pack);
std::string sequence_key(std::uint64_t sequence, const PointId& point);
// Where the points of a site, or of one of its assets, begin.
std::string time_prefix(RowKind kind, std::string_view site);
std::string time_prefix(RowKind kind, std::string_view site, std::string_view asset);
std::string time_key(RowKind kind, std::string_view site, std::string_view asset, Timestamp time,
                     std::uint64_t sequence, const PointId& point);
// Sorts behind every point of the asset that was captured at or before `time`, and before all
// later.
std::string time_key_after(RowKind kind, std::string_view site, std::string_view asset,
                           Timestamp time);

// The smallest key that does not start with `prefix`. REQUIRES: not all bytes of it are 0xff.
std::string prefix_end(std::string prefix);

struct TimeKey {
  std::string_view site, asset;  // into the key
  Timestamp time;
  std::uint64_t sequence = 0;
  PointId point;
};
std::optional<TimeKey> parse_time_key(std::string_view key);
struct SequenceKey {
  std::uint64_t sequence = 0;
  PointId point;
};
std::optional<SequenceKey> parse_sequence_key(std::string_view key);
struct PinKey {
  SessionId session;
  PackId pack;
};
std::optional<PinKey> parse_pin_key(std::string_view key);
// Of a key made by number_key.
std::optional<std::uint64_t> parse_number_key(std::string_view key);
// Of a key made by id_key.
template <class Id>
std::optional<Id> parse_id_key(std::string_view key) {
  if (key.size() != 1 + Id::kSize) return std::nullopt;
  return Id::from(as_bytes(key.substr(1)));
}

}  // namespace tidemark::catalog
