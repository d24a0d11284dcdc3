// Uploads in parts.
#include <algorithm>

#include "transport/s3/fields.h"
#include "transport/s3/names.h"

namespace tidemark::s3 {
namespace {

constexpr unsigned kPartNumberMax = 10'000;
// Pages of a listing that is collected whole: 10,000 parts, a million uploads.
constexpr unsigned kPagesMax = 1'000;
constexpr std::chrono::milliseconds kLookAgain{200};

// The ETag an object made of these parts gets: the MD5 of their MD5s, and their number. Empty where
// the parts' ETags are no MD5s.
std::string etag_of_parts(const std::vector<Part>& parts) {
  Md5 all;
  for (const Part& part : parts) {
    const auto digest = is_md5(part.etag) ? from_hex(part.etag) : std::nullopt;
    if (!digest) return {};
    all.update(*digest);
  }
  return all.finish().hex() + "-" + std::to_string(parts.size());
}

std::string completion(const std::vector<Part>& parts) {
  XmlWriter writer("CompleteMultipartUpload");
  for (const Part& part : parts)
    writer.open("Part")
        .leaf("PartNumber", std::to_string(part.number))
        .leaf("ETag", "\"" + part.etag + "\"")
        .close();
  return writer.finish();
}

// The result in an answer to CompleteMultipartUpload; a status of success may carry an error.
Outcome<PutResult> completed(const Answer& answer) {
  PutResult result = put_result(answer.headers);
  const auto root = xml_root(answer.body);
  if (!root) return tl::unexpected(Failure(Error(ErrorCode::unavailable, root.error().message())));
  if (*root == "Error") {
    Failure failure = failure_of_answer(500, answer.headers, answer.body);
    return tl::unexpected(std::move(failure));
  }
  auto etag = read_field(answer.body, "CompleteMultipartUploadResult", "ETag");
  if (!etag) return tl::unexpected(Failure(etag.error()));
  result.etag = unquoted(*etag);
  return result;
}

// One page of ListMultipartUploads; `more` says whether another follows.
Result<std::vector<Upload>> uploads_of(ByteView document, bool& more) {
  std::vector<Upload> uploads;
  Upload upload;
  bool encoded = false;
  more = false;
  TM_DO(read_fields(document, "ListMultipartUploadsResult",
                    [&](std::string_view path, const std::string& text) -> Status {
                      if (path == "EncodingType") encoded = text == "url";
                      if (path == "IsTruncated") more = text == "true";
                      if (path == "Upload/Key") upload.key = text;
                      if (path == "Upload/UploadId") upload.upload_id = text;
                      if (path == "Upload/Initiated") {
                        TM_TRY(upload.initiated, time_of(text));
                      }
                      if (path == "Upload") uploads.push_back(std::exchange(upload, {}));
                      return {};
                    }));
  for (Upload& found : uploads) {
    TM_TRY(found.key, listed_key(found.key, encoded));
  }
  return uploads;
}

// Uploads of one key come in any order.
bool is_behind(const Upload& upload, const Upload& last) {
  return upload.key > last.key || (upload.key == last.key && upload.upload_id != last.upload_id);
}

}  // namespace

Result<std::string> Client::create_upload(const std::string& bucket, const std::string& key,
                                          const ObjectSettings& settings, const Call& call) const {
  TM_DO(check_key(key));
  Request request = named("POST", bucket, {key, {}});
  request.query["uploads"] = "";
  request.repeatable = call.repeat;
  TM_DO(put_settings(settings, request.headers));
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context("begin an upload of " + bucket + "/" + key);
  TM_TRY(std::string id, read_field(answer->body, "InitiateMultipartUploadResult", "UploadId"));
  if (id.empty()) return Error(ErrorCode::corruption, "an upload without an id");
  return id;
}

Result<Part> Client::upload_part(const std::string& bucket, const std::string& key,
                                 const std::string& upload_id, unsigned number, BodySource& source,
                                 const Call& call) const {
  TM_DO(check_key(key));
  if (number < 1 || number > kPartNumberMax)
    return Error(ErrorCode::invalid_argument, "a part's number is 1 to 10,000");
  Request request = named("PUT", bucket, {key, {}});
  request.query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_id}};
  request.source = &source;
  request.repeatable = call.repeat;
  Md5Digest sent;
  request.source_md5 = &sent;
  const std::string doing = "part " + std::to_string(number) + " of " + bucket + "/" + key;
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context(doing);
  Part part{number, unquoted(header_of(answer->headers, "etag")), source.length()};
  if (part.etag.empty()) return Error(ErrorCode::corruption, doing + ": an answer without an ETag");
  if (is_md5(part.etag) && !is_encrypted(answer->headers) && part.etag != sent.hex())
    return Error(ErrorCode::corruption, doing + ": the server stored other bytes than were sent");
  return part;
}

