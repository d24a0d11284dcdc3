#include "agent/drill/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/files.h"
#include "snapshot/rbd/changes.h"
#include "store/volume.h"

namespace tidemark {
namespace {

Status check_range(const BlockView& disk, std::uint64_t offset, std::uint64_t size) {
  if (offset <= disk.size() && size <= disk.size() - offset) return {};
  return Error(ErrorCode::invalid_argument, "a read past the end");
}

// Adds to the last run where that is of the same kind.
void add_run(std::vector<BlockRun>& runs, std::uint64_t size, bool data) {
  if (!runs.empty() && runs.back().data == data)
    runs.back().size += size;
  else
    runs.push_back({size, data});
}

class ImageDisk final : public BlockView {
 public:
  ImageDisk(std::unique_ptr<RbdImage> image, std::vector<std::uint64_t> regions)
      : image_(std::move(image)), regions_(std::move(regions)), size_(image_->size()) {}

  std::uint64_t size() const override { return size_; }
  Status read(std::uint64_t offset, ByteSpan into) override {
    TM_DO(check_range(*this, offset, into.size()));
    return into.empty() ? Status() : image_->read_sync(offset, into);
  }
  Result<std::vector<BlockRun>> runs(std::uint64_t offset, std::uint64_t length,
                                     std::size_t runs_max) override {
    std::vector<BlockRun> out;
    const std::uint64_t end = offset + length;
    while (offset < end) {
      const std::uint64_t region = offset / kRegionBytes;
      const bool data = std::ranges::binary_search(regions_, region);
      // Up to the next region with data, or the end of this one.
      std::uint64_t until = (region + 1) * kRegionBytes;
      if (!data) {
        const auto next = std::ranges::upper_bound(regions_, region);
        until = next == regions_.end() ? end : *next * kRegionBytes;
      }
      until = std::min(until, end);
      if (out.size() == runs_max && out.back().data != data) break;
      add_run(out, until - offset, data);
      offset = until;
    }
    return out;
  }
  void expect(std::uint64_t, std::uint64_t) override {}

 private:
  const std::unique_ptr<RbdImage> image_;
  const std::vector<std::uint64_t> regions_;  // ascending
  const std::uint64_t size_;
};

class FileDisk final : public BlockView {
 public:
  FileDisk(Fd fd, std::uint64_t size) : fd_(std::move(fd)), size_(size) {}

  std::uint64_t size() const override { return size_; }
  Status read(std::uint64_t offset, ByteSpan into) override {
    TM_DO(check_range(*this, offset, into.size()));
    while (!into.empty()) {
      const ssize_t got = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno_error(errno, "read");
      if (got == 0) return Error(ErrorCode::corruption, "the file became shorter");
      into = into.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::uint64_t>(got);
    }
    return {};
  }
  Result<std::vector<BlockRun>> runs(std::uint64_t offset, std::uint64_t length,
                                     std::size_t runs_max) override {
    std::vector<BlockRun> out;
    const std::uint64_t end = offset + length;
    while (offset < end && out.size() < runs_max) {
      // No file system tells of data before this one's end: then all that follows is a hole.
      const auto next = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
      if (next < 0 && errno != ENXIO) return errno_error(errno, "SEEK_DATA");
      const std::uint64_t data = next < 0 ? end : std::min(static_cast<std::uint64_t>(next), end);
      if (data > offset) {
        add_run(out, data - offset, false);
        offset = data;
        continue;
      }
      const auto hole = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_HOLE);
      if (hole < 0) return errno_error(errno, "SEEK_HOLE");
      const std::uint64_t until = std::min(static_cast<std::uint64_t>(hole), end);
      add_run(out, until - offset, true);
      offset = until;
    }
    return out;
  }
  void expect(std::uint64_t, std::uint64_t) override {}

 private:
  const Fd fd_;
  const std::uint64_t size_;
};

}  // namespace

Result<std::unique_ptr<BlockView>> open_image_disk(std::shared_ptr<CephCluster> cluster,
                                                   const RbdImageName& name, std::stop_token stop) {
  std::uint64_t snapshot = 0;
  {
    TM_TRY(const auto head, RbdImage::open_read_write(cluster, name));
    TM_TRY(snapshot, head->create_snapshot(kDrillSnapshot));
  }
  TM_TRY(auto image, RbdImage::open_snapshot(std::move(cluster), name, snapshot));
  std::vector<std::uint64_t> regions;
  ListChanges options;
  options.region_bytes = kRegionBytes;
  TM_TRY(const auto stats, list_changes(
                               *image, nullptr, options,
                               [&](const RegionChange& change) -> Status {
                                 regions.push_back(change.region);
                                 return {};
                               },
                               stop));
  static_cast<void>(stats);
  return std::unique_ptr<BlockView>(
      std::make_unique<ImageDisk>(std::move(image), std::move(regions)));
}

Result<std::unique_ptr<BlockView>> open_file_disk(const std::filesystem::path& path) {
  TM_TRY(Fd fd, open_file(path, O_RDONLY, 0));
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return errno_error(errno, "stat " + path.string());
  return std::unique_ptr<BlockView>(
      std::make_unique<FileDisk>(std::move(fd), static_cast<std::uint64_t>(found.st_size)));
}

}  // namespace tidemark
