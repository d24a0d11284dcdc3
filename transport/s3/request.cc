#include "transport/s3/request.h"

#include <algorithm>

#include "transport/http_text.h"

namespace tidemark::s3 {
namespace {

using namespace net;

constexpr std::size_t kChunkBytes = 256 * kKiB;
constexpr std::uint64_t kErrorBodyBytesMax = 64 * kKiB;
constexpr std::size_t kReadStep = 64 * kKiB;
// Servers close idle connections themselves, radosgw after 65 s: ours go first.
constexpr std::chrono::seconds kIdleTimeMax{20};

Failure final_failure(Error error) {
  Failure failure(std::move(error));
  failure.final = true;
  return failure;
}

bool names_a_bucket(std::string_view bucket, bool in_host) {
  return !bucket.empty() && bucket.size() <= 255 &&
         std::all_of(bucket.begin(), bucket.end(), [&](char c) {
           const bool host =
               (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
           return host || (!in_host && (c == '_' || c == ':' || (c >= 'A' && c <= 'Z')));
         });
}

Result<Bytes> read_rest(OpenAnswer& answer, std::uint64_t bytes_max, const std::stop_token& stop) {
  if (answer.done()) return Bytes();  // that of HEAD says how long the body would be
  if (answer.length && *answer.length > bytes_max)
    return Error(ErrorCode::corruption, "the answer is too large");
  Bytes body(answer.length ? static_cast<std::size_t>(*answer.length) : kReadStep);
  std::size_t filled = 0;
  while (!answer.done()) {
    // The end has to be seen, so that there is always room to read into.
    if (filled == body.size()) body.resize(filled + kReadStep);
    TM_TRY(const std::size_t n, answer.read(ByteSpan(body).subspan(filled), stop));
    filled += n;
    if (filled > bytes_max) return Error(ErrorCode::corruption, "the answer is too large");
  }
  body.resize(filled);
  return body;
}

}  // namespace

struct Requester::Signed {
  std::string head;
  Credentials credentials;
  std::optional<Signer> signer;  // where the body is a signed stream
  std::string seed;
};

// What an operation has tried already.
struct Requester::Attempt {
  Credentials credentials;  // of the last attempt
  bool skew_mended = false, keys_mended = false, source_read = false;
};

Result<std::unique_ptr<Requester>> Requester::create(ClientOptions options) {
  if (!options.credentials)
    return Error(ErrorCode::invalid_argument, "an S3 client needs credentials");
  TM_TRY(Origin origin, parse_origin_or_plain(options.endpoint));
  std::unique_ptr<Requester> requester(new Requester(std::move(options), std::move(origin)));
  net::HttpPoolOptions pool;
  pool.origin = requester->origin_;
  if (pool.origin.tls) {
    TM_TRY(pool.contexts,
           TlsContexts::load({{}, {}, requester->options_.ca_file}, TlsSide::web_client));
  }
  pool.connections_max = requester->options_.connections_max;
  pool.connect_timeout = requester->options_.connect_timeout;
  pool.stall_timeout = requester->options_.stall_timeout;
  pool.idle_time_max = kIdleTimeMax;
  requester->pool_ = std::make_unique<HttpPool>(std::move(pool));
  return requester;
}

Status Requester::address(const Request& request, std::string& host, std::string& path) const {
  host = origin_.authority;
  path = request.path.empty() ? "/" : encode_path(request.path);
  if (request.bucket.empty()) return {};
  const bool in_host = options_.virtual_host;
  if (!names_a_bucket(request.bucket, in_host))
    return Error(ErrorCode::invalid_argument, "not a usable bucket name: " + request.bucket);
  if (in_host)
    host = request.bucket + "." + host;
  else
    path += url_encode(request.bucket);
  if (request.key.empty()) return {};
  path += (in_host ? "" : "/") + encode_path(request.key);
  return {};
}

Result<Requester::Signed> Requester::sign(const Request& request) const {
  Signed out;
  TM_TRY(out.credentials, options_.credentials());
  const Timestamp time = options_.clock->now() + clock_offset();
  std::string host, path;
  TM_DO(address(request, host, path));
  const std::string query = encode_query(request.query);
  HttpHeaders headers = request.headers;
  // radosgw 16 refuses a signed stream of no bytes, and a hash covers those as well.
  const bool stream = request.source != nullptr && request.source->length() > 0;
  const bool chunked = stream && (options_.payload == PayloadSigning::streaming ||
                                  (options_.payload == PayloadSigning::automatic && !origin_.tls));
  std::uint64_t length = stream ? request.source->length() : request.document.size();
  std::string payload(kUnsignedPayload);
  if (!stream) payload = sha256(as_bytes(request.document)).hex();
  if (chunked) {
    payload = kStreamingPayload;
    headers["x-amz-decoded-content-length"] = std::to_string(length);
    length = chunked_length(length, kChunkBytes);
  }
  if (!request.document.empty())
    headers["content-md5"] = to_base64(md5(as_bytes(request.document)).view());
  headers["x-amz-date"] = amz_date(time);
  headers["x-amz-content-sha256"] = payload;
  if (!out.credentials.session_token.empty())
    headers["x-amz-security-token"] = out.credentials.session_token;
  headers["host"] = host;
  const Signer signer(out.credentials, time, options_.region);
  const Signature signature = signer.sign({request.method, path, query, headers, payload});
  headers.erase("host");
  headers["authorization"] = signature.authorization;
  TM_TRY(out.head, request_head(request.method, query.empty() ? path : path + "?" + query, host,
                                headers, length));
  if (chunked) out.signer = signer;
  out.seed = signature.hex;
  return out;
}

// Sends the body. False where an answer came before all of it was sent.
Result<bool> Requester::send_source(const Request& request, const Signed& prepared,
                                    HttpChannel& channel, bool& source_failed) const {
  Md5 hash;
  std::uint64_t left = request.source->length();
  std::string previous = prepared.seed;
  Bytes data, frame;
  while (left > 0 || prepared.signer) {
    data.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, kChunkBytes)));
    for (std::size_t filled = 0; filled < data.size();) {
      auto n = request.source->read(ByteSpan(data).subspan(filled));
      source_failed = !n || *n == 0 || *n > data.size() - filled;
      if (!n) return n.error();
      if (source_failed)
        return Error(ErrorCode::invalid_argument, "the body to send ended before its length");
      filled += *n;
    }
    if (request.source_md5 != nullptr) hash.update(data);
    left -= data.size();
    ByteView out = data;
    if (prepared.signer) {
      previous = prepared.signer->sign_chunk(previous, data);
      frame.clear();
      append(frame, as_bytes(chunk_header(data.size(), previous)));
      append(frame, data);
      append(frame, as_bytes("\r\n"));
      out = frame;
    }
    TM_TRY(const bool all, channel.stream().write_unless_answered(out));
    if (!all) return false;
    if (data.empty()) break;
  }
  if (request.source_md5 != nullptr) *request.source_md5 = hash.finish();
  return true;
}

