#include "store/backend/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace tidemark {
namespace {

constexpr unsigned kDirectoryMode = 0700;
// openat2 asks to be repeated where something was renamed meanwhile; a bound, so that it ends.
constexpr int kOpenAttemptsMax = 100;

int openat2_once(int directory, const char* path, int flags, unsigned mode) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const long fd = ::syscall(SYS_openat2, directory, path, &how, sizeof how);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

// With O_DIRECTORY a symbolic link answers ENOTDIR, as a plain file does. Leaves errno alone.
bool is_link(int directory, const std::string& leaf) {
  struct stat st {};
  const int saved = errno;
  const bool link =
      ::fstatat(directory, leaf.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
  errno = saved;
  return link;
}

// What making a directory can meet: a blob where a directory is needed is the caller's mistake.
Error directory_error(int errnum, std::string_view doing) {
  if (errnum == ENOTDIR)
    return Error(ErrorCode::invalid_argument,
                 std::string(doing) + ": a part of the name is the name of a blob");
  return path_error(errnum, doing);
}

// Makes `root` and what is missing above it, each durable in its parent.
Status make_root(const std::filesystem::path& root) {
  std::error_code ignored;
  if (std::filesystem::is_directory(root, ignored)) return {};
  const auto parent = root.parent_path();
  if (!parent.empty() && parent != root) TM_DO(make_root(parent));
  if (::mkdir(root.c_str(), kDirectoryMode) != 0 && errno != EEXIST)
    return errno_error(errno, "make directory " + root.string());
  return sync_directory(parent.empty() ? "." : parent);
}

}  // namespace

Error path_error(int errnum, std::string_view doing) {
  if (errnum == ELOOP || errnum == EXDEV)
    return Error(ErrorCode::corruption,
                 std::string(doing) + ": a symbolic link or a mount stands in the way");
  if (errnum == ENOTDIR || errnum == ENOENT)
    return Error(ErrorCode::not_found, std::string(doing) + ": no such blob");
  return errno_error(errnum, doing);
}

DirectoryTree::DirectoryTree(Fd root) : root_(std::move(root)) {
  const int probe = openat2_once(root_.get(), ".", O_PATH | O_DIRECTORY, 0);
  // Sandboxes that do not know the call answer EPERM.
  has_openat2_ = probe >= 0 || (probe != -ENOSYS && probe != -EPERM);
  if (probe >= 0) ::close(probe);
}

Result<std::unique_ptr<DirectoryTree>> DirectoryTree::open(const std::filesystem::path& root,
                                                           bool create) {
  if (create) TM_DO(make_root(root));
  TM_TRY(Fd fd, open_file(root, O_RDONLY | O_DIRECTORY));
  return std::unique_ptr<DirectoryTree>(new DirectoryTree(std::move(fd)));
}

Status DirectoryTree::check_root() const {
  struct stat st {};
  if (::fstat(root(), &st) != 0) return errno_error(errno, "stat the store's directory");
  if (st.st_nlink == 0) return Error(ErrorCode::unavailable, "the store's directory was deleted");
  return {};
}

int DirectoryTree::open_beneath(const std::string& path, int flags, unsigned mode) const {
  if (!has_openat2_) return open_walking(path, flags, mode);
  int fd = -EAGAIN;
  for (int i = 0; i < kOpenAttemptsMax && (fd == -EAGAIN || fd == -EINTR); ++i)
    fd = openat2_once(root(), path.empty() ? "." : path.c_str(), flags, mode);
  return fd;
}

int DirectoryTree::open_walking(const std::string& path, int flags, unsigned mode) const {
  Fd held;
  int directory = root();
  std::size_t begin = 0;
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', begin)) {
    const std::string part = path.substr(begin, slash - begin);
    const int next =
        ::openat(directory, part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) return errno == ENOTDIR && is_link(directory, part) ? -ELOOP : -errno;
    held = Fd(next);
    directory = next;
    begin = slash + 1;
  }
  const std::string leaf = path.empty() ? "." : path.substr(begin);
  const int fd = ::openat(directory, leaf.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd >= 0) return fd;
  return errno == ENOTDIR && is_link(directory, leaf) ? -ELOOP : -errno;
}

Result<Fd> DirectoryTree::make_directory(const std::string& path) {
  auto made = make_and_open(path);
  if (made || made.error().code() != ErrorCode::not_found) return made;
  // Somebody removed a directory that is remembered as there: find out anew, once.
  {
    std::lock_guard lock(mutex_);
    durable_.clear();
  }
  TM_DO(check_root());
  return make_and_open(path);
}

Result<Fd> DirectoryTree::make_and_open(const std::string& path) {
  for (std::size_t end = 0; !path.empty() && end != std::string::npos;) {
    end = path.find('/', end == 0 ? 0 : end + 1);
    TM_DO(make_one(path.substr(0, end)));
  }
  const int fd = open_beneath(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return directory_error(-fd, "open directory " + path);
  return Fd(fd);
}

// A directory found in place counts as durable only after its parent was synced by this process
// too: whoever made it may have died, or may be about to fail, between the two steps.
Status DirectoryTree::make_one(const std::string& path) {
  {
    std::lock_guard lock(mutex_);
    if (durable_.contains(path)) return {};
  }
  const auto slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
  const std::string leaf = slash == std::string::npos ? path : path.substr(slash + 1);
  const int fd = open_beneath(parent, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return directory_error(-fd, "open directory " + parent);
  const Fd directory(fd);
  const bool made = ::mkdirat(fd, leaf.c_str(), kDirectoryMode) == 0;
  if (!made && errno != EEXIST) return errno_error(errno, "make directory " + path);
  if (::fsync(fd) != 0) {
    const Error error = errno_error(errno, "fsync the parent of " + path);
    // The next attempt must dirty the parent again, or its fsync would succeed without writing.
    if (made) ::unlinkat(fd, leaf.c_str(), AT_REMOVEDIR);
    return error;
  }
  std::lock_guard lock(mutex_);
  durable_.insert(path);
  return {};
}

}  // namespace tidemark
