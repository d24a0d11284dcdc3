// What went wrong in TLS, in words that say which side refused and what to do about it.
#pragma once

#include "transport/openssl.h"

namespace tidemark::net {

// The error behind a failed SSL call that left a reason in OpenSSL's queue; empties the queue.
// `permission_denied` for certificates that either side refused, `unavailable` for the rest.
Error tls_error(SSL* ssl);

}  // namespace tidemark::net
