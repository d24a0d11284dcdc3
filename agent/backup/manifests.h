// API objects of Kubernetes that a point carries: under "kubernetes" in its sealed metadata, an
// array of objects, the claim first. A reader that does not know of it passes over it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "store/record.h"

namespace tidemark {

// Larger ones would not leave the record its room.
inline constexpr std::size_t kManifestsBytesMax = 256 << 10;

// `meta` with them; as it is where they are empty, too large or no array, which is logged.
std::string with_manifests(std::string meta, const std::string& manifests);

// Those of a record whose authentication is checked here; an empty array where it has none.
Result<nlohmann::json> read_manifests(const PointRecord& record, const StoreKeys& keys);

}  // namespace tidemark
