// An answer from a pooled connection whose body is read piece by piece.
#pragma once

#include <optional>
#include <stop_token>

#include "transport/http_pool.h"

namespace tidemark::net {

// The connection goes back to its pool at the end of the body, or when this is destroyed. Used by
// one thread.
class OpenAnswer {
 public:
  // `keep`: the request was sent whole, so that the connection can serve another one.
  OpenAnswer(unsigned status_in, AnswerHead head, HttpLease lease, bool keep);

  unsigned status = 0;
  HttpHeaders headers;
  std::optional<std::uint64_t> length;

  // Some bytes; 0 at the end, which was seen. `unavailable` where the connection ends before.
  // REQUIRES: !into.empty().
  Result<std::size_t> read(ByteSpan into, const std::stop_token& stop);
  bool done() const { return done_; }

 private:
  void finish();
  HttpLease lease_;
  bool keep_ = false, done_ = false;
};

}  // namespace tidemark::net
