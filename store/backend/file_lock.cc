#include "store/backend/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace tidemark {
namespace {

constexpr std::size_t kOwnerBytesMax = 200;
// A lock file that is deleted at the same moment is made anew; a bound, so that it ends.
constexpr int kAttemptsMax = 100;

// True where the file of that name is the one that is open.
bool is_same_file(int directory, const char* name, int fd) {
  struct stat there {
  }, ours{};
  return ::fstatat(directory, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && ::fstat(fd, &ours) == 0 &&
         there.st_ino == ours.st_ino && there.st_dev == ours.st_dev;
}

std::string owner_in(int fd) {
  std::array<char, kOwnerBytesMax> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  if (n <= 0) return "somebody unknown";
  return printable_owner({text.data(), static_cast<std::size_t>(n)});
}

}  // namespace

std::string printable_owner(std::string_view owner) {
  std::string text;
  for (const char c : owner.substr(0, kOwnerBytesMax))
    if (c >= 0x20 && c < 0x7f) text.push_back(c);
  return text;
}

Result<std::unique_ptr<FileLock>> FileLock::take(std::shared_ptr<DirectoryTree> tree,
                                                 const char* name, std::string_view owner) {
  for (int i = 0; i < kAttemptsMax; ++i) {
    const int opened = tree->open_beneath(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (opened < 0) return path_error(-opened, "open the writer lock");
    Fd fd(opened);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return errno_error(errno, "take the writer lock");
      return Error(ErrorCode::refused, "the store is being written by " + owner_in(fd.get()));
    }
    // Deleted between opening and locking: what is locked is not what the next one will open.
    if (!is_same_file(tree->root(), name, fd.get())) continue;
    const std::string text = printable_owner(owner) + "\n";
    if (::ftruncate(fd.get(), 0) != 0) return errno_error(errno, "write the writer lock");
    // The text is for people; on a full disk, where room is about to be made, the lock must work
    // without it.
    ignore_error(write_at(fd.get(), as_bytes(text), 0), "the lock holds all the same");
    return std::unique_ptr<FileLock>(new FileLock(std::move(tree), name, std::move(fd)));
  }
  return Error(ErrorCode::unavailable, "the writer lock is deleted again and again");
}

bool FileLock::held() const { return is_same_file(tree_->root(), name_, fd_.get()); }

}  // namespace tidemark
