// Small documents whose elements are simply looked up.
#pragma once

#include <functional>
#include <string>

#include "transport/s3/xml.h"

namespace tidemark::s3 {

// Calls `field` for each element that ends, with its path below the root, and checks that the root
// is `root`: `corruption` where it is another.
Status read_fields(
    ByteView document, std::string_view root,
    const std::function<Status(std::string_view path, const std::string& text)>& field);

// The text of the (last) element at `path` below the root; empty where there is none.
Result<std::string> read_field(ByteView document, std::string_view root, std::string_view path);

}  // namespace tidemark::s3
