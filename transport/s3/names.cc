#include "transport/s3/names.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "transport/http_text.h"
#include "transport/s3/xml.h"

namespace tidemark::s3 {
namespace {

constexpr std::size_t kKeyBytesMax = 1024;
constexpr std::string_view kContentHeaders[] = {"content-type",        "cache-control",
                                                "content-disposition", "content-encoding",
                                                "content-language",    "expires"};
constexpr std::string_view kMetadataPrefix = "x-amz-meta-";

}  // namespace

Request named(std::string method, const std::string& bucket, const ObjectName& name) {
  Request request;
  request.method = std::move(method);
  request.bucket = bucket;
  request.key = name.key;
  if (!name.version_id.empty()) request.query["versionId"] = name.version_id;
  return request;
}

Status check_key(std::string_view key) {
  if (key.empty()) return Error(ErrorCode::invalid_argument, "an empty key");
  if (key.size() > kKeyBytesMax)
    return Error(ErrorCode::invalid_argument, "a key of more than 1024 bytes");
  return {};
}

std::string header_of(const HttpHeaders& headers, std::string_view name) {
  const auto at = headers.find(name);
  return at == headers.end() ? std::string() : at->second;
}

std::string unquoted(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

bool is_md5(std::string_view etag) {
  return etag.size() == 32 && std::all_of(etag.begin(), etag.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_encrypted(const HttpHeaders& headers) {
  return headers.contains("x-amz-server-side-encryption") ||
         headers.contains("x-amz-server-side-encryption-customer-algorithm");
}

bool is_content_header(std::string_view name) {
  return std::ranges::find(kContentHeaders, name) != std::end(kContentHeaders);
}

Result<std::uint64_t> number_of(std::string_view text, std::string_view what) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size())
    return Error(ErrorCode::corruption,
                 std::string(what) + " is not a number: " + std::string(text.substr(0, 40)));
  return value;
}

Result<Timestamp> time_of(std::string_view text) {
  const auto time = parse_time(text, Timestamp{});
  if (!time || text.find('T') == std::string_view::npos)
    return Error(ErrorCode::corruption, "not a time: " + std::string(text.substr(0, 40)));
  return *time;
}

Result<std::string> listed_key(const std::string& text, bool encoded) {
  if (!encoded) {
    if (text.find(kXmlReplacement) != std::string::npos)
      return Error(ErrorCode::unsupported, "listing: a key that XML cannot carry");
    return text;
  }
  std::string key;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      key += ' ';
    } else if (text[i] != '%') {
      key += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        return Error(ErrorCode::corruption, "listing: a key that is not encoded as it says");
      key += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return key;
}

Result<ObjectInfo> object_info(const HttpHeaders& headers) {
  ObjectInfo info;
  info.headers = headers;
  info.etag = unquoted(header_of(headers, "etag"));
  info.version_id = header_of(headers, "x-amz-version-id");
  info.storage_class = header_of(headers, "x-amz-storage-class");
  info.encrypted = is_encrypted(headers);
  const auto modified = net::parse_http_date(header_of(headers, "last-modified"));
  if (!modified) return Error(ErrorCode::corruption, "an object without a usable Last-Modified");
  info.last_modified = *modified;
  for (const auto& [name, value] : headers) {
    if (is_content_header(name)) info.content_headers[name] = value;
    if (name.starts_with(kMetadataPrefix))
      info.metadata[name.substr(kMetadataPrefix.size())] = value;
  }
  const std::string mode = header_of(headers, "x-amz-object-lock-mode");
  if (!mode.empty()) {
    TM_TRY(const Timestamp until,
           time_of(header_of(headers, "x-amz-object-lock-retain-until-date")));
    info.retention = Retention{mode, until};
  }
  const std::string hold = header_of(headers, "x-amz-object-lock-legal-hold");
  if (!hold.empty()) info.legal_hold = hold == "ON";
  return info;
}

Status put_settings(const ObjectSettings& settings, HttpHeaders& headers) {
  for (const auto& [name, value] : settings.content_headers) {
    if (!is_content_header(name))
      return Error(ErrorCode::invalid_argument, "not a header of an object: " + name);
    headers[name] = value;
  }
  for (const auto& [name, value] : settings.metadata) {
    if (net::lower_case(name) != name)
      return Error(ErrorCode::invalid_argument, "metadata in upper case: " + name);
    headers["x-amz-meta-" + name] = value;
  }
  if (!settings.tags.empty()) headers["x-amz-tagging"] = encode_query(settings.tags);
  if (!settings.canned_acl.empty()) headers["x-amz-acl"] = settings.canned_acl;
  if (!settings.storage_class.empty()) headers["x-amz-storage-class"] = settings.storage_class;
  if (settings.retention) {
    headers["x-amz-object-lock-mode"] = settings.retention->mode;
    headers["x-amz-object-lock-retain-until-date"] = format_time(settings.retention->until);
  }
  if (settings.legal_hold)
    headers["x-amz-object-lock-legal-hold"] = *settings.legal_hold ? "ON" : "OFF";
  return {};
}

PutResult put_result(const HttpHeaders& headers) {
  return {unquoted(header_of(headers, "etag")), header_of(headers, "x-amz-version-id")};
}

}  // namespace tidemark::s3
