#include "tests/fakes/s3_state.h"

#include <fmt/core.h>

#include <algorithm>

#include "transport/http_text.h"
#include "transport/s3/fields.h"
#include "transport/s3/md5.h"

namespace tidemark::testing {
namespace {

std::string get_or(const auto& map, std::string_view key, std::string otherwise = {}) {
  const auto at = map.find(key);
  return at == map.end() ? otherwise : at->second;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t')
      out += fmt::format("&#x{:02x};", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out;
}

std::string document(std::string_view root, std::string_view inside) {
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?><{0} "
      "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{1}</{0}>",
      root, inside);
}

std::string unquote(std::string text) {
  std::erase(text, '"');
  return text;
}

// What a PUT stores of its headers.
HttpHeaders stored_headers(const HttpHeaders& headers) {
  HttpHeaders out;
  for (const auto& [name, value] : headers) {
    const bool content =
        name.starts_with("content-") && name != "content-length" && name != "content-md5";
    if (content || name == "cache-control" || name == "expires" ||
        name.starts_with("x-amz-meta-") || name.starts_with("x-amz-object-lock-"))
      out[name] = value;
  }
  return out;
}

s3::Tags tags_of(ByteView body) {
  s3::Tags tags;
  std::string key;
  (void)s3::read_fields(body, "Tagging", [&](std::string_view path, const std::string& text) {
    if (path == "TagSet/Tag/Key") key = text;
    if (path == "TagSet/Tag/Value") tags[key] = text;
    return Status{};
  });
  return tags;
}

s3::Tags tags_of_header(const std::string& header) {
  s3::Tags tags;
  auto parsed = net::parse_target("/?" + header);
  if (parsed) tags = parsed->query;
  return tags;
}

const std::string kAcl = document("AccessControlPolicy", "<Owner><ID>fake</ID></Owner>");

}  // namespace

S3Answer s3_error(unsigned status, const std::string& code) {
  return {status,
          {{"content-type", "application/xml"}},
          "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message></Message></Error>"};
}

std::string S3State::new_id() { return fmt::format("{:016x}", ++ids_); }

S3Answer S3State::handle(const S3Request& request, Timestamp now) {
  const std::lock_guard lock(mutex_);
  now_ = now;
  if (request.bucket.empty()) return on_service(request);
  const auto at = buckets_.find(request.bucket);
  const bool creates = request.method == "PUT" && request.key.empty() && request.query.empty();
  if (at == buckets_.end() && !creates) return s3_error(404, "NoSuchBucket");
  if (creates) {
    BucketState& made = buckets_[request.bucket];
    if (request.headers.contains("x-amz-bucket-object-lock-enabled")) {
      made.lock = true;
      made.versioning = "Enabled";
      made.documents["object-lock"] =
          document("ObjectLockConfiguration", "<ObjectLockEnabled>Enabled</ObjectLockEnabled>");
    }
    return {};
  }
  return request.key.empty() ? on_bucket(request, at->second) : on_object(request, at->second);
}

S3Answer S3State::on_service(const S3Request&) {
  std::string list;
  for (const auto& [name, bucket] : buckets_)
    list += fmt::format("<Bucket><Name>{}</Name><CreationDate>{}</CreationDate></Bucket>", name,
                        format_time(now_));
  return {200, {}, document("ListAllMyBucketsResult", "<Buckets>" + list + "</Buckets>")};
}

S3Answer S3State::on_document(const S3Request& request, BucketState& bucket,
                              const std::string& name) {
  static const std::map<std::string, std::string> kMissing = {
      {"policy", "NoSuchBucketPolicy"},
      {"lifecycle", "NoSuchLifecycleConfiguration"},
      {"cors", "NoSuchCORSConfiguration"},
      {"tagging", "NoSuchTagSet"},
      {"object-lock", "ObjectLockConfigurationNotFoundError"},
      {"encryption", "ServerSideEncryptionConfigurationNotFoundError"}};
  const auto at = bucket.documents.find(name);
  const std::string_view body = as_text(request.body);
  if (request.method == "PUT" && name == "notification" && body.find("</Topic") == body.npos)
    return s3_error(400, "MalformedXML");
  if (request.method == "PUT") {
    bucket.documents[name] = std::string(as_text(request.body));
  } else if (request.method == "DELETE") {
    if (at != bucket.documents.end()) bucket.documents.erase(at);
    return {204, {}, {}};
  } else if (at != bucket.documents.end()) {
    return {200, {}, at->second};
  } else if (name == "acl") {
    return {200, {}, kAcl};
  } else if (name == "notification") {
    return {200, {}, document("NotificationConfiguration", "")};
  } else {
    return s3_error(404, kMissing.at(name));
  }
  return {};
}

S3Answer S3State::on_bucket(const S3Request& request, BucketState& bucket) {
  for (const char* name : {"policy", "lifecycle", "cors", "acl", "tagging", "object-lock",
                           "notification", "encryption"})
    if (request.query.contains(name)) return on_document(request, bucket, name);
  if (request.query.contains("versioning") && request.method == "PUT") {
    bucket.versioning =
        s3::read_field(request.body, "VersioningConfiguration", "Status").value_or("");
    return {};
  }
  if (request.query.contains("versioning"))
    return {
        200,
        {},
        document("VersioningConfiguration",
                 bucket.versioning.empty() ? "" : "<Status>" + bucket.versioning + "</Status>")};
  if (request.query.contains("location")) return {200, {}, document("LocationConstraint", "fake")};
  if (request.query.contains("uploads")) return on_upload(request, bucket);
  if (request.query.contains("delete")) return remove_many(request, bucket);
  if (request.method == "HEAD") return {};
  if (request.method == "DELETE") {
    if (!bucket.objects.empty()) return s3_error(409, "BucketNotEmpty");
    buckets_.erase(request.bucket);
    return {204, {}, {}};
  }
  if (request.method != "GET") return s3_error(405, "MethodNotAllowed");
  return request.query.contains("versions") ? list_versions(request, bucket)
                                            : list(request, bucket);
}

S3State::Version* S3State::find(BucketState& bucket, const std::string& key,
                                const std::string& version_id) {
  const auto at = bucket.objects.find(key);
  if (at == bucket.objects.end()) return nullptr;
  if (version_id.empty()) return at->second.back().marker ? nullptr : &at->second.back();
  const auto found = std::ranges::find(at->second, version_id, &Version::id);
  return found == at->second.end() ? nullptr : &*found;
}

S3Answer S3State::on_object(const S3Request& request, BucketState& bucket) {
  if (request.query.contains("uploads") || request.query.contains("uploadId"))
    return on_upload(request, bucket);
  const std::string version_id = get_or(request.query, "versionId");
  if (request.method == "DELETE" && !request.query.contains("tagging"))
    return remove(request.key, version_id, bucket);
  Version* const version = find(bucket, request.key, version_id);
  for (const char* name : {"tagging", "acl", "retention", "legal-hold"})
    if (request.query.contains(name))
      return version == nullptr ? s3_error(404, "NoSuchKey")
                                : on_annotation(request, *version, bucket);
  if (request.method == "PUT") {
    if (get_or(request.headers, "if-none-match") == "*" && version != nullptr)
      return s3_error(412, "PreconditionFailed");
    return put(request, bucket, stored_headers(request.headers), std::string(as_text(request.body)),
               s3::md5(request.body).hex());
  }
  if (version == nullptr || version->marker)
    return s3_error(404, version_id.empty() ? "NoSuchKey" : "NoSuchVersion");
  return get(request, *version);
}

S3Answer S3State::on_annotation(const S3Request& request, Version& version,
                                const BucketState& bucket) {
  const bool put = request.method == "PUT";
  const std::string body(as_text(request.body));
  if (request.query.contains("tagging")) {
    if (put) version.tags = tags_of(request.body);
    std::string set;
    for (const auto& [key, value] : version.tags)
      set += "<Tag><Key>" + escaped(key) + "</Key><Value>" + escaped(value) + "</Value></Tag>";
    return {200, {}, put ? "" : document("Tagging", "<TagSet>" + set + "</TagSet>")};
  }
  if (request.query.contains("acl")) {
    if (put) version.acl = body;
    return {200, {}, put ? "" : version.acl.empty() ? kAcl : version.acl};
  }
  if (!bucket.lock) return s3_error(400, "InvalidRequest");
  std::string& held = request.query.contains("retention") ? version.retention : version.legal_hold;
  if (put) held = body;
  if (held.empty()) return s3_error(404, "NoSuchObjectLockConfiguration");
  return {200, {}, put ? "" : held};
}

S3Answer S3State::put(const S3Request& request, BucketState& bucket, HttpHeaders headers,
                      std::string body, std::string etag) {
  Version version;
  version.id = bucket.versioning == "Enabled" ? new_id() : "null";
  version.etag = std::move(etag);
  version.body = std::move(body);
  version.headers = std::move(headers);
  version.tags = tags_of_header(get_or(request.headers, "x-amz-tagging"));
  version.modified = now_;
  auto& versions = bucket.objects[request.key];
  if (version.id == "null")
    std::erase_if(versions, [](const Version& v) { return v.id == "null"; });
  S3Answer answer;
  answer.headers["etag"] = '"' + version.etag + '"';
  if (version.id != "null") answer.headers["x-amz-version-id"] = version.id;
  versions.push_back(std::move(version));
  return answer;
}

S3Answer S3State::get(const S3Request& request, const Version& version) {
  const std::string match = unquote(get_or(request.headers, "if-match"));
  if (!match.empty() && match != version.etag) return s3_error(412, "PreconditionFailed");
  S3Answer answer;
  answer.headers = version.headers;
  answer.headers.try_emplace("content-type", "binary/octet-stream");
  answer.headers["etag"] = '"' + version.etag + '"';
  answer.headers["last-modified"] = net::http_date(version.modified);
  if (version.id != "null") answer.headers["x-amz-version-id"] = version.id;
  answer.body = version.body;
  const std::string range = get_or(request.headers, "range");
  if (range.empty()) return answer;
  unsigned long long first = 0, last = ~0ULL;
  if (std::sscanf(range.c_str(), "bytes=%llu-%llu", &first, &last) < 1)
    return s3_error(400, "InvalidArgument");
  const auto size = version.body.size();
  if (first >= size) return s3_error(416, "InvalidRange");
  last = std::min<unsigned long long>(last, size - 1);
  answer.status = 206;
  answer.headers["content-range"] = fmt::format("bytes {}-{}/{}", first, last, size);
  answer.body = version.body.substr(first, last - first + 1);
  return answer;
}

S3Answer S3State::remove(const std::string& key, const std::string& version_id,
                         BucketState& bucket) {
  S3Answer answer{204, {}, {}};
  const auto at = bucket.objects.find(key);
  if (version_id.empty() && !bucket.versioning.empty()) {
    Version marker;
    marker.id = bucket.versioning == "Enabled" ? new_id() : "null";
    marker.marker = true;
    marker.modified = now_;
    answer.headers["x-amz-version-id"] = marker.id;
    answer.headers["x-amz-delete-marker"] = "true";
    auto& versions = bucket.objects[key];
    if (marker.id == "null")
      std::erase_if(versions, [](const Version& v) { return v.id == "null"; });
    versions.push_back(std::move(marker));
    return answer;
  }
  if (at == bucket.objects.end()) return answer;
  const std::string id = version_id.empty() ? "null" : version_id;
  Version* const version = find(bucket, key, id);
  if (version != nullptr && version->legal_hold.find("ON") != std::string::npos)
    return s3_error(403, "AccessDenied");
  std::erase_if(at->second, [&](const Version& v) { return v.id == id; });
  if (at->second.empty()) bucket.objects.erase(at);
  return answer;
}

S3Answer S3State::remove_many(const S3Request& request, BucketState& bucket) {
  std::string key, version_id, failures;
  const auto parsed =
      s3::read_fields(request.body, "Delete", [&](std::string_view path, const std::string& text) {
        if (path == "Object/Key") key = text;
        if (path == "Object/VersionId") version_id = text;
        if (path == "Object") {
          if (remove(key, std::exchange(version_id, {}), bucket).status != 204)
            failures += "<Error><Key>" + escaped(key) + "</Key><Code>AccessDenied</Code></Error>";
        }
        return Status{};
      });
  if (!parsed) return s3_error(400, "MalformedXML");
  return {200, {}, document("DeleteResult", failures)};
}

S3Answer S3State::complete(const S3Request& request, BucketState& bucket, const std::string& id) {
  const Upload upload = bucket.uploads.at(id);
  std::string body, digests;
  std::size_t count = 0;
  bool wrong = false;
  unsigned number = 0;
  (void)s3::read_fields(
      request.body, "CompleteMultipartUpload", [&](std::string_view path, const std::string& text) {
        if (path == "Part/PartNumber") number = static_cast<unsigned>(std::stoul(text));
        if (path != "Part/ETag") return Status{};
        const auto part = upload.parts.find(number);
        wrong = wrong || part == upload.parts.end() || part->second.first != unquote(text);
        if (wrong) return Status{};
        const auto digest = from_hex(part->second.first);
        digests += as_text(*digest);
        body += part->second.second;
        ++count;
        return Status{};
      });
  if (wrong || count == 0) return s3_error(400, "InvalidPart");
  const std::string etag = s3::md5(as_bytes(digests)).hex() + "-" + std::to_string(count);
  S3Answer answer = put(request, bucket, upload.headers, body, etag);
  bucket.uploads.erase(id);
  answer.headers.erase("etag");
  answer.body = document("CompleteMultipartUploadResult", "<Key>x</Key><ETag></ETag>");
  return answer;
}

S3Answer S3State::on_upload(const S3Request& request, BucketState& bucket) {
  if (request.query.contains("uploads") && request.method == "POST") {
    const std::string id = "2~" + new_id();
    bucket.uploads[id] = {request.key, stored_headers(request.headers), {}};
    return {200, {}, document("InitiateMultipartUploadResult", "<UploadId>" + id + "</UploadId>")};
  }
  if (request.query.contains("uploads")) {
    std::string list;
    for (const auto& [id, upload] : bucket.uploads)
      list += fmt::format(
          "<Upload><Key>{}</Key><UploadId>{}</UploadId><Initiated>{}</Initiated>"
          "</Upload>",
          escaped(upload.key), id, format_time(now_));
    return {
        200, {}, document("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>" + list)};
  }
  const std::string id = get_or(request.query, "uploadId");
  const auto at = bucket.uploads.find(id);
  if (at == bucket.uploads.end() || at->second.key != request.key)
    return s3_error(404, "NoSuchUpload");
  if (request.method == "POST") return complete(request, bucket, id);
  if (request.method == "DELETE") {
    bucket.uploads.erase(at);
    return {204, {}, {}};
  }
  if (request.method == "PUT") {
    const auto number = static_cast<unsigned>(std::stoul(get_or(request.query, "partNumber")));
    const std::string etag = s3::md5(request.body).hex();
    at->second.parts[number] = {etag, std::string(as_text(request.body))};
    return {200, {{"etag", '"' + etag + '"'}}, {}};
  }
  std::string list;
  for (const auto& [number, part] : at->second.parts)
    list += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag><Size>{}</Size></Part>",
                        number, part.first, part.second.size());
  return {200, {}, document("ListPartsResult", "<IsTruncated>false</IsTruncated>" + list)};
}

