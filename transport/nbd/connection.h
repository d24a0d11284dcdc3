// The requests of one NBD client.
#pragma once

#include "transport/nbd/handshake.h"

namespace tidemark::nbd {

// Serves until the client leaves (success), breaks the rules, or `stop` is set. REQUIRES: `stream`
// waits for `stop` too.
Status serve_requests(BlockView& view, const Agreed& agreed, net::ByteStream& stream,
                      const net::Event& stop);

}  // namespace tidemark::nbd