Outcome<OpenAnswer> Requester::exchange(const Request& request, const Signed& prepared,
                                        HttpLease lease, const RetryBudget& budget) {
  HttpChannel& channel = lease.channel();
  std::optional<AnswerHead> head;
  bool whole = true, source_failed = false;
  std::optional<Error> error;
  {
    const std::stop_callback on_stop(budget.stop(), [&] { lease.cancel().set(); });
    channel.stream().set_deadline(budget.deadline());
    const bool more = request.source != nullptr || !request.document.empty();
    auto sent = channel.stream().write(as_bytes(prepared.head), more);
    if (sent && !request.document.empty())
      sent = channel.stream().write(as_bytes(request.document));
    if (sent && request.source != nullptr) {
      auto all = send_source(request, prepared, channel, source_failed);
      if (all)
        whole = *all;
      else
        sent = all.error();
    }
    // A peer that takes no more may have said why before it closed.
    if (sent || (!source_failed && sent.error().code() == ErrorCode::unavailable)) {
      auto got = channel.receive_head(request.method == "HEAD", ~std::uint64_t{0} >> 1);
      if (got)
        head = *std::move(got);
      else
        error = sent ? got.error() : sent.error();
      whole = whole && sent;
    } else {
      error = sent.error();
    }
  }
  if (error) {
    if (source_failed) return tl::unexpected(final_failure(*error));
    Failure failure(channel.malformed() ? Error(ErrorCode::unavailable, "a malformed answer")
                                        : *error);
    failure.untried = lease.kept_before() && !channel.answer_began();
    return tl::unexpected(std::move(failure));
  }
  const unsigned status = head->status;
  const bool framed = head->framed;
  OpenAnswer answer(status, *std::move(head), std::move(lease), whole);
  if (status >= 200 && status < 300) {
    if (framed && whole) return answer;
    return tl::unexpected(Failure(Error(
        ErrorCode::unavailable, framed ? "success was answered before the request was complete"
                                       : "the answer does not say how long it is")));
  }
  auto body = read_rest(answer, kErrorBodyBytesMax, budget.stop());
  // Without its body a 404 could be of anything: a document, an object, the bucket itself.
  if (!body && body.error().retryable()) return tl::unexpected(Failure(body.error()));
  return tl::unexpected(failure_of_answer(status, answer.headers, body ? *body : Bytes()));
}

