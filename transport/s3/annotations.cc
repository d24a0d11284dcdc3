// What hangs on an object besides its bytes: tags, ACL, retention, legal hold, layout.
#include <array>
#include <charconv>

#include "transport/s3/fields.h"
#include "transport/s3/names.h"

namespace tidemark::s3 {
namespace {

Error in_context(const Failure& failure, const char* what, const std::string& bucket,
                 const ObjectName& name) {
  return failure.context(std::string(what) + " of " + bucket + "/" + name.key);
}

Outcome<Answer> get_of(Requester& requester, const std::string& bucket, const ObjectName& name,
                       const char* resource, const Call& call) {
  Request request = named("GET", bucket, name);
  request.query[resource] = "";
  return requester.perform(request, call);
}

Status put_of(Requester& requester, Request request, const char* resource, std::string document,
              const ObjectName& name, const Call& call) {
  request.query[resource] = "";
  request.document = std::move(document);
  auto answer = requester.perform(request, call);
  if (answer) return {};
  return in_context(answer.error(), resource, request.bucket, name);
}

// Whether a bucket without object lock, or an object without a lock, is what the server reports.
bool says_no_lock(const Failure& failure) {
  return says_not_configured(failure.s3_code) || failure.s3_code == "InvalidRequest";
}

Result<Tags> read_tags(ByteView document) {
  Tags tags;
  std::string key, value;
  TM_DO(read_fields(document, "Tagging",
                    [&](std::string_view path, const std::string& text) -> Status {
                      if (path == "TagSet/Tag/Key") key = text;
                      if (path == "TagSet/Tag/Value") value = text;
                      if (path == "TagSet/Tag")
                        tags[std::exchange(key, {})] = std::exchange(value, {});
                      return {};
                    }));
  return tags;
}

}  // namespace

Result<Tags> Client::bucket_tags(const std::string& bucket, const Call& call) const {
  TM_TRY(const auto stored, document(bucket, BucketDocument::tagging, call));
  return stored ? read_tags(as_bytes(*stored)) : Tags();
}

Result<Tags> Client::tags(const std::string& bucket, const ObjectName& name,
                          const Call& call) const {
  TM_DO(check_key(name.key));
  auto answer = get_of(*requester_, bucket, name, "tagging", call);
  if (!answer && says_not_configured(answer.error().s3_code)) return Tags();
  if (!answer) return in_context(answer.error(), "tags", bucket, name);
  return read_tags(answer->body);
}

Status Client::set_tags(const std::string& bucket, const ObjectName& name, const Tags& tags,
                        const Call& call) const {
  TM_DO(check_key(name.key));
  XmlWriter writer("Tagging");
  writer.open("TagSet");
  for (const auto& [key, value] : tags) {
    if (!xml_can_carry(key) || !xml_can_carry(value))
      return Error(ErrorCode::invalid_argument, "a tag that XML cannot carry");
    writer.open("Tag").leaf("Key", key).leaf("Value", value).close();
  }
  return put_of(*requester_, named("PUT", bucket, name), "tagging", writer.finish(), name, call);
}

Result<std::string> Client::acl(const std::string& bucket, const ObjectName& name,
                                const Call& call) const {
  TM_DO(check_key(name.key));
  auto answer = get_of(*requester_, bucket, name, "acl", call);
  if (!answer) return in_context(answer.error(), "ACL", bucket, name);
  TM_TRY(const std::string root, xml_root(answer->body));
  if (root != "AccessControlPolicy")
    return Error(ErrorCode::corruption, "an ACL that is a " + root);
  return std::string(as_text(answer->body));
}

Status Client::set_acl(const std::string& bucket, const ObjectName& name,
                       const std::string& document, const Call& call) const {
  TM_DO(check_key(name.key));
  if (document.empty()) return Error(ErrorCode::invalid_argument, "an empty ACL");
  return put_of(*requester_, named("PUT", bucket, name), "acl", document, name, call);
}

Result<std::optional<Retention>> Client::retention(const std::string& bucket,
                                                   const ObjectName& name, const Call& call) const {
  TM_DO(check_key(name.key));
  auto answer = get_of(*requester_, bucket, name, "retention", call);
  if (!answer && says_no_lock(answer.error())) return std::optional<Retention>();
  if (!answer) return in_context(answer.error(), "retention", bucket, name);
  Retention retention;
  TM_TRY(retention.mode, read_field(answer->body, "Retention", "Mode"));
  TM_TRY(const std::string until, read_field(answer->body, "Retention", "RetainUntilDate"));
  if (retention.mode.empty() && until.empty()) return std::optional<Retention>();
  TM_TRY(retention.until, time_of(until));
  return std::optional(retention);
}

Status Client::set_retention(const std::string& bucket, const ObjectName& name,
                             const Retention& retention, bool bypass_governance,
                             const Call& call) const {
  TM_DO(check_key(name.key));
  Request request = named("PUT", bucket, name);
  if (bypass_governance) request.headers["x-amz-bypass-governance-retention"] = "true";
  std::string document = XmlWriter("Retention")
                             .leaf("Mode", retention.mode)
                             .leaf("RetainUntilDate", format_time(retention.until))
                             .finish();
  return put_of(*requester_, std::move(request), "retention", std::move(document), name, call);
}

Result<std::optional<bool>> Client::legal_hold(const std::string& bucket, const ObjectName& name,
                                               const Call& call) const {
  TM_DO(check_key(name.key));
  auto answer = get_of(*requester_, bucket, name, "legal-hold", call);
  if (!answer && says_no_lock(answer.error())) return std::optional<bool>();
  if (!answer) return in_context(answer.error(), "legal hold", bucket, name);
  TM_TRY(const std::string status, read_field(answer->body, "LegalHold", "Status"));
  if (status.empty()) return std::optional<bool>();
  return std::optional(status == "ON");
}

Status Client::set_legal_hold(const std::string& bucket, const ObjectName& name, bool on,
                              const Call& call) const {
  TM_DO(check_key(name.key));
  std::string document = XmlWriter("LegalHold").leaf("Status", on ? "ON" : "OFF").finish();
  return put_of(*requester_, named("PUT", bucket, name), "legal-hold", std::move(document), name,
                call);
}

// HEAD of one part after the other. GetObjectAttributes would say it at once, but radosgw 16 takes
// that for a plain GET.
Result<PartSizes> Client::part_sizes(const std::string& bucket, const ObjectName& name,
                                     const Call& call) const {
  TM_DO(check_key(name.key));
  std::vector<std::uint64_t> sizes;
  std::uint64_t count = 1;
  while (sizes.size() < count) {
    Request request = named("HEAD", bucket, name);
    request.query["partNumber"] = std::to_string(sizes.size() + 1);
    auto answer = requester_->perform(request, call);
    if (!answer) return in_context(answer.error(), "parts", bucket, name);
    const std::string stated = header_of(answer->headers, "x-amz-mp-parts-count");
    if (stated.empty()) return PartSizes();
    TM_TRY(count, number_of(stated, "the number of parts"));
    if (count < 1 || count > 10'000) return Error(ErrorCode::corruption, "too many parts");
    TM_TRY(const auto size,
           number_of(header_of(answer->headers, "content-length"), "Content-Length"));
    sizes.push_back(size);
  }
  return PartSizes(std::move(sizes));
}

}  // namespace tidemark::s3
