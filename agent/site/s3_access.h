// How a process of this site reaches its gateway.
#pragma once

#include <memory>

#include "config/config.h"
#include "transport/s3/client.h"

namespace tidemark {

// The secrets are read anew for each request.
Result<std::unique_ptr<s3::Client>> connect_s3(const S3Config& config);
// The same gateway by somebody else's keys.
Result<std::unique_ptr<s3::Client>> connect_s3(const S3Config& config,
                                               s3::CredentialsProvider credentials);

}  // namespace tidemark
