#include "test_store.h"

#include <fmt/core.h>

namespace tidemark {

PackId TestStore::put(PackWriter& writer) {
  const PackWriter::Pack pack = writer.finish();
  must(backend_.create(pack_blob_name(pack.id), pack.bytes));
  return pack.id;
}

PointRow TestStore::add_point(std::string asset, Timestamp time, std::size_t entries,
                              std::size_t shared) {
  const std::uint64_t number = points_.size() + 1;
  PackWriter chunks(keys_), nodes(keys_);
  TreeBuilder builder(keys_, [&](const ChunkId& id, EncodedNode node, std::uint8_t) -> Status {
    TM_TRY(const EncodedBlob blob, encode_blob(id, BlobKind::node, node.plain, node.clear_size, 1));
    nodes.add(blob);
    nodes_.push_back(id);
    return {};
  });
  for (std::size_t i = 0; i < entries; ++i) {
    const std::string text =
        i < shared ? fmt::format("shared {}", i) : fmt::format("point {} entry {}", number, i);
    const ChunkId id = keys_.chunk_id(as_bytes(text));
    chunks.add(must(encode_blob(id, BlobKind::chunk, as_bytes(text), 0, 1)));
    must(builder.add({fmt::format("{:08}", i), Bytes(8, 0), {id}}));
  }
  const TreeRoot root = must(builder.finish(nullptr));
  if (chunks.count() > 0) chunk_packs_.push_back(put(chunks));
  if (nodes.count() > 0) node_packs_.push_back(put(nodes));

  const auto last = points_.empty() ? std::nullopt : std::optional(points_.back());
  PointRow row = make_point(number, "tokyo", std::move(asset), time, last);
  row.point.record.root = root;
  encode(row.point.record, keys_);  // sets the MAC
  const Bytes blob = encode(row.point);
  row.record_hash = sha256(blob);
  must(backend_.create(point_blob_name(row.point.record.id), blob));
  points_.push_back(row);
  return row;
}

void TestStore::mark(const PointId& point, std::string_view suffix, Timestamp when) {
  ByteWriter writer;
  writer.u64(static_cast<std::uint64_t>(when.us));
  must(backend_.create(fmt::format("marks/{}{}", point.hex(), suffix), writer.bytes()));
}

}  // namespace tidemark
