// Who may connect to a server that gives data out: mutual TLS, and a list of sites.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/byte_stream.h"
#include "transport/tls_context.h"

namespace tidemark::net {

// Safe from any thread.
class TlsDoor {
 public:
  // `sites`: whose certificates are let in. A certificate of our CA alone is not enough: other
  // sites keep copies that they must not be able to read.
  static Result<std::unique_ptr<TlsDoor>> open(TlsFiles files, std::vector<std::string> sites);

  // The connection behind the door; the whole handshake within `timeout`. `permission_denied` where
  // the client may not enter. `cancel` must outlive the stream.
  Result<std::unique_ptr<ByteStream>> enter(Fd socket, const Event& cancel, microseconds timeout,
                                            microseconds stall);

 private:
  TlsDoor(std::unique_ptr<TlsContexts> contexts, std::vector<std::string> sites)
      : contexts_(std::move(contexts)), sites_(std::move(sites)) {}
  const std::unique_ptr<TlsContexts> contexts_;
  const std::vector<std::string> sites_;
};

}  // namespace tidemark::net
