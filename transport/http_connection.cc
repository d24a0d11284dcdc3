#include "transport/http_connection.h"

#include <algorithm>

#include "base/log.h"
#include "transport/http_wire.h"
#include "transport/tls_stream.h"

namespace tidemark::net {
namespace {

// What of a body a handler left is read and dropped to keep the connection.
constexpr std::uint64_t kDrainBytesMax = 64 * kKiB;
// How long a connection that we close may go on sending before it is reset.
constexpr microseconds kLinger = std::chrono::seconds(2);

using Reader = MessageReader<true>;

class RequestBody final : public BodyReader {
 public:
  RequestBody(TlsStream& stream, Reader& reader, bool expects_continue)
      : stream_(stream), reader_(reader), expects_continue_(expects_continue) {}

  std::optional<std::uint64_t> length() const override { return reader_.length(); }

  Result<std::size_t> read(ByteSpan into) override {
    if (failure_) return *failure_;
    if (reader_.body_done() || into.empty()) return std::size_t{0};
    auto n = read_once(into);
    if (!n) failure_ = n.error().context("request body");
    if (failure_) return *failure_;
    return n;
  }

  const std::optional<Error>& failure() const { return failure_; }

  // Whether what is left can be expected to come, and to be little.
  bool can_drain() const {
    if (failure_) return false;
    if (reader_.body_done()) return true;
    return !expects_continue_ && (reader_.chunked() || reader_.remaining() <= kDrainBytesMax);
  }
  bool drain() {
    Bytes sink(kDrainBytesMax);
    std::uint64_t dropped = 0;
    while (!reader_.body_done() && dropped <= kDrainBytesMax) {
      const auto n = read(sink);
      if (!n) return false;
      dropped += *n;
    }
    return reader_.body_done();
  }

 private:
  Result<std::size_t> read_once(ByteSpan into) {
    // Said only now: a request that is refused unread is then never sent.
    if (std::exchange(expects_continue_, false) && !reader_.has_buffered())
      TM_DO(stream_.write(as_bytes("HTTP/1.1 100 Continue\r\n\r\n")));
    return reader_.read_body(into);
  }

  TlsStream& stream_;
  Reader& reader_;
  bool expects_continue_;
  std::optional<Error> failure_;
};

// Why a header that parses is not served, as an answer; nothing where it is.
std::optional<HttpResponse> refuse_header(const http::request_header<>& header, bool chunked) {
  const auto refuse = [](unsigned status, std::string_view why) {
    return error_response(status, ErrorCode::invalid_argument, why);
  };
  if (header.version() != 11 && header.version() != 10)
    return refuse(505, "only HTTP/1.1 is spoken here");
  std::size_t fields = 0;
  for (const auto& field : header) {
    ++fields;
    const auto value = field.value();
    if (!is_utf8({value.data(), value.size()})) return refuse(400, "a header that is not UTF-8");
  }
  if (fields > kHeadersMax) return refuse(431, "too many headers");
  // Two programs that disagree where a body ends can be made to see different requests.
  const auto lengths = header.count(http::field::content_length);
  const auto codings = header.count(http::field::transfer_encoding);
  if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0))
    return refuse(400, "the length of the body is stated twice");
  if (codings > 0 && (!chunked || header.version() < 11 ||
                      !boost::beast::iequals(header[http::field::transfer_encoding], "chunked")))
    return refuse(501, "a transfer coding other than chunked");
  const auto length = header[http::field::content_length];
  if (!std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return refuse(400, "a Content-Length that is not a number");
  const auto hosts = header.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && header.version() == 11))
    return refuse(400, "exactly one Host header is required");
  const auto expect = header[http::field::expect];
  if (!expect.empty() && !boost::beast::iequals(expect, "100-continue"))
    return refuse(417, "an expectation other than 100-continue");
  return std::nullopt;
}

class Connection {
 public:
  Connection(const ServerShared& shared, TlsStream& stream, TlsContext context)
      : shared_(shared),
        stream_(stream),
        context_(std::move(context)),
        reader_(stream, shared.options.header_bytes_max) {}

  // Serves until the connection ends; how long to linger then.
  microseconds run(bool surplus);

 private:
  bool serve_one();
  bool wait_for_request();
  bool read_header();
  std::optional<HttpRequest> to_request();
  HttpResponse call_handler(HttpRequest& request);
  bool answer(HttpResponse response, bool head_only, bool close);
  // Answers, as far as the client takes it; the caller ends the connection.
  void refuse(unsigned status, ErrorCode code, std::string_view why) {
    answer(error_response(status, code, why), false, true);
  }
  bool still_trusted();

  const ServerShared& shared_;
  TlsStream& stream_;
  TlsContext context_;  // the newest one that the client's certificate was held against
  Reader reader_;
  std::string site_;
  std::int64_t certificate_end_s_ = 0;
  bool kept_ = false;      // a request was served before
  bool outdated_ = false;  // made with files that have changed since: not kept for long
  bool answered_ = false;  // something was written that a reset must not overtake
};

microseconds Connection::run(bool surplus) {
  const X509Ptr certificate(SSL_get1_peer_certificate(stream_.ssl()));
  auto site = certificate == nullptr
                  ? Result<std::string>(Error(ErrorCode::permission_denied, "no certificate"))
                  : site_of_certificate(certificate.get());
  const auto end = site ? end_of_certificate(certificate.get()) : Result<std::int64_t>(0);
  if (!site || !end) {
    const Error& error = site ? end.error() : site.error();
    log::warn("{}: refused: {}", peer_address(stream_.fd()), error.describe());
    refuse(403, ErrorCode::permission_denied, error.describe());
    return kLinger;
  }
  site_ = *std::move(site);
  certificate_end_s_ = *end;
  if (surplus) {
    refuse(503, ErrorCode::unavailable, "too many connections");
    return kLinger;
  }
  while (serve_one()) {
  }
  return answered_ ? kLinger : microseconds(0);
}

