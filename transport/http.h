// HTTPS between sites: requests and responses as values. Beast and Asio stay behind this header.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

// Paths of PEM files. They are read again when they change; a half-written pair keeps the old one.
struct TlsFiles {
  std::filesystem::path certificate;  // chain, leaf first
  std::filesystem::path key;
  std::filesystem::path ca;  // one or more roots, so that two can overlap
};

// The same as texts: each that is not empty takes the place of its file. Key material that came in
// a document thus reaches OpenSSL without another file.
struct TlsTexts {
  std::string certificate = {}, key = {}, ca = {};
};

// Header names are lower case.
using HttpHeaders = std::map<std::string, std::string, std::less<>>;

// The body of a request while it arrives. Used by the handler's thread.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // What Content-Length said; nothing for a chunked body.
  virtual std::optional<std::uint64_t> length() const = 0;
  // Reads some bytes; 0 at the end of the body, which has then arrived completely: a connection
  // that closes before is an error.
  virtual Result<std::size_t> read(ByteSpan into) = 0;
  // The rest of the body; `invalid_argument` where it is larger than `bytes_max`.
  Result<Bytes> read_all(std::uint64_t bytes_max);
};

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded, begins with '/', no "." or ".." parts
  std::map<std::string, std::string, std::less<>> query;
  HttpHeaders headers;
  // Who asks: the name in the certificate's URI SAN "tidemark://site/<name>". Never empty.
  std::string peer_site;
  BodyReader* body = nullptr;  // valid during the handler
};

struct HttpResponse {
  unsigned status = 200;
  HttpHeaders headers;
  Bytes body;
};

struct HttpServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any free one
  TlsFiles tls;
  // The site whose certificates are refused everything is decided by the handler; this is who may
  // connect at all: every certificate that our CA signed for client use and that names a site.
  std::size_t connections_max = 128;
  std::size_t header_bytes_max = 64 * 1024;
  std::uint64_t body_bytes_max = 96ULL << 20;
  std::chrono::seconds handshake_timeout{10};
  std::chrono::seconds idle_timeout{60};   // between requests
  std::chrono::seconds stall_timeout{30};  // without one byte moving within a request
};

// Serves requests, one thread per connection, keep-alive. TLS 1.3 with a client certificate on
// every connection; sessions are never resumed, so the certificate is checked anew each time.
class HttpServer {
 public:
  // Runs on the connection's thread, for several connections at once. Must not throw.
  using Handler = std::function<HttpResponse(HttpRequest&)>;

  virtual ~HttpServer() = default;  // stops
  // Binds and begins to serve.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, Handler handler);
  virtual std::uint16_t port() const = 0;
  // Takes no more connections; waits up to `grace` for requests under way, then cuts them.
  // Idempotent.
  virtual void stop(std::chrono::milliseconds grace) = 0;
};

struct HttpClientOptions {
  std::string url;  // "https://host:port"
  TlsFiles tls;
  // The site that must answer: held against the URI SAN of its certificate. Where `check_host` is
  // set the host name must match the certificate too.
  std::string expect_site;
  bool check_host = true;
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds stall_timeout{30};
  std::uint64_t response_bytes_max = 96ULL << 20;
};

// A client of one server. Keeps connections alive and hands each request one of its own, so
// requests from several threads run side by side. Safe from any thread. It never repeats a request
// by itself, except where a kept connection turns out to be closed before any byte of the answer
// came and the request is safe to repeat (GET, PUT).
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  static Result<std::unique_ptr<HttpClient>> create(HttpClientOptions options);
  // Any HTTP status is a success here; errors are those of the connection: `unavailable` (refused,
  // cut, reset), `deadline_exceeded` (stalled), `permission_denied` (certificates), `cancelled`.
  virtual Result<HttpResponse> request(std::string_view method, std::string_view target,
                                       const HttpHeaders& headers, ByteView body,
                                       std::stop_token stop = {}) = 0;
};

// Percent-encodes everything but unreserved characters (RFC 3986), for path segments and query
// values.
std::string url_encode(std::string_view text);

}  // namespace tidemark
