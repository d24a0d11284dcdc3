#include "transport/s3/signature.h"

#include <fmt/core.h>

#include <ctime>
#include <vector>

namespace tidemark::s3 {
namespace {

std::string hash_hex(std::string_view text) { return sha256(as_bytes(text)).hex(); }

// Runs of blanks count as one, and those at the ends as none.
std::string trimmed(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t';
    if (!blank)
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::string encode_path(std::string_view path) {
  std::string out;
  while (true) {
    const auto slash = path.find('/');
    out += url_encode(path.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    out += '/';
    path.remove_prefix(slash + 1);
  }
}

std::string encode_query(const Query& query) {
  std::map<std::string, std::string> encoded;
  for (const auto& [key, value] : query) encoded[url_encode(key)] = url_encode(value);
  std::string out;
  for (const auto& [key, value] : encoded) {
    if (!out.empty()) out += '&';
    out += key + "=" + value;
  }
  return out;
}

std::string amz_date(Timestamp time) {
  const auto seconds = static_cast<std::time_t>(time.us / 1'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

Signer::Signer(const Credentials& credentials, Timestamp time, std::string_view region,
               std::string_view service)
    : access_key_(credentials.access_key), date_(amz_date(time)) {
  const std::string day = date_.substr(0, 8);
  scope_ = fmt::format("{}/{}/{}/aws4_request", day, region, service);
  std::string secret = "AWS4" + credentials.secret_key;
  key_ = hmac_sha256(as_bytes(secret), as_bytes(day));
  wipe({reinterpret_cast<std::uint8_t*>(secret.data()), secret.size()});
  key_ = hmac_sha256(key_.view(), as_bytes(region));
  key_ = hmac_sha256(key_.view(), as_bytes(service));
  key_ = hmac_sha256(key_.view(), as_bytes("aws4_request"));
}

Signature Signer::sign(const SigningRequest& request) const {
  std::string canonical =
      fmt::format("{}\n{}\n{}\n", request.method, request.encoded_path, request.encoded_query);
  std::string names;
  for (const auto& [name, value] : request.headers) {
    canonical += name + ":" + trimmed(value) + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  canonical += fmt::format("\n{}\n{}", names, request.payload);
  const std::string to_sign =
      fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", date_, scope_, hash_hex(canonical));
  Signature signature;
  signature.hex = hmac_sha256(key_.view(), as_bytes(to_sign)).hex();
  signature.authorization =
      fmt::format("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}", access_key_,
                  scope_, names, signature.hex);
  return signature;
}

std::string Signer::sign_chunk(std::string_view previous, ByteView data) const {
  const std::string to_sign = fmt::format("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}", date_,
                                          scope_, previous, hash_hex(""), sha256(data).hex());
  return hmac_sha256(key_.view(), as_bytes(to_sign)).hex();
}

std::string chunk_header(std::size_t size, std::string_view signature_hex) {
  return fmt::format("{:x};chunk-signature={}\r\n", size, signature_hex);
}

std::uint64_t chunked_length(std::uint64_t bytes, std::uint64_t chunk_bytes) {
  const std::string signature(64, '0');
  const auto framed = [&](std::uint64_t size) {
    return chunk_header(static_cast<std::size_t>(size), signature).size() + size + 2;
  };
  const std::uint64_t whole = bytes / chunk_bytes, rest = bytes % chunk_bytes;
  return whole * framed(chunk_bytes) + (rest > 0 ? framed(rest) : 0) + framed(0);
}

}  // namespace tidemark::s3
