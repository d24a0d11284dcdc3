#include "agent/restore/rbd_diff.h"

#include "base/files.h"
#include "store/volume.h"

namespace tidemark {
namespace {

constexpr std::string_view kBanner = "rbd diff v1\n";

void named(ByteWriter& w, char tag, std::string_view name) {
  w.u8(static_cast<std::uint8_t>(tag));
  w.u32(static_cast<std::uint32_t>(name.size()));
  w.raw(name);
}

void range(ByteWriter& w, char tag, std::uint64_t offset, std::uint64_t size) {
  w.u8(static_cast<std::uint8_t>(tag));
  w.u64(offset);
  w.u64(size);
}

}  // namespace

Status RbdDiffWriter::begin(std::string_view from, std::string_view to, std::uint64_t size_bytes) {
  ByteWriter w;
  w.raw(kBanner);
  if (!from.empty()) named(w, 'f', from);
  named(w, 't', to);
  w.u8('s');
  w.u64(size_bytes);
  return write_all(fd_, w.bytes());
}

Status RbdDiffWriter::extent(std::uint64_t offset, ByteView data) {
  ByteWriter w;
  std::uint32_t at = 0;
  const auto size = static_cast<std::uint32_t>(data.size());
  const auto zeros_to = [&](std::uint32_t end) {
    if (end > at) range(w, 'z', offset + at, end - at);
  };
  for (const RegionRun& run :
       nonzero_runs(data, static_cast<std::uint32_t>(offset % kRegionBytes))) {
    const std::uint32_t start = run.offset - static_cast<std::uint32_t>(offset % kRegionBytes);
    zeros_to(start);
    range(w, 'w', offset + start, run.size);
    w.raw(data.subspan(start, run.size));
    at = start + run.size;
  }
  zeros_to(size);
  return write_all(fd_, w.bytes());
}

Status RbdDiffWriter::end() {
  const std::uint8_t tag = 'e';
  return write_all(fd_, ByteView(&tag, 1));
}

}  // namespace tidemark
