#include "tests/transport/s3_fixture.h"

#include "base/crypto.h"

namespace tidemark::testing {

using namespace std::chrono_literals;

s3::ClientOptions s3_options(const std::string& endpoint, const s3::Credentials& credentials) {
  s3::ClientOptions options;
  options.endpoint = endpoint;
  options.credentials = [credentials] { return Result<s3::Credentials>(credentials); };
  options.connect_timeout = 5s;
  options.stall_timeout = 20s;
  options.retry.backoff_first = 5ms;
  options.retry.backoff_max = 50ms;
  options.retry.attempts_max = 5;
  options.retry.tokens_per_second = 1000;
  return options;
}

std::unique_ptr<s3::Client> s3_client(s3::ClientOptions options) {
  auto client = s3::Client::create(std::move(options));
  if (!client) {
    ADD_FAILURE() << client.error().describe();
    std::abort();
  }
  return *std::move(client);
}

std::string unique_bucket(const std::string& what) {
  return "tm-" + random_id<SessionId>().hex().substr(0, 10) + "-" + what;
}

void remove_whole_bucket(s3::Client& client, const std::string& bucket) {
  const auto listing = client.list_versions(bucket, "");
  while (true) {
    const auto page = listing->next_page();
    if (!page || page->empty()) break;
    std::vector<s3::ObjectName> names;
    for (const auto& version : *page) names.push_back({version.key, version.version_id});
    const auto failed = client.remove_all(bucket, names, true);
    if (!failed || !failed->empty()) ADD_FAILURE() << "cannot empty " << bucket;
  }
  const auto uploads = client.list_uploads(bucket, "");
  for (const auto& upload : uploads.value_or(std::vector<s3::Upload>()))
    EXPECT_TRUE(client.abort_upload(bucket, upload.key, upload.upload_id));
  const auto removed = client.remove_bucket(bucket);
  EXPECT_TRUE(removed || removed.error().code() == ErrorCode::not_found);
}

Bytes patterned(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::uint8_t& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return bytes;
}

Result<Bytes> read_object(s3::ObjectReader& reader) {
  Bytes out, piece(100'000);
  while (true) {
    TM_TRY(const std::size_t n, reader.read(piece));
    if (n == 0) return out;
    append(out, ByteView(piece).first(n));
  }
}

}  // namespace tidemark::testing
