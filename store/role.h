// Which site's copy of an asset is the one in use: kept with the store, so that an asset that was
// failed over takes no more points from the site that was lost. Format: docs/format/store.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark {

// Of an asset without one, the site that sends its points is the holder, with token 0.
struct AssetRole {
  std::string site, asset;  // whose points
  std::uint64_t token = 0;  // grows with every change: who knows of a higher one gives way
  std::string holder;       // the site where it is in use; empty: it was handed over, to nobody yet
  std::string image;        // there: "pool/image"
  PointId point;            // what the holder's copy was when the role changed
  Timestamp since;
  bool operator==(const AssetRole&) const = default;
};

// The blob that says so: "roles/<SHA-256 of "site:asset" in hex>".
std::string role_blob_name(std::string_view site, std::string_view asset);
Bytes encode(const AssetRole& role);
// `corruption` for anything that encode() does not write; `unsupported` for a later version.
Result<AssetRole> decode_asset_role(ByteView bytes);

}  // namespace tidemark
