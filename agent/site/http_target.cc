#include "agent/site/http_target.h"

#include "transport/http_post.h"

namespace tidemark {

Status post_to(const HttpTarget& target, const std::string& body, Duration timeout,
               std::stop_token stop) {
  HttpPost request;
  request.url = target.url;
  if (target.url_secret) {
    TM_TRY(request.url, read_secret(target.url_secret));
    if (!is_http_url(request.url))
      return Error(ErrorCode::invalid_argument, "what url_file holds is not an HTTP URL");
  }
  if (target.token) {
    TM_TRY(request.token, read_secret(target.token));
    if (!request.url.starts_with("https://"))
      return Error(ErrorCode::invalid_argument, "a token would go out in clear over http");
  }
  request.body = body;
  request.ca_file = target.ca_file;
  request.timeout = timeout;
  TM_TRY(const unsigned status, http_post(request, stop));
  if (status / 100 == 2) return {};
  return Error(ErrorCode::refused, "the answer is " + std::to_string(status));
}

}  // namespace tidemark