// One attempt; a second connection where a kept one turns out to be dead.
Outcome<OpenAnswer> Requester::attempt(const Request& request, const Signed& prepared,
                                       const RetryBudget& budget) {
  for (bool fresh = !request.repeatable;; fresh = true) {
    auto lease = pool_->lease(fresh, budget.deadline(), budget.stop());
    if (!lease) {
      Failure failure(lease.error());
      failure.untried = true;
      return tl::unexpected(std::move(failure));
    }
    const bool kept = lease->kept_before();
    auto answer = exchange(request, prepared, *std::move(lease), budget);
    const bool stale = !answer && kept && answer.error().untried && !answer.error().final &&
                       answer.error().code() == ErrorCode::unavailable;
    if (!answer) answer.error().untried = false;
    if (!stale || (request.source != nullptr && !request.source->rewind())) return answer;
  }
}

Outcome<OpenAnswer> Requester::open_once(const Request& request, const RetryBudget& budget,
                                         Attempt& state) {
  auto prepared = sign(request);
  if (!prepared) return tl::unexpected(final_failure(prepared.error()));
  state.credentials = prepared->credentials;
  if (request.source != nullptr && std::exchange(state.source_read, true)) {
    if (auto back = request.source->rewind(); !back)
      return tl::unexpected(final_failure(back.error()));
  }
  auto answer = attempt(request, *prepared, budget);
  if (!answer && budget.stop().stop_requested())
    return tl::unexpected(final_failure(Error(ErrorCode::cancelled, "cancelled")));
  return answer;
}

// Whether what was refused can be put right at once: our clock, or keys that were changed.
bool Requester::mend(const Failure& failure, Attempt& state) {
  if (failure.s3_code == "RequestTimeTooSkewed" && failure.server_time && !state.skew_mended) {
    state.skew_mended = true;
    clock_offset_us_ = failure.server_time->us - options_.clock->now().us;
    return true;
  }
  if (failure.code() != ErrorCode::permission_denied || failure.status == 0 || state.keys_mended)
    return false;
  const auto newest = options_.credentials();
  state.keys_mended = true;
  return newest && (newest->access_key != state.credentials.access_key ||
                    newest->secret_key != state.credentials.secret_key ||
                    newest->session_token != state.credentials.session_token);
}

// What to end with instead of another attempt.
std::optional<Failure> Requester::before_repeat(const Request& request, const Failure& failure,
                                                RetryBudget& budget, Attempt& state) {
  if (failure.final) return failure;
  if (request.source != nullptr && !request.source->rewind()) return failure;
  if (mend(failure, state)) return std::nullopt;
  const bool refused_unread = failure.untried || failure.status == 503 || failure.status == 429;
  if (!failure.retryable() || (!request.repeatable && !refused_unread)) return failure;
  if (budget.deadline() && uptime() >= *budget.deadline()) return failure;
  switch (budget.wait(failure.retry_after)) {
    case RetryBudget::Verdict::again:
      return std::nullopt;
    case RetryBudget::Verdict::spent:
      return failure;
    case RetryBudget::Verdict::cancelled:
      break;
  }
  return Failure(Error(ErrorCode::cancelled, "cancelled"));
}

Outcome<OpenAnswer> Requester::open(const Request& request, RetryBudget& budget) {
  Attempt state;
  while (true) {
    auto answer = open_once(request, budget, state);
    if (answer) {
      tokens_.refund();
      return answer;
    }
    if (auto end = before_repeat(request, answer.error(), budget, state))
      return tl::unexpected(*std::move(end));
  }
}

Outcome<Answer> Requester::perform(const Request& request, const Call& call) {
  RetryBudget budget = this->budget(call);
  Attempt state;
  while (true) {
    std::optional<Failure> failure;
    auto open = this->open(request, budget);
    if (!open) return tl::unexpected(open.error());
    auto body = read_rest(*open, request.answer_bytes_max, call.stop);
    if (body) return Answer{open->status, std::move(open->headers), *std::move(body)};
    // The request was executed, only its answer was lost on the way.
    failure = Failure(body.error().context("answer"));
    failure->final = !failure->retryable();
    if (auto end = before_repeat(request, *failure, budget, state))
      return tl::unexpected(*std::move(end));
  }
}

}  // namespace tidemark::s3
