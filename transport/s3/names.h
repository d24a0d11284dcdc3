// Small things that all operations share: headers of objects as values, and checks of names.
#pragma once

#include "transport/s3/request.h"

namespace tidemark::s3 {

// A request for an object or, with an empty key, a bucket.
Request named(std::string method, const std::string& bucket, const ObjectName& name);
// `invalid_argument` for the empty key and for one above 1024 bytes.
Status check_key(std::string_view key);

std::string header_of(const HttpHeaders& headers, std::string_view name);
std::string unquoted(std::string_view etag);
// Whether the ETag has the form of an MD5: 32 lower-case hex digits.
bool is_md5(std::string_view etag);
bool is_encrypted(const HttpHeaders& headers);
bool is_content_header(std::string_view name);
// A decimal number; `corruption` for anything else.
Result<std::uint64_t> number_of(std::string_view text, std::string_view what);
// A key as a listing carries it. Encoded, it may hold any byte, and a '+' is a blank; as plain XML,
// one that XML cannot carry is `unsupported`.
Result<std::string> listed_key(const std::string& text, bool encoded);
Result<Timestamp> time_of(std::string_view text);

// All but the size. `corruption` for headers that make no sense.
Result<ObjectInfo> object_info(const HttpHeaders& headers);
PutResult put_result(const HttpHeaders& headers);
// The headers that write `settings`.
Status put_settings(const ObjectSettings& settings, HttpHeaders& headers);

}  // namespace tidemark::s3
