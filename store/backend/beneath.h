// A directory tree that no path leads out of.
//
// Blob names are checked before they become paths, but a symbolic link planted inside the store's
// directory could still send a read or a write elsewhere. Everything is therefore opened relative
// to one directory descriptor, by openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS; where
// the kernel or a sandbox lacks that call, part by part with O_NOFOLLOW, which gives the same
// promise.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/files.h"
#include "base/result.h"

namespace tidemark {

// The Error for an errno of a call on a path below the store's directory. A symbolic link where a
// file or directory of ours should be is `corruption`.
Error path_error(int errnum, std::string_view doing);

// Safe from any thread.
class DirectoryTree {
 public:
  // Opens `root`, which may itself be reached through links; with `create`, makes it first,
  // durably.
  static Result<std::unique_ptr<DirectoryTree>> open(const std::filesystem::path& root,
                                                     bool create);

  int root() const { return root_.get(); }
  // `unavailable` where the root was deleted: a listing would read as empty then.
  Status check_root() const;

  // A descriptor, or a negative errno. `path` has no leading '/' and no empty part.
  int open_beneath(const std::string& path, int flags, unsigned mode = 0) const;

  // The directory `path` ("" is the root), made as needed. It has been durable in its parent since
  // before the first return.
  Result<Fd> make_directory(const std::string& path);

  // Tests only: makes open_beneath() go part by part.
  void use_walk_for_tests() { has_openat2_ = false; }

 private:
  explicit DirectoryTree(Fd root);
  int open_walking(const std::string& path, int flags, unsigned mode) const;
  Status make_one(const std::string& path);
  Result<Fd> make_and_open(const std::string& path);

  const Fd root_;
  bool has_openat2_ = true;  // constant once in use
  std::mutex mutex_;
  std::unordered_set<std::string> durable_;  // guarded by mutex_
};

}  // namespace tidemark
