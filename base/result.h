// Errors and results: how every function of this project reports failure.
//
// A function that can fail returns Result<T> (Status where there is nothing to return). The value
// types are [[nodiscard]], so that an error cannot be dropped by accident; ignoring one on purpose
// is spelled ignore_error(result, "why").
//
// Error codes say what the caller may do about it, not what happened underneath: a library's own
// codes (librbd's negative errno, rocksdb::Status, OpenSSL's queue, HTTP statuses) are translated
// once, at the edge where the library is called.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace tidemark {

enum class ErrorCode {
  invalid_argument,     // the request itself is wrong: usage, configuration, malformed input
  not_found,            // the named thing does not exist
  already_exists,       // the thing to be created is there
  permission_denied,    // identity or authorisation does not allow it
  refused,              // allowed in principle, but a rule forbids it now (lock, fence, not empty)
  corruption,           // bytes are not what was written
  unavailable,          // try again: a peer, a cluster or a resource is not reachable at present
  deadline_exceeded,    // took longer than its limit; try again
  cancelled,            // somebody asked to stop
  resource_exhausted,   // no space, quota or memory left
  unsupported,          // a newer format, or something this build cannot do
  internal,             // none of the above
};

// The stable text of a code, as printed in JSON errors and sent over the wire ("not_found").
std::string_view to_string(ErrorCode code);
// The code of a text; `internal` for a text that names none.
ErrorCode error_code_from(std::string_view text);

class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // What the operator can do about it; may be empty.
  const std::string& hint() const { return hint_; }
  // True where the same call may succeed later without anybody mending anything.
  bool retryable() const {
    return code_ == ErrorCode::unavailable || code_ == ErrorCode::deadline_exceeded;
  }

  // Prefixes the message with what was being done: "open image rbd/vm: no such image".
  Error context(std::string_view doing) &&;
  Error context(std::string_view doing) const&;
  Error with_hint(std::string hint) &&;

  // "message (hint)", for people.
  std::string describe() const;

 private:
  ErrorCode code_;
  std::string message_;
  std::string hint_;
};

// A value or an Error. Derives from tl::expected to add [[nodiscard]] and construction from Error.
template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
  using Base = tl::expected<T, Error>;

 public:
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}
};

using Status = Result<void>;

// Drops an error on purpose. `why` is for the reader only.
template <class T>
void ignore_error(const Result<T>&, [[maybe_unused]] const char* why) {}

// The Error for a POSIX errno (positive), with strerror's text behind `doing`.
Error errno_error(int errnum, std::string_view doing);

}  // namespace tidemark

#define TM_CONCAT_INNER(a, b) a##b
#define TM_CONCAT(a, b) TM_CONCAT_INNER(a, b)

// TM_TRY(auto x, call()); declares x from the value, or returns the error from this function.
#define TM_TRY(declaration, ...)                                            \
  auto TM_CONCAT(tm_result_, __LINE__) = (__VA_ARGS__);                     \
  if (!TM_CONCAT(tm_result_, __LINE__))                                     \
    return std::move(TM_CONCAT(tm_result_, __LINE__)).error();              \
  declaration = *std::move(TM_CONCAT(tm_result_, __LINE__))

// TM_DO(call()); returns the error from this function, if there is one.
#define TM_DO(...)                                                          \
  do {                                                                      \
    auto tm_status = (__VA_ARGS__);                                         \
    if (!tm_status) return std::move(tm_status).error();                    \
  } while (false)