S3Answer S3State::list(const S3Request& request, const BucketState& bucket) const {
  const std::string prefix = get_or(request.query, "prefix"),
                    delimiter = get_or(request.query, "delimiter"),
                    after = std::max(get_or(request.query, "start-after"),
                                     get_or(request.query, "continuation-token"));
  const bool encode = request.query.contains("encoding-type");
  const auto max = std::stoul(get_or(request.query, "max-keys", "1000"));
  std::string inside = encode ? "<EncodingType>url</EncodingType>" : "", last, folder;
  std::size_t count = 0;
  bool truncated = false;
  for (const auto& [key, versions] : bucket.objects) {
    if (!key.starts_with(prefix) || key <= after || versions.back().marker) continue;
    if (!folder.empty() && key.starts_with(folder)) continue;
    if (delimiter == "/" && !after.empty() && after.ends_with("/") && key.starts_with(after))
      continue;
    if (count == max) {
      truncated = true;
      break;
    }
    ++count;
    const auto cut = delimiter.empty() ? std::string::npos : key.find(delimiter, prefix.size());
    if (cut != std::string::npos) {
      folder = last = key.substr(0, cut + delimiter.size());
      inside += "<CommonPrefixes><Prefix>" + escaped(folder) + "</Prefix></CommonPrefixes>";
      continue;
    }
    last = key;
    const Version& v = versions.back();
    inside += fmt::format(
        "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag>"
        "<Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
        encode ? url_encode(key) : escaped(key), format_time(v.modified), v.etag, v.body.size());
  }
  inside += fmt::format("<IsTruncated>{}</IsTruncated>", truncated);
  if (truncated) inside += "<NextContinuationToken>" + escaped(last) + "</NextContinuationToken>";
  return {200, {}, document("ListBucketResult", inside)};
}

