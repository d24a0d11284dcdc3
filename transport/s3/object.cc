// GetObject, HeadObject, PutObject, DeleteObject(s).
#include <algorithm>
#include <array>
#include <charconv>

#include "transport/s3/names.h"
#include "transport/s3/request.h"
#include "transport/s3/xml.h"

namespace tidemark::s3 {
namespace {

// The whole size in "bytes 0-9/100", where the range is the one that is expected.
Result<std::uint64_t> whole_size(std::string_view range, std::uint64_t first,
                                 std::uint64_t length) {
  const Error wrong(ErrorCode::corruption,
                    "the answer holds another range than was asked for: " + std::string(range));
  if (!range.starts_with("bytes ")) return wrong;
  range.remove_prefix(6);
  std::array<std::uint64_t, 3> numbers{};
  constexpr std::string_view kBehind = "-/";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const char* const end = range.data() + range.size();
    const auto parsed = std::from_chars(range.data(), end, numbers[i]);
    if (parsed.ec != std::errc{}) return wrong;
    range.remove_prefix(static_cast<std::size_t>(parsed.ptr - range.data()));
    if (i == 2) break;
    if (range.empty() || range.front() != kBehind[i]) return wrong;
    range.remove_prefix(1);
  }
  const bool fits = range.empty() && length > 0 && numbers[0] == first &&
                    numbers[1] == first + length - 1 && numbers[2] > numbers[1];
  if (!fits) return wrong;
  return numbers[2];
}

class Reader final : public ObjectReader {
 public:
  Reader(Requester& requester, std::string bucket, std::string key, GetOptions options, Call call)
      : requester_(requester),
        bucket_(std::move(bucket)),
        key_(std::move(key)),
        options_(std::move(options)),
        call_(std::move(call)) {}

  Status start();
  const ObjectInfo& info() const override { return info_; }
  std::uint64_t length() const override { return length_; }
  Result<std::size_t> read(ByteSpan into) override;

 private:
  Request request() const;
  Status reopen(const Error& broken);
  Status check_resumed(const OpenAnswer& answer) const;
  Result<std::size_t> finish();

