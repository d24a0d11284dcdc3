// The client's end of one HTTP connection, piece by piece: what whole requests are made of.
#pragma once

#include <memory>
#include <optional>

#include "transport/byte_stream.h"
#include "transport/http.h"

namespace tidemark::net {

struct AnswerHead {
  unsigned status = 0;
  HttpHeaders headers;
  // What is stated for the body; nothing for a chunked one, and for one that ends with the
  // connection (`framed` is false).
  std::optional<std::uint64_t> length;
  bool framed = true;
};

// Used by one thread at a time. After an error the connection is of no further use.
class HttpChannel {
 public:
  explicit HttpChannel(std::unique_ptr<ByteStream> stream);
  ~HttpChannel();  // closes

  ByteStream& stream() { return *stream_; }

  // The next answer; interim ones (1xx) are passed over, except for 101, which ends HTTP on this
  // connection: what follows is read by receive_raw(). REQUIRES: the body before was read to its
  // end. `invalid_argument` for one that is malformed, `unavailable` where the connection ends.
  Result<AnswerHead> receive_head(bool head_only, std::uint64_t body_bytes_max);
  // Some bytes of the body; 0 at its end, which was then seen. A connection that ends before is
  // `unavailable`. REQUIRES: !into.empty().
  Result<std::size_t> receive_body(ByteSpan into);
  bool body_done() const;
  // Bytes of the protocol that was switched to, as ByteStream::read_some(). REQUIRES: a head with
  // status 101 was received.
  Result<std::size_t> receive_raw(ByteSpan into);
  // Whether some of them have been read off the stream already, so that waiting for it is wrong.
  bool raw_buffered() const;

  // Whether bytes of the answer to the current request have arrived.
  bool answer_began() const;
  // Whether what arrived is no HTTP answer.
  bool malformed() const;
  // Whether another request can follow: the answer was read to its end, nothing lies behind it, and
  // neither side wants to close.
  bool keepable() const;

 private:
  class Reader;
  std::unique_ptr<ByteStream> stream_;
  std::unique_ptr<Reader> reader_;
};

}  // namespace tidemark::net
