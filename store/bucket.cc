#include "store/bucket.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"

namespace tidemark {
namespace {

constexpr std::size_t kShortTextBytesMax = 1024;
constexpr std::size_t kLongTextBytesMax = 64 * kKiB;
constexpr std::size_t kMapItemsMax = 4096;
constexpr std::size_t kPartsMax = 10000;

enum Flag : std::uint8_t {
  kDeleteMarker = 1,
  kLatest = 2,
  kLocked = 4,
  kLegalHold = 8,
  kAllFlags = 15,
};

using TextMap = std::map<std::string, std::string>;

void append_big_endian(std::string& to, std::uint64_t v, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) to += static_cast<char>(v >> (8 * i) & 0xff);
}
std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t v = 0;
  for (const char c : bytes) v = v << 8 | static_cast<std::uint8_t>(c);
  return v;
}

// Later times come first; its own inverse.
std::uint64_t newest_first(std::uint64_t us) {
  return static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - us;
}

// Zero bytes are followed by 0xff, so that 00 00 ends a key and sorts before what continues it.
std::string escaped(std::string_view key) {
  std::string out;
  out.reserve(key.size() + 16);
  for (const char c : key) {
    out += c;
    if (c == '\0') out += '\xff';
  }
  return out;
}

void write(ByteWriter& w, const TextMap& map) {
  w.varint(map.size());
  for (const auto& [name, value] : map) {
    w.sized(name);
    w.sized(value);
  }
}

TextMap read_map(ByteReader& r) {
  TextMap map;
  const std::size_t items = r.count(2);
  if (items > kMapItemsMax) r.fail();
  for (std::size_t i = 0; i < items && r.ok(); ++i) {
    std::string name(r.sized_text(kShortTextBytesMax));
    std::string value(r.sized_text(kLongTextBytesMax));
    if (!map.empty() && name <= map.rbegin()->first) r.fail();
    map.emplace_hint(map.end(), std::move(name), std::move(value));
  }
  return map;
}

std::uint8_t flags_of(const ObjectEntry& entry) {
  unsigned flags = 0;
  if (entry.delete_marker) flags |= kDeleteMarker;
  if (entry.latest) flags |= kLatest;
  if (entry.lock) flags |= kLocked;
  if (entry.lock && entry.lock->legal_hold) flags |= kLegalHold;
  return static_cast<std::uint8_t>(flags);
}

void read_parts(ByteReader& r, ObjectEntry& out) {
  const std::size_t parts = r.count(1);
  if (parts > kPartsMax) r.fail();
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < parts && r.ok(); ++i) {
    out.part_sizes.push_back(r.varint_max(out.size_bytes - sum));
    sum += out.part_sizes.back();
  }
  if (parts > 0 && sum != out.size_bytes) r.fail();
}

void read_content(ByteReader& r, std::uint8_t flags, ObjectEntry& out) {
  out.size_bytes = r.varint_max(kObjectBytesMax);
  out.etag = r.sized_text(kShortTextBytesMax);
  out.sha256 = Digest::read(r);
  out.storage_class = r.sized_text(kShortTextBytesMax);
  out.owner = r.sized_text(kShortTextBytesMax);
  out.acl = r.sized_text(kLongTextBytesMax);
  out.headers = read_map(r);
  out.metadata = read_map(r);
  out.tags = read_map(r);
  if ((flags & kLocked) != 0) {
    out.lock.emplace();
    out.lock->mode = r.sized_text(kShortTextBytesMax);
    out.lock->until.us = static_cast<std::int64_t>(r.u64());
    out.lock->legal_hold = (flags & kLegalHold) != 0;
  }
  read_parts(r, out);
  if (out.size_bytes <= kInlineBytesMax)
    out.inline_data = copy_of(r.raw(static_cast<std::size_t>(out.size_bytes)));
}

// How many chunks so many bytes lie in.
std::uint64_t chunks_of(std::uint64_t size_bytes) {
  if (size_bytes <= kInlineBytesMax) return 0;
  return (size_bytes + kObjectChunkBytes - 1) / kObjectChunkBytes;
}

}  // namespace

