#include "transport/http_client_connection.h"

#include "transport/tls_stream.h"

namespace tidemark::net {
namespace {

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

Status ClientConnection::connect(const Origin& origin, const HttpClientOptions& options) {
  const microseconds deadline = uptime() + options.connect_timeout;
  TM_TRY(Fd socket, connect_tcp(origin.host, origin.port, options.connect_timeout, *cancel_));
  TM_TRY(auto stream, TlsStream::create(context_.context.get(), std::move(socket), false, *cancel_,
                                        options.stall_timeout));
  TlsStream& tls = *stream;
  // From here on the channel says goodbye, however this ends.
  channel_ = std::make_unique<HttpChannel>(std::move(stream));
  TM_DO(expect_host(tls.ssl(), origin.host, options.check_host));
  TM_DO(tls.handshake(deadline - uptime()));
  return expect_site(tls.ssl(), options.expect_site);
}

Result<std::unique_ptr<ClientConnection>> ClientConnection::open(const Origin& origin,
                                                                 const HttpClientOptions& options,
                                                                 TlsContext context,
                                                                 std::stop_token stop) {
  std::unique_ptr<ClientConnection> connection(new ClientConnection);
  TM_TRY(connection->cancel_, Event::create());
  connection->context_ = std::move(context);
  connection->response_bytes_max_ = options.response_bytes_max;
  // Not by way of `connection`, which has moved into the result when the callback ends.
  const std::stop_callback on_stop(stop, [&cancel = *connection->cancel_] { cancel.set(); });
  TM_DO(connection->connect(origin, options));
  return connection;
}

// `whole` is false where an answer came before everything was sent.
Status ClientConnection::send(const std::string& head, ByteView body, bool& whole) {
  TM_DO(channel_->stream().write(as_bytes(head), !body.empty()));
  if (!body.empty()) {
    TM_TRY(whole, channel_->stream().write_unless_answered(body));
  }
  return {};
}

Result<Bytes> ClientConnection::receive_body(std::optional<std::uint64_t> stated) {
  constexpr std::size_t kStep = 64 * kKiB;
  Bytes body(stated ? static_cast<std::size_t>(*stated) : kStep);
  std::size_t filled = 0;
  while (!channel_->body_done()) {
    if (filled == body.size()) body.resize(filled * 2);
    TM_TRY(const std::size_t n, channel_->receive_body(ByteSpan(body).subspan(filled)));
    filled += n;
    if (filled > response_bytes_max_)
      return Error(ErrorCode::invalid_argument, "the answer is too large");
  }
  body.resize(filled);
  return body;
}

Result<HttpResponse> ClientConnection::receive(bool head_only) {
  TM_TRY(AnswerHead head, channel_->receive_head(head_only, response_bytes_max_));
  HttpResponse response;
  response.status = head.status;
  response.headers = std::move(head.headers);
  if (!channel_->body_done()) {
    TM_TRY(response.body, receive_body(head.length));
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
    if (channel_->malformed()) return {response.error().context("a malformed answer"), true};
    const bool reason = response.error().code() == ErrorCode::permission_denied;
    return {sent || reason ? response.error() : sent.error(), channel_->answer_began()};
  }
  idle_since_ = uptime();
  reusable_ = sent && whole && channel_->keepable();
  return {std::move(response), true};
}

}  // namespace tidemark::net
