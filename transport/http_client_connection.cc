#include "transport/http_client_connection.h"

#include <charconv>

#include "transport/http_wire.h"

namespace tidemark::net {
namespace {

constexpr std::size_t kAnswerHeaderBytesMax = 64 * kKiB;

// Where the server is a name, it is announced and held against the certificate.
Status expect_host(SSL* ssl, const Origin& origin, bool check_host) {
  const bool address = is_ip_address(origin.host);
  bool ok = true;
  // The macro SSL_set_tlsext_host_name, without its C cast.
  if (!address)
    ok = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                  const_cast<char*>(origin.host.c_str())) == 1;
  if (check_host && address)
    ok = ok && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), origin.host.c_str()) == 1;
  if (check_host && !address) {
    SSL_set_hostflags(ssl,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    ok = ok && SSL_set1_host(ssl, origin.host.c_str()) == 1;
  }
  if (!ok) return openssl_error(ErrorCode::invalid_argument, "not a usable host name");
  return {};
}

Status expect_site(SSL* ssl, const std::string& expected) {
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl));
  if (certificate == nullptr)
    return Error(ErrorCode::permission_denied, "the server sent no certificate");
  const auto site = site_of_certificate(certificate.get());
  if (!site) return site.error().context("the server's certificate is refused");
  if (*site != expected)
    return Error(ErrorCode::permission_denied,
                 "the server's certificate is refused: it is that of site '" + *site +
                     "', not of '" + expected + "'")
        .with_hint("does the URL belong to another site?");
  return {};
}

}  // namespace

Result<Origin> parse_origin(std::string_view url) {
  const Error error = Error(ErrorCode::invalid_argument, "not a usable URL: " + std::string(url))
                          .with_hint("https://host:port");
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return error;
  std::string_view rest = url.substr(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  Origin origin;
  origin.authority = std::string(rest);
  const bool bracketed = rest.starts_with('[');
  const auto host_end = bracketed ? rest.find(']') : rest.find(':');
  if (bracketed && host_end == std::string_view::npos) return error;
  origin.host = std::string(bracketed ? rest.substr(1, host_end - 1) : rest.substr(0, host_end));
  rest = host_end == std::string_view::npos ? "" : rest.substr(host_end + (bracketed ? 1 : 0));
  if (!rest.empty()) {
    const char* const end = rest.data() + rest.size();
    const auto parsed = std::from_chars(rest.data() + 1, end, origin.port);
    if (rest.front() != ':' || parsed.ec != std::errc{} || parsed.ptr != end || origin.port == 0)
      return error;
  }
  const bool plain = std::all_of(origin.host.begin(), origin.host.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || (bracketed && c == ':');
  });
  if (origin.host.empty() || !plain || (bracketed && !is_ip_address(origin.host))) return error;
  return origin;
}

class ClientConnection::Reader : public MessageReader<false> {
 public:
  explicit Reader(TlsStream& stream) : MessageReader<false>(stream, kAnswerHeaderBytesMax) {}
};

ClientConnection::~ClientConnection() {
  if (stream_ != nullptr) stream_->close(microseconds(0));
}

Status ClientConnection::connect(const Origin& origin, const HttpClientOptions& options) {
  const microseconds deadline = uptime() + options.connect_timeout;
  TM_TRY(Fd socket, connect_tcp(origin.host, origin.port, options.connect_timeout, *cancel_));
  TM_TRY(stream_, TlsStream::create(context_.context.get(), std::move(socket), false, *cancel_,
                                    options.stall_timeout));
  TM_DO(expect_host(stream_->ssl(), origin, options.check_host));
  TM_DO(stream_->handshake(deadline - uptime()));
  return expect_site(stream_->ssl(), options.expect_site);
}

Result<std::unique_ptr<ClientConnection>> ClientConnection::open(const Origin& origin,
                                                                 const HttpClientOptions& options,
                                                                 TlsContext context,
                                                                 std::stop_token stop) {
  std::unique_ptr<ClientConnection> connection(new ClientConnection);
  TM_TRY(connection->cancel_, Event::create());
  connection->context_ = std::move(context);
  connection->response_bytes_max_ = options.response_bytes_max;
  const std::stop_callback on_stop(stop, [&] { connection->cancel_->set(); });
  TM_DO(connection->connect(origin, options));
  connection->reader_ = std::make_unique<Reader>(*connection->stream_);
  return connection;
}

// `whole` is false where an answer came before everything was sent.
Status ClientConnection::send(const std::string& head, ByteView body, bool& whole) {
  TM_DO(stream_->write(as_bytes(head), !body.empty()));
  if (!body.empty()) {
    TM_TRY(whole, stream_->write_unless_answered(body));
  }
  return {};
}

Result<Bytes> ClientConnection::receive_body() {
  constexpr std::size_t kStep = 64 * kKiB;
  const auto stated = reader_->length();
  Bytes body(stated ? static_cast<std::size_t>(*stated) : kStep);
  std::size_t filled = 0;
  while (!reader_->body_done()) {
    if (filled == body.size()) body.resize(filled * 2);
    TM_TRY(const std::size_t n, reader_->read_body(ByteSpan(body).subspan(filled)));
    filled += n;
    if (filled > response_bytes_max_)
      return Error(ErrorCode::invalid_argument, "the answer is too large");
  }
  body.resize(filled);
  return body;
}

Result<HttpResponse> ClientConnection::receive(bool head_only) {
  HttpResponse response;
  do {
    TM_TRY(const bool there, reader_->read_header(response_bytes_max_, head_only));
    if (!there)
      return Error(ErrorCode::unavailable, "the connection was closed before an answer came");
    response.status = reader_->header().result_int();
  } while (response.status >= 100 && response.status < 200);
  response.headers = headers_of(reader_->header());
  if (!reader_->body_done()) {
    TM_TRY(response.body, receive_body());
  }
  return response;
}

ClientConnection::Outcome ClientConnection::exchange(const std::string& head, bool head_only,
                                                     ByteView body, std::stop_token stop) {
  const std::stop_callback on_stop(stop, [&] { cancel_->set(); });
  reusable_ = false;
  bool whole = true;
  const auto sent = send(head, body, whole);
  if (!sent && sent.error().code() != ErrorCode::unavailable) return {sent.error(), false};
  // A peer that takes no more may have said why before it closed.
  auto response = receive(head_only);
  if (!response) {
    const bool malformed = reader_->refusal() == 400 || reader_->refusal() == 505;
    if (malformed) return {response.error().context("a malformed answer"), true};
    const bool reason = response.error().code() == ErrorCode::permission_denied;
    return {sent || reason ? response.error() : sent.error(), reader_->began()};
  }
  idle_since_ = uptime();
  reusable_ = sent && whole && reader_->keep_alive() && !reader_->has_buffered();
  return {std::move(response), true};
}

}  // namespace tidemark::net
