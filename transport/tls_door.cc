#include "transport/tls_door.h"

#include <algorithm>

#include "transport/tls_stream.h"

namespace tidemark::net {

Result<std::unique_ptr<TlsDoor>> TlsDoor::open(TlsFiles files, std::vector<std::string> sites) {
  TM_TRY(auto contexts, TlsContexts::load(std::move(files), TlsSide::server));
  return std::unique_ptr<TlsDoor>(new TlsDoor(std::move(contexts), std::move(sites)));
}

Result<std::unique_ptr<ByteStream>> TlsDoor::enter(Fd socket, const Event& cancel,
                                                   microseconds timeout, microseconds stall) {
  const TlsContext context = contexts_->current();
  TM_TRY(auto stream,
         TlsStream::create(context.context.get(), std::move(socket), true, cancel, stall));
  TM_DO(stream->handshake(timeout));
  const X509Ptr certificate(SSL_get1_peer_certificate(stream->ssl()));
  if (certificate == nullptr) return Error(ErrorCode::permission_denied, "no certificate");
  TM_TRY(const std::string site, site_of_certificate(certificate.get()));
  if (std::find(sites_.begin(), sites_.end(), site) == sites_.end())
    return Error(ErrorCode::permission_denied, "site '" + site + "' is not let in here");
  return std::unique_ptr<ByteStream>(std::move(stream));
}

}  // namespace tidemark::net