S3Answer S3State::list_versions(const S3Request& request, const BucketState& bucket) const {
  const std::string prefix = get_or(request.query, "prefix"),
                    key_marker = get_or(request.query, "key-marker"),
                    id_marker = get_or(request.query, "version-id-marker");
  const auto max = std::stoul(get_or(request.query, "max-keys", "1000"));
  std::string inside = "<EncodingType>url</EncodingType>", last;
  std::size_t count = 0;
  bool truncated = false;
  for (const auto& [key, versions] : bucket.objects) {
    if (!key.starts_with(prefix) || key < key_marker) continue;
    bool skip = key == key_marker && !id_marker.empty();
    for (auto v = versions.rbegin(); v != versions.rend() && !truncated; ++v) {
      if (skip) {
        skip = v->id != id_marker;
        continue;
      }
      truncated = count++ == max;
      if (truncated) break;
      last = key;
      const char* const name = v->marker ? "DeleteMarker" : "Version";
      inside += fmt::format(
          "<{0}><Key>{1}</Key><VersionId>{2}</VersionId><IsLatest>{3}</IsLatest>"
          "<LastModified>{4}</LastModified>",
          name, url_encode(key), v->id, v == versions.rbegin(), format_time(v->modified));
      if (!v->marker)
        inside +=
            fmt::format("<ETag>&quot;{}&quot;</ETag><Size>{}</Size>", v->etag, v->body.size());
      inside += fmt::format("<Owner><ID>fake</ID></Owner></{}>", name);
    }
    if (truncated) break;
  }
  inside += fmt::format("<IsTruncated>{}</IsTruncated>", truncated);
  if (truncated) inside += "<NextKeyMarker>" + escaped(last) + "</NextKeyMarker>";
  return {200, {}, document("ListVersionsResult", inside)};
}

}  // namespace tidemark::testing
