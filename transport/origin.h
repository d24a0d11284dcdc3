// Where a server is: a URL taken apart, and its host as TLS sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "transport/openssl.h"

namespace tidemark::net {

struct Origin {
  std::string host;  // a name, or an IP address without brackets
  std::uint16_t port = 443;
  std::string authority;  // for the Host header
  bool tls = true;
};
// "https://host[:port][/]"; `invalid_argument` for anything else.
Result<Origin> parse_origin(std::string_view url);
// The same, and "http://host[:port][/]".
Result<Origin> parse_origin_or_plain(std::string_view url);

// Where the server is a name, announces it; where `check_host` is set, the handshake will fail
// unless the server's certificate is for that name or address.
Status expect_host(SSL* ssl, const std::string& host, bool check_host);

}  // namespace tidemark::net
