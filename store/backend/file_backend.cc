#include "store/backend/file_backend.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/crypto.h"
#include "base/log.h"
#include "store/backend/file_lock.h"
#include "store/backend/file_walk.h"

namespace tidemark {
namespace {

constexpr unsigned kFileMode = 0600;
// While a blob streams in, the disk is kept busy with what has come so far; else the final fsync
// would have everything to write at once.
constexpr std::uint64_t kWritebackBytes = 4 * kMiB;
// The kernel is told of a read of this much as a whole.
constexpr std::size_t kReadAtOnceBytes = 256 * kKiB;

Status sync_descriptor(int fd, const std::string& what) {
  if (::fsync(fd) != 0) return errno_error(errno, "fsync " + what);
  return {};
}

// Filesystems without RENAME_NOREPLACE get the same from a hard link, in two steps.
int rename_noreplace(int from_directory, const char* from, int to_directory, const char* to) {
  if (::renameat2(from_directory, from, to_directory, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return -1;
  if (::linkat(from_directory, from, to_directory, to, 0) != 0) return -1;
  ::unlinkat(from_directory, from, 0);
  return 0;
}

void set_direct(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) ::fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}

// Writes whole blocks past the page cache, as far as the file system allows. How many bytes it got.
std::size_t write_blocks(int fd, ByteView data, std::uint64_t offset) {
  constexpr std::size_t kBlock = 4096, kStep = kMiB;
  const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(kBlock, kStep),
                                                          &std::free);
  if (block == nullptr || offset % kBlock != 0) return 0;
  std::size_t done = 0;
  set_direct(fd, true);
  while (data.size() - done >= kBlock) {
    const std::size_t size = std::min(kStep, (data.size() - done) / kBlock * kBlock);
    std::memcpy(block.get(), data.data() + done, size);
    const ByteView aligned(static_cast<const std::uint8_t*>(block.get()), size);
    // Whatever it was, the way through the cache says the same again, or can do it.
    if (!write_at(fd, aligned, offset + done)) break;
    done += size;
  }
  set_direct(fd, false);
  return done;
}

// Writes to a new file, and much at once past the page cache. A store writes far more than it reads
// soon after: through the cache every pack would take the place of something that is read, and on a
// machine whose memory is not all there yet (a virtual one) each of the pages costs more than its
// copy. Trees and records are less than it is worth.
Status write_new(int fd, ByteView data, std::uint64_t offset) {
  constexpr std::size_t kDirectBytesMin = kMiB;
  const std::size_t done = data.size() < kDirectBytesMin ? 0 : write_blocks(fd, data, offset);
  return write_at(fd, data.subspan(done), offset + done);
}

std::string parent_of(const std::string& name) {
  const auto slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

std::string leaf_of(const std::string& name) { return name.substr(name.rfind('/') + 1); }

}  // namespace

// A file in tmp/ that goes away unless it was published. It is locked for as long as it is open,
// which tells it from a leftover, whatever process, container or machine made it.
class FileBackend::TemporaryFile {
 public:
  static Result<TemporaryFile> make(DirectoryTree& tree) {
    TM_TRY(Fd directory, tree.make_directory(kTemporaryDirectory));
    std::array<std::uint8_t, 16> random{};
    random_bytes(random);
    std::string name = to_hex(random);
    const int fd = ::openat(directory.get(), name.c_str(),
                            O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kFileMode);
    if (fd < 0) return errno_error(errno, "make a temporary file");
    TemporaryFile file(std::move(directory), Fd(fd), std::move(name));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) return errno_error(errno, "lock a temporary file");
    return file;
  }
  ~TemporaryFile() {
    if (fd_ && !published_) ::unlinkat(directory_.get(), name_.c_str(), 0);
  }
  TemporaryFile(TemporaryFile&&) = default;

  int fd() const { return fd_.get(); }
  int directory() const { return directory_.get(); }
  const char* name() const { return name_.c_str(); }
  void set_published() { published_ = true; }

