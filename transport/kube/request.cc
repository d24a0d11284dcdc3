#include "transport/kube/request.h"

#include <algorithm>
#include <utility>

#include "base/crypto.h"
#include "base/log.h"
#include "transport/http_text.h"
#include "transport/kube/document.h"

namespace tidemark::kube {
namespace {

using namespace net;

constexpr std::size_t kReadStep = 64 * kKiB;
constexpr std::uint64_t kErrorBytesMax = 256 * kKiB;
constexpr std::chrono::seconds kIdleTimeMax{20};
// A stream has a deadline instead.
constexpr std::chrono::hours kStreamStall{24 * 365};

microseconds random_below(microseconds limit) {
  std::uint64_t chance = 0;
  random_bytes({reinterpret_cast<std::uint8_t*>(&chance), sizeof chance});
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(limit.count(), 1));
  return microseconds(static_cast<std::int64_t>(chance % span));
}

Result<std::string> read_text(OpenAnswer& answer, std::uint64_t bytes_max,
                              const std::stop_token& stop) {
  const Error too_large(ErrorCode::resource_exhausted,
                        "the answer is larger than " + format_bytes(bytes_max));
  if (answer.length && *answer.length > bytes_max) return too_large;
  std::string text;
  std::size_t filled = 0;
  while (!answer.done()) {
    if (text.size() - filled < kReadStep) text.resize(std::max(text.size() * 2, 2 * kReadStep));
    const auto room = ByteSpan(reinterpret_cast<std::uint8_t*>(text.data()), text.size());
    TM_TRY(const std::size_t n, answer.read(room.subspan(filled), stop));
    filled += n;
    if (filled > bytes_max) return too_large;
  }
  text.resize(filled);
  text.shrink_to_fit();
  return text;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || (host.starts_with("127.") && is_ip_address(host));
}

// "https://host:port/prefix" as its two parts; the prefix has no '/' at its end.
Status take_server(const std::string& server, Origin& origin, std::string& prefix) {
  const auto scheme = server.find("://");
  const auto path = server.find('/', scheme == std::string::npos ? 0 : scheme + 3);
  TM_TRY(origin, parse_origin_or_plain(server.substr(0, path)));
  if (path != std::string::npos) prefix = server.substr(path);
  while (prefix.ends_with('/')) prefix.pop_back();
  if (!origin.tls && !is_loopback(origin.host))
    return Error(ErrorCode::invalid_argument,
                 "the API server's address must begin with https://, except on loopback");
  return {};
}

// Between the server's word and a quarter more, so that those it sent away do not return as one.
microseconds patience(const std::optional<microseconds>& retry_after) {
  if (!retry_after) return microseconds(0);
  return *retry_after + random_below(*retry_after / 4 + std::chrono::milliseconds(50));
}

bool nothing_was_done(const ApiError& error) {
  return error.untried || error.status == 429 || error.status == 401 ||
         (error.status == 503 && error.retry_after);
}

// Whether the server may have executed it all the same.
bool is_unclear(const ApiError& error) {
  if (nothing_was_done(error)) return false;
  if (error.status == 0)
    return error.retryable() || error.code() == ErrorCode::cancelled ||
           error.code() == ErrorCode::resource_exhausted;
  return error.status == 408 || error.status >= 500 || error.status < 300;
}

}  // namespace

// What a call has tried already.
struct Requester::Attempt {
  const microseconds begin = uptime();
  std::string token;  // of the last attempt
  bool token_renewed = false;
  unsigned last_status = 0;
  std::string last_message;
};

struct Requester::Begun {
  HttpLease lease;
  AnswerHead head;
  bool whole = true;  // the request was sent to its end
};

Requester::Requester(ClientOptions options)
    : options_(std::move(options)),
      token_(options_.access.token, options_.access.token_file, *options_.clock),
      retry_tokens_(options_.retry.tokens_max, options_.retry.tokens_per_second) {}

Result<std::unique_ptr<Requester>> Requester::create(ClientOptions options) {
  std::unique_ptr<Requester> requester(new Requester(std::move(options)));
  const ClientOptions& kept = requester->options_;
  TM_DO(take_server(kept.access.server, requester->origin_, requester->prefix_));
  HttpPoolOptions pool;
  pool.origin = requester->origin_;
  pool.tls_name = kept.access.tls_server_name;
  if (pool.origin.tls) {
    TM_TRY(pool.contexts,
           TlsContexts::load(kept.access.files, TlsSide::web_client, kept.access.texts));
  }
  pool.connections_max = kept.connections_max;
  pool.connect_timeout = kept.connect_timeout;
  pool.stall_timeout = kept.stall_timeout;
  pool.idle_time_max = kIdleTimeMax;
  requester->calls_ = std::make_unique<HttpPool>(pool);
  pool.connections_max = kept.streams_max;
  pool.stall_timeout = kStreamStall;
  pool.keep_alive = true;
  requester->streams_ = std::make_unique<HttpPool>(std::move(pool));
  // They are held by the contexts and the token's source now.
  Access& given = requester->options_.access;
  for (std::string* const secret : {&given.texts.key, &given.token})
    wipe({reinterpret_cast<std::uint8_t*>(secret->data()), secret->size()});
  given.texts.key.clear();
  given.token.clear();
  return requester;
}

