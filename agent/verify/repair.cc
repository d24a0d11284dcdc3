#include "agent/verify/repair.h"

#include "base/log.h"
#include "store/tree.h"

namespace tidemark {
namespace {

constexpr int kZstdLevel = 1;

class Repair {
 public:
  Repair(StoreService& store, const StoreKeys& keys, Backend* copy, const std::stop_token& stop)
      : store_(store), keys_(keys), copy_(copy), stop_(stop), chunks_(keys), nodes_(keys) {}

  Result<std::size_t> save_from(const Bytes& pack) {
    TM_DO(save(pack));
    TM_DO(write(chunks_));
    TM_DO(write(nodes_));
    return report_.blobs_saved;
  }

  Result<RepairReport> run() {
    std::vector<PackRow> packs;
    TM_DO(store_.catalog().each_pack([&](const PackRow& pack) -> Status {
      packs.push_back(pack);
      return {};
    }));
    for (const PackRow& pack : packs) {
      if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      TM_DO(look_at(pack));
    }
    TM_DO(write(chunks_));
    TM_DO(write(nodes_));
    return report_;
  }

 private:
  Status look_at(const PackRow& pack) {
    auto bytes = read_blob(store_.backend(), pack_blob_name(pack.id), kPackBytesMax);
    const bool gone = !bytes && (bytes.error().code() == ErrorCode::not_found ||
                                 bytes.error().code() == ErrorCode::corruption ||
                                 bytes.error().code() == ErrorCode::invalid_argument);
    if (!bytes && !gone) return std::move(bytes).error();
    if (!pack.damaged) {
      if (bytes && check_pack(*bytes, pack.id)) return {};
      log::warn("pack {} is damaged and set aside", pack.id.hex());
      TM_DO(store_.set_aside(pack.id));
      ++report_.packs_set_aside;
    }
    TM_TRY(const bool healed, heal(pack.id));
    return bytes && !healed ? save(*bytes) : Status();
  }

  // True where the copy has the pack as it was written.
  Result<bool> heal(const PackId& id) {
    if (copy_ == nullptr) return false;
    const auto bytes = read_blob(*copy_, pack_blob_name(id), kPackBytesMax);
    if (!bytes && bytes.error().retryable()) return bytes.error();
    if (!bytes || !check_pack(*bytes, id)) return false;
    TM_TRY(const auto index, parse_pack_index(*bytes, bytes->size()));
    TM_DO(store_.add_saved(id, *bytes, index.entries));
    log::info("pack {} is whole again, from the copy", id.hex());
    ++report_.packs_healed;
    return true;
  }

  // Only what is not known elsewhere: a pack that was set aside earlier may have been saved
  // already.
  Status save(const Bytes& pack) {
    const auto index = parse_pack_index(pack, pack.size());
    if (!index || index->tail_needed != 0 || !check_pack_header(pack)) return {};
    std::vector<ChunkId> ids;
    for (const PackEntry& entry : index->entries) ids.push_back(entry.id);
    TM_TRY(const auto known, store_.catalog().find_chunks(ids));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const PackEntry& entry = index->entries[i];
      if (known[i] || entry.offset > pack.size() || entry.stored_size > pack.size() - entry.offset)
        continue;
      const auto plain = decode_blob(keys_, ByteView(pack).first(kPackHeaderBytes), entry,
                                     ByteView(pack).subspan(entry.offset, entry.stored_size));
      if (plain) TM_DO(add(entry, *plain));
    }
    return {};
  }

  Status add(const PackEntry& entry, const Bytes& plain) {
    std::size_t clear_size = 0;
    if (entry.kind == BlobKind::node) {
      TM_TRY(const TreeNode node, decode_node(plain));
      clear_size = encode_node(node).clear_size;
    }
    TM_TRY(const EncodedBlob blob,
           encode_blob(entry.id, entry.kind, plain, clear_size, kZstdLevel));
    PackWriter& writer = entry.kind == BlobKind::node ? nodes_ : chunks_;
    writer.add(blob);
    ++report_.blobs_saved;
    return writer.size() < kPackBytesTarget && writer.count() < kPackEntriesMax ? Status()
                                                                                : write(writer);
  }

  Status write(PackWriter& writer) {
    if (writer.count() == 0) return {};
    const PackWriter::Pack pack = writer.finish();
    return store_.add_saved(pack.id, pack.bytes, pack.entries);
  }

  StoreService& store_;
  const StoreKeys& keys_;
  Backend* const copy_;
  const std::stop_token stop_;
  PackWriter chunks_, nodes_;
  RepairReport report_;
};

}  // namespace

Result<std::vector<DamagedRecord>> check_records(StoreService& store,
                                                 const std::vector<PointRow>& points, bool mend) {
  std::vector<DamagedRecord> damaged;
  for (const PointRow& row : points) {
    const PointId& id = row.point.record.id;
    const auto bytes = read_blob(store.backend(), point_blob_name(id), 2 * kRecordBytesMax);
    if (!bytes && bytes.error().retryable()) return bytes.error();
    if (bytes && sha256(*bytes) == row.record_hash) continue;
    damaged.push_back(
        {id.hex(), bytes ? "its bytes are not what was written" : bytes.error().message()});
    const Bytes copy = encode(row.point);
    if (mend && sha256(copy) == row.record_hash) {
      TM_DO(store.still_owner());
      TM_DO(store.backend().replace(point_blob_name(id), copy));
      log::warn("the record of point {} was written anew", id.hex());
    }
  }
  return damaged;
}

Result<std::size_t> save_whole_blobs(StoreService& store, const StoreKeys& keys,
                                     const Bytes& pack) {
  return Repair(store, keys, nullptr, {}).save_from(pack);
}

Result<RepairReport> repair_packs(StoreService& store, const StoreKeys& keys, Backend* copy,
                                  const std::stop_token& stop) {
  return Repair(store, keys, copy, stop).run();
}

}  // namespace tidemark
