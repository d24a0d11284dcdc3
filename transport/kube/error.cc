#include "transport/kube/error.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "transport/http_text.h"
#include "transport/kube/document.h"

namespace tidemark::kube {
namespace {

using nlohmann::json;

constexpr std::size_t kMessageBytesMax = 600;
constexpr std::size_t kCausesMax = 50;
// A server that asks for more patience than this is asked again earlier.
constexpr std::chrono::seconds kRetryAfterMax{120};

ErrorCode code_of(unsigned status, std::string_view reason, bool terminating) {
  if (status == 401) return ErrorCode::permission_denied;
  if (status == 403) return terminating ? ErrorCode::refused : ErrorCode::permission_denied;
  if (status == 404) return ErrorCode::not_found;
  if (status == 409 && reason == "AlreadyExists") return ErrorCode::already_exists;
  if (status == 409 || status == 412) return ErrorCode::refused;
  if (status == 408 || status == 410 || status == 429) return ErrorCode::unavailable;
  if (status >= 400 && status < 500) return ErrorCode::invalid_argument;
  return status >= 500 ? ErrorCode::unavailable : ErrorCode::unsupported;
}

std::string header(const HttpHeaders& headers, std::string_view name) {
  const auto at = headers.find(name);
  return at == headers.end() ? std::string() : at->second;
}

std::string shortened(std::string_view text) {
  if (text.size() <= kMessageBytesMax) return std::string(text.substr(0, utf8_prefix(text)));
  const std::string_view cut = text.substr(0, kMessageBytesMax);
  return std::string(cut.substr(0, utf8_prefix(cut))) + "...";
}

std::optional<std::chrono::microseconds> seconds_of(std::int64_t seconds) {
  if (seconds < 0) return std::nullopt;
  return std::min<std::chrono::microseconds>(
      std::chrono::seconds(std::min<std::int64_t>(seconds, 1'000'000)), kRetryAfterMax);
}

// Seconds, or a date, which is held against the server's own clock.
std::optional<std::chrono::microseconds> retry_after_of(const HttpHeaders& headers) {
  const std::string text = header(headers, "retry-after");
  if (text.empty()) return std::nullopt;
  std::int64_t seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size())
    return seconds_of(seconds);
  const auto until = net::parse_http_date(text);
  const auto now = net::parse_http_date(header(headers, "date"));
  if (!until || !now) return std::nullopt;
  return seconds_of(std::max<std::int64_t>(0, (until->us - now->us) / 1'000'000));
}

// Whether the body is a Status, with or without its kind.
bool is_status(const json& body) {
  return body.is_object() && body.contains("status") && body["status"].is_string() &&
         (text_at(body, "kind") == "Status" || !body.contains("kind"));
}

std::vector<Cause> causes_of(const json& details) {
  std::vector<Cause> causes;
  if (!details.is_object() || !details.contains("causes") || !details["causes"].is_array())
    return causes;
  for (const json& one : details["causes"]) {
    if (causes.size() == kCausesMax) break;
    if (one.is_object())
      causes.push_back({text_at(one, "reason"), text_at(one, "message"), text_at(one, "field")});
  }
  return causes;
}

std::string text_of(const ApiError& error, std::string_view said) {
  std::string text = "the API server answered " + std::to_string(error.status);
  if (!error.reason.empty()) text += " " + shortened(error.reason);
  if (!said.empty()) text += ": " + shortened(said);
  // A 422 names its causes in the message already.
  if (error.status != 422)
    for (std::size_t i = 0; i < std::min<std::size_t>(error.causes.size(), 3); ++i) {
      const Cause& cause = error.causes[i];
      text += (i == 0 ? " [" : "; ") + shortened(cause.reason) +
              (cause.field.empty() ? "" : " " + shortened(cause.field)) +
              (i + 1 == std::min<std::size_t>(error.causes.size(), 3) ? "]" : "");
    }
  if (!error.audit_id.empty()) text += " (audit id " + shortened(error.audit_id) + ")";
  return text;
}

// Fills in what is known, then writes the message from it.
ApiError error_of(unsigned status, const json& body, std::string_view text,
                  const HttpHeaders& headers) {
  ApiError error(Error(ErrorCode::internal, ""));
  error.status = status;
  error.audit_id = header(headers, "audit-id");
  error.retry_after = retry_after_of(headers);
  error.server_message = std::string(text);
  if (is_status(body)) {
    error.reason = text_at(body, "reason");
    error.server_message = text_at(body, "message");
    const json details = body.value("details", json::object());
    error.causes = causes_of(details);
    const auto seconds = details.find("retryAfterSeconds");
    if (!error.retry_after && seconds != details.end() && seconds->is_number_integer())
      error.retry_after = seconds_of(seconds->get<std::int64_t>());
  }
  Error base(code_of(status, error.reason, error.namespace_terminating()),
             text_of(error, error.server_message));
  if (error.no_such_api())
    base = std::move(base).with_hint("the CRD may not be installed, or the server is starting");
  static_cast<Error&>(error) = std::move(base);
  return error;
}

}  // namespace

bool ApiError::has_cause(std::string_view cause_reason) const {
  return std::ranges::any_of(causes,
                             [&](const Cause& cause) { return cause.reason == cause_reason; });
}

ApiError ApiError::context(std::string_view doing) && {
  static_cast<Error&>(*this) = std::move(static_cast<Error&>(*this)).context(doing);
  return std::move(*this);
}

ApiError error_of_answer(unsigned status, const HttpHeaders& headers, std::string_view body) {
  while (!body.empty() && (body.back() == '\n' || body.back() == '\r')) body.remove_suffix(1);
  return error_of(status, parse_document(body), body, headers);
}

ApiError error_of_status(const json& status) {
  const auto code = status.is_object() ? status.find("code") : status.end();
  unsigned number = 500;
  if (status.is_object() && code != status.end() && code->is_number_integer()) {
    const auto said = code->get<std::int64_t>();
    if (said >= 300 && said <= 599) number = static_cast<unsigned>(said);
  }
  return error_of(number, status, {}, {});
}

}  // namespace tidemark::kube