bool ObjectEntry::listed_alike(const ObjectEntry& other) const {
  return place == other.place && delete_marker == other.delete_marker && etag == other.etag &&
         size_bytes == other.size_bytes;
}

std::string object_tree_prefix(std::string_view key_prefix) { return escaped(key_prefix); }

std::string object_tree_key(const ObjectPlace& place) {
  TM_CHECK(!place.version_id.empty() || place.rank == 0);
  std::string out = escaped(place.key);
  out.append(2, '\0');
  if (place.version_id.empty()) return out;
  append_big_endian(out, newest_first(static_cast<std::uint64_t>(place.modified.us)), 8);
  append_big_endian(out, place.rank, 4);
  return out + place.version_id;
}

Result<ObjectPlace> object_of_tree_key(std::string_view tree_key) {
  const Error damaged(ErrorCode::corruption, "bucket tree: not an object's key");
  ObjectPlace place;
  std::size_t at = 0;
  while (true) {
    if (at >= tree_key.size()) return damaged;
    const char c = tree_key[at++];
    if (c == '\0') {
      if (at >= tree_key.size()) return damaged;
      const char next = tree_key[at++];
      if (next == '\0') break;
      if (next != '\xff') return damaged;
    }
    place.key += c;
  }
  if (place.key.empty() || place.key.size() > kObjectKeyBytesMax) return damaged;
  const std::string_view rest = tree_key.substr(at);
  if (rest.empty()) return place;
  if (rest.size() <= 12 || rest.size() > 12 + kVersionIdBytesMax) return damaged;
  place.modified.us = static_cast<std::int64_t>(newest_first(big_endian(rest.substr(0, 8))));
  place.rank = static_cast<std::uint32_t>(big_endian(rest.substr(8, 4)));
  place.version_id = rest.substr(12);
  return place;
}

TreeEntry encode_object(const ObjectEntry& entry) {
  TM_CHECK(entry.delete_marker || entry.chunks.size() == chunks_of(entry.size_bytes));
  ByteWriter w;
  w.u8(flags_of(entry));
  if (entry.place.version_id.empty()) w.u64(static_cast<std::uint64_t>(entry.place.modified.us));
  TreeEntry out;
  out.key = object_tree_key(entry.place);
  if (!entry.delete_marker) {
    w.varint(entry.size_bytes);
    w.sized(entry.etag);
    w.raw(entry.sha256.view());
    w.sized(entry.storage_class);
    w.sized(entry.owner);
    w.sized(entry.acl);
    write(w, entry.headers);
    write(w, entry.metadata);
    write(w, entry.tags);
    if (entry.lock) {
      w.sized(entry.lock->mode);
      w.u64(static_cast<std::uint64_t>(entry.lock->until.us));
    }
    w.varint(entry.part_sizes.size());
    for (const std::uint64_t size : entry.part_sizes) w.varint(size);
    w.raw(entry.inline_data);
    out.refs = entry.chunks;
  }
  out.value = w.take();
  return out;
}

Result<ObjectEntry> decode_object(const TreeEntry& entry) {
  const Error damaged(ErrorCode::corruption, "bucket tree: an object's entry is damaged");
  ObjectEntry out;
  TM_TRY(out.place, object_of_tree_key(entry.key));
  ByteReader r(entry.value);
  const std::uint8_t flags = r.u8();
  out.delete_marker = (flags & kDeleteMarker) != 0;
  out.latest = (flags & kLatest) != 0;
  if (flags > kAllFlags || ((flags & kLegalHold) != 0 && (flags & kLocked) == 0)) return damaged;
  if (out.place.version_id.empty()) out.place.modified.us = static_cast<std::int64_t>(r.u64());
  if (out.delete_marker) {
    if ((flags & kLocked) != 0) return damaged;
  } else {
    read_content(r, flags, out);
  }
  if (!r.done() || entry.refs.size() != (out.delete_marker ? 0 : chunks_of(out.size_bytes)))
    return damaged;
  out.chunks = entry.refs;
  return out;
}

}  // namespace tidemark