  Requester& requester_;
  const std::string bucket_, key_;
  const GetOptions options_;
  const Call call_;
  std::optional<RetryBudget> budget_;
  std::optional<OpenAnswer> answer_;
  ObjectInfo info_;
  std::uint64_t length_ = 0, position_ = 0;
  std::optional<Md5> md5_;
  std::optional<Error> failure_;
};

Request Reader::request() const {
  Request request;
  request.bucket = bucket_;
  request.key = key_;
  if (!options_.version_id.empty()) request.query["versionId"] = options_.version_id;
  const std::string& etag = position_ > 0 ? info_.etag : options_.if_match;
  if (!etag.empty()) request.headers["if-match"] = "\"" + etag + "\"";
  const std::uint64_t first = options_.offset + position_;
  if (first > 0 || options_.length) {
    std::string range = "bytes=" + std::to_string(first) + "-";
    if (options_.length) range += std::to_string(options_.offset + *options_.length - 1);
    request.headers["range"] = range;
  }
  return request;
}

Status Reader::start() {
  if (options_.length && *options_.length == 0)
    return Error(ErrorCode::invalid_argument, "a range of no bytes");
  budget_.emplace(requester_.budget(call_));
  const Request first = request();
  auto answer = requester_.open(first, *budget_);
  if (!answer) return answer.error();
  TM_TRY(info_, object_info(answer->headers));
  if (!answer->length) return Error(ErrorCode::corruption, "an object without Content-Length");
  length_ = *answer->length;
  info_.size = length_;
  if (first.headers.contains("range")) {
    if (answer->status != 206)
      return Error(ErrorCode::corruption, "a range was asked for, and the whole object came");
    TM_TRY(info_.size,
           whole_size(header_of(answer->headers, "content-range"), options_.offset, length_));
    const std::uint64_t rest = info_.size - options_.offset;
    if (length_ != std::min(options_.length.value_or(rest), rest))
      return Error(ErrorCode::corruption, "the answer is shorter than the range");
  }
  if (!options_.if_match.empty() && info_.etag != options_.if_match)
    return Error(ErrorCode::corruption, "the server answered with another ETag than was asked for");
  const bool whole = length_ == info_.size;
  if (options_.check_md5 && whole && is_md5(info_.etag) && !info_.encrypted) md5_.emplace();
  answer_ = *std::move(answer);
  return {};
}

Status Reader::check_resumed(const OpenAnswer& answer) const {
  const std::uint64_t left = length_ - position_;
  TM_TRY(const std::uint64_t size,
         whole_size(header_of(answer.headers, "content-range"), options_.offset + position_, left));
  const bool same = size == info_.size && answer.length == left &&
                    unquoted(header_of(answer.headers, "etag")) == info_.etag;
  if (!same) return Error(ErrorCode::corruption, "the object changed although its ETag was asked");
  return {};
}

// Goes on behind what was read. The one budget of the operation counts these attempts too.
Status Reader::reopen(const Error& broken) {
  answer_.reset();
  const bool can = options_.resume && position_ > 0 && !info_.etag.empty() && broken.retryable();
  if (!can) return broken;
  const auto verdict = budget_->wait(std::chrono::microseconds(0));
  if (verdict == RetryBudget::Verdict::spent) return broken;
  if (verdict == RetryBudget::Verdict::cancelled) return Error(ErrorCode::cancelled, "cancelled");
  auto answer = requester_.open(request(), *budget_);
  if (!answer) return answer.error().context("go on reading");
  TM_DO(check_resumed(*answer));
  answer_ = *std::move(answer);
  return {};
}

Result<std::size_t> Reader::finish() {
  answer_.reset();
  if (md5_) {
    const std::string found = md5_->finish().hex();
    md5_.reset();
    if (found != info_.etag) {
      failure_ = Error(ErrorCode::corruption,
                       key_ + ": the bytes do not match the object's ETag, which is their MD5");
      return *failure_;
    }
  }
  return std::size_t{0};
}

Result<std::size_t> Reader::read(ByteSpan into) {
  if (failure_) return *failure_;
  while (position_ < length_) {
    const auto room =
        static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), length_ - position_));
    auto n = answer_->read(into.first(room), call_.stop);
    if (n && *n > 0) {
      position_ += *n;
      if (md5_) md5_->update(into.first(*n));
      return n;
    }
    const Error broken = n ? Error(ErrorCode::unavailable, "the body ended early") : n.error();
    if (auto again = reopen(broken); !again) {
      failure_ = again.error();
      return *failure_;
    }
  }
  return finish();
}

// The answer to DeleteObjects.
class DeleteResult : public XmlHandler {
 public:
  Status begin(std::string_view path) override {
    if (path == "DeleteResult/Error") failures_.emplace_back();
    seen_root_ = seen_root_ || path == "DeleteResult";
    return {};
  }
  Status end(std::string_view path, const std::string& text) override {
    if (path == "DeleteResult/Error/Key") failures_.back().name.key = text;
    if (path == "DeleteResult/Error/VersionId") failures_.back().name.version_id = text;
    if (path == "DeleteResult/Error/Code") failures_.back().code = text;
    return {};
  }
  bool seen_root() const { return seen_root_; }
  std::vector<Client::RemoveFailure> take() {
    std::vector<Client::RemoveFailure> out;
    for (Entry& entry : failures_) {
      const std::string body = XmlWriter("Error").leaf("Code", entry.code).finish();
      Error error = failure_of_answer(400, {}, as_bytes(body));
      if (error.code() != ErrorCode::not_found)
        out.push_back({std::move(entry.name), std::move(error)});
    }
    return out;
  }

 private:
  struct Entry {
    ObjectName name;
    std::string code;
  };
  std::vector<Entry> failures_;
  bool seen_root_ = false;
};

}  // namespace

Result<std::unique_ptr<ObjectReader>> Client::get(const std::string& bucket, const std::string& key,
                                                  GetOptions options, Call call) const {
  TM_DO(check_key(key));
  auto reader =
      std::make_unique<Reader>(*requester_, bucket, key, std::move(options), std::move(call));
  const auto started = reader->start();
  if (!started) return started.error().context("get " + bucket + "/" + key);
  return std::unique_ptr<ObjectReader>(std::move(reader));
}

