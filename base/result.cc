#include "base/result.h"

#include <array>
#include <cerrno>
#include <cstring>

namespace tidemark {
namespace {

struct CodeName {
  ErrorCode code;
  std::string_view name;
};

constexpr std::array kCodeNames = {
    CodeName{ErrorCode::invalid_argument, "invalid_argument"},
    CodeName{ErrorCode::not_found, "not_found"},
    CodeName{ErrorCode::already_exists, "already_exists"},
    CodeName{ErrorCode::permission_denied, "permission_denied"},
    CodeName{ErrorCode::refused, "refused"},
    CodeName{ErrorCode::corruption, "corruption"},
    CodeName{ErrorCode::unavailable, "unavailable"},
    CodeName{ErrorCode::deadline_exceeded, "deadline_exceeded"},
    CodeName{ErrorCode::cancelled, "cancelled"},
    CodeName{ErrorCode::resource_exhausted, "resource_exhausted"},
    CodeName{ErrorCode::unsupported, "unsupported"},
    CodeName{ErrorCode::internal, "internal"},
};

ErrorCode code_of_errno(int errnum) {
  switch (errnum) {
    case ENOENT: return ErrorCode::not_found;
    case EEXIST: return ErrorCode::already_exists;
    case EPERM:
    case EACCES: return ErrorCode::permission_denied;
    case EINVAL:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ERANGE:
    case ENAMETOOLONG: return ErrorCode::invalid_argument;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EFBIG:
    case ENFILE:
    case EMFILE: return ErrorCode::resource_exhausted;
    case ETIMEDOUT: return ErrorCode::deadline_exceeded;
    case EAGAIN:
    case EBUSY:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case ENETDOWN:
    case EHOSTDOWN:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ESHUTDOWN: return ErrorCode::unavailable;
    case ECANCELED: return ErrorCode::cancelled;
    case EILSEQ:
    case EBADMSG: return ErrorCode::corruption;
    case ENOTEMPTY:
    case EROFS: return ErrorCode::refused;
    case ENOSYS:
    case EOPNOTSUPP: return ErrorCode::unsupported;
    default: return ErrorCode::internal;
  }
}

}  // namespace

std::string_view to_string(ErrorCode code) {
  for (const auto& entry : kCodeNames)
    if (entry.code == code) return entry.name;
  return "internal";
}

ErrorCode error_code_from(std::string_view text) {
  for (const auto& entry : kCodeNames)
    if (entry.name == text) return entry.code;
  return ErrorCode::internal;
}

Error Error::context(std::string_view doing) && {
  message_ = std::string(doing) + ": " + message_;
  return std::move(*this);
}

Error Error::context(std::string_view doing) const& { return Error(*this).context(doing); }

Error Error::with_hint(std::string hint) && {
  hint_ = std::move(hint);
  return std::move(*this);
}

std::string Error::describe() const {
  return hint_.empty() ? message_ : message_ + " (" + hint_ + ")";
}

Error errno_error(int errnum, std::string_view doing) {
  std::array<char, 128> buffer{};
  const char* text = ::strerror_r(errnum, buffer.data(), buffer.size());
  return Error(code_of_errno(errnum), std::string(doing) + ": " + text);
}

}  // namespace tidemark
