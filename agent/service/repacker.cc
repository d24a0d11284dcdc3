#include "agent/service/repacker.h"

#include "agent/service/collector.h"
#include "base/log.h"

namespace tidemark {
namespace {

// What one run reads of old packs: a quarter of an hour of a slow disk. What is left waits for the
// next run, so that a store where much died at once serves its backups meanwhile.
constexpr std::uint64_t kReadPerRun = 64 * kGiB;

// What says something about the pack and nothing about the backend.
bool concerns_pack(const Error& error) {
  return error.code() == ErrorCode::corruption || error.code() == ErrorCode::not_found ||
         error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::unsupported;
}

}  // namespace

Result<bool> Repacker::take(const PackId& id, std::uint64_t size_bytes) {
  if (read_bytes_ + size_bytes > kReadPerRun) return false;
  read_bytes_ += size_bytes;
  const auto bytes = read_blob(store_.backend(), pack_blob_name(id), kPackBytesMax);
  const auto blobs = bytes ? open(id, *bytes) : Result<std::vector<EncodedBlob>>(bytes.error());
  if (!blobs && !concerns_pack(blobs.error())) return blobs.error();
  if (!blobs) {
    log::error("pack {} is not written anew: {}", id.hex(), blobs.error().message());
    return false;
  }
  for (const EncodedBlob& blob : *blobs) TM_DO(add(id, blob));
  return true;
}

Result<std::vector<EncodedBlob>> Repacker::open(const PackId& id, ByteView pack) {
  TM_TRY(const PackIndex index, check_pack(pack, id));
  std::vector<ChunkId> ids;
  for (const PackEntry& entry : index.entries) ids.push_back(entry.id);
  TM_TRY(const auto rows, store_.catalog().find_chunks(ids));
  std::vector<EncodedBlob> blobs;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const PackEntry& entry = index.entries[i];
    const bool here = rows[i] && rows[i]->location.pack == id && rows[i]->location.entry == entry;
    if (!here || !reached_.is_marked(entry.id)) continue;
    TM_TRY(EncodedBlob blob, unseal_blob(keys_, pack.first(kPackHeaderBytes), entry,
                                         pack.subspan(entry.offset, entry.stored_size)));
    blobs.push_back(std::move(blob));
  }
  return blobs;
}

Status Repacker::add(const PackId& id, const EncodedBlob& blob) {
  NewPack& pack = blob.kind == BlobKind::node ? nodes_ : chunks_;
  pack.writer.add(blob);
  if (pack.from.empty() || pack.from.back() != id) pack.from.push_back(id);
  const bool room =
      pack.writer.size() < kPackBytesTarget && pack.writer.count() < kPackEntriesMax;
  return room ? Status() : write(pack);
}

Status Repacker::write(NewPack& pack) {
  if (pack.writer.count() == 0) return {};
  const PackWriter::Pack done = pack.writer.finish();
  return store_.add_repacked(done.id, done.bytes, done.entries, std::exchange(pack.from, {}));
}

Status Repacker::finish() {
  TM_DO(write(chunks_));
  return write(nodes_);
}

}  // namespace tidemark