Result<ObjectInfo> Client::head(const std::string& bucket, const std::string& key,
                                const std::string& version_id, const Call& call) const {
  TM_DO(check_key(key));
  Request request = named("HEAD", bucket, {key, version_id});
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context("head " + bucket + "/" + key);
  TM_TRY(ObjectInfo info, object_info(answer->headers));
  TM_TRY(info.size, number_of(header_of(answer->headers, "content-length"), "Content-Length"));
  return info;
}

Result<PutResult> Client::put(const std::string& bucket, const std::string& key, BodySource& source,
                              const PutOptions& options, const Call& call) const {
  TM_DO(check_key(key));
  Request request = named("PUT", bucket, {key, {}});
  TM_DO(put_settings(options.settings, request.headers));
  Md5Digest sent;
  request.source = &source;
  request.source_md5 = options.check_md5 ? &sent : nullptr;
  request.repeatable = call.repeat;
  if (options.md5) request.headers["content-md5"] = to_base64(*options.md5);
  if (!options.if_none_match.empty()) request.headers["if-none-match"] = options.if_none_match;
  auto answer = requester_->perform(request, call);
  if (!answer) {
    Error error = answer.error().context("put " + bucket + "/" + key);
    // A first try whose answer was lost makes the second one find the key.
    if (answer.error().status == 412 && !options.if_none_match.empty())
      return Error(ErrorCode::already_exists, error.message());
    return error;
  }
  PutResult result = put_result(answer->headers);
  const bool comparable = is_md5(result.etag) && !is_encrypted(answer->headers);
  if (options.check_md5 && comparable && result.etag != sent.hex())
    return Error(ErrorCode::corruption,
                 "put " + bucket + "/" + key + ": the server stored other bytes than were sent");
  return result;
}

Result<PutResult> Client::put_bytes(const std::string& bucket, const std::string& key,
                                    ByteView bytes, const PutOptions& options,
                                    const Call& call) const {
  BytesSource source(bytes);
  PutOptions with_md5 = options;
  if (!with_md5.md5) with_md5.md5 = md5(bytes).bytes;
  return put(bucket, key, source, with_md5, call);
}

Result<std::string> Client::remove(const std::string& bucket, const ObjectName& name,
                                   bool bypass_governance, const Call& call) const {
  TM_DO(check_key(name.key));
  Request request = named("DELETE", bucket, name);
  request.repeatable = call.repeat;
  if (bypass_governance) request.headers["x-amz-bypass-governance-retention"] = "true";
  auto answer = requester_->perform(request, call);
  if (answer) return header_of(answer->headers, "x-amz-version-id");
  const std::string& said = answer.error().s3_code;
  if (said == "NoSuchKey" || said == "NoSuchVersion") return std::string();
  return answer.error().context("delete " + bucket + "/" + name.key);
}

Result<std::vector<Client::RemoveFailure>> Client::remove_all(const std::string& bucket,
                                                              const std::vector<ObjectName>& names,
                                                              bool bypass_governance,
                                                              const Call& call) const {
  if (names.size() > 1000)
    return Error(ErrorCode::invalid_argument, "more than 1000 objects to delete at once");
  std::vector<RemoveFailure> failures;
  XmlWriter writer("Delete");
  writer.leaf("Quiet", "true");
  bool any = false;
  for (const ObjectName& name : names) {
    if (!xml_can_carry(name.key)) {
      const auto removed = remove(bucket, name, bypass_governance, call);
      if (!removed) failures.push_back({name, removed.error()});
      continue;
    }
    TM_DO(check_key(name.key));
    any = true;
    writer.open("Object").leaf("Key", name.key);
    if (!name.version_id.empty()) writer.leaf("VersionId", name.version_id);
    writer.close();
  }
  if (!any) return failures;
  Request request = named("POST", bucket, {});
  request.query["delete"] = "";
  request.document = writer.finish();
  request.repeatable = call.repeat;
  if (bypass_governance) request.headers["x-amz-bypass-governance-retention"] = "true";
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context("delete objects in " + bucket);
  DeleteResult result;
  TM_DO(parse_xml(answer->body, result));
  if (!result.seen_root()) return Error(ErrorCode::corruption, "not an answer to DeleteObjects");
  for (RemoveFailure& failure : result.take()) failures.push_back(std::move(failure));
  return failures;
}

}  // namespace tidemark::s3