 private:
  TemporaryFile(Fd directory, Fd fd, std::string name)
      : directory_(std::move(directory)), fd_(std::move(fd)), name_(std::move(name)) {}
  Fd directory_, fd_;
  std::string name_;
  bool published_ = false;
};

class FileBackend::FileWriter final : public Backend::Writer {
 public:
  FileWriter(FileBackend& backend, std::string name, TemporaryFile file)
      : backend_(backend), name_(std::move(name)), file_(std::move(file)) {}

  Status append(ByteView data) override {
    if (!file_) return ended();
    auto status = append_now(data);
    // What stands in the file is unknown now: nothing may be committed any more.
    if (!status) file_.reset();
    return status;
  }

  Status commit() override {
    if (!file_) return ended();
    auto status = backend_.publish(*file_, name_);
    file_.reset();
    if (!status && status.error().code() == ErrorCode::already_exists) return {};
    return status;
  }

 private:
  Status append_now(ByteView data) {
    if (data.size() > kBlobBytesMax - size_)
      return Error(ErrorCode::invalid_argument, name_ + ": larger than a blob may be");
    TM_DO(write_new(file_->fd(), data, size_));
    size_ += data.size();
    if (size_ - pushed_ < kWritebackBytes) return {};
    // A hint only: whatever fails here is found again by fsync.
    ::sync_file_range(file_->fd(), static_cast<off64_t>(pushed_),
                      static_cast<off64_t>(size_ - pushed_), SYNC_FILE_RANGE_WRITE);
    pushed_ = size_;
    return {};
  }
  Error ended() const { return {ErrorCode::internal, name_ + ": written to after its end"}; }

