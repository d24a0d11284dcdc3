// The server's end of one connection.
#pragma once

#include "transport/http.h"
#include "transport/socket.h"
#include "transport/tls_context.h"

namespace tidemark::net {

// What all connections of one server share. Outlives them.
struct ServerShared {
  HttpServerOptions options;
  HttpServer::Handler handler;
  std::unique_ptr<TlsContexts> contexts;
  std::unique_ptr<Event> draining;  // no further requests
  std::unique_ptr<Event> cut;       // everything ends now
};

// Serves one connection on the calling thread until it ends. One that is `surplus` is told so
// (503).
void serve_connection(const ServerShared& shared, Fd socket, bool surplus);

}  // namespace tidemark::net
