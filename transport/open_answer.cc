#include "transport/open_answer.h"

#include <utility>

namespace tidemark::net {

OpenAnswer::OpenAnswer(unsigned status_in, AnswerHead head, HttpLease lease, bool keep)
    : status(status_in),
      headers(std::move(head.headers)),
      length(head.length),
      lease_(std::move(lease)),
      keep_(keep) {
  if (lease_.channel().body_done()) finish();
}

void OpenAnswer::finish() {
  done_ = true;
  if (keep_) lease_.keep();
  lease_.release();
}

Result<std::size_t> OpenAnswer::read(ByteSpan into, const std::stop_token& stop) {
  if (done_) return std::size_t{0};
  Result<std::size_t> n = Error(ErrorCode::cancelled, "cancelled");
  {
    const std::stop_callback on_stop(stop, [&] { lease_.cancel().set(); });
    n = lease_.channel().receive_body(into);
  }
  if (!n) {
    lease_.release();
    done_ = true;
    if (stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
    if (n.error().code() == ErrorCode::invalid_argument)
      return Error(ErrorCode::unavailable, "a malformed answer: " + n.error().message());
    return n;
  }
  if (*n == 0 || lease_.channel().body_done()) finish();
  return n;
}

}  // namespace tidemark::net
