// Listing of the `file` backend.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/backend.h"
#include "store/backend/beneath.h"

namespace tidemark {

struct DirectoryEntry {
  std::string name;
  bool regular = false;  // known to be a regular file; false also where nobody said
};
// What stands in a directory, sorted, each name once, without "." and "..".
Result<std::vector<DirectoryEntry>> names_in(const Fd& directory);

// Backend::list() over a tree. What no blob can be named is passed over: temporary files, the lock,
// lost+found. Something else than a file under a blob's name is `corruption`: it must not be
// mistaken for an absent blob. Sizes are 0 where `sizes` is not set.
Status walk_blobs(const DirectoryTree& tree, std::string_view prefix, bool sizes,
                  const std::function<Status(const BlobInfo&)>& each);

}  // namespace tidemark