// False where no request will come.
bool Connection::wait_for_request() {
  answered_ = false;
  if (shared_.draining->is_set()) return false;
  if (reader_.has_buffered()) return true;
  const auto waited = stream_.wait_input(shared_.options.idle_timeout, shared_.draining.get());
  return waited.has_value();
}

bool Connection::read_header() {
  // However slowly it is dripped, a header has to be there within the time of one stall.
  stream_.set_deadline(uptime() + shared_.options.stall_timeout);
  const auto got = reader_.read_header(shared_.options.body_bytes_max);
  stream_.set_deadline(std::nullopt);
  if (got) return *got;
  if (reader_.refusal() != 0)
    refuse(reader_.refusal(), ErrorCode::invalid_argument, got.error().message());
  else if (got.error().code() == ErrorCode::deadline_exceeded)
    refuse(408, ErrorCode::deadline_exceeded, "the request header did not arrive in time");
  return false;
}

std::optional<HttpRequest> Connection::to_request() {
  const auto& header = reader_.header();
  if (auto refused = refuse_header(header, reader_.chunked())) {
    answer(*std::move(refused), false, true);
    return std::nullopt;
  }
  auto target = parse_target({header.target().data(), header.target().size()});
  if (!target) {
    refuse(400, ErrorCode::invalid_argument, target.error().message());
    return std::nullopt;
  }
  HttpRequest request;
  request.method = std::string(header.method_string());
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  request.headers = headers_of(header);
  request.peer_site = site_;
  return request;
}

HttpResponse Connection::call_handler(HttpRequest& request) {
  // A handler must not throw; one that does must not take the process with it.
  try {
    return shared_.handler(request);
  } catch (const std::exception& error) {
    log::error("{} {}: the handler threw: {}", request.method, request.path, error.what());
  } catch (...) {
    log::error("{} {}: the handler threw", request.method, request.path);
  }
  return error_response(500, ErrorCode::internal, "internal error");
}

// Whether this connection's identity would be accepted by a new handshake too.
bool Connection::still_trusted() {
  if (Clock::system().now().us / 1'000'000 >= certificate_end_s_) return false;
  const TlsContext newest = shared_.contexts->current();
  if (newest.generation == context_.generation) return true;
  outdated_ = true;
  if (!verifies_client(newest.context.get(), stream_.ssl())) return false;
  context_ = newest;
  return true;
}

bool Connection::answer(HttpResponse response, bool head_only, bool close) {
  auto head = response_head(response, head_only, close);
  if (!head) {
    log::error("an answer cannot be sent: {}", head.error().describe());
    response = error_response(500, ErrorCode::internal, "internal error");
    head = response_head(response, head_only, close);
    if (!head) return false;
  }
  answered_ = true;
  const bool bodiless = head_only || is_bodiless(response.status);
  const auto headed = stream_.write(as_bytes(*head), !bodiless);
  if (!headed) return false;
  return bodiless || stream_.write(response.body).has_value();
}

bool Connection::serve_one() {
  if (!wait_for_request()) return false;
  // A certificate that expired, or a root that was dropped, ends a kept connection here: it must
  // not outlive the right to open it.
  if (std::exchange(kept_, true) && !still_trusted()) return false;
  if (!read_header()) return false;
  auto request = to_request();
  if (!request) return false;
  const auto& header = reader_.header();
  const bool expects = header.version() == 11 && !header[http::field::expect].empty();
  const bool keep_alive = header.version() == 11 && reader_.keep_alive();
  RequestBody body(stream_, reader_, expects);
  request->body = &body;
  HttpResponse response = call_handler(*request);
  if (body.failure()) {
    if (reader_.refusal() != 0)
      refuse(reader_.refusal(), ErrorCode::invalid_argument, body.failure()->message());
    else
      log::info("{}: {} {}: {}", site_, request->method, request->path, body.failure()->describe());
    return false;
  }
  const auto wish = response.headers.find("connection");
  const bool asked = wish != response.headers.end() && lower_case(wish->second) == "close";
  const bool keep = keep_alive && !asked && body.can_drain() && still_trusted() && !outdated_ &&
                    !shared_.draining->is_set();
  if (!answer(std::move(response), request->method == "HEAD", !keep)) return false;
  return keep && body.drain();
}

}  // namespace

void serve_connection(const ServerShared& shared, Fd socket, bool surplus) {
  set_no_delay(socket.get());
  const std::string from = peer_address(socket.get());
  TlsContext context = shared.contexts->current();
  auto stream = TlsStream::create(context.context.get(), std::move(socket), true, *shared.cut,
                                  shared.options.stall_timeout);
  if (!stream) {
    log::error("{}: {}", from, stream.error().describe());
    return;
  }
  const auto shaken = (*stream)->handshake(shared.options.handshake_timeout);
  if (!shaken) {
    const bool denied = shaken.error().code() == ErrorCode::permission_denied;
    log::write(denied ? log::Level::warn : log::Level::debug,
               from + ": no TLS connection: " + shaken.error().describe());
    (*stream)->close(kLinger);
    return;
  }
  Connection connection(shared, **stream, std::move(context));
  const microseconds linger = connection.run(surplus);
  (*stream)->close(linger);
}

}  // namespace tidemark::net
