// HTTP messages off a stream, parsed by Beast. Included only by the two .cc files that hold a
// connection's ends: Beast's templates are expensive to compile.
#pragma once

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstring>
#include <utility>

#include "transport/byte_stream.h"
#include "transport/http_text.h"

namespace tidemark::net {

namespace http = boost::beast::http;

inline constexpr std::size_t kHeadersMax = 100;

// Reads one message after the other. Bodies of a stated length go from the stream to the caller's
// buffer without passing through the parser; chunked ones pass through it.
template <bool is_request>
class MessageReader {
 public:
  using Parser = http::parser<is_request, http::buffer_body>;

  MessageReader(ByteStream& stream, std::size_t header_bytes_max)
      : stream_(stream),
        header_bytes_max_(header_bytes_max),
        buffer_(header_bytes_max + kReadBytes) {}

  // The next header. False where the peer closed before its first byte. Where the message is not
  // acceptable, refusal() is the status that says why.
  // REQUIRES: the body before was read to its end. `no_body`: an answer to HEAD.
  Result<bool> read_header(std::uint64_t body_bytes_max, bool no_body = false);

  const http::header<is_request>& header() const { return parser_->get(); }
  bool keep_alive() const { return parser_->keep_alive(); }
  bool chunked() const { return parser_->chunked(); }
  // The length that is stated for the body.
  std::optional<std::uint64_t> length() const { return length_; }
  // What is left of a body of stated length.
  std::uint64_t remaining() const { return remaining_; }
  bool body_done() const { return ended_; }
  unsigned refusal() const { return refusal_; }
  // Whether bytes of the current message, or of one behind it, have arrived.
  bool began() const { return began_; }
  bool has_buffered() const { return buffer_.size() > 0; }

  // Some bytes of the body; 0 at its end. REQUIRES: !into.empty().
  Result<std::size_t> read_body(ByteSpan into);
  // What follows a message that switched to another protocol.
  Result<std::size_t> read_raw(ByteSpan into) {
    const std::size_t n = take_buffered(into);
    return n > 0 ? Result<std::size_t>(n) : stream_.read_some(into);
  }

 private:
  static constexpr std::size_t kReadBytes = 64 * kKiB;

  Status fill_buffer(bool& closed);
  std::size_t take_buffered(ByteSpan into);
  Result<std::size_t> read_stated(ByteSpan into);
  Result<std::size_t> read_to_close(ByteSpan into);
  Result<std::size_t> read_chunked(ByteSpan into);
  Error refuse(const boost::beast::error_code& error);

  ByteStream& stream_;
  const std::size_t header_bytes_max_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::optional<std::uint64_t> length_;
  std::uint64_t remaining_ = 0;
  bool ended_ = true, began_ = false;
  unsigned refusal_ = 0;
};

template <bool is_request>
Error MessageReader<is_request>::refuse(const boost::beast::error_code& error) {
  refusal_ = error == http::error::header_limit || error == http::error::buffer_overflow ? 431
             : error == http::error::body_limit                                          ? 413
             : error == http::error::bad_version                                         ? 505
                                                                                         : 400;
  return Error(ErrorCode::invalid_argument, error.message());
}

template <bool is_request>
Status MessageReader<is_request>::fill_buffer(bool& closed) {
  const std::size_t room = std::min(kReadBytes, buffer_.max_size() - buffer_.size());
  if (room == 0) return refuse(http::error::buffer_overflow);
  const auto into = buffer_.prepare(room);
  TM_TRY(const std::size_t n,
         stream_.read_some({static_cast<std::uint8_t*>(into.data()), into.size()}));
  buffer_.commit(n);
  closed = n == 0;
  began_ = began_ || n > 0;
  return {};
}

template <bool is_request>
Result<bool> MessageReader<is_request>::read_header(std::uint64_t body_bytes_max, bool no_body) {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(header_bytes_max_));
  parser_->body_limit(body_bytes_max);
  parser_->eager(false);
  if constexpr (!is_request) parser_->skip(no_body);
  refusal_ = 0;
  ended_ = true;
  began_ = buffer_.size() > 0;
  while (!parser_->is_header_done()) {
    boost::beast::error_code error;
    if (buffer_.size() > 0) buffer_.consume(parser_->put(buffer_.data(), error));
    if (error && error != http::error::need_more) return refuse(error);
    if (parser_->is_header_done()) break;
    bool closed = false;
    TM_DO(fill_buffer(closed));
    if (closed && !began_) return false;
    if (closed) return Error(ErrorCode::unavailable, "the connection was closed within a header");
  }
  const auto stated = parser_->content_length();
  ended_ = parser_->is_done();
  length_.reset();
  if (stated) length_ = *stated;
  if (ended_ && !length_ && !parser_->chunked()) length_ = 0;
  remaining_ = stated && !ended_ ? *stated : 0;
  return true;
}

template <bool is_request>
std::size_t MessageReader<is_request>::take_buffered(ByteSpan into) {
  const std::size_t n = std::min(into.size(), buffer_.size());
  if (n > 0) std::memcpy(into.data(), buffer_.data().data(), n);
  buffer_.consume(n);
  return n;
}

template <bool is_request>
Result<std::size_t> MessageReader<is_request>::read_stated(ByteSpan into) {
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), remaining_)));
  std::size_t n = take_buffered(into);
  if (n == 0) {
    TM_TRY(n, stream_.read_some(into));
  }
  if (n == 0)
    return Error(ErrorCode::unavailable,
                 "the connection was closed with " + std::to_string(remaining_) + " of " +
                     std::to_string(*length_) + " bytes of the body to come");
  remaining_ -= n;
  ended_ = remaining_ == 0;
  return n;
}

template <bool is_request>
Result<std::size_t> MessageReader<is_request>::read_to_close(ByteSpan into) {
  std::size_t n = take_buffered(into);
  if (n == 0) {
    TM_TRY(n, stream_.read_some(into));
  }
  ended_ = n == 0;
  return n;
}

template <bool is_request>
Result<std::size_t> MessageReader<is_request>::read_chunked(ByteSpan into) {
  auto& body = parser_->get().body();
  while (true) {
    body.data = into.data();
    body.size = into.size();
    body.more = true;
    boost::beast::error_code error;
    std::size_t used = 0;
    if (buffer_.size() > 0) {
      used = parser_->put(buffer_.data(), error);
      buffer_.consume(used);
    }
    if (error && error != http::error::need_more && error != http::error::need_buffer)
      return refuse(error);
    const std::size_t n = into.size() - body.size;
    ended_ = parser_->is_done();
    if (n > 0 || ended_) return n;
    if (used > 0 && error != http::error::need_more) continue;
    bool closed = false;
    TM_DO(fill_buffer(closed));
    if (closed) return Error(ErrorCode::unavailable, "the connection was closed within a body");
  }
}

template <bool is_request>
Result<std::size_t> MessageReader<is_request>::read_body(ByteSpan into) {
  if (ended_) return std::size_t{0};
  if (parser_->chunked()) return read_chunked(into);
  return length_ ? read_stated(into) : read_to_close(into);
}

// Header lines with lower-case names; the values of a repeated one are joined by commas.
template <bool is_request>
HttpHeaders headers_of(const http::header<is_request>& header) {
  HttpHeaders headers;
  for (const auto& field : header) {
    const std::string name = lower_case({field.name_string().data(), field.name_string().size()});
    const std::string value(field.value());
    const auto [at, fresh] = headers.try_emplace(name, value);
    if (!fresh) at->second += ", " + value;
  }
  return headers;
}

}  // namespace tidemark::net
