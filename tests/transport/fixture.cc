#include "tests/transport/fixture.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/clock.h"

namespace tidemark::testing {
namespace {

const char* const kBrokenPipesKill = [] {
  // The tests run with the signal's default action: a write to a closed connection must not raise
  // it.
  std::signal(SIGPIPE, SIG_DFL);
  return "";
}();

template <class T, class Read>
T* read_pem(const std::filesystem::path& path, Read read) {
  BIO* const bio = BIO_new_file(path.c_str(), "r");
  T* const object = read(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return object;
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  ASSERT_NE(extension, nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

std::uint64_t test_seed() {
  const char* const given = std::getenv("TM_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::printf("TM_SEED=%llu%s\n", static_cast<unsigned long long>(seed), kBrokenPipesKill);
  return seed;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-transport-XXXXXX");
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Pki::Pki() {
  const auto made = pki_init(path(), Clock::system().now());
  if (!made) ADD_FAILURE() << made.error().describe();
}

TlsFiles Pki::files(const std::string& name) const {
  return {path() / (name + ".crt"), path() / (name + ".key"), path() / "ca.crt"};
}

TlsFiles Pki::issue(const std::string& site) const {
  const auto issued =
      pki_issue(path(), {site, {"127.0.0.1", "localhost", "::1"}, std::chrono::days(1)},
                Clock::system().now());
  if (!issued) ADD_FAILURE() << issued.error().describe();
  return files(site);
}

TlsFiles Pki::issue_odd(const OddCertificate& odd) const {
  X509* const ca = read_pem<X509>(path() / "ca.crt", PEM_read_bio_X509);
  EVP_PKEY* const ca_key = read_pem<EVP_PKEY>(path() / "ca.key", PEM_read_bio_PrivateKey);
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const leaf = X509_new();
  X509_set_version(leaf, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(leaf), 4711);
  X509_gmtime_adj(X509_getm_notBefore(leaf), odd.begins.count());
  X509_gmtime_adj(X509_getm_notAfter(leaf), odd.ends.count());
  X509_set_pubkey(leaf, key);
  X509_set_issuer_name(leaf, X509_get_subject_name(ca));
  if (!odd.usages.empty()) add_extension(leaf, ca, NID_ext_key_usage, odd.usages);
  if (!odd.alternative_names.empty())
    add_extension(leaf, ca, NID_subject_alt_name, odd.alternative_names);
  X509_sign(leaf, ca_key, EVP_sha256());
  const TlsFiles result = files(odd.name);
  BIO* const certificate_file = BIO_new_file(result.certificate.c_str(), "w");
  PEM_write_bio_X509(certificate_file, leaf);
  BIO_free(certificate_file);
  BIO* const key_file = BIO_new_file(result.key.c_str(), "w");
  PEM_write_bio_PrivateKey(key_file, key, nullptr, nullptr, 0, nullptr, nullptr);
  BIO_free(key_file);
  X509_free(leaf);
  X509_free(ca);
  EVP_PKEY_free(key);
  EVP_PKEY_free(ca_key);
  return result;
}

Status replace_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  TM_TRY(const Bytes bytes, read_file(from, 1 << 20));
  return write_file_durably(to, bytes);
}

HttpResponse echo(HttpRequest& request) {
  HttpResponse response;
  auto body = request.body->read_all(1ULL << 30);
  if (!body) {
    response.status = 400;
    return response;
  }
  response.body = *std::move(body);
  response.headers["x-site"] = request.peer_site;
  response.headers["x-method"] = request.method;
  response.headers["x-path"] = url_encode(request.path);
  for (const auto& [key, value] : request.query)
    response.headers["x-query-" + key] = url_encode(value);
  return response;
}

HttpServerOptions server_options(const TlsFiles& files) {
  HttpServerOptions options;
  options.tls = files;
  return options;
}

std::unique_ptr<HttpServer> start_server(HttpServerOptions options, HttpServer::Handler handler) {
  auto server = HttpServer::start(std::move(options), std::move(handler));
  if (!server) {
    ADD_FAILURE() << server.error().describe();
    std::abort();
  }
  return *std::move(server);
}

HttpClientOptions client_options(const TlsFiles& files, std::uint16_t port) {
  HttpClientOptions options;
  options.url = "https://127.0.0.1:" + std::to_string(port);
  options.tls = files;
  options.expect_site = "osaka";
  return options;
}

std::unique_ptr<HttpClient> make_client(const HttpClientOptions& options) {
  auto client = HttpClient::create(options);
  if (!client) {
    ADD_FAILURE() << client.error().describe();
    std::abort();
  }
  return *std::move(client);
}

Bytes random_body(std::mt19937_64& random, std::size_t size) {
  Bytes bytes(size);
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, 8);
  }
  for (; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(random());
  return bytes;
}

RawTls::RawTls(std::uint16_t port, const TlsFiles* files, SSL_SESSION* session, int version) {
  context_ = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context_, version);
  if (files != nullptr) {
    SSL_CTX_use_certificate_chain_file(context_, files->certificate.c_str());
    SSL_CTX_use_PrivateKey_file(context_, files->key.c_str(), SSL_FILETYPE_PEM);
  }
  socket_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval limit{5, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ssl_ = SSL_new(context_);
  if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return;
  SSL_set_fd(ssl_, socket_.get());
  if (session != nullptr) SSL_set_session(ssl_, session);
  connected_ = SSL_connect(ssl_) == 1;
  ERR_clear_error();
}

RawTls::~RawTls() {
  SSL_free(ssl_);
  SSL_CTX_free(context_);
}

bool RawTls::send(std::string_view text) {
  // OpenSSL's own socket writes raise SIGPIPE; here that is the tester's trouble alone.
  std::signal(SIGPIPE, SIG_IGN);
  std::size_t n = 0;
  const bool ok = SSL_write_ex(ssl_, text.data(), text.size(), &n) == 1;
  std::signal(SIGPIPE, SIG_DFL);
  return ok;
}

std::string RawTls::receive_all() { return receive_until(std::string_view()); }

std::string RawTls::receive_until(std::string_view text) {
  std::string got;
  std::string buffer(16 * 1024, '\0');
  while (text.empty() || got.find(text) == std::string::npos) {
    std::size_t n = 0;
    if (SSL_read_ex(ssl_, buffer.data(), buffer.size(), &n) != 1) break;
    got.append(buffer, 0, n);
  }
  return got;
}

void RawTls::end_writing() { SSL_shutdown(ssl_); }

void RawTls::drop(bool reset) {
  const linger hard{1, 0};
  if (reset) ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  socket_.reset();
}

}  // namespace tidemark::testing
