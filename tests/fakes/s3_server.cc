#include "tests/fakes/s3_server.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>

#include "base/queue.h"
#include "base/text.h"
#include "transport/http_wire.h"
#include "transport/s3/md5.h"
#include "transport/tcp_stream.h"
#include "transport/tls_stream.h"

namespace tidemark::testing {
namespace {

using namespace net;
using namespace std::chrono_literals;

constexpr microseconds kStall = 20s;

std::string header(const HttpHeaders& headers, std::string_view name) {
  const auto at = headers.find(name);
  return at == headers.end() ? std::string() : at->second;
}

// Decodes %XX and nothing else: any byte may come.
std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

struct S3Server::Exchange {
  explicit Exchange(std::unique_ptr<ByteStream> stream_in)
      : stream(std::move(stream_in)), reader(*stream, 64 * kKiB) {}
  std::unique_ptr<ByteStream> stream;
  MessageReader<true> reader;
  std::string raw_path;
};

S3Server::S3Server(S3ServerOptions options) : options_(std::move(options)) {
  cut_ = *Event::create();
  listener_ = *listen_tcp("127.0.0.1", 0);
  port_ = *local_port(listener_.get());
  if (!options_.certificate.empty()) {
    context_.reset(SSL_CTX_new(TLS_server_method()), [](SSL_CTX* c) { SSL_CTX_free(c); });
    SSL_CTX_set_mode(context_.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_use_certificate_chain_file(context_.get(), options_.certificate.c_str());
    SSL_CTX_use_PrivateKey_file(context_.get(), options_.key.c_str(), SSL_FILETYPE_PEM);
  }
  acceptor_ = std::thread([this] { accept_loop(); });
}

S3Server::~S3Server() {
  cut_->set();
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
}

std::string S3Server::endpoint() const {
  return (context_ ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_);
}

s3::Credentials S3Server::credentials() const {
  const std::lock_guard lock(const_cast<std::mutex&>(mutex_));
  return credentials_;
}

void S3Server::set_credentials(s3::Credentials credentials, std::string refusal) {
  const std::lock_guard lock(mutex_);
  credentials_ = std::move(credentials);
  refusal_ = std::move(refusal);
}

void S3Server::misbehave(S3Misdeed misdeed) {
  const std::lock_guard lock(mutex_);
  misdeeds_.push_back(std::move(misdeed));
}

void S3Server::drop_idle() {
  const std::lock_guard lock(mutex_);
  for (const int socket : idle_) ::shutdown(socket, SHUT_RDWR);
}

Timestamp S3Server::now() const {
  return Clock::system().now() + std::chrono::seconds(ahead_s_.load());
}

void S3Server::accept_loop() {
  while (wait_for(listener_.get(), POLLIN, 1h, {cut_.get()})) {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) continue;
    ++connections_;
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([this, fd = std::move(socket)]() mutable { serve(std::move(fd)); });
  }
}

void S3Server::serve(Fd socket) {
  peak_ = std::max<std::size_t>(peak_, ++active_);
  set_no_delay(socket.get());
  std::unique_ptr<ByteStream> stream;
  if (context_) {
    auto tls = *TlsStream::create(context_.get(), std::move(socket), true, *cut_, kStall);
    if (!tls->handshake(5s)) {
      --active_;
      return;
    }
    stream = std::move(tls);
  } else {
    stream = std::make_unique<TcpStream>(std::move(socket), *cut_, kStall);
  }
  Exchange exchange(std::move(stream));
  while (serve_one(exchange)) {
  }
  --active_;
  exchange.stream->close(10ms);
}

S3Misdeed S3Server::take_misdeed(const S3Request& request) {
  const std::lock_guard lock(mutex_);
  for (auto at = misdeeds_.begin(); at != misdeeds_.end(); ++at) {
    if (at->when && !at->when(request)) continue;
    S3Misdeed misdeed = *at;
    if (at->times > 0 && --at->times == 0) misdeeds_.erase(at);
    return misdeed;
  }
  return {};
}

bool S3Server::serve_one(Exchange& exchange) {
  const int fd = exchange.stream->fd();
  const auto mark = [&](bool idle) {
    const std::lock_guard lock(mutex_);
    idle ? idle_.push_back(fd) : static_cast<void>(idle_.remove(fd));
  };
  mark(true);
  const auto there = exchange.stream->wait_input(1h, nullptr);
  mark(false);
  if (!there || !exchange.reader.read_header(1ULL << 32).value_or(false)) return false;
  ++requests_;
  S3Request request;
  const auto& head = exchange.reader.header();
  request.method = std::string(head.method_string());
  request.headers = headers_of(head);
  const std::string target(head.target());
  const auto question = target.find('?');
  exchange.raw_path = target.substr(0, question);
  std::string path = decoded(std::string_view(exchange.raw_path).substr(1));
  if (options_.virtual_host) {
    const std::string host = header(request.headers, "host");
    const auto end = host.find(".127.0.0.1");
    if (end != std::string::npos) path = host.substr(0, end) + "/" + path;
  }
  const auto slash = path.find('/');
  request.bucket = path.substr(0, slash);
  if (slash != std::string::npos) request.key = path.substr(slash + 1);
  if (question != std::string::npos)
    for (const std::string& part : split(target.substr(question + 1), '&')) {
      const auto equals = part.find('=');
      request.query[decoded(part.substr(0, equals))] =
          equals == std::string::npos ? "" : decoded(part.substr(equals + 1));
    }
  const S3Misdeed misdeed = take_misdeed(request);
  if (misdeed.fault == S3Fault::drop_before) return false;
  Bytes piece(64 * kKiB);
  while (!exchange.reader.body_done()) {
    const auto n = exchange.reader.read_body(piece);
    if (!n) return false;  // a body that is cut is never stored
    append(request.body, ByteView(piece).first(*n));
  }
  const S3Answer answer = respond(exchange, misdeed, request);
  return send(exchange, misdeed, request, answer);
}

S3Answer S3Server::respond(Exchange& exchange, const S3Misdeed& misdeed, const S3Request& request) {
  if (misdeed.fault == S3Fault::answer) return misdeed.answer;
  S3Request plain = request;
  auto refused = check(exchange, plain);
  S3Answer answer = refused ? *std::move(refused) : state_.handle(plain, now());
  if (misdeed.fault == S3Fault::alter) misdeed.alter(request, answer);
  return answer;
}

// Why a request is refused; its body is freed of the frames of chunks.
std::optional<S3Answer> S3Server::check(const Exchange& exchange, S3Request& request) {
  s3::Credentials keys;
  std::string refusal;
  {
    const std::lock_guard lock(mutex_);
    keys = credentials_;
    refusal = refusal_;
  }
  const std::string authorization = header(request.headers, "authorization"),
                    date = header(request.headers, "x-amz-date"),
                    payload = header(request.headers, "x-amz-content-sha256");
  if (authorization.find("Credential=" + keys.access_key + "/") == std::string::npos)
    return s3_error(403, refusal);
  if (date.size() != 16) return s3_error(403, "AccessDenied");
  const auto time =
      parse_time(date.substr(0, 4) + "-" + date.substr(4, 2) + "-" + date.substr(6, 2) + "T" +
                     date.substr(9, 2) + ":" + date.substr(11, 2) + ":" + date.substr(13, 2) + "Z",
                 Timestamp{});
  if (!time || std::chrono::abs(now() - *time) > 15min)
    return s3_error(403, "RequestTimeTooSkewed");
  HttpHeaders signed_headers;
  const auto names_at = authorization.find("SignedHeaders=") + 14;
  for (const std::string& name :
       split(authorization.substr(names_at, authorization.find(',', names_at) - names_at), ';'))
    signed_headers[name] = header(request.headers, name);
  const s3::Signer signer(keys, *time, "us-east-1");
  const auto expected = signer.sign({request.method, exchange.raw_path,
                                     s3::encode_query(request.query), signed_headers, payload});
  if (expected.authorization != authorization) return s3_error(403, "SignatureDoesNotMatch");
  if (payload == s3::kStreamingPayload) {
    Bytes body;
    std::string previous = expected.hex;
    std::string_view rest = as_text(request.body);
    while (!rest.empty()) {
      const auto line = rest.find("\r\n");
      const auto size = std::strtoull(std::string(rest).substr(0, 16).c_str(), nullptr, 16);
      const std::string said(rest.substr(0, line));
      const ByteView data = as_bytes(rest.substr(line + 2, size));
      previous = signer.sign_chunk(previous, data);
      if (!said.ends_with(previous)) return s3_error(403, "SignatureDoesNotMatch");
      append(body, data);
      rest.remove_prefix(line + 2 + size + 2);
    }
    if (std::to_string(body.size()) != header(request.headers, "x-amz-decoded-content-length"))
      return s3_error(400, "IncompleteBody");
    request.body = std::move(body);
  } else if (payload != s3::kUnsignedPayload && payload != sha256(request.body).hex()) {
    return s3_error(400, "XAmzContentSHA256Mismatch");
  }
  const std::string md5 = header(request.headers, "content-md5");
  if (!md5.empty() && md5 != s3::to_base64(s3::md5(request.body).view()))
    return s3_error(400, "BadDigest");
  return std::nullopt;
}

bool S3Server::send(Exchange& exchange, const S3Misdeed& misdeed, const S3Request& request,
                    const S3Answer& answer) {
  ByteStream& stream = *exchange.stream;
  const bool bodiless = request.method == "HEAD" || answer.status == 204;
  std::string head = fmt::format("HTTP/1.1 {} x\r\n", answer.status);
  for (const auto& [name, value] : answer.headers) head += name + ": " + value + "\r\n";
  head += "date: " + http_date(now()) + "\r\n";
  if (misdeed.fault != S3Fault::unframed && !answer.headers.contains("content-length") &&
      answer.status != 204)
    head += fmt::format("content-length: {}\r\n", answer.body.size());
  std::string body = bodiless ? "" : answer.body;
  switch (misdeed.fault) {
    case S3Fault::drop_after:
      return false;
    case S3Fault::never:
      ignore_error(wait_for(cut_->fd(), POLLIN, 30s, {}), "until the end of the test");
      return false;
    case S3Fault::garbage:
      ignore_error(stream.write(as_bytes("220 ftp.example ready\r\n")), "");
      return false;
    case S3Fault::cut_half:
    case S3Fault::reset:
    case S3Fault::unframed: {
      body.resize(body.size() / 2);
      ignore_error(stream.write(as_bytes(head + "\r\n" + body)), "");
      const linger hard{1, 0};
      if (misdeed.fault == S3Fault::reset)
        ::setsockopt(stream.fd(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
      return false;
    }
    case S3Fault::too_long:
      body += "extra bytes";
      break;
    case S3Fault::drip:
      if (!stream.write(as_bytes(head + "\r\n"))) return false;
      for (const char& c : body) {
        if (!stream.write(as_bytes({&c, 1})) || cut_->is_set()) return false;
        sleep_for({}, 100ms);
      }
      return true;
    default:
      break;
  }
  return stream.write(as_bytes(head + "\r\n" + body)).has_value();
}

}  // namespace tidemark::testing
