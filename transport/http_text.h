// The texts of HTTP that we write and judge ourselves: targets, header lines, error bodies.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "transport/http.h"

namespace tidemark::net {

// Decodes %XX once. `invalid_argument` for a '%' without two hex digits, and for results that hold
// control characters or are no UTF-8.
Result<std::string> percent_decode(std::string_view text);

struct Target {
  std::string path;
  std::map<std::string, std::string, std::less<>> query;
};
// A request target in origin form ("/a/b?x=1"). Decoded exactly once; "." and ".." parts are
// refused after decoding, so that no encoding of them gets through. '+' stands for itself.
Result<Target> parse_target(std::string_view target);

bool is_utf8(std::string_view text);
bool is_token(std::string_view text);
// Whether name and value can be written as one header line: nothing in them ends it.
bool is_header(std::string_view name, std::string_view value);
std::string lower_case(std::string_view text);

std::string_view reason_phrase(unsigned status);
// Whether an answer of this status has no body by definition.
bool is_bodiless(unsigned status);
// The head of an answer, with the empty line. `internal` where the handler's status or headers
// cannot be written. Content-Length, Connection, Transfer-Encoding and Date are ours, except that
// an answer to HEAD without a body may state its Content-Length.
Result<std::string> response_head(const HttpResponse& response, bool head_only, bool close);
// The head of a request. `invalid_argument` where an argument cannot be written.
Result<std::string> request_head(std::string_view method, std::string_view target,
                                 std::string_view host, const HttpHeaders& headers,
                                 std::uint64_t body_bytes);
// {"error":{"code":…,"message":…}}
HttpResponse error_response(unsigned status, ErrorCode code, std::string_view message);
// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(Timestamp time);
// The reverse, to the second; nothing for any other form.
std::optional<Timestamp> parse_http_date(std::string_view text);

}  // namespace tidemark::net