Result<PutResult> Client::complete_upload(const std::string& bucket, const std::string& key,
                                          const std::string& upload_id,
                                          const std::vector<Part>& parts, const Call& call) const {
  TM_DO(check_key(key));
  const bool ordered =
      std::ranges::adjacent_find(parts, std::greater_equal(), &Part::number) == parts.end();
  if (parts.empty() || parts.size() > kPartNumberMax || !ordered)
    return Error(ErrorCode::invalid_argument, "an upload needs parts in order of their numbers");
  const std::string doing = "complete the upload of " + bucket + "/" + key;
  const std::string expected = etag_of_parts(parts);
  std::uint64_t size = 0;
  for (const Part& part : parts) size += part.size;
  Request request = named("POST", bucket, {key, {}});
  request.query["uploadId"] = upload_id;
  request.document = completion(parts);
  request.repeatable = false;
  auto answer = requester_->perform(request, call);
  auto result = answer ? completed(*answer) : Outcome<PutResult>(tl::unexpected(answer.error()));
  if (result) {
    // radosgw 16 leaves the ETag out.
    if (result->etag.empty()) result->etag = expected;
    if (result->etag.empty()) {
      TM_TRY(result->etag, head(bucket, key, result->version_id, call).map(&ObjectInfo::etag));
    }
    return *std::move(result);
  }
  const Failure& failure = result.error();
  const bool unclear = failure.retryable() || failure.s3_code == "NoSuchUpload";
  if (!unclear || failure.untried || expected.empty()) return failure.context(doing);
  // Whether it was executed shows in what is there now, at once or a little later.
  RetryBudget budget = requester_->budget(call);
  bool gone = failure.s3_code == "NoSuchUpload";
  while (true) {
    const auto there = head(bucket, key, {}, call);
    if (there && there->etag == expected && (size == 0 || there->size == size))
      return PutResult{there->etag, there->version_id};
    if (gone) return Error(ErrorCode::not_found, doing + ": no such upload, and no object of it");
    if (budget.wait(kLookAgain) != RetryBudget::Verdict::again) break;
    // radosgw 16 calls an unknown upload one that is under way. Once it is gone, the object is
    // looked for one last time.
    const auto pending = list_parts(bucket, key, upload_id, call);
    gone = !pending && pending.error().code() == ErrorCode::not_found;
  }
  if (call.stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
  return failure.context(doing + ": whether it was done stays unclear");
}

Status Client::abort_upload(const std::string& bucket, const std::string& key,
                            const std::string& upload_id, const Call& call) const {
  TM_DO(check_key(key));
  Request request = named("DELETE", bucket, {key, {}});
  request.query["uploadId"] = upload_id;
  auto answer = requester_->perform(request, call);
  if (answer || answer.error().s3_code == "NoSuchUpload") return {};
  return answer.error().context("abort an upload of " + bucket + "/" + key);
}

Result<std::vector<Part>> Client::list_parts(const std::string& bucket, const std::string& key,
                                             const std::string& upload_id, const Call& call) const {
  TM_DO(check_key(key));
  std::vector<Part> parts;
  bool more = true;
  while (more) {
    Request request = named("GET", bucket, {key, {}});
    request.query = {{"uploadId", upload_id}, {"max-parts", "1000"}};
    const unsigned after = parts.empty() ? 0 : parts.back().number;
    if (after > 0) request.query["part-number-marker"] = std::to_string(after);
    auto answer = requester_->perform(request, call);
    if (!answer) return answer.error().context("list the parts of " + bucket + "/" + key);
    more = false;
    Part part;
    const std::size_t before = parts.size();
    TM_DO(read_fields(answer->body, "ListPartsResult",
                      [&](std::string_view path, const std::string& text) -> Status {
                        if (path == "IsTruncated") more = text == "true";
                        if (path == "Part/ETag") part.etag = unquoted(text);
                        if (path == "Part/Size") {
                          TM_TRY(part.size, number_of(text, "the size of a part"));
                        }
                        if (path == "Part/PartNumber") {
                          TM_TRY(const auto number, number_of(text, "the number of a part"));
                          if (number > kPartNumberMax)
                            return Error(ErrorCode::corruption, "parts: a number above 10,000");
                          part.number = static_cast<unsigned>(number);
                        }
                        if (path != "Part") return {};
                        if (part.number <= (parts.empty() ? 0 : parts.back().number))
                          return Error(ErrorCode::corruption, "parts: numbers do not ascend");
                        parts.push_back(std::exchange(part, {}));
                        return {};
                      }));
    if (more && parts.size() == before)
      return Error(ErrorCode::corruption, "parts: an empty page, and more to follow");
  }
  return parts;
}

Result<std::vector<Upload>> Client::list_uploads(const std::string& bucket,
                                                 const std::string& prefix,
                                                 const Call& call) const {
  std::vector<Upload> uploads;
  bool more = true;
  for (unsigned page = 0; more && page < kPagesMax; ++page) {
    Request request = named("GET", bucket, {});
    request.query = {{"uploads", ""}, {"max-uploads", "1000"}, {"encoding-type", "url"}};
    if (!prefix.empty()) request.query["prefix"] = prefix;
    if (!uploads.empty()) {
      request.query["key-marker"] = uploads.back().key;
      request.query["upload-id-marker"] = uploads.back().upload_id;
    }
    auto answer = requester_->perform(request, call);
    if (!answer) return answer.error().context("list the uploads of " + bucket);
    TM_TRY(std::vector<Upload> found, uploads_of(answer->body, more));
    if (more && found.empty())
      return Error(ErrorCode::corruption, "uploads: an empty page, and more to follow");
    for (Upload& upload : found) {
      if (!uploads.empty() && !is_behind(upload, uploads.back()))
        return Error(ErrorCode::corruption, "uploads: keys do not ascend");
      uploads.push_back(std::move(upload));
    }
  }
  if (more) return Error(ErrorCode::corruption, "uploads: the listing does not end");
  return uploads;
}

}  // namespace tidemark::s3
