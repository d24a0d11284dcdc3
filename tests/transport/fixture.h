// A CA with certificates of all kinds, servers and clients on loopback, and raw TLS connections.
#pragma once

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/files.h"
#include "transport/http.h"
#include "transport/pki.h"

namespace tidemark::testing {

// $TM_SEED, or a random one; printed, so that a failure can be repeated.
std::uint64_t test_seed();

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A certificate that pki_issue() would never write.
struct OddCertificate {
  std::string name;                               // of the files
  std::string alternative_names;                  // OpenSSL's notation; empty: none
  std::string usages = "serverAuth,clientAuth";   // empty: none
  std::chrono::seconds begins{-300}, ends{3600};  // from now
};

class Pki {
 public:
  Pki();
  const std::filesystem::path& path() const { return directory_.path(); }
  // A regular certificate for 127.0.0.1, localhost and ::1.
  TlsFiles issue(const std::string& site) const;
  TlsFiles issue_odd(const OddCertificate& odd) const;
  TlsFiles files(const std::string& name) const;

 private:
  TemporaryDirectory directory_;
};

Status replace_file(const std::filesystem::path& from, const std::filesystem::path& to);

// Answers with what it was sent, and says what it saw in headers: x-site, x-path, x-method.
HttpResponse echo(HttpRequest& request);

std::unique_ptr<HttpServer> start_server(HttpServerOptions options, HttpServer::Handler handler);
HttpServerOptions server_options(const TlsFiles& files);
HttpClientOptions client_options(const TlsFiles& files, std::uint16_t port);
std::unique_ptr<HttpClient> make_client(const HttpClientOptions& options);

Bytes random_body(std::mt19937_64& random, std::size_t size);

// A TLS connection as an adversary makes it: blocking, no checks.
class RawTls {
 public:
  explicit RawTls(std::uint16_t port, const TlsFiles* files, SSL_SESSION* session = nullptr,
                  int version = TLS1_3_VERSION);
  ~RawTls();
  bool connected() const { return connected_; }
  SSL* ssl() { return ssl_; }
  bool send(std::string_view text);
  // All that comes until the end, an error, or five seconds of silence.
  std::string receive_all();
  // Until `text` is in what came; what came so far.
  std::string receive_until(std::string_view text);
  // No orderly end: the socket just closes, or is reset.
  void drop(bool reset);
  // Ends the TLS stream in order, but goes on reading.
  void end_writing();

 private:
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  Fd socket_;
  bool connected_ = false;
};

}  // namespace tidemark::testing
