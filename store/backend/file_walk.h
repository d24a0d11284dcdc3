// Listing of the `file` backend.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/backend.h"
#include "store/backend/beneath.h"

namespace tidemark {

// What stands in a directory, sorted, each name once, without "." and "..".
Result<std::vector<std::string>> names_in(const Fd& directory);

// Backend::list() over a tree. What no blob can be named is passed over: temporary files, the lock,
// lost+found. Something else than a file under a blob's name is `corruption`: it must not be
// mistaken for an absent blob.
Status walk_blobs(const DirectoryTree& tree, std::string_view prefix,
                  const std::function<Status(const BlobInfo&)>& each);

}  // namespace tidemark
