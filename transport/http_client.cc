#include <exception>
#include <mutex>
#include <vector>

#include "transport/http_client_connection.h"
#include "transport/http_text.h"

namespace tidemark {
namespace {

using namespace net;

constexpr std::size_t kIdleConnectionsMax = 32;
// Below the idle limit of a server with default options, so that we close first.
constexpr microseconds kIdleTimeMax = std::chrono::seconds(50);

// Requests that leave the same state behind whether they arrive once or twice.
bool is_repeatable(std::string_view method) {
  return method == "GET" || method == "PUT" || method == "HEAD";
}

class Client final : public HttpClient {
 public:
  Client(HttpClientOptions options, Origin origin, std::unique_ptr<TlsContexts> contexts)
      : options_(std::move(options)), origin_(std::move(origin)), contexts_(std::move(contexts)) {}

  Result<HttpResponse> request(std::string_view method, std::string_view target,
                               const HttpHeaders& headers, ByteView body,
                               std::stop_token stop) override;

 private:
  using ConnectionPtr = std::unique_ptr<ClientConnection>;
  Result<HttpResponse> run(std::string_view method, const std::string& head, ByteView body,
                           const std::stop_token& stop);
  Result<HttpResponse> guarded(std::string_view method, const std::string& head, ByteView body,
                               const std::stop_token& stop);
  ConnectionPtr take_kept(std::uint64_t generation);
  void keep(ConnectionPtr connection);

  const HttpClientOptions options_;
  const Origin origin_;
  const std::unique_ptr<TlsContexts> contexts_;
  std::mutex mutex_;
  std::vector<ConnectionPtr> kept_;  // the last used one is at the end; guarded by mutex_
};

Client::ConnectionPtr Client::take_kept(std::uint64_t generation) {
  while (true) {
    ConnectionPtr connection;
    {
      const std::lock_guard lock(mutex_);
      if (kept_.empty()) return nullptr;
      connection = std::move(kept_.back());
      kept_.pop_back();
    }
    const bool young = uptime() - connection->idle_since() < kIdleTimeMax;
    if (young && connection->generation() == generation && connection->is_quiet())
      return connection;
  }
}

void Client::keep(ConnectionPtr connection) {
  if (!connection->reusable()) return;
  const std::lock_guard lock(mutex_);
  if (kept_.size() < kIdleConnectionsMax) kept_.push_back(std::move(connection));
}

Result<HttpResponse> Client::run(std::string_view method, const std::string& head, ByteView body,
                                 const std::stop_token& stop) {
  const bool head_only = method == "HEAD";
  TlsContext context = contexts_->current();
  if (ConnectionPtr kept = take_kept(context.generation)) {
    auto outcome = kept->exchange(head, head_only, body, stop);
    const bool stale = !outcome.response && !outcome.answer_began && is_repeatable(method) &&
                       outcome.response.error().code() == ErrorCode::unavailable;
    if (!stale) {
      keep(std::move(kept));
      return std::move(outcome.response);
    }
  }
  TM_TRY(ConnectionPtr fresh, ClientConnection::open(origin_, options_, std::move(context), stop));
  auto outcome = fresh->exchange(head, head_only, body, stop);
  keep(std::move(fresh));
  return std::move(outcome.response);
}

// An answer of many megabytes may find no memory: that is an error of this request alone.
Result<HttpResponse> Client::guarded(std::string_view method, const std::string& head,
                                     ByteView body, const std::stop_token& stop) {
  try {
    return run(method, head, body, stop);
  } catch (const std::exception& error) {
    return Error(ErrorCode::resource_exhausted, error.what());
  }
}

Result<HttpResponse> Client::request(std::string_view method, std::string_view target,
                                     const HttpHeaders& headers, ByteView body,
                                     std::stop_token stop) {
  TM_TRY(const std::string head,
         request_head(method, target, origin_.authority, headers, body.size()));
  if (stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
  auto response = guarded(method, head, body, stop);
  if (response) return response;
  // What fails while somebody calls it off fails because of that.
  if (stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
  return response.error().context(options_.url);
}

}  // namespace

Result<std::unique_ptr<HttpClient>> HttpClient::create(HttpClientOptions options) {
  TM_TRY(Origin origin, parse_origin(options.url));
  TM_TRY(auto contexts, TlsContexts::load(options.tls, TlsSide::client));
  return std::unique_ptr<HttpClient>(
      std::make_unique<Client>(std::move(options), std::move(origin), std::move(contexts)));
}

}  // namespace tidemark
