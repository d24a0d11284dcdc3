// The identities that all folders share. Each is a type of its own, so that a pack's name cannot be
// passed where a chunk's id is meant.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace tidemark {

template <class Tag, std::size_t N>
struct FixedId {
  static constexpr std::size_t kSize = N;
  std::array<std::uint8_t, N> bytes{};

  auto operator<=>(const FixedId&) const = default;
  ByteView view() const { return bytes; }
  std::string hex() const { return to_hex(bytes); }
  bool is_null() const { return is_all_zero(bytes); }

  // REQUIRES: from.size() == N.
  static FixedId from(ByteView from) {
    FixedId id;
    std::memcpy(id.bytes.data(), from.data(), N);
    return id;
  }
  static std::optional<FixedId> from_hex(std::string_view text) {
    if (text.size() != 2 * N) return std::nullopt;
    const auto decoded = tidemark::from_hex(text);
    if (!decoded) return std::nullopt;
    return from(*decoded);
  }
  // Reads N bytes; null where the reader has failed.
  static FixedId read(ByteReader& reader) {
    const ByteView raw = reader.raw(N);
    return raw.size() == N ? from(raw) : FixedId{};
  }
};

// Names a chunk or a tree node: the (keyed) hash of its plain bytes. Null means "none".
using ChunkId = FixedId<struct ChunkTag, 32>;
// Names a pack: the SHA-256 of its bytes as stored.
using PackId = FixedId<struct PackTag, 32>;
// Any other SHA-256: record hashes, journal links.
using Digest = FixedId<struct DigestTag, 32>;
// Random, chosen by the store when a session is opened: the session's own bytes.
using PointId = FixedId<struct PointTag, 16>;
// Random, chosen when the store is created.
using StoreId = FixedId<struct StoreTag, 16>;
// Random, chosen by the store when a session is opened.
using SessionId = FixedId<struct SessionTag, 16>;
// Random, drawn for each sealing of a point's metadata.
using MetaSalt = FixedId<struct MetaSaltTag, 16>;

// Ids are uniformly distributed already: their first bytes are the hash. Ids under the key cannot
// be chosen by a tenant; where they could be (no encryption), tables hold what one process wrote.
struct IdHash {
  template <class Tag, std::size_t N>
  std::size_t operator()(const FixedId<Tag, N>& id) const {
    std::size_t h;
    std::memcpy(&h, id.bytes.data(), sizeof h);
    return h;
  }
};

}  // namespace tidemark
