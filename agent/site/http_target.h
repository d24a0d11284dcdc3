// Requests to what the configuration names: the webhook, hooks around a snapshot.
#pragma once

#include <stop_token>
#include <string>

#include "config/config.h"

namespace tidemark {

// POST of `body`, a JSON document; any 2xx is success. Secrets are read now, so that new ones hold
// at once. `refused` for any other answer; otherwise what http_post() says. No error has the
// address's path, which may be a secret.
Status post_to(const HttpTarget& target, const std::string& body, Duration timeout,
               std::stop_token stop);

}  // namespace tidemark
