// What an S3 server answered instead of success, and what the caller may do about it.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "transport/http.h"

namespace tidemark::s3 {

// An Error that still knows what the server said. It becomes a plain Error where it leaves the
// folder.
class Failure : public Error {
 public:
  explicit Failure(Error error) : Error(std::move(error)) {}
  Failure(Error error, unsigned status_in, std::string s3_code_in)
      : Error(std::move(error)), status(status_in), s3_code(std::move(s3_code_in)) {}

  unsigned status = 0;                       // of the answer; 0 where none came
  std::string s3_code;                       // "NoSuchKey"; may be empty
  bool untried = false;                      // the server cannot have begun to execute the request
  bool final = false;                        // repeating cannot help, whatever the code
  std::optional<Timestamp> server_time;      // what the answer's Date says
  std::chrono::microseconds retry_after{0};  // what the answer asks for
};

template <class T>
using Outcome = tl::expected<T, Failure>;

// The one place where the server's words become codes of ours:
//   NoSuchKey, NoSuchBucket, NoSuch..., 404          not_found
//   BucketAlreadyExists, ...OwnedByYou               already_exists
//   AccessDenied, InvalidAccessKeyId, ..., 401, 403  permission_denied
//   PreconditionFailed, BucketNotEmpty, 409, 412     refused
//   QuotaExceeded, TooManyBuckets, 507               resource_exhausted
//   BadDigest, XAmzContentSHA256Mismatch             corruption
//   SlowDown, InternalError, 408, 429, 5xx           unavailable
//   NotImplemented, MethodNotAllowed, 405, 501       unsupported
//   other 3xx and 4xx                                invalid_argument
Failure failure_of_answer(unsigned status, const HttpHeaders& headers, ByteView body);

// Whether the server's code says that a sub-resource is not set, as opposed to the bucket or the
// object being gone.
bool says_not_configured(std::string_view s3_code);

}  // namespace tidemark::s3
