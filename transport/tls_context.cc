#include "transport/tls_context.h"

#include <openssl/pem.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/log.h"

namespace tidemark::net {
namespace {

constexpr std::uint64_t kFileBytesMax = 1 * kMiB;
// A file written this recently may change again without its time showing it.
constexpr std::int64_t kSettleNs = 1'000'000'000;
constexpr std::size_t kReadAheadBytes = 128 * kKiB;
// The key exchange (X25519, P-256) is at the 128-bit level, so AES-128 weakens nothing and is the
// fastest; what travels is encrypted by the source with AES-256 besides.
constexpr const char* kCiphers =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

// OpenSSL takes a certificate without extended key usages for usable everywhere. Here the use must
// be written in it, so that certificates made for something else do not open this door.
int on_verify(int ok, X509_STORE_CTX* store) {
  if (ok != 1 || X509_STORE_CTX_get_error_depth(store) != 0) return ok;
  X509* const leaf = X509_STORE_CTX_get_current_cert(store);
  const auto* const ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const std::uint32_t wanted = SSL_is_server(ssl) == 1 ? XKU_SSL_CLIENT : XKU_SSL_SERVER;
  const bool stated = (X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE) != 0;
  if (stated && (X509_get_extended_key_usage(leaf) & wanted) != 0) return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_INVALID_PURPOSE);
  return 0;
}

Status add_roots(SSL_CTX* context, ByteView pem, TlsSide side) {
  if (side == TlsSide::web_client && pem.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1)
      return openssl_error(ErrorCode::internal, "use the system's CAs");
    return {};
  }
  TM_TRY(const auto roots, parse_certificates(pem));
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  for (const X509Ptr& root : roots) {
    if (X509_STORE_add_cert(store, root.get()) != 1)
      return openssl_error(ErrorCode::invalid_argument, "add a CA");
    if (side == TlsSide::server && SSL_CTX_add_client_CA(context, root.get()) != 1)
      return openssl_error(ErrorCode::internal, "announce a CA");
  }
  return {};
}

Status set_identity(SSL_CTX* context, ByteView chain_pem, ByteView key_pem) {
  TM_TRY(const auto chain, parse_certificates(chain_pem));
  TM_TRY(const auto key, parse_private_key(key_pem));
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1)
    return openssl_error(ErrorCode::invalid_argument, "use the certificate");
  for (std::size_t i = 1; i < chain.size(); ++i)
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1)
      return openssl_error(ErrorCode::invalid_argument, "use the certificate chain");
  if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
    ERR_clear_error();
    return Error(ErrorCode::invalid_argument, "the certificate and the key do not belong together");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1)
    return openssl_error(ErrorCode::invalid_argument, "use the key");
  return {};
}

Result<std::shared_ptr<SSL_CTX>> make_context(TlsSide side) {
  const std::shared_ptr<SSL_CTX> context(
      SSL_CTX_new(side == TlsSide::server ? TLS_server_method() : TLS_client_method()),
      [](SSL_CTX* c) { SSL_CTX_free(c); });
  if (context == nullptr) return openssl_error(ErrorCode::internal, "make a TLS context");
  SSL_CTX* const raw = context.get();
  const bool web = side == TlsSide::web_client;
  SSL_CTX_set_min_proto_version(raw, web ? TLS1_2_VERSION : TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(raw, kCiphers);
  SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_default_read_buffer_len(raw, kReadAheadBytes);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     web ? nullptr : on_verify);
  return context;
}

}  // namespace

Result<std::unique_ptr<TlsContexts>> TlsContexts::load(TlsFiles files, TlsSide side,
                                                       TlsTexts texts) {
  std::unique_ptr<TlsContexts> contexts(new TlsContexts(std::move(files), side, std::move(texts)));
  const std::lock_guard lock(contexts->mutex_);
  TM_DO(contexts->reload(contexts->stamps()));
  return contexts;
}

TlsContexts::~TlsContexts() {
  wipe({reinterpret_cast<std::uint8_t*>(texts_.key.data()), texts_.key.size()});
}

