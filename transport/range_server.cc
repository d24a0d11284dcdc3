#include "transport/range_server.h"

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "base/text.h"
#include "transport/http_text.h"
#include "transport/tcp_stream.h"

namespace tidemark {
namespace {

using namespace net;

constexpr std::size_t kHeadBytesMax = 16 * kKiB;
constexpr std::size_t kHeadersMax = 64;
constexpr std::size_t kPieceBytes = kMiB;
constexpr microseconds kHandshakeTimeout = std::chrono::seconds(15);
constexpr microseconds kLinger = std::chrono::seconds(1);

struct Head {
  std::string method, target;
  bool version_11 = false;
  HttpHeaders headers;

  std::string_view header(std::string_view name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string_view() : it->second;
  }
  bool keep_alive() const { return version_11 && lower_case(header("connection")) != "close"; }
};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The first line and the headers, without the empty line. Whatever could be understood in two ways
// is refused.
Result<Head> parse_head(std::string_view text) {
  const auto malformed = [](const char* what) {
    return Error(ErrorCode::invalid_argument, std::string("malformed request: ") + what);
  };
  const auto line = [&text] {
    const auto end = text.find("\r\n");
    const std::string_view found = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 2);
    return found;
  };
  const std::vector<std::string> words = split(line(), ' ');
  Head head;
  if (words.size() != 3 || !is_token(words[0])) return malformed("its first line");
  head.method = words[0];
  head.target = words[1];
  head.version_11 = words[2] == "HTTP/1.1";
  if (!head.version_11 && words[2] != "HTTP/1.0") return malformed("not of HTTP/1.1");
  while (!text.empty()) {
    const std::string_view field = line();
    const auto colon = field.find(':');
    if (colon == std::string_view::npos) return malformed("a header without a colon");
    const std::string_view value = trimmed(field.substr(colon + 1));
    if (!is_token(field.substr(0, colon)) || !is_header(field.substr(0, colon), value))
      return malformed("a header");
    const auto added = head.headers.emplace(lower_case(field.substr(0, colon)), value);
    const bool counts = added.first->first == "host" || added.first->first == "range";
    if (!added.second && counts) return malformed("a header that is there twice");
    if (head.headers.size() > kHeadersMax) return malformed("too many headers");
  }
  const std::string_view length = head.header("content-length");
  if (head.headers.contains("transfer-encoding") || (!length.empty() && length != "0"))
    return malformed("a body");
  return head;
}

unsigned status_of(const Error& error) { return error.retryable() ? 503 : 500; }

class Connection {
 public:
  Connection(BlockView& view, const RangeServerOptions& options, ByteStream& stream,
             const Event& stop)
      : view_(view), options_(options), stream_(stream), stop_(stop) {}
  void run() {
    while (serve_one()) {
    }
  }

 private:
  bool serve_one();
  Result<bool> read_head(std::string& head);
  bool is_ours(const Head& head) const;
  bool answer_error(unsigned status, std::string_view why, const HttpHeaders& headers = {});
  bool answer(const Head& head);
  bool send_body(HttpResponse response, ByteRange range, bool keep);

