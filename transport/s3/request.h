// One operation: signed, sent over a pooled connection, repeated where that is safe. What the typed
// operations of client.h are made of.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "transport/http_pool.h"
#include "transport/open_answer.h"
#include "transport/retry.h"
#include "transport/s3/client.h"
#include "transport/s3/error.h"
#include "transport/s3/md5.h"
#include "transport/s3/signature.h"

namespace tidemark::s3 {

using net::HttpLease;
using net::HttpPool;
using net::OpenAnswer;
using net::RetryBudget;
using net::RetryTokens;

struct Request {
  std::string method = "GET";
  std::string bucket;  // empty: the service itself
  std::string key;     // empty: the bucket itself
  std::string path;    // instead of both: "/admin/bucket"
  Query query;
  HttpHeaders headers;
  // The body: a document (sent with its hash and its MD5) or a source, or none.
  std::string document;
  BodySource* source = nullptr;
  // Set to the MD5 of what was read from the source, where given.
  Md5Digest* source_md5 = nullptr;
  // Whether it leaves the same behind when the server executes it twice.
  bool repeatable = true;
  std::uint64_t answer_bytes_max = 16 * kMiB;
};

struct Answer {
  unsigned status = 0;
  HttpHeaders headers;
  Bytes body;
};

// Safe from any thread.
class Requester {
 public:
  static Result<std::unique_ptr<Requester>> create(ClientOptions options);

  // A whole answer with a status of success; anything else is a Failure.
  Outcome<Answer> perform(const Request& request, const Call& call);
  // The same without the body, within a budget that may span several requests.
  Outcome<OpenAnswer> open(const Request& request, RetryBudget& budget);

  RetryBudget budget(const Call& call) {
    return {options_.retry, tokens_, call.deadline, call.stop};
  }
  const ClientOptions& options() const { return options_; }
  std::chrono::microseconds clock_offset() const {
    return std::chrono::microseconds(clock_offset_us_.load());
  }

 private:
  struct Signed;
  struct Attempt;
  Requester(ClientOptions options, net::Origin origin)
      : options_(std::move(options)),
        origin_(std::move(origin)),
        tokens_(options_.retry.tokens_max, options_.retry.tokens_per_second) {}

  Result<Signed> sign(const Request& request) const;
  Status address(const Request& request, std::string& host, std::string& path) const;
  Outcome<OpenAnswer> attempt(const Request& request, const Signed& prepared,
                              const RetryBudget& budget);
  Outcome<OpenAnswer> exchange(const Request& request, const Signed& prepared, HttpLease lease,
                               const RetryBudget& budget);
  Result<bool> send_source(const Request& request, const Signed& prepared,
                           net::HttpChannel& channel, bool& source_failed) const;
  Outcome<OpenAnswer> open_once(const Request& request, const RetryBudget& budget, Attempt& state);
  bool mend(const Failure& failure, Attempt& state);
  std::optional<Failure> before_repeat(const Request& request, const Failure& failure,
                                       RetryBudget& budget, Attempt& state);

  const ClientOptions options_;
  const net::Origin origin_;
  RetryTokens tokens_;
  std::atomic<std::int64_t> clock_offset_us_ = 0;  // the server's clock less ours
  std::unique_ptr<HttpPool> pool_;
};

}  // namespace tidemark::s3
