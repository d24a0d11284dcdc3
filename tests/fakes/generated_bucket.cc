#include "tests/fakes/generated_bucket.h"

#include <fmt/core.h>

#include "base/crypto.h"
#include "transport/http_text.h"
#include "transport/s3/md5.h"

namespace tidemark::testing {
namespace {

constexpr Timestamp kWritten{1'700'000'000'000'000};
const std::string kOwner = "fake";
const std::string kAcl =
    "<?xml version=\"1.0\"?><AccessControlPolicy><Owner><ID>fake</ID></Owner><AccessControlList>"
    "<Grant><Grantee><ID>fake</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"
    "</AccessControlList></AccessControlPolicy>";

}  // namespace

void GeneratedBucket::attach(S3Server& server) const {
  S3Misdeed misdeed;
  misdeed.fault = S3Fault::alter;
  misdeed.times = -1;
  misdeed.when = [this](const S3Request& request) {
    return request.bucket == name_ && request.method == "GET" &&
           (!request.key.empty() || request.query.contains("list-type"));
  };
  misdeed.alter = [this](const S3Request& request, S3Answer& answer) {
    answer = request.key.empty() ? list(request) : read(request);
  };
  server.misbehave(std::move(misdeed));
}

std::string GeneratedBucket::key(std::uint64_t number) const {
  return fmt::format("folder-{:06}/object-{:09}.jpg", number / 1000, number);
}

std::string GeneratedBucket::body(std::uint64_t number, bool changed) const {
  return fmt::format("{} of object {}", changed ? "another text" : "the text", number);
}

ObjectEntry GeneratedBucket::entry_at_first(std::uint64_t number) const {
  const std::string text = body(number, false);
  ObjectEntry entry;
  entry.place = {key(number), kWritten, 0, {}};
  entry.latest = true;
  entry.size_bytes = text.size();
  entry.etag = s3::md5(as_bytes(text)).hex();
  entry.sha256 = sha256(as_bytes(text));
  entry.headers = {{"content-type", "image/jpeg"}};
  entry.owner = kOwner;
  entry.inline_data = copy_of(as_bytes(text));
  return entry;
}

std::uint64_t GeneratedBucket::lower_bound(const std::string& sought) const {
  std::uint64_t first = 0, last = count_;
  while (first < last) {
    const std::uint64_t middle = first + (last - first) / 2;
    key(middle) < sought ? first = middle + 1 : last = middle;
  }
  return first;
}

S3Answer GeneratedBucket::list(const S3Request& request) const {
  const auto text_at = [&](const char* name) {
    const auto at = request.query.find(name);
    return at == request.query.end() ? std::string() : at->second;
  };
  const std::string prefix = text_at("prefix"), after = text_at("start-after");
  std::uint64_t number =
      lower_bound(std::max(prefix, after + std::string(after.empty() ? 0 : 1, '\0')));
  std::string inside = "<EncodingType>url</EncodingType>";
  std::uint64_t left = std::stoul(text_at("max-keys"));
  for (; number < count_ && left > 0 && key(number).starts_with(prefix); ++number, --left) {
    const std::string text = body(number, is_changed(number));
    inside += fmt::format(
        "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag>"
        "<Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
        key(number), format_time(kWritten), s3::md5(as_bytes(text)).hex(), text.size());
  }
  const bool truncated = number < count_ && key(number).starts_with(prefix);
  return {200,
          {},
          fmt::format("<ListBucketResult>{}<IsTruncated>{}</IsTruncated></ListBucketResult>",
                      inside, truncated)};
}

S3Answer GeneratedBucket::read(const S3Request& request) const {
  if (request.query.contains("acl")) return {200, {}, kAcl};
  const std::uint64_t number = lower_bound(request.key);
  if (number == count_ || key(number) != request.key) return s3_error(404, "NoSuchKey");
  S3Answer answer;
  answer.body = body(number, is_changed(number));
  answer.headers = {{"content-type", "image/jpeg"},
                    {"etag", '"' + s3::md5(as_bytes(answer.body)).hex() + '"'},
                    {"last-modified", net::http_date(kWritten)}};
  return answer;
}

}  // namespace tidemark::testing
