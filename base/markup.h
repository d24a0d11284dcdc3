// Text inside HTML and XML.
#pragma once

#include <string>
#include <string_view>

namespace tidemark {

// `text` for an element's content or a quoted attribute. Bytes that are no UTF-8, and characters
// that XML 1.0 cannot carry, become U+FFFD; a line's end is kept (in attributes as a reference).
std::string escape_markup(std::string_view text);

}  // namespace tidemark
