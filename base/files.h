// Files: descriptors that close themselves, whole reads and writes, and durable replacement.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC; the error names the path.
Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0600);
// Writes all of `data` at `offset`.
Status write_at(int fd, ByteView data, std::uint64_t offset);
// Writes all of `data` at the descriptor's position (pipes, stdout).
Status write_all(int fd, ByteView data);
// Reads `size` bytes at `offset`; `corruption` where the file ends before.
Result<Bytes> read_at(int fd, std::uint64_t offset, std::size_t size);
// A whole file; `invalid_argument` where it is larger than `max_bytes`.
Result<Bytes> read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// Replaces `path` so that after a crash it holds either all of the old or all of the new bytes, and
// after return the new ones: temporary file beside it, fsync, rename, fsync of the directory.
Status write_file_durably(const std::filesystem::path& path, ByteView data, unsigned mode = 0600);
// As write_file_durably(), but a power cut may bring the old bytes back or lose both: for what is
// written anew every few seconds, by one writer.
Status replace_file(const std::filesystem::path& path, ByteView data, unsigned mode = 0600);
Status sync_directory(const std::filesystem::path& directory);

// An exclusive lock that ends with the process. `refused` where another process holds it.
Result<Fd> lock_file(const std::filesystem::path& path);

}  // namespace tidemark
