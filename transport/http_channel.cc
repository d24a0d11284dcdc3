#include "transport/http_channel.h"

#include "transport/http_wire.h"

namespace tidemark::net {
namespace {

constexpr std::size_t kAnswerHeaderBytesMax = 64 * kKiB;

}  // namespace

class HttpChannel::Reader : public MessageReader<false> {
 public:
  explicit Reader(ByteStream& stream) : MessageReader<false>(stream, kAnswerHeaderBytesMax) {}
};

HttpChannel::HttpChannel(std::unique_ptr<ByteStream> stream)
    : stream_(std::move(stream)), reader_(std::make_unique<Reader>(*stream_)) {}

HttpChannel::~HttpChannel() { stream_->close(microseconds(0)); }

Result<AnswerHead> HttpChannel::receive_head(bool head_only, std::uint64_t body_bytes_max) {
  AnswerHead head;
  do {
    TM_TRY(const bool there, reader_->read_header(body_bytes_max, head_only));
    if (!there)
      return Error(ErrorCode::unavailable, "the connection was closed before an answer came");
    head.status = reader_->header().result_int();
  } while (head.status >= 100 && head.status < 200 && head.status != 101);
  head.headers = headers_of(reader_->header());
  head.length = reader_->length();
  head.framed = head.length || reader_->chunked() || reader_->body_done();
  return head;
}

Result<std::size_t> HttpChannel::receive_body(ByteSpan into) { return reader_->read_body(into); }

Result<std::size_t> HttpChannel::receive_raw(ByteSpan into) { return reader_->read_raw(into); }

bool HttpChannel::raw_buffered() const { return reader_->has_buffered(); }

bool HttpChannel::body_done() const { return reader_->body_done(); }

bool HttpChannel::answer_began() const { return reader_->began(); }

bool HttpChannel::malformed() const {
  return reader_->refusal() == 400 || reader_->refusal() == 505;
}

bool HttpChannel::keepable() const {
  return reader_->body_done() && reader_->keep_alive() && !reader_->has_buffered();
}

}  // namespace tidemark::net
