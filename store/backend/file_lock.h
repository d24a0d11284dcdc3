// The writer lock of the `file` backend.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

#include "store/backend.h"
#include "store/backend/beneath.h"

namespace tidemark {

// An flock on one file of the tree, whose text says who holds it. It ends with the process.
// Deleting the file breaks the lock: held() of its holder is false from then on.
class FileLock final : public WriterLock {
 public:
  static Result<std::unique_ptr<FileLock>> take(std::shared_ptr<DirectoryTree> tree,
                                                const char* name, std::string_view owner);
  bool held() const override;

 private:
  FileLock(std::shared_ptr<DirectoryTree> tree, const char* name, Fd fd)
      : tree_(std::move(tree)), name_(name), fd_(std::move(fd)) {}
  const std::shared_ptr<DirectoryTree> tree_;
  const char* const name_;
  const Fd fd_;
};

// A holder's description as it may be shown: printable ASCII, at most 200 bytes.
std::string printable_owner(std::string_view owner);

}  // namespace tidemark
