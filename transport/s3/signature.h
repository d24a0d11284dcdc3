// AWS Signature Version 4 as S3 uses it: header signing, and the chunks of a signed stream.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/crypto.h"
#include "transport/http.h"

namespace tidemark::s3 {

// What proves who asks. Not printable, and never logged.
struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // of temporary keys; usually empty
};

// Keys and values as they are meant, not encoded. S3 has no parameter that is given twice.
using Query = std::map<std::string, std::string, std::less<>>;

// Every byte but unreserved ones (RFC 3986) and, in a path, '/' as %XX, once. Nothing is
// normalised: S3 takes a path byte by byte, so that "a//b", "./c" and "%2E" are names like any
// other.
std::string encode_path(std::string_view path);
// "a=1&b=&c=x%20y", sorted by encoded key, as it is signed and as it is sent.
std::string encode_query(const Query& query);

// "20130524T000000Z"
std::string amz_date(Timestamp time);

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view kStreamingPayload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

struct SigningRequest {
  std::string_view method;
  std::string_view encoded_path;   // from encode_path()
  std::string_view encoded_query;  // from encode_query()
  // All of them are signed, lower-case names; "host" must be among them, and "x-amz-date" and
  // "x-amz-content-sha256" where they are sent.
  const HttpHeaders& headers;
  std::string_view payload;  // a hash in hex, or one of the constants above
};

struct Signature {
  std::string authorization;  // the value of the header
  std::string hex;            // the signature alone: the seed of a stream's chunks
};

// Signs for one day, region and service. Safe from any thread once made.
class Signer {
 public:
  Signer(const Credentials& credentials, Timestamp time, std::string_view region,
         std::string_view service = "s3");

  Signature sign(const SigningRequest& request) const;
  // The signature of a chunk behind the one with `previous` (hex; first the request's own).
  std::string sign_chunk(std::string_view previous, ByteView data) const;

 private:
  std::string access_key_, date_, scope_;
  Digest key_;
};

// The bytes before the data of one chunk: "400;chunk-signature=...\r\n". "\r\n" follows the data.
std::string chunk_header(std::size_t size, std::string_view signature_hex);
// The length of a stream of `bytes` in chunks of `chunk_bytes`, with headers and the final chunk.
std::uint64_t chunked_length(std::uint64_t bytes, std::uint64_t chunk_bytes);

}  // namespace tidemark::s3