Result<std::string> Requester::head_of(const ApiRequest& request, const std::string& token) const {
  HttpHeaders headers = request.headers;
  headers["user-agent"] = options_.user_agent;
  if (!request.upgrade) headers["accept"] = request.accept;
  if (!request.body.empty()) headers["content-type"] = request.content_type;
  if (!token.empty()) headers["authorization"] = "Bearer " + token;
  TM_TRY(std::string head,
         request_head(request.method, target_of(prefix_ + request.path, request.query),
                      origin_.authority, headers, request.body.size()));
  if (!request.upgrade) return head;
  head.resize(head.size() - 2);
  return head + "connection: Upgrade\r\nupgrade: websocket\r\n\r\n";
}

Outcome<Requester::Begun> Requester::exchange(const ApiRequest& request, const std::string& head,
                                              HttpLease lease, const RetryBudget& budget,
                                              bool& stale) {
  HttpChannel& channel = lease.channel();
  // The event stays where it is when the lease moves.
  const std::stop_callback on_stop(budget.stop(), [&event = lease.cancel()] { event.set(); });
  Begun begun;
  auto sent = channel.stream().write(as_bytes(head), !request.body.empty());
  if (sent && !request.body.empty()) {
    const auto all = channel.stream().write_unless_answered(as_bytes(request.body));
    begun.whole = all && *all;
    if (!all) sent = all.error();
  }
  // A peer that takes no more may have said why before it closed.
  if (!sent && sent.error().code() != ErrorCode::unavailable) return sent.error();
  auto got = channel.receive_head(request.method == "HEAD", ~std::uint64_t{0} >> 1);
  if (!got) {
    stale = lease.kept_before() && !channel.answer_began() &&
            got.error().code() == ErrorCode::unavailable;
    if (channel.malformed()) return Error(ErrorCode::unavailable, "a malformed answer");
    return sent ? got.error() : sent.error();
  }
  begun.whole = begun.whole && sent;
  begun.head = *std::move(got);
  begun.lease = std::move(lease);
  return begun;
}

Outcome<Requester::Begun> Requester::begin_once(const ApiRequest& request, const std::string& head,
                                                bool fresh, HttpPool& pool,
                                                const RetryBudget& budget, bool& stale) {
  auto lease = pool.lease(fresh, budget.deadline(), budget.stop());
  if (!lease) {
    ApiError error(lease.error());
    error.untried = true;
    return error;
  }
  auto limit = budget.deadline();
  if (&pool == streams_.get()) {
    const microseconds head_limit = uptime() + options_.stall_timeout;
    limit = limit ? std::min(*limit, head_limit) : head_limit;
  }
  lease->channel().stream().set_deadline(limit);
  return exchange(request, head, *std::move(lease), budget, stale);
}

// One attempt, and the error of an answer that is none of success.
Outcome<Requester::Begun> Requester::begin(const ApiRequest& request, HttpPool& pool,
                                           const RetryBudget& budget, Attempt& attempt) {
  auto token = token_.current();
  if (!token) {
    ApiError error(token.error());
    error.untried = true;
    return error;
  }
  attempt.token = *std::move(token);
  TM_TRY(const std::string head, head_of(request, attempt.token));
  bool stale = false;
  auto begun = begin_once(request, head, request.upgrade, pool, budget, stale);
  if (!begun && stale && request.repeatable)
    begun = begin_once(request, head, true, pool, budget, stale);
  if (!begun) return begun;
  const auto warning = begun->head.headers.find("warning");
  if (warning != begun->head.headers.end())
    log::warn("the API server warns about {} {}: {}", request.method, request.path,
              warning->second);
  const unsigned status = begun->head.status;
  if (request.upgrade ? status == 101 : status >= 200 && status < 300) return begun;
  if (status == 101) return Error(ErrorCode::unavailable, "a protocol that nobody asked for");
  const HttpHeaders headers = begun->head.headers;
  OpenAnswer answer(status, std::move(begun->head), std::move(begun->lease), begun->whole);
  const auto text = read_text(answer, kErrorBytesMax, budget.stop());
  // Without its body a 404 could be of anything.
  if (!text && text.error().code() != ErrorCode::resource_exhausted) return text.error();
  ApiError error = error_of_answer(status, headers, text ? *text : std::string());
  return error;
}

