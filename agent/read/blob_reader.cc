#include "agent/read/blob_reader.h"

#include <algorithm>
#include <map>

#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::size_t kHeadersMax = 65536;
constexpr std::size_t kFetchThreads = 4;

}  // namespace

std::vector<PackRead> plan_reads(std::span<const BlobLocation> locations,
                                 std::size_t read_bytes_max, std::size_t gap_bytes_max) {
  std::map<PackId, std::map<std::uint64_t, PackEntry>> by_pack;
  for (const BlobLocation& location : locations)
    by_pack[location.pack].emplace(location.entry.offset, location.entry);
  std::vector<PackRead> reads;
  for (const auto& [pack, entries] : by_pack) {
    bool joined = false;
    for (const auto& [offset, entry] : entries) {
      if (joined) {
        PackRead& last = reads.back();
        const std::uint64_t end = last.offset + last.size;
        if (offset <= end + gap_bytes_max &&
            offset + entry.stored_size - last.offset <= read_bytes_max) {
          last.size = static_cast<std::size_t>(offset + entry.stored_size - last.offset);
          last.entries.push_back(entry);
          continue;
        }
      }
      reads.push_back({pack, offset, entry.stored_size, {entry}});
      joined = true;
    }
  }
  return reads;
}

Result<std::vector<BlobLocation>> BlobReader::locate(std::span<const ChunkId> ids) {
  std::vector<BlobLocation> out;
  out.reserve(ids.size());
  for (std::size_t at = 0; at < ids.size(); at += kIdsPerCallMax) {
    TM_TRY(const auto part,
           store_.locate(ids.subspan(at, std::min(kIdsPerCallMax, ids.size() - at))));
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

Result<std::array<std::uint8_t, kPackHeaderBytes>> BlobReader::header(const PackId& pack) {
  {
    std::lock_guard lock(mutex_);
    const auto it = headers_.find(pack);
    if (it != headers_.end()) return it->second;
  }
  TM_TRY(const Bytes bytes, store_.read(pack, 0, kPackHeaderBytes));
  std::array<std::uint8_t, kPackHeaderBytes> header{};
  std::copy(bytes.begin(), bytes.end(), header.begin());
  std::lock_guard lock(mutex_);
  if (headers_.size() >= kHeadersMax) headers_.clear();
  headers_[pack] = header;
  return header;
}

Status BlobReader::fetch(const PackRead& read,
                         const std::function<Status(const PackEntry&, Bytes)>& each) {
  TM_TRY(const auto pack_header, header(read.pack));
  TM_TRY(const Bytes bytes, store_.read(read.pack, read.offset, read.size));
  bytes_read_ += bytes.size();
  for (const PackEntry& entry : read.entries) {
    const ByteView stored = ByteView(bytes).subspan(
        static_cast<std::size_t>(entry.offset - read.offset), entry.stored_size);
    auto plain = decode_blob(keys_, pack_header, entry, stored);
    if (!plain)
      return std::move(plain).error().context("pack " + read.pack.hex().substr(0, 16) + " at " +
                                              std::to_string(entry.offset));
    TM_DO(each(entry, *std::move(plain)));
  }
  return {};
}

Result<std::vector<Bytes>> BlobReader::fetch_blobs(std::span<const ChunkId> ids) {
  TM_TRY(const auto locations, locate(ids));
  std::unordered_map<ChunkId, std::vector<std::size_t>, IdHash> places;
  for (std::size_t i = 0; i < ids.size(); ++i) places[ids[i]].push_back(i);
  std::vector<Bytes> out(ids.size());
  const auto reads = plan_reads(locations);
  TM_DO(parallel_for(reads.size(), kFetchThreads, [&](std::size_t i) {
    return fetch(reads[i], [&](const PackEntry& entry, Bytes plain) -> Status {
      const auto& at = places.at(entry.id);  // each id belongs to one read: no two threads meet
      for (std::size_t k = 1; k < at.size(); ++k) out[at[k]] = plain;
      out[at[0]] = std::move(plain);
      return {};
    });
  }));
  return out;
}

}  // namespace tidemark
