// The client's end of one connection.
#pragma once

#include "transport/http.h"
#include "transport/http_channel.h"
#include "transport/origin.h"
#include "transport/tls_context.h"

namespace tidemark::net {

// Used by one thread at a time.
class ClientConnection {
 public:
  // Connects, checks the server's certificate and site.
  static Result<std::unique_ptr<ClientConnection>> open(const Origin& origin,
                                                        const HttpClientOptions& options,
                                                        TlsContext context, std::stop_token stop);

  struct Outcome {
    Result<HttpResponse> response;
    bool answer_began = false;  // some byte of an answer arrived
  };
  // One request and its answer. `head` comes from request_head().
  Outcome exchange(const std::string& head, bool head_only, ByteView body, std::stop_token stop);

  // Whether another request can be sent: nothing is left over from the last one, nor was it called
  // off.
  bool reusable() const { return reusable_ && !cancel_->is_set(); }
  // Whether the server has neither closed a kept connection nor said anything unasked.
  bool is_quiet() { return channel_->stream().is_quiet(); }
  std::uint64_t generation() const { return context_.generation; }
  microseconds idle_since() const { return idle_since_; }

 private:
  ClientConnection() = default;
  Status connect(const Origin& origin, const HttpClientOptions& options);
  Status send(const std::string& head, ByteView body, bool& whole);
  Result<HttpResponse> receive(bool head_only);
  Result<Bytes> receive_body(std::optional<std::uint64_t> stated);

  std::unique_ptr<Event> cancel_;
  TlsContext context_;
  std::unique_ptr<HttpChannel> channel_;
  std::uint64_t response_bytes_max_ = 0;
  microseconds idle_since_{0};
  bool reusable_ = false;
};

}  // namespace tidemark::net
