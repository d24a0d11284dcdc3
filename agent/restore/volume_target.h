// Where a volume is restored to.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "base/files.h"
#include "base/queue.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

// Takes writes in any order from several threads. Failures of asynchronous writes come out of a
// later call, at the latest of finish().
class VolumeTarget {
 public:
  virtual ~VolumeTarget() = default;
  // `keep` holds what `data` points into, until it is written.
  virtual Status write(std::uint64_t offset, ByteView data, std::shared_ptr<const void> keep) = 0;
  virtual Status zero(std::uint64_t offset, std::uint64_t size) = 0;
  // Waits for everything and makes it durable. Called once, last.
  virtual Status finish() = 0;
};

// A raw file, sparse where the volume is; or a block device, where zeros are written out.
class FileTarget final : public VolumeTarget {
 public:
  // A new file of `size_bytes`; an existing one is refused without `force`, and emptied with it.
  static Result<std::unique_ptr<FileTarget>> open(const std::filesystem::path& path,
                                                  std::uint64_t size_bytes, bool force);
  // True where what is not written reads as anything but zeros: a block device.
  bool needs_zeroes() const { return block_device_; }
  Status write(std::uint64_t offset, ByteView data, std::shared_ptr<const void> keep) override;
  Status zero(std::uint64_t offset, std::uint64_t size) override;
  Status finish() override;

 private:
  FileTarget(Fd fd, bool block_device) : fd_(std::move(fd)), block_device_(block_device) {}
  Fd fd_;
  const bool block_device_;
};

// An open RBD image, written with a bounded number of bytes in flight.
class RbdTarget final : public VolumeTarget {
 public:
  static constexpr std::uint64_t kInFlightBytesMax = 32 * kMiB;
  explicit RbdTarget(std::shared_ptr<RbdImage> image) : image_(std::move(image)) {}
  ~RbdTarget() override { in_flight_.wait_for_none(); }
  Status write(std::uint64_t offset, ByteView data, std::shared_ptr<const void> keep) override;
  Status zero(std::uint64_t offset, std::uint64_t size) override;
  Status finish() override;
  RbdImage& image() { return *image_; }

 private:
  Status start(std::uint64_t cost, const std::function<void(RbdImage::Done)>& operation);
  Status failure();

  std::shared_ptr<RbdImage> image_;
  Budget bytes_{kInFlightBytesMax};
  InFlight in_flight_;
  std::mutex mutex_;
  std::optional<Error> error_;  // guarded by mutex_
};

}  // namespace tidemark