Result<Bytes> TlsContexts::read(const std::filesystem::path& path, const std::string& text) const {
  if (!text.empty()) return copy_of(as_bytes(text));
  if (side_ == TlsSide::web_client && path.empty()) return Bytes();
  return read_file(path, kFileBytesMax);
}

TlsContext TlsContexts::current() {
  const std::lock_guard lock(mutex_);
  const Stamps seen = stamps();
  if (settled_ && seen == loaded_) return current_;
  const auto reloaded = reload(seen);
  if (!reloaded) {
    // What is half written now is whole later; until then every call looks again.
    settled_ = false;
    const std::string failure = reloaded.error().describe();
    if (failure != last_failure_)
      log::warn("TLS files cannot be used, the previous ones stay in use: {}", failure);
    last_failure_ = failure;
  }
  return current_;
}

TlsContexts::Stamps TlsContexts::stamps() const {
  Stamps all;
  const std::array paths = {&files_.certificate, &files_.key, &files_.ca};
  for (std::size_t i = 0; i < all.size(); ++i) {
    struct stat st {};
    if (::stat(paths[i]->c_str(), &st) != 0) continue;
    all[i].mtime_ns = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
    all[i].size = st.st_size;
    all[i].inode = st.st_ino;
  }
  return all;
}

Status TlsContexts::reload(const Stamps& seen) {
  const auto named = [](const std::filesystem::path& path, Error error) {
    const std::string where = path.empty() ? "TLS texts" : path.string();
    return Error(ErrorCode::invalid_argument, where + ": " + error.message());
  };
  const bool web = side_ == TlsSide::web_client;
  auto certificate = read(files_.certificate, texts_.certificate);
  if (!certificate) return certificate.error().context("TLS certificate");
  auto key = read(files_.key, texts_.key);
  if (!key) return key.error().context("TLS key");
  struct Wipe {
    Bytes& bytes;
    ~Wipe() { wipe(bytes); }
  } const wipe_key{*key};
  auto ca = read(files_.ca, texts_.ca);
  if (!ca) return ca.error().context("TLS CA");

  Sha256 hash;
  for (const Bytes* part : {&*certificate, &*key, &*ca}) hash.update(sha256(*part).view());
  const Digest digest = hash.finish();
  if (current_.context == nullptr || digest != digest_) {
    TM_TRY(auto context, make_context(side_));
    const auto roots = add_roots(context.get(), *ca, side_);
    if (!roots) return named(files_.ca, roots.error());
    const bool anonymous = web && certificate->empty() && key->empty();
    const auto identity = anonymous ? Status{} : set_identity(context.get(), *certificate, *key);
    if (!identity) return named(files_.certificate, identity.error());
    if (current_.context != nullptr)
      log::info("TLS files have changed and are in use: {}",
                files_.certificate.empty() ? files_.ca.string() : files_.certificate.string());
    current_ = {std::move(context), current_.generation + 1};
    digest_ = digest;
  }
  loaded_ = seen;
  last_failure_.clear();
  const std::int64_t now_ns = Clock::system().now().us * 1000;
  settled_ = true;
  for (const Stamp& stamp : seen)
    if (stamp.mtime_ns > now_ns - kSettleNs) settled_ = false;
  return {};
}

bool verifies_client(SSL_CTX* context, SSL* ssl) {
  struct Free {
    void operator()(X509_STORE_CTX* c) const { X509_STORE_CTX_free(c); }
  };
  const std::unique_ptr<X509_STORE_CTX, Free> check(X509_STORE_CTX_new());
  const bool ok =
      check != nullptr &&
      X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(context),
                          SSL_get0_peer_certificate(ssl), SSL_get_peer_cert_chain(ssl)) == 1 &&
      X509_STORE_CTX_set_default(check.get(), "ssl_client") == 1 &&
      X509_verify_cert(check.get()) == 1;
  ERR_clear_error();
  return ok;
}

}  // namespace tidemark::net
