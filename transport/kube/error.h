// What the Kubernetes API answered instead of success, and what the caller may do about it.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transport/http.h"

namespace tidemark::kube {

// One entry of a Status' details.causes.
struct Cause {
  std::string reason;   // "FieldValueInvalid"
  std::string message;  // for people; never to be parsed
  std::string field;    // "spec.size"; may be empty
};

// An Error that still knows what the server said. It becomes a plain Error where it is returned as
// one. The codes:
//   400, 405, 406, 413, 415, 422, other 4xx      invalid_argument
//   401, 403                                     permission_denied
//   403 for a namespace that is being deleted    refused
//   404                                          not_found
//   409 AlreadyExists                            already_exists
//   other 409, 412                               refused
//   408, 410, 429, 5xx                           unavailable
//   500 that came again without change           internal
//   1xx, 3xx                                     unsupported
// and without an answer those of the connection: `unavailable`, `deadline_exceeded`,
// `permission_denied` (certificates, no token), `cancelled`; `resource_exhausted` for an answer
// above its limit, `corruption` for one that is not what the API promises.
class ApiError : public Error {
 public:
  // Without an answer.
  explicit ApiError(Error error) : Error(std::move(error)) {}

  unsigned status = 0;         // HTTP's; 0 where no answer came
  std::string reason;          // "Conflict", "Expired", ...; empty where the body is no Status
  std::string server_message;  // as it was said
  std::vector<Cause> causes;
  std::optional<std::chrono::microseconds> retry_after;
  std::string audit_id;  // finds the request in the server's audit log; may be empty
  // The server was never asked: no connection.
  bool untried = false;
  // A write that may have been done or not: read before anything else is decided.
  bool outcome_unknown = false;

  bool already_exists() const { return status == 409 && reason == "AlreadyExists"; }
  // Somebody else was faster: read, redo the change, try again.
  bool conflict() const { return status == 409 && reason != "AlreadyExists"; }
  // A position in time that the server no longer has: list anew.
  bool expired() const { return status == 410; }
  // No object, or no such namespace.
  bool no_object() const { return status == 404 && !reason.empty(); }
  // Not the object is missing but the API: the CRD is not installed (yet). An account without the
  // right gets 403 for those as well.
  bool no_such_api() const { return status == 404 && reason.empty(); }
  bool has_cause(std::string_view cause_reason) const;
  bool namespace_terminating() const { return has_cause("NamespaceTerminating"); }

  ApiError context(std::string_view doing) &&;
};

// A value or an ApiError: what every call to the API returns. Where a function returns Result<T>,
// TM_TRY hands it on as a plain Error.
template <class T>
class [[nodiscard]] Outcome : public tl::expected<T, ApiError> {
  using Base = tl::expected<T, ApiError>;

 public:
  using Base::Base;
  Outcome(ApiError error) : Base(tl::unexpect, std::move(error)) {}
  Outcome(Error error) : Base(tl::unexpect, ApiError(std::move(error))) {}
};

// The error of an answer whose status is none of success.
ApiError error_of_answer(unsigned status, const HttpHeaders& headers, std::string_view body);
// The error of a Status object that came within a stream. One without a code counts as 500.
ApiError error_of_status(const nlohmann::json& status);

}  // namespace tidemark::kube