  BlockView& view_;
  const RangeServerOptions& options_;
  ByteStream& stream_;
  const Event& stop_;
  std::string buffered_;
  bool head_only_ = false;
};

// False where no request came.
Result<bool> Connection::read_head(std::string& head) {
  if (buffered_.empty()) {
    const auto there = stream_.wait_input(options_.idle_timeout, &stop_);
    if (!there) return false;
  }
  stream_.set_deadline(uptime() + options_.stall_timeout);
  std::size_t end = buffered_.find("\r\n\r\n");
  while (end == std::string::npos) {
    if (buffered_.size() >= kHeadBytesMax)
      return Error(ErrorCode::invalid_argument, "too long a request header");
    Bytes piece(kHeadBytesMax - buffered_.size());
    TM_TRY(const std::size_t n, stream_.read_some(piece));
    if (n == 0) return false;
    buffered_ += as_text(ByteView(piece).first(n));
    end = buffered_.find("\r\n\r\n");
  }
  stream_.set_deadline(std::nullopt);
  head = buffered_.substr(0, end);
  buffered_.erase(0, end + 4);
  return true;
}

bool Connection::serve_one() {
  std::string text;
  const auto came = read_head(text);
  if (!came && came.error().code() == ErrorCode::invalid_argument)
    return answer_error(431, came.error().message());
  if (!came || !*came) return false;
  const auto head = parse_head(text);
  if (!head) return answer_error(400, head.error().message());
  return answer(*head);
}

// Errors end the connection: what follows may be part of what was not understood.
bool Connection::answer_error(unsigned status, std::string_view why, const HttpHeaders& headers) {
  HttpResponse response = error_response(status, ErrorCode::invalid_argument, why);
  response.headers.insert(headers.begin(), headers.end());
  if (const auto text = response_head(response, false, true)) {
    const Status sent = stream_.write(as_bytes(*text), !head_only_);
    if (sent && !head_only_)
      ignore_error(stream_.write(response.body), "the connection ends anyway");
  }
  return false;
}

bool Connection::is_ours(const Head& head) const {
  if (options_.door || !options_.address.socket.empty()) return true;
  ServeAddress named;
  named.host = std::string(head.header("host"));
  const auto colon = named.host.rfind(':');
  if (colon != std::string::npos && named.host.find(']', colon) == std::string::npos)
    named.host.resize(colon);
  if (named.host.starts_with('[') && named.host.ends_with(']'))
    named.host = named.host.substr(1, named.host.size() - 2);
  return named.is_local();
}

bool Connection::answer(const Head& head) {
  head_only_ = head.method == "HEAD";
  const auto target = parse_target(head.target);
  if (!target) return answer_error(400, target.error().message());
  if (head.version_11 && head.header("host").empty()) return answer_error(400, "no Host header");
  if (!is_ours(head)) return answer_error(403, "not served under this name");
  if (head.method != "GET" && !head_only_)
    return answer_error(405, "only GET and HEAD are served", {{"allow", "GET, HEAD"}});
  const std::string& path = target->path;
  if (path != "/" && path != "/" + options_.name && path != "/" + options_.name + ".raw")
    return answer_error(404, "there is one volume here, at /");
  const std::string etag = "\"" + options_.etag + "\"";
  HttpResponse response;
  response.headers = {
      {"accept-ranges", "bytes"}, {"content-type", "application/octet-stream"}, {"etag", etag}};
  ByteRange range{0, view_.size()};
  const std::string_view if_range = head.header("if-range");
  const bool ranged = !head_only_ && (if_range.empty() || if_range == etag);
  const auto asked = ranged ? parse_range(head.header("range"), view_.size()) : std::nullopt;
  if (asked && asked->length == 0)
    return answer_error(416, "no such range",
                        {{"content-range", "bytes */" + std::to_string(view_.size())}});
  if (asked) {
    range = *asked;
    response.status = 206;
    response.headers["content-range"] = "bytes " + std::to_string(range.first) + "-" +
                                        std::to_string(range.first + range.length - 1) + "/" +
                                        std::to_string(view_.size());
  }
  response.headers["content-length"] = std::to_string(range.length);
  if (head_only_) range.length = 0;
  return send_body(std::move(response), range, head.keep_alive());
}

bool Connection::send_body(HttpResponse response, ByteRange range, bool keep) {
  Bytes piece(std::min<std::uint64_t>(range.length, kPieceBytes));
  // Read before anything is said: a failure can still be told.
  auto got = view_.read(range.first, piece);
  if (!got) {
    log::warn("http: read at {}: {}", range.first, got.error().describe());
    return answer_error(status_of(got.error()), got.error().message());
  }
  const auto head = response_head(response, true, !keep);
  if (!head || !stream_.write(as_bytes(*head), !piece.empty())) return false;
  while (range.length > 0) {
    if (!stream_.write(piece)) return false;
    range.first += piece.size();
    range.length -= piece.size();
    piece.resize(std::min<std::uint64_t>(range.length, kPieceBytes));
    if (range.length == 0) break;
    got = view_.read(range.first, piece);
    if (!got) {
      log::warn("http: read at {}: {}", range.first, got.error().describe());
      return false;
    }
  }
  return keep && !stop_.is_set();
}

void serve(BlockView& view, const RangeServerOptions& options, Fd socket, const Event& stop) {
  set_no_delay(socket.get());
  std::unique_ptr<ByteStream> stream;
  if (options.door) {
    const std::string from = peer_address(socket.get());
    auto entered =
        options.door->enter(std::move(socket), stop, kHandshakeTimeout, options.stall_timeout);
    if (!entered) {
      const bool denied = entered.error().code() == ErrorCode::permission_denied;
      const log::Level level = denied ? log::Level::warn : log::Level::info;
      if (log::enabled(level))
        log::write(level, "http: " + from + ": not served: " + entered.error().describe());
      return;
    }
    stream = *std::move(entered);
  } else {
    stream = std::make_unique<TcpStream>(std::move(socket), stop, options.stall_timeout);
  }
  serve_ranges(view, options, *stream, stop);
  stream->close(kLinger);
}

}  // namespace

void serve_ranges(BlockView& view, const RangeServerOptions& options, ByteStream& stream,
                  const Event& stop) {
  Connection(view, options, stream, stop).run();
}

std::optional<ByteRange> parse_range(std::string_view header, std::uint64_t size) {
  static constexpr std::string_view kUnit = "bytes=";
  if (lower_case(header.substr(0, kUnit.size())) != kUnit) return std::nullopt;
  const std::string_view range = trimmed(header.substr(kUnit.size()));
  const auto dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = number(range.substr(0, dash)), last = number(range.substr(dash + 1));
  if ((dash > 0 && !first) || (dash + 1 < range.size() && !last) || (!first && !last))
    return std::nullopt;
  if (!first) {
    const std::uint64_t length = std::min(*last, size);
    return ByteRange{size - length, length};
  }
  if (last && *last < *first) return std::nullopt;
  if (*first >= size) return ByteRange{};
  const std::uint64_t end = last ? std::min(*last, size - 1) : size - 1;
  return ByteRange{*first, end - *first + 1};
}

Result<std::unique_ptr<RangeServer>> RangeServer::start(BlockView& view,
                                                        RangeServerOptions options) {
  std::unique_ptr<RangeServer> server(new RangeServer(options.door != nullptr));
  const ServeAddress address = options.address;
  const std::size_t connections_max = options.connections_max;
  TM_TRY(server->acceptor_,
         Acceptor::start(address, connections_max,
                         [&view, options = std::move(options)](Fd socket, const Event& stop) {
                           serve(view, options, std::move(socket), stop);
                         }));
  return server;
}

std::string RangeServer::url() const {
  if (!address().socket.empty()) return "unix:" + address().text();
  return (tls_ ? "https://" : "http://") + address().text() + "/";
}

}  // namespace tidemark
