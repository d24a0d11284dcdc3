// Base64 (RFC 4648, section 4), as HTTP headers and documents carry bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace tidemark::net {

std::string to_base64(ByteView bytes);
// The bytes; line ends and blanks are passed over. Nothing for any other text that to_base64()
// would not have written.
std::optional<Bytes> from_base64(std::string_view text);

}  // namespace tidemark::net
