#include "agent/verify/verify.h"

#include <algorithm>
#include <random>
#include <unordered_set>

#include "agent/read/bucket_reader.h"
#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::size_t kBatch = 4096;
constexpr std::size_t kReadThreads = 4;
constexpr std::size_t kObjectBatch = 64;

std::uint64_t random_seed() {
  std::array<std::uint8_t, 8> seed{};
  random_bytes(seed);
  return ByteReader(seed).u64();
}

class Verifier {
 public:
  Verifier(PointStore& store, const StoreKeys& keys, const VerifyOptions& options)
      : keys_(keys), options_(options), reader_(store, keys), random_(random_seed()) {}

  Status check_point(const PointRow& row) {
    point_ = row.point.record.id.hex();
    ++report_.points_checked;
    const auto authentic = check_record_mac(row.point.record, keys_);
    if (!authentic) {
      add("record", point_, "", authentic.error());
      return {};
    }
    bucket_ = row.point.record.kind == PointKind::bucket;
    const TreeRoot& root = row.point.record.root;
    if (!root.id.is_null()) TM_DO(check_nodes({root.id}, root.level));
    return flush();
  }

  VerifyReport take() {
    report_.bytes_read = reader_.bytes_read();
    return std::move(report_);
  }

 private:
  void add(const char* kind, std::string id, std::string pack, const Error& error) {
    std::lock_guard lock(mutex_);
    report_.damaged.push_back({kind, std::move(id), point_, std::move(pack), error.message()});
  }

  // Checks one level of nodes, then what is below them.
  Status check_nodes(std::vector<ChunkId> ids, int level) {
    std::erase_if(ids, [&](const ChunkId& id) { return !seen_.insert(id).second; });
    std::vector<ChunkId> below;
    for (const ChunkId& id : ids) {
      if (options_.stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      const auto plain = reader_.fetch_nodes(std::span(&id, 1));
      if (!plain && plain.error().retryable()) return plain.error();
      const auto node = plain ? decode_node(plain->front()) : Result<TreeNode>(plain.error());
      ++report_.chunks_checked;
      if (!node || node->level != level) {
        const auto where = reader_.locate(std::span(&id, 1));
        add("node", id.hex(), where ? where->front().pack.hex() : "",
            node ? Error(ErrorCode::corruption, "tree node at the wrong level") : node.error());
        continue;
      }
      for (const TreeChild& child : node->children) below.push_back(child.id);
      for (const TreeEntry& entry : node->entries) TM_DO(want_entry(entry));
    }
    return below.empty() ? Status() : check_nodes(std::move(below), level - 1);
  }

  Status want_entry(const TreeEntry& entry) {
    if (bucket_) {
      auto object = decode_object(entry);
      if (!object)
        add("object", to_hex(as_bytes(entry.key)), "", object.error());
      else if (!object->delete_marker)
        objects_.push_back(*std::move(object));
      if (objects_.size() >= kObjectBatch) TM_DO(flush());
    }
    return want_chunks(entry.refs);
  }

  Status want_chunks(const std::vector<ChunkId>& ids) {
    for (const ChunkId& id : ids)
      if (seen_.insert(id).second) wanted_.push_back(id);
    return wanted_.size() >= kBatch ? flush() : Status();
  }

  Status flush() {
    const std::vector<ChunkId> ids = std::exchange(wanted_, {});
    report_.chunks_checked += ids.size();
    std::vector<BlobLocation> found;
    TM_DO(locate(ids, found));
    std::bernoulli_distribution chosen(std::clamp(options_.read_share, 0.0, 1.0));
    if (bucket_) return check_objects(chosen);  // reads the chunks on the way
    std::erase_if(found, [&](const BlobLocation&) { return !chosen(random_); });
    const auto reads = plan_reads(found);
    return parallel_for(reads.size(), kReadThreads, [&](std::size_t i) -> Status {
      if (options_.stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      return check_read(reads[i]);
    });
  }

  // Holds the bytes of a share of the objects against their sizes and hashes.
  Status check_objects(std::bernoulli_distribution chosen) {
    std::vector<ObjectEntry> objects = std::exchange(objects_, {});
    std::erase_if(objects, [&](const ObjectEntry&) { return !chosen(random_); });
    return parallel_for(objects.size(), kReadThreads, [&](std::size_t i) -> Status {
      if (options_.stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      return check_object(objects[i]);
    });
  }

  Status check_object(const ObjectEntry& object) {
    ObjectBytes bytes(reader_, object);
    const auto status = bytes.check_all();
    if (status) return {};
    if (status.error().code() != ErrorCode::corruption) return status;
    const auto found = reader_.locate(object.chunks);
    if (!found) return {};  // what is not there was found before
    std::size_t damaged = 0;
    for (const PackRead& read : plan_reads(*found)) TM_DO(check_read(read, damaged));
    if (damaged == 0) add("object", to_hex(as_bytes(object.place.key)), "", status.error());
    return {};
  }

  // Halves the list until what cannot be located stands alone.
  Status locate(std::span<const ChunkId> ids, std::vector<BlobLocation>& found) {
    if (ids.empty()) return {};
    const auto locations = reader_.locate(ids);
    if (locations) {
      found.insert(found.end(), locations->begin(), locations->end());
      return {};
    }
    if (locations.error().code() != ErrorCode::corruption) return locations.error();
    if (ids.size() == 1) {
      add("chunk", ids[0].hex(), "", locations.error());
      return {};
    }
    TM_DO(locate(ids.first(ids.size() / 2), found));
    return locate(ids.subspan(ids.size() / 2), found);
  }

  Status check_read(const PackRead& read) {
    std::size_t damaged = 0;
    return check_read(read, damaged);
  }

  Status check_read(const PackRead& read, std::size_t& damaged) {
    const auto whole = reader_.fetch(read, [](const PackEntry&, const Bytes&) { return Status(); });
    if (whole) return {};
    if (whole.error().retryable()) return whole.error();
    for (const PackEntry& entry : read.entries) {
      const PackRead one{read.pack, entry.offset, entry.stored_size, {entry}};
      const auto status =
          reader_.fetch(one, [](const PackEntry&, const Bytes&) { return Status(); });
      if (!status && status.error().retryable()) return status;
      if (status) continue;
      add("chunk", entry.id.hex(), read.pack.hex(), status.error());
      ++damaged;
    }
    return {};
  }

  const StoreKeys& keys_;
  const VerifyOptions& options_;
  BlobReader reader_;
  std::mt19937_64 random_;
  std::unordered_set<ChunkId, IdHash> seen_;
  std::vector<ChunkId> wanted_;
  bool bucket_ = false;               // what the point is of
  std::vector<ObjectEntry> objects_;  // to be checked at the next flush
  std::string point_;
  std::mutex mutex_;
  VerifyReport report_;  // `damaged` guarded by mutex_
};

}  // namespace

Result<VerifyReport> verify_points(PointStore& store, const StoreKeys& keys,
                                   const std::vector<PointRow>& points,
                                   const VerifyOptions& options) {
  Verifier verifier(store, keys, options);
  for (const PointRow& row : points) {
    const auto checked = verifier.check_point(row);
    if (!checked) return checked.error();
  }
  return verifier.take();
}

}  // namespace tidemark
