#include "transport/s3/error.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.h"
#include "transport/http_text.h"
#include "transport/s3/xml.h"

namespace tidemark::s3 {
namespace {

constexpr std::size_t kMessageBytesMax = 300;
// A server that asks for more patience than this is asked again earlier.
constexpr std::chrono::seconds kRetryAfterMax{30};

using Row = std::pair<std::string_view, ErrorCode>;
constexpr Row kCodes[] = {
    {"NoSuchKey", ErrorCode::not_found},
    {"NoSuchBucket", ErrorCode::not_found},
    {"NoSuchVersion", ErrorCode::not_found},
    {"NoSuchUpload", ErrorCode::not_found},
    {"BucketAlreadyExists", ErrorCode::already_exists},
    {"BucketAlreadyOwnedByYou", ErrorCode::already_exists},
    {"AccessDenied", ErrorCode::permission_denied},
    {"InvalidAccessKeyId", ErrorCode::permission_denied},
    {"SignatureDoesNotMatch", ErrorCode::permission_denied},
    {"ExpiredToken", ErrorCode::permission_denied},
    {"InvalidToken", ErrorCode::permission_denied},
    {"RequestTimeTooSkewed", ErrorCode::permission_denied},
    {"PreconditionFailed", ErrorCode::refused},
    {"BucketNotEmpty", ErrorCode::refused},
    {"InvalidBucketState", ErrorCode::refused},
    {"InvalidObjectState", ErrorCode::unsupported},
    {"QuotaExceeded", ErrorCode::resource_exhausted},
    {"TooManyBuckets", ErrorCode::resource_exhausted},
    {"BadDigest", ErrorCode::corruption},
    {"XAmzContentSHA256Mismatch", ErrorCode::corruption},
    {"IncompleteBody", ErrorCode::unavailable},
    {"OperationAborted", ErrorCode::unavailable},
    {"ConcurrentModification", ErrorCode::unavailable},
    {"SlowDown", ErrorCode::unavailable},
    {"Busy", ErrorCode::unavailable},
    {"ServiceUnavailable", ErrorCode::unavailable},
    {"InternalError", ErrorCode::unavailable},
    {"RequestTimeout", ErrorCode::unavailable},
    {"NotImplemented", ErrorCode::unsupported},
    {"MethodNotAllowed", ErrorCode::unsupported},
};

constexpr std::string_view kNotConfigured[] = {
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchCORSConfiguration",
    "NoSuchTagSet",
    "NoSuchTagSetError",
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchWebsiteConfiguration",
    "ReplicationConfigurationNotFoundError",
    "NoSuchPublicAccessBlockConfiguration",
};

ErrorCode code_of_status(unsigned status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorCode::permission_denied;
    case 404:
      return ErrorCode::not_found;
    case 405:
    case 501:
      return ErrorCode::unsupported;
    case 409:
    case 412:
      return ErrorCode::refused;
    case 408:
    case 429:
      return ErrorCode::unavailable;
    case 507:
      return ErrorCode::resource_exhausted;
    default:
      return status >= 500 ? ErrorCode::unavailable : ErrorCode::invalid_argument;
  }
}

class ErrorDocument : public XmlHandler {
 public:
  Status begin(std::string_view) override { return {}; }
  Status end(std::string_view path, const std::string& text) override {
    if (path == "Error/Code") code = text;
    if (path == "Error/Message") message = text;
    return {};
  }
  std::string code, message;
};

ErrorDocument parse_error(ByteView body) {
  ErrorDocument parsed;
  // Whatever cannot be read leaves the status to speak.
  ignore_error(parse_xml(body, parsed), "an error body need not be one of S3");
  if (!parsed.code.empty() || body.empty() || body[0] != '{') return parsed;
  const auto json = nlohmann::json::parse(as_text(body), nullptr, false);
  const auto text = [&](const char* name) {
    const bool there = json.is_object() && json.contains(name) && json[name].is_string();
    return there ? json[name].get<std::string>() : std::string();
  };
  parsed.code = text("Code");
  parsed.message = text("Message");
  return parsed;
}

std::string header(const HttpHeaders& headers, std::string_view name) {
  const auto at = headers.find(name);
  return at == headers.end() ? std::string() : at->second;
}

}  // namespace

bool says_not_configured(std::string_view s3_code) {
  return std::ranges::find(kNotConfigured, s3_code) != std::end(kNotConfigured);
}

Failure failure_of_answer(unsigned status, const HttpHeaders& headers, ByteView body) {
  ErrorDocument said = parse_error(body);
  const auto* const row = std::ranges::find(kCodes, std::string_view(said.code), &Row::first);
  ErrorCode code = row != std::end(kCodes) ? row->second : code_of_status(status);
  if (says_not_configured(said.code)) code = ErrorCode::not_found;
  std::string text = said.code.empty() ? "HTTP status " + std::to_string(status) : said.code;
  if (!said.message.empty()) {
    said.message.resize(std::min(said.message.size(), kMessageBytesMax));
    said.message.resize(utf8_prefix(said.message));
    text += ": " + said.message;
  }
  Error error(code, text);
  if (status >= 300 && status < 400 && status != 304) {
    const std::string region = header(headers, "x-amz-bucket-region");
    error = std::move(error).with_hint(
        "the server sends us elsewhere, and redirects are not followed: check endpoint and region" +
        (region.empty() ? "" : " (the bucket is in " + region + ")"));
  }
  Failure failure(std::move(error), status, std::move(said.code));
  failure.server_time = net::parse_http_date(header(headers, "date"));
  const std::string after = header(headers, "retry-after");
  unsigned seconds = 0;
  const auto parsed = std::from_chars(after.data(), after.data() + after.size(), seconds);
  if (parsed.ec == std::errc{} && parsed.ptr == after.data() + after.size())
    failure.retry_after = std::min(std::chrono::seconds(seconds), kRetryAfterMax);
  return failure;
}

}  // namespace tidemark::s3
