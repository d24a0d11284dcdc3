// Small helpers on text that several folders need.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tidemark {

// True where `text` matches `pattern`, in which `*` stands for any run of characters without '/',
// and
// `?` for one such character.
bool glob_match(std::string_view pattern, std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);

// The length of the longest beginning of `text` that is well-formed UTF-8 (RFC 3629: no overlong
// forms, no surrogates, nothing past U+10FFFF); text.size() where all of it is.
std::size_t utf8_prefix(std::string_view text);

// Names that we put into paths, headers and keys (sites, pools, images): 1 to 255 bytes of UTF-8
// without control characters (C0, DEL, C1) or '/', and not "." or "..".
Status check_name(std::string_view name, std::string_view what);

}  // namespace tidemark
