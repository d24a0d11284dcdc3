#include "agent/site/s3_access.h"

#include "agent/backup/bucket_capture.h"
#include "snapshot/bucket/pages.h"

namespace tidemark {

Result<std::unique_ptr<s3::Client>> connect_s3(const S3Config& config) {
  return connect_s3(
      config,
      [access = config.access_key, secret = config.secret_key]() -> Result<s3::Credentials> {
        s3::Credentials credentials;
        TM_TRY(credentials.access_key, read_secret(access));
        TM_TRY(credentials.secret_key, read_secret(secret));
        return credentials;
      });
}

Result<std::unique_ptr<s3::Client>> connect_s3(const S3Config& config,
                                               s3::CredentialsProvider credentials) {
  s3::ClientOptions options;
  options.endpoint = config.endpoint;
  options.region = config.region;
  options.ca_file = config.ca_file;
  options.virtual_host = config.addressing == S3Config::Addressing::virtual_host;
  options.credentials = std::move(credentials);
  options.connections_max = kObjectReaders + kListedAtOnce;
  return s3::Client::create(std::move(options));
}

}  // namespace tidemark