  FileBackend& backend_;
  const std::string name_;
  std::optional<TemporaryFile> file_;  // nothing after commit() or a failure
  std::uint64_t size_ = 0, pushed_ = 0;
};

Result<std::unique_ptr<Backend>> open_file_backend(const std::filesystem::path& path, bool create) {
  if (path.empty()) return Error(ErrorCode::invalid_argument, "the store's path is empty");
  std::error_code failed;
  auto absolute = std::filesystem::absolute(path, failed).lexically_normal();
  if (failed) return errno_error(failed.value(), "resolve " + path.string());
  if (!absolute.has_filename()) absolute = absolute.parent_path();  // a '/' at the end
  TM_TRY(auto tree, DirectoryTree::open(absolute, create));
  return std::unique_ptr<Backend>(
      std::make_unique<FileBackend>(absolute.string(), std::move(tree)));
}

FileBackend::FileBackend(std::string path, std::unique_ptr<DirectoryTree> tree)
    : path_(std::move(path)), tree_(std::move(tree)) {}

std::mutex& FileBackend::commit_mutex(const std::string& name) {
  return commit_mutexes_[std::hash<std::string>{}(name) % commit_mutexes_.size()];
}

Status FileBackend::create(std::string_view name, ByteView data) {
  TM_DO(check_blob_name(name));
  if (data.size() > kBlobBytesMax)
    return Error(ErrorCode::invalid_argument, std::string(name) + ": larger than a blob may be");
  // The common case of a name that is taken costs no write.
  const std::string blob(name);
  if (const auto there = size(name)) {
    TM_TRY(const Fd directory, tree_->make_directory(parent_of(blob)));
    std::lock_guard lock(commit_mutex(blob));
    return meet_existing(directory, leaf_of(blob), blob);
  }
  TM_TRY(auto file, TemporaryFile::make(*tree_));
  TM_DO(write_new(file.fd(), data, 0));
  return publish(file, blob);
}

Status FileBackend::replace(std::string_view name, ByteView data) {
  TM_DO(check_blob_name(name));
  if (data.size() > kBlobBytesMax)
    return Error(ErrorCode::invalid_argument, std::string(name) + ": larger than a blob may be");
  TM_TRY(auto file, TemporaryFile::make(*tree_));
  TM_DO(write_at(file.fd(), data, 0));
  return publish_replacing(file, std::string(name));
}

Result<std::unique_ptr<Backend::Writer>> FileBackend::writer(std::string_view name) {
  TM_DO(check_blob_name(name));
  TM_TRY(auto file, TemporaryFile::make(*tree_));
  return std::unique_ptr<Writer>(
      std::make_unique<FileWriter>(*this, std::string(name), std::move(file)));
}

// Bytes first, then the name, then the directory that holds the name: a crash between any two of
// them leaves the name absent or the blob whole.
Status FileBackend::publish(TemporaryFile& file, const std::string& name) {
  TM_DO(sync_descriptor(file.fd(), name));
  const std::string leaf = leaf_of(name);
  TM_TRY(const Fd directory, tree_->make_directory(parent_of(name)));
  std::lock_guard lock(commit_mutex(name));
  if (rename_noreplace(file.directory(), file.name(), directory.get(), leaf.c_str()) != 0) {
    if (errno == EEXIST) return meet_existing(directory, leaf, name);
    // The temporary file or the directory was removed under us; the next attempt makes both anew.
    if (errno == ENOENT)
      return Error(ErrorCode::unavailable, name + ": removed while being written");
    return errno_error(errno, "rename to " + name);
  }
  file.set_published();
  auto synced = sync_descriptor(directory.get(), "the directory of " + name);
  if (synced) return {};
  // The kernel reports a failed fsync once and forgets: a blob left here would look durable to the
  // next attempt, and may be gone after a crash.
  ::unlinkat(directory.get(), leaf.c_str(), 0);
  if (::fsync(directory.get()) != 0) log::warn("store: fsync after taking back {} failed", name);
  return synced;
}

// Whoever made the blob synced its bytes before its name appeared; its directory may not have been.
Status FileBackend::meet_existing(const Fd& directory, const std::string& leaf,
                                  const std::string& name) {
  struct stat st {};
  if (::fstatat(directory.get(), leaf.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Error(ErrorCode::unavailable, name + ": removed at the same time");
    return errno_error(errno, "stat " + name);
  }
  if (S_ISDIR(st.st_mode))
    return Error(ErrorCode::invalid_argument, name + ": the name is a part of other blobs' names");
  if (!S_ISREG(st.st_mode)) return path_error(ELOOP, name);
  TM_DO(sync_descriptor(directory.get(), "the directory of " + name));
  return Error(ErrorCode::already_exists, name + " exists already");
}

Status FileBackend::publish_replacing(TemporaryFile& file, const std::string& name) {
  TM_DO(sync_descriptor(file.fd(), name));
  const std::string leaf = leaf_of(name);
  TM_TRY(const Fd directory, tree_->make_directory(parent_of(name)));
  std::lock_guard lock(commit_mutex(name));
  if (::renameat(file.directory(), file.name(), directory.get(), leaf.c_str()) != 0) {
    if (errno == EISDIR)
      return Error(ErrorCode::invalid_argument,
                   name + ": the name is a part of other blobs' names");
    if (errno == ENOENT)
      return Error(ErrorCode::unavailable, name + ": removed while being written");
    return errno_error(errno, "rename to " + name);
  }
  file.set_published();
  files_.drop(name);
  return sync_descriptor(directory.get(), "the directory of " + name);
}

Result<FileBackend::OpenBlob> FileBackend::open_blob(const std::string& name) {
  struct stat st {};
  // A cached file that has no name any more was removed or replaced, perhaps by another process.
  if (auto cached = files_.get(name)) {
    if (::fstat(cached->get(), &st) != 0) return errno_error(errno, "stat " + name);
    if (st.st_nlink > 0) return OpenBlob{cached, static_cast<std::uint64_t>(st.st_size)};
    files_.drop(name);
  }
  // O_NONBLOCK keeps a planted FIFO from holding us up; on regular files it means nothing.
  const int fd = tree_->open_beneath(name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return path_error(-fd, name);
  auto opened = std::make_shared<const Fd>(fd);
  if (::fstat(fd, &st) != 0) return errno_error(errno, "stat " + name);
  if (!S_ISREG(st.st_mode)) return path_error(ENOENT, name);
  files_.put(name, opened);
  // Removed between opening and caching: nobody else would drop it, and it would keep its space.
  struct stat again {};
  if (::fstat(fd, &again) != 0 || again.st_nlink == 0) files_.drop(name);
  return OpenBlob{std::move(opened), static_cast<std::uint64_t>(st.st_size)};
}

Result<Bytes> FileBackend::read(std::string_view name, std::uint64_t offset, std::size_t size) {
  TM_DO(check_blob_name(name));
  TM_TRY(const OpenBlob blob, open_blob(std::string(name)));
  // Before anything is allocated: the size may come from a damaged index.
  if (offset > blob.size_bytes || size > blob.size_bytes - offset)
    return Error(ErrorCode::corruption, std::string(name) + ": ends before what was to be read");
  // Else the kernel reads ahead in small steps, each of which waits for the disk.
  if (size >= kReadAtOnceBytes)
    ::posix_fadvise(blob.fd->get(), static_cast<off_t>(offset), static_cast<off_t>(size),
                    POSIX_FADV_WILLNEED);
  auto bytes = read_at(blob.fd->get(), offset, size);
  if (!bytes) return std::move(bytes).error().context(name);
  return bytes;
}

Result<std::uint64_t> FileBackend::size(std::string_view name) {
  TM_DO(check_blob_name(name));
  const int fd = tree_->open_beneath(std::string(name), O_PATH | O_NOFOLLOW);
  if (fd < 0) return path_error(-fd, name);
  const Fd opened(fd);
  struct stat st {};
  if (::fstat(fd, &st) != 0) return errno_error(errno, "stat " + std::string(name));
  if (S_ISLNK(st.st_mode)) return path_error(ELOOP, name);
  if (!S_ISREG(st.st_mode)) return path_error(ENOENT, name);
  return static_cast<std::uint64_t>(st.st_size);
}

Status FileBackend::list(std::string_view prefix,
                         const std::function<Status(const BlobInfo&)>& each) {
  TM_DO(tree_->check_root());
  return walk_blobs(*tree_, prefix, true, each);
}

Status FileBackend::list_names(std::string_view prefix,
                               const std::function<Status(std::string_view)>& each) {
  TM_DO(tree_->check_root());
  return walk_blobs(*tree_, prefix, false, [&](const BlobInfo& blob) { return each(blob.name); });
}

Status FileBackend::remove(std::string_view name) {
  TM_DO(check_blob_name(name));
  const std::string blob(name), leaf = leaf_of(blob);
  const int fd = tree_->open_beneath(parent_of(blob), O_RDONLY | O_DIRECTORY);
  if (fd == -ENOENT || fd == -ENOTDIR) return {};
  if (fd < 0) return path_error(-fd, name);
  const Fd directory(fd);
  const bool removed = ::unlinkat(fd, leaf.c_str(), 0) == 0;
  // A directory of that name is no blob, so the blob is absent.
  if (!removed && errno != ENOENT && errno != EISDIR) return errno_error(errno, "remove " + blob);
  files_.drop(blob);
  if (!removed) return {};
  // Removals are ordered against each other: a point that is gone must not come back after the
  // packs it needs were removed.
  return sync_descriptor(fd, "the directory of " + blob);
}

Result<std::optional<BackendSpace>> FileBackend::space() {
  struct statvfs st {};
  if (::fstatvfs(tree_->root(), &st) != 0) return errno_error(errno, "statvfs " + path_);
  return BackendSpace{.total_bytes = std::uint64_t{st.f_blocks} * st.f_frsize,
                      .free_bytes = std::uint64_t{st.f_bavail} * st.f_frsize};
}

Result<std::unique_ptr<WriterLock>> FileBackend::lock_writer(std::string_view owner) {
  TM_TRY(auto lock, FileLock::take(tree_, kLockName, owner));
  remove_leftovers();
  return std::unique_ptr<WriterLock>(std::move(lock));
}

// Best effort: what cannot be removed costs space, and is tried again by the next holder of the
// lock.
void FileBackend::remove_leftovers() {
  const int fd = tree_->open_beneath(kTemporaryDirectory, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  const Fd directory(fd);
  auto names = names_in(directory);
  if (!names) {
    log::warn("store: temporary files not listed: {}", names.error().message());
    return;
  }
  for (const auto& [name, regular] : *names) {
    const int leftover = ::openat(fd, name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (leftover < 0) continue;
    const Fd held(leftover);
    // Locked: its maker lives and is still writing it.
    if (::flock(leftover, LOCK_EX | LOCK_NB) != 0) continue;
    if (::unlinkat(fd, name.c_str(), 0) == 0)
      log::info("store: removed the unfinished file tmp/{}", name);
  }
}

}  // namespace tidemark
