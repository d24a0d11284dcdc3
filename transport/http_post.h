// One request to a server that is none of ours: a webhook, a hook around a snapshot.
#pragma once

#include <chrono>
#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark {

struct HttpPost {
  std::string url;                // "http(s)://host[:port][/path][?query]"
  std::string body;               // a JSON document
  std::string token = {};         // sent as "Authorization: Bearer" where not empty
  std::filesystem::path ca_file;  // empty: the system's roots
  std::chrono::microseconds timeout = std::chrono::seconds(30);  // of all of it
};

// Connects, sends, reads the answer (at most 64 KiB of it count) and hangs up; redirects are not
// followed. The status of the answer, whatever it is. Errors: `invalid_argument` for another URL or
// an answer that is none, `unavailable`, `deadline_exceeded`, `permission_denied` (certificates),
// `cancelled`. They name the host alone: the rest of an address may be a secret.
Result<unsigned> http_post(const HttpPost& request, std::stop_token stop);

}  // namespace tidemark
