#include "transport/origin.h"

#include <algorithm>
#include <charconv>

#include "transport/socket.h"

namespace tidemark::net {
namespace {

Result<Origin> parse(std::string_view url, bool plain_too) {
  const Error error =
      Error(ErrorCode::invalid_argument, "not a usable URL: " + std::string(url))
          .with_hint(plain_too ? "https://host:port or http://host:port" : "https://host:port");
  constexpr std::string_view kTls = "https://", kPlain = "http://";
  Origin origin;
  origin.tls = url.starts_with(kTls);
  if (!origin.tls && !(plain_too && url.starts_with(kPlain))) return error;
  std::string_view rest = url.substr(origin.tls ? kTls.size() : kPlain.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  origin.port = origin.tls ? 443 : 80;
  origin.authority = std::string(rest);
  const bool bracketed = rest.starts_with('[');
  const auto host_end = bracketed ? rest.find(']') : rest.find(':');
  if (bracketed && host_end == std::string_view::npos) return error;
  origin.host = std::string(bracketed ? rest.substr(1, host_end - 1) : rest.substr(0, host_end));
  rest = host_end == std::string_view::npos ? "" : rest.substr(host_end + (bracketed ? 1 : 0));
  if (!rest.empty()) {
    const char* const end = rest.data() + rest.size();
    const auto parsed = std::from_chars(rest.data() + 1, end, origin.port);
    if (rest.front() != ':' || parsed.ec != std::errc{} || parsed.ptr != end || origin.port == 0)
      return error;
  }
  const bool plain = std::all_of(origin.host.begin(), origin.host.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || (bracketed && c == ':');
  });
  if (origin.host.empty() || !plain || (bracketed && !is_ip_address(origin.host))) return error;
  return origin;
}

}  // namespace

Result<Origin> parse_origin(std::string_view url) { return parse(url, false); }

Result<Origin> parse_origin_or_plain(std::string_view url) { return parse(url, true); }

Status expect_host(SSL* ssl, const std::string& host, bool check_host) {
  const bool address = is_ip_address(host);
  bool ok = true;
  // The macro SSL_set_tlsext_host_name, without its C cast.
  if (!address)
    ok = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                  const_cast<char*>(host.c_str())) == 1;
  if (check_host && address)
    ok = ok && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  if (check_host && !address) {
    SSL_set_hostflags(ssl,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    ok = ok && SSL_set1_host(ssl, host.c_str()) == 1;
  }
  if (!ok) return openssl_error(ErrorCode::invalid_argument, "not a usable host name");
  return {};
}

}  // namespace tidemark::net
