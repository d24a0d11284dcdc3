#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/crypto.h"

namespace tidemark {

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return errno_error(errno, "open " + path.string());
  return Fd(fd);
}

namespace {

// Calls once(rest, done) until all of `data` is written.
template <class Once>
Status write_fully(ByteView data, Once once) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t n = once(data.subspan(done), done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write");
    if (n == 0) return Error(ErrorCode::resource_exhausted, "write: nothing was taken");
    done += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace

Status write_at(int fd, ByteView data, std::uint64_t offset) {
  return write_fully(data, [&](ByteView rest, std::size_t done) {
    return ::pwrite(fd, rest.data(), rest.size(), static_cast<off_t>(offset + done));
  });
}

Status write_all(int fd, ByteView data) {
  return write_fully(
      data, [&](ByteView rest, std::size_t) { return ::write(fd, rest.data(), rest.size()); });
}

Result<Bytes> read_at(int fd, std::uint64_t offset, std::size_t size) {
  Bytes out(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pread(fd, out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read");
    if (n == 0) return Error(ErrorCode::corruption, "read: the file ends too early");
    done += static_cast<std::size_t>(n);
  }
  return out;
}

Result<Bytes> read_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  // Opening a FIFO would wait for a writer, before fstat() can tell that it is one.
  TM_TRY(const Fd fd, open_file(path, O_RDONLY | O_NONBLOCK));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return errno_error(errno, "stat " + path.string());
  if (!S_ISREG(st.st_mode))
    return Error(ErrorCode::invalid_argument, path.string() + ": not a regular file");
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (size > max_bytes)
    return Error(ErrorCode::invalid_argument,
                 path.string() + ": larger than " + std::to_string(max_bytes) + " bytes");
  auto bytes = read_at(fd.get(), 0, static_cast<std::size_t>(size));
  if (!bytes) return std::move(bytes).error().context(path.string());
  return bytes;
}

Status write_file_durably(const std::filesystem::path& path, ByteView data, unsigned mode) {
  std::array<std::uint8_t, 8> random{};
  random_bytes(random);
  const std::filesystem::path temporary = path.string() + ".tmp-" + to_hex(random);
  const auto written = [&]() -> Status {
    TM_TRY(const Fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    TM_DO(write_at(fd.get(), data, 0));
    if (::fsync(fd.get()) != 0) return errno_error(errno, "fsync");
    if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_error(errno, "rename");
    return {};
  }();
  if (!written) {
    ::unlink(temporary.c_str());
    return written.error().context("write " + path.string());
  }
  return sync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

Status replace_file(const std::filesystem::path& path, ByteView data, unsigned mode) {
  const std::filesystem::path temporary = path.string() + ".new";
  const auto written = [&]() -> Status {
    TM_TRY(const Fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    TM_DO(write_at(fd.get(), data, 0));
    if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_error(errno, "rename");
    return {};
  }();
  if (!written) return written.error().context("write " + path.string());
  return {};
}

Status sync_directory(const std::filesystem::path& directory) {
  TM_TRY(const Fd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return errno_error(errno, "fsync " + directory.string());
  return {};
}

Result<Fd> lock_file(const std::filesystem::path& path) {
  TM_TRY(Fd fd, open_file(path, O_RDWR | O_CREAT));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK)
    return Error(ErrorCode::refused, path.string() + " is held by another process");
  return errno_error(errno, "lock " + path.string());
}

}  // namespace tidemark
