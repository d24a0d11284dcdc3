#include "store/backend/file_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace tidemark {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

class Walk {
 public:
  Walk(const DirectoryTree& tree, std::string_view prefix, bool sizes,
       const std::function<Status(const BlobInfo&)>& each)
      : tree_(tree), prefix_(prefix), sizes_(sizes), each_(each) {}

  // `path` is "" or ends with '/'. The depth is bounded by what check_blob_name lets through.
  Status directory(const std::string& path) {
    const std::string name = path.empty() ? "" : path.substr(0, path.size() - 1);
    const int fd = tree_.open_beneath(name, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return vanished_or(-fd, name);
    const Fd opened(fd);
    // Read to the end before anybody is called: a directory read while the caller removes from it
    // may give an entry twice.
    auto names = names_in(opened);
    if (!names) return std::move(names).error().context("list " + path);
    std::string wanted;
    for (const DirectoryEntry& leaf : *names) {
      (wanted = path) += leaf.name;
      if (is_wanted(wanted)) TM_DO(entry(opened, leaf, wanted));
    }
    return {};
  }

 private:
  // True where the path can be a blob's or lead to one, and agrees with the prefix.
  bool is_wanted(const std::string& path) const {
    return check_blob_name(path).has_value() &&
           (path.starts_with(prefix_) || prefix_.starts_with(path));
  }

  Status entry(const Fd& parent, const DirectoryEntry& leaf, const std::string& path) {
    if (!sizes_ && leaf.regular) return path.starts_with(prefix_) ? each_({path, 0}) : Status();
    struct stat st {};
    if (::fstatat(parent.get(), leaf.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return {};  // removed meanwhile
      return errno_error(errno, "stat " + path);
    }
    if (S_ISDIR(st.st_mode)) {
      // "packs" begins the prefix "packs/3f", "pack" does not.
      if (path.size() < prefix_.size() && prefix_[path.size()] != '/') return {};
      return directory(path + "/");
    }
    if (!S_ISREG(st.st_mode)) return path_error(ELOOP, path);
    if (!path.starts_with(prefix_)) return {};
    return each_({.name = path, .size_bytes = static_cast<std::uint64_t>(st.st_size)});
  }

  // Directories are never removed by us. One that went away between two steps of a listing may have
  // taken blobs along: not something to call complete.
  static Status vanished_or(int errnum, const std::string& name) {
    if (errnum == ENOENT)
      return Error(ErrorCode::unavailable, "list: directory " + name + " vanished");
    return path_error(errnum, "list " + name);
  }

  const DirectoryTree& tree_;
  const std::string_view prefix_;
  const bool sizes_;
  const std::function<Status(const BlobInfo&)>& each_;
};

}  // namespace

Result<std::vector<DirectoryEntry>> names_in(const Fd& directory) {
  // fdopendir takes its descriptor over, and the position of a duplicate would be shared.
  const int fd = ::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "open directory");
  const std::unique_ptr<DIR, CloseDirectory> stream(::fdopendir(fd));
  if (!stream) {
    const int errnum = errno;
    ::close(fd);
    return errno_error(errnum, "open directory");
  }
  std::vector<DirectoryEntry> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    // Some file systems do not tell: those are asked one by one.
    names.push_back({std::string(name), entry->d_type == DT_REG});
  }
  // readdir tells the end and an error apart by errno alone.
  if (errno != 0) return errno_error(errno, "read directory");
  std::ranges::sort(names, {}, &DirectoryEntry::name);
  const auto twice = std::ranges::unique(names, {}, &DirectoryEntry::name);
  names.erase(twice.begin(), twice.end());
  return names;
}

Status walk_blobs(const DirectoryTree& tree, std::string_view prefix, bool sizes,
                  const std::function<Status(const BlobInfo&)>& each) {
  return Walk(tree, prefix, sizes, each).directory("");
}

}  // namespace tidemark
