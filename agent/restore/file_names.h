// Object keys as paths below a directory. One key, one path, and back.
//
// A key is cut at its slashes; each piece becomes a name by these rules, of which '%' is the sign:
//   %XX    a byte that names do not carry: '%' itself, control characters, what is no UTF-8, and
//          the dots of a name ".", ".." and of a leading ".tidemark"
//   %-     an empty piece: a leading, doubled or trailing slash
//   %+     at the end of a directory's name: the piece was too long and goes on in the next name
//   %~     at the end of a directory's name: the same key without what follows is an object too
// Where the file system does not tell upper from lower case, upper-case letters and all that is not
// ASCII are written as %XX too.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tidemark {

struct NameRules {
  bool folds_case = false;
};

// The longest name that is made.
inline constexpr std::size_t kFileNameBytesMax = 240;

// Directories and, last, the file. `is_object` tells whether a key is an object of its own.
Result<std::vector<std::string>> path_of_key(
    std::string_view key, NameRules rules,
    const std::function<Result<bool>(const std::string& key)>& is_object);
// `invalid_argument` for what path_of_key() does not write.
Result<std::string> key_of_path(const std::vector<std::string>& path);

}  // namespace tidemark
