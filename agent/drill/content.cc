#include "agent/drill/content.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "agent/read/volume_reader.h"
#include "agent/restore/volume_writer.h"

namespace tidemark {
namespace {

constexpr std::size_t kRunsMax = 1024;

class Comparison {
 public:
  Comparison(BlockView& disk, std::stop_token stop) : disk_(disk), stop_(std::move(stop)) {}

  // A region of the tree, and all that lies before it and is not of the tree.
  Status region(std::uint64_t number, const Bytes& wanted) {
    const std::uint64_t start = number * kRegionBytes;
    TM_DO(zeros_until(start));
    const std::uint64_t size = std::min<std::uint64_t>(kRegionBytes, disk_.size() - start);
    TM_DO(read(start, size));
    const auto differs = std::mismatch(buffer_.begin(), buffer_.end(), wanted.begin());
    if (differs.first != buffer_.end())
      return differ(start + static_cast<std::uint64_t>(differs.first - buffer_.begin()));
    at_ = start + size;
    return {};
  }

  // Up to there everything must be zeros.
  Status zeros_until(std::uint64_t end) {
    while (at_ < end) {
      if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      TM_TRY(const auto runs, disk_.runs(at_, end - at_, kRunsMax));
      for (const BlockRun& run : runs) {
        if (run.data) TM_DO(zeros(at_, run.size));
        at_ += run.size;
      }
      if (runs.empty()) return Error(ErrorCode::internal, "a disk without runs");
    }
    return {};
  }

  ContentReport take() { return std::move(report_); }
  bool differed() const { return !report_.difference.empty(); }

 private:
  Status read(std::uint64_t offset, std::uint64_t size) {
    buffer_.resize(size);
    TM_DO(disk_.read(offset, buffer_));
    report_.bytes += size;
    return {};
  }
  Status zeros(std::uint64_t offset, std::uint64_t size) {
    for (const std::uint64_t end = offset + size; offset < end;) {
      if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
      const std::uint64_t part = std::min<std::uint64_t>(kRegionBytes, end - offset);
      TM_DO(read(offset, part));
      const auto found = std::ranges::find_if(buffer_, [](auto byte) { return byte != 0; });
      if (found != buffer_.end())
        return differ(offset + static_cast<std::uint64_t>(found - buffer_.begin()));
      offset += part;
    }
    return {};
  }
  // Ends the walk: one difference is enough.
  Status differ(std::uint64_t at) {
    report_.difference = fmt::format("byte {} is not that of the point", at);
    return Error(ErrorCode::cancelled, report_.difference);
  }

  BlockView& disk_;
  const std::stop_token stop_;
  Bytes buffer_;
  std::uint64_t at_ = 0;
  ContentReport report_;
};

}  // namespace

Result<ContentReport> compare_content(PointStore& store, const StoreKeys& keys,
                                      const PointRecord& record, BlockView& disk,
                                      std::stop_token stop) {
  ContentReport wrong_size;
  if (disk.size() != record.size_bytes) {
    wrong_size.difference =
        fmt::format("it has {} bytes, and the point {}", disk.size(), record.size_bytes);
    return wrong_size;
  }
  BlobReader reader(store, keys);
  TreeNodes nodes(reader);
  Comparison comparison(disk, stop);
  const auto each = [&](const RegionWork& work, const Bytes& region) -> Status {
    if (work.region * kRegionBytes >= disk.size())
      return Error(ErrorCode::corruption, "the point's tree has a region past its end");
    return comparison.region(work.region, region);
  };
  Status walked = stream_plan(plan_everything(nodes, record.root), reader, each, stop);
  if (walked) walked = comparison.zeros_until(disk.size());
  if (!walked && !comparison.differed()) return walked.error();
  return comparison.take();
}

}  // namespace tidemark
