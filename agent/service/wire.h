// The binary bodies of the store's API: lists of ids, bitmaps, blob locations. docs/protocol.md.
#pragma once

#include <span>
#include <vector>

#include "agent/service/point_store.h"
#include "transport/http.h"

namespace tidemark {

// Ids one behind another, 32 bytes each.
Bytes encode_ids(std::span<const ChunkId> ids);
Result<std::vector<ChunkId>> read_ids(BodyReader& body);
// One bit per item, the lowest bit of the first byte first.
Bytes encode_bitmap(const std::vector<bool>& bits);
Result<std::vector<bool>> decode_bitmap(ByteView bytes, std::size_t count);
Bytes encode_locations(std::span<const BlobLocation> locations);
// `ids` are those asked for: the answer has one location for each, in order.
Result<std::vector<BlobLocation>> decode_locations(ByteView bytes, std::span<const ChunkId> ids);

}  // namespace tidemark
