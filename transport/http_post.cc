#include "transport/http_post.h"

#include <algorithm>

#include "transport/http_channel.h"
#include "transport/origin.h"
#include "transport/socket.h"
#include "transport/tcp_stream.h"
#include "transport/tls_context.h"
#include "transport/tls_stream.h"

namespace tidemark {

using namespace net;

namespace {

constexpr std::uint64_t kAnswerBytesMax = 64 * kKiB;

struct Target {
  Origin origin;
  std::string path;  // and query
};

Result<Target> target_of(const std::string& url) {
  const auto scheme = url.find("://");
  const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t end = std::min(url.find_first_of("/?", begin), url.size());
  Target target;
  auto origin = parse_origin_or_plain(url.substr(0, end));
  if (!origin) return Error(ErrorCode::invalid_argument, "the address is not an HTTP URL");
  target.origin = *std::move(origin);
  target.path = url.substr(end);
  if (!target.path.starts_with('/')) target.path.insert(0, "/");
  for (const char c : target.path)
    if (c <= ' ' || c >= 0x7f)
      return Error(ErrorCode::invalid_argument, "the address is malformed");
  return target;
}

// A header's value must not end the header.
bool is_header_text(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7f; });
}

Result<std::unique_ptr<ByteStream>> connect(const Origin& origin, const HttpPost& request,
                                            Event& cancel, TlsContext& context,
                                            microseconds deadline) {
  TM_TRY(Fd socket, connect_tcp(origin.host, origin.port, deadline - uptime(), cancel));
  if (!origin.tls) {
    std::unique_ptr<ByteStream> plain =
        std::make_unique<TcpStream>(std::move(socket), cancel, request.timeout);
    return plain;
  }
  TM_TRY(const auto contexts, TlsContexts::load({{}, {}, request.ca_file}, TlsSide::web_client));
  context = contexts->current();
  TM_TRY(auto stream, TlsStream::create(context.context.get(), std::move(socket), false, cancel,
                                        request.timeout));
  TM_DO(expect_host(stream->ssl(), origin.host, true));
  TM_DO(stream->handshake(deadline - uptime()));
  std::unique_ptr<ByteStream> secure = std::move(stream);
  return secure;
}

Result<unsigned> exchange(const Target& target, const HttpPost& request, Event& cancel,
                          microseconds deadline) {
  TlsContext context;  // outlives the stream
  TM_TRY(auto stream, connect(target.origin, request, cancel, context, deadline));
  stream->set_deadline(deadline);  // of the whole, not only of standing still
  HttpChannel channel(std::move(stream));
  std::string head = "POST " + target.path + " HTTP/1.1\r\nHost: " + target.origin.authority +
                     "\r\nUser-Agent: tidemark\r\nContent-Type: application/json\r\n"
                     "Connection: close\r\nContent-Length: " +
                     std::to_string(request.body.size()) + "\r\n";
  if (!request.token.empty()) head += "Authorization: Bearer " + request.token + "\r\n";
  head += "\r\n";
  TM_DO(channel.stream().write(as_bytes(head), true));
  TM_TRY(const bool whole, channel.stream().write_unless_answered(as_bytes(request.body)));
  static_cast<void>(whole);  // who answers before has made up its mind
  TM_TRY(const AnswerHead answer, channel.receive_head(false, kAnswerBytesMax));
  return answer.status;
}

}  // namespace

Result<unsigned> http_post(const HttpPost& request, std::stop_token stop) {
  TM_TRY(const Target target, target_of(request.url));
  if (!is_header_text(request.token))
    return Error(ErrorCode::invalid_argument, "the token has bytes that a header cannot carry");
  TM_TRY(const auto cancel, Event::create());
  const std::stop_callback on_stop(stop, [&] { cancel->set(); });
  const microseconds deadline = uptime() + request.timeout;
  auto status = exchange(target, request, *cancel, deadline);
  if (status) return status;
  return std::move(status).error().context("POST to " + target.origin.host);
}

}  // namespace tidemark