std::optional<ApiError> Requester::before_repeat(const ApiRequest& request, ApiError error,
                                                 RetryBudget& budget, Attempt& attempt) {
  const auto finally = [&](ApiError last) {
    last.outcome_unknown = !request.repeatable && is_unclear(last);
    return std::optional<ApiError>(std::move(last));
  };
  if (budget.stop().stop_requested()) {
    ApiError cancelled(Error(ErrorCode::cancelled, "cancelled"));
    cancelled.untried = error.untried;
    return finally(std::move(cancelled));
  }
  if (error.status == 401) {
    if (attempt.token_renewed || !token_.refused(attempt.token)) return finally(std::move(error));
    attempt.token_renewed = true;
    return std::nullopt;
  }
  const bool forbidden = error.status == 403 && !error.namespace_terminating() &&
                         uptime() - attempt.begin < options_.forbidden_patience;
  const bool may_help = forbidden || (error.retryable() && !error.expired());
  const bool harmless = request.repeatable || forbidden || nothing_was_done(error);
  if (!request.retry || !may_help || !harmless) return finally(std::move(error));
  const bool again = error.status >= 500 && !nothing_was_done(error) &&
                     error.status == attempt.last_status &&
                     error.server_message == attempt.last_message;
  if (again && error.status == 500)
    static_cast<Error&>(error) = Error(ErrorCode::internal, error.message());
  if (again) return finally(std::move(error));
  attempt.last_status = error.status;
  attempt.last_message = error.server_message;
  if (budget.deadline() && uptime() >= *budget.deadline()) return finally(std::move(error));
  const auto verdict = budget.wait(patience(error.retry_after));
  if (verdict == RetryBudget::Verdict::again) return std::nullopt;
  if (verdict == RetryBudget::Verdict::cancelled)
    static_cast<Error&>(error) = Error(ErrorCode::cancelled, "cancelled");
  return finally(std::move(error));
}

Outcome<Requester::Begun> Requester::run(const ApiRequest& request, HttpPool& pool,
                                         RetryBudget& budget, Attempt& attempt) {
  while (true) {
    auto begun = begin(request, pool, budget, attempt);
    if (begun) {
      retry_tokens_.refund();
      return begun;
    }
    if (auto end = before_repeat(request, std::move(begun).error(), budget, attempt)) return *end;
  }
}

Outcome<Answer> Requester::read_answer(OpenAnswer answer, std::uint64_t bytes_max,
                                       const std::stop_token& stop) {
  auto text = read_text(answer, bytes_max, stop);
  if (!text) return std::move(text).error().context("the answer");
  Answer whole{answer.status, std::move(answer.headers), *std::move(text), {}};
  whole.body = parse_document(whole.text);
  return whole;
}

Outcome<Answer> Requester::perform(const ApiRequest& request, const Call& call) {
  RetryBudget budget(options_.retry, retry_tokens_, call.deadline, call.stop);
  Attempt attempt;
  while (true) {
    auto begun = run(request, *calls_, budget, attempt);
    if (!begun) return std::move(begun).error();
    const unsigned status = begun->head.status;
    Outcome<Answer> answer =
        Error(ErrorCode::unavailable, "the answer does not say how long it is");
    if (begun->head.framed)
      answer = read_answer(
          OpenAnswer(status, std::move(begun->head), std::move(begun->lease), begun->whole),
          options_.answer_bytes_max, call.stop);
    if (answer) return answer;
    // It was executed; only the answer was lost on the way.
    if (auto end = before_repeat(request, std::move(answer).error(), budget, attempt)) return *end;
  }
}

Outcome<OpenAnswer> Requester::open(const ApiRequest& request, const Call& call,
                                    microseconds body_max) {
  RetryBudget budget(options_.retry, retry_tokens_, call.deadline, call.stop);
  Attempt attempt;
  auto begun = run(request, *streams_, budget, attempt);
  if (!begun) return std::move(begun).error();
  begun->lease.channel().stream().set_deadline(uptime() + body_max);
  const unsigned status = begun->head.status;
  return OpenAnswer(status, std::move(begun->head), std::move(begun->lease), begun->whole);
}

Outcome<Upgraded> Requester::upgrade(const ApiRequest& request, const Call& call) {
  RetryBudget budget(options_.retry, retry_tokens_, call.deadline, call.stop);
  Attempt attempt;
  auto begun = run(request, *streams_, budget, attempt);
  if (!begun) return std::move(begun).error();
  return Upgraded{std::move(begun->lease), std::move(begun->head.headers)};
}

}  // namespace tidemark::kube
