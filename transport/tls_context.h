// Certificates, keys and roots as OpenSSL contexts that follow their files.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>

#include "base/ids.h"
#include "transport/http.h"
#include "transport/openssl.h"

namespace tidemark::net {

enum class TlsSide {
  server,      // of a site: TLS 1.3, a certificate on both sides
  client,      // of a site
  web_client,  // of a service that is no site: TLS 1.2 too, a certificate of ours only where given
};

struct TlsContext {
  std::shared_ptr<SSL_CTX> context;
  // Grows when the content of the files changed: a connection made with an older one may rest on a
  // root or a certificate that is no longer wanted.
  std::uint64_t generation = 0;
};

// Builds contexts without resumption, and builds them anew when the files change. A web client
// needs no certificate and key, and without a CA it trusts the system's roots. Safe from any
// thread.
class TlsContexts {
 public:
  // `invalid_argument` (with the path) where the files are missing, unreadable or do not fit.
  static Result<std::unique_ptr<TlsContexts>> load(TlsFiles files, TlsSide side,
                                                   TlsTexts texts = {});

  ~TlsContexts();

  // The newest usable context. Files that are unreadable or do not fit at present leave the last
  // good one in use, and are tried again at each call.
  TlsContext current();

 private:
  struct Stamp {
    std::int64_t mtime_ns = -1, size = -1;
    std::uint64_t inode = 0;
    bool operator==(const Stamp&) const = default;
  };
  using Stamps = std::array<Stamp, 3>;

  TlsContexts(TlsFiles files, TlsSide side, TlsTexts texts)
      : files_(std::move(files)), side_(side), texts_(std::move(texts)) {}
  Result<Bytes> read(const std::filesystem::path& path, const std::string& text) const;
  Stamps stamps() const;
  Status reload(const Stamps& seen);

  const TlsFiles files_;
  const TlsSide side_;
  TlsTexts texts_;  // as given; wiped at the end
  std::mutex mutex_;
  TlsContext current_;        // guarded by mutex_
  Digest digest_{};           // of the files behind current_; guarded by mutex_
  Stamps loaded_{};           // guarded by mutex_
  bool settled_ = false;      // loaded_ can be trusted to show the next change; guarded by mutex_
  std::string last_failure_;  // logged once per text; guarded by mutex_
};

// Whether the client behind `ssl`, whose handshake succeeded, would be accepted with `context` now.
bool verifies_client(SSL_CTX* context, SSL* ssl);

}  // namespace tidemark::net
