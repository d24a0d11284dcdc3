// One request to the API server: sent over a pooled connection, with the token of the moment, and
// repeated where that is safe. What client.h, watch.h and exec.h are made of.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>

#include "transport/kube/access.h"
#include "transport/kube/error.h"
#include "transport/kube/resource.h"
#include "transport/open_answer.h"
#include "transport/retry.h"

namespace tidemark::kube {

struct ClientOptions {
  Access access;
  // The first word is what the server takes for the field manager of writes that name none.
  std::string user_agent = "tidemark";
  // The owner of what is applied.
  std::string field_manager = "tidemark";
  // More calls than this wait for a connection; watches and execs have as many of their own.
  std::size_t connections_max = 16;
  std::size_t streams_max = 64;
  std::chrono::microseconds connect_timeout = std::chrono::seconds(10);
  // Without one byte moving, also while the server is at work: it gives up after 60 s itself.
  std::chrono::microseconds stall_timeout = std::chrono::seconds(65);
  std::uint64_t answer_bytes_max = 32 * kMiB;
  net::RetryOptions retry;
  // 403 is asked again for this long before it is reported: a server that has just started gives it
  // to accounts that have the right.
  std::chrono::microseconds forbidden_patience = std::chrono::seconds(3);
  const Clock* clock = &Clock::system();  // of the token file; must outlive the client
};

// Of one call.
struct Call {
  std::stop_token stop = {};
  // A point of monotonic time (net::uptime()) at which it ends, whatever still moves.
  std::optional<std::chrono::microseconds> deadline = std::nullopt;
};

struct ApiRequest {
  std::string method = "GET";
  std::string path;  // percent-encoded, "/api/v1/..."
  Query query = {};
  std::string body = {};
  std::string content_type = "application/json";  // of the body, where there is one
  std::string accept = "application/json";
  // More header lines, lower case: those of an upgrade.
  HttpHeaders headers = {};
  bool upgrade = false;
  // Whether it leaves the same behind when the server executes it twice.
  bool repeatable = false;
  // Whether repeats may be made at all.
  bool retry = true;
};

struct Answer {
  unsigned status = 0;
  HttpHeaders headers;
  std::string text;     // the body as it came
  nlohmann::json body;  // is_discarded() where it is no JSON
};

// A connection that the server switched to another protocol.
struct Upgraded {
  net::HttpLease lease;
  HttpHeaders headers;
};

// What is repeated, within one budget for each call and one for the client:
//   no connection; 429; 503 with Retry-After   always: nothing was done
//   401                                        once, with the token read anew
//   403                                        for `forbidden_patience`
//   other 408 and 5xx, cuts and stalls         where the request is repeatable; 5xx that answers
//                                              the same again is final
// Everything else is final. A request that is not repeatable and may have been executed ends with
// `outcome_unknown`. Safe from any thread.
class Requester {
 public:
  static Result<std::unique_ptr<Requester>> create(ClientOptions options);

  // A whole answer with a status of success.
  Outcome<Answer> perform(const ApiRequest& request, const Call& call);
  // The same with a body that is read as it comes, for `body_max` after the head, whatever moves or
  // stands still; then its reads are `deadline_exceeded`.
  Outcome<net::OpenAnswer> open(const ApiRequest& request, const Call& call,
                                std::chrono::microseconds body_max);
  // The connection after 101, on which the caller sets the deadline; other answers of success are
  // an error.
  Outcome<Upgraded> upgrade(const ApiRequest& request, const Call& call);

  const ClientOptions& options() const { return options_; }

 private:
  struct Attempt;
  struct Begun;
  explicit Requester(ClientOptions options);
  static Outcome<Answer> read_answer(net::OpenAnswer answer, std::uint64_t bytes_max,
                                     const std::stop_token& stop);
  Result<std::string> head_of(const ApiRequest& request, const std::string& token) const;
  Outcome<Begun> begin(const ApiRequest& request, net::HttpPool& pool,
                       const net::RetryBudget& budget, Attempt& attempt);
  Outcome<Begun> begin_once(const ApiRequest& request, const std::string& head, bool fresh,
                            net::HttpPool& pool, const net::RetryBudget& budget, bool& stale);
  Outcome<Begun> exchange(const ApiRequest& request, const std::string& head, net::HttpLease lease,
                          const net::RetryBudget& budget, bool& stale);
  Outcome<Begun> run(const ApiRequest& request, net::HttpPool& pool, net::RetryBudget& budget,
                     Attempt& attempt);
  std::optional<ApiError> before_repeat(const ApiRequest& request, ApiError error,
                                        net::RetryBudget& budget, Attempt& attempt);

  ClientOptions options_;  // as given, but for the secrets; never changed after create()
  net::Origin origin_;
  std::string prefix_;  // of paths
  TokenSource token_;
  net::RetryTokens retry_tokens_;
  std::unique_ptr<net::HttpPool> calls_, streams_;
};

}  // namespace tidemark::kube
