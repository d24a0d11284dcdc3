// Buckets and the documents that configure them; radosgw's administration.
#include <array>

#include "transport/s3/fields.h"
#include "transport/s3/names.h"

namespace tidemark::s3 {
namespace {

struct DocumentKind {
  BucketDocument which;
  std::string_view resource;  // as the query says it
  std::string_view root;      // empty: no XML
  bool removable;
};
constexpr std::array kKinds = {
    DocumentKind{BucketDocument::policy, "policy", "", true},
    DocumentKind{BucketDocument::lifecycle, "lifecycle", "LifecycleConfiguration", true},
    DocumentKind{BucketDocument::cors, "cors", "CORSConfiguration", true},
    DocumentKind{BucketDocument::acl, "acl", "AccessControlPolicy", false},
    DocumentKind{BucketDocument::tagging, "tagging", "Tagging", true},
    DocumentKind{BucketDocument::object_lock, "object-lock", "ObjectLockConfiguration", false},
    DocumentKind{BucketDocument::notification, "notification", "NotificationConfiguration", false},
    DocumentKind{BucketDocument::encryption, "encryption", "ServerSideEncryptionConfiguration",
                 true},
};

const DocumentKind& kind_of(BucketDocument which) {
  return kKinds[static_cast<std::size_t>(which)];
}

Request for_document(std::string method, const std::string& bucket, const DocumentKind& kind) {
  Request request = named(std::move(method), bucket, {});
  request.query[std::string(kind.resource)] = "";
  return request;
}

enum class Known { yes, no };  // whether the server knows this kind of document at all

// The document as the server has it, and whether it knows the kind.
Result<std::optional<std::string>> fetch_document(Requester& requester, const std::string& bucket,
                                                  const DocumentKind& kind, const Call& call,
                                                  Known& known) {
  known = Known::yes;
  auto answer = requester.perform(for_document("GET", bucket, kind), call);
  if (!answer && says_not_configured(answer.error().s3_code)) return std::optional<std::string>();
  if (!answer) return answer.error();
  std::string text(as_text(answer->body));
  if (kind.root.empty()) return std::optional(std::move(text));
  TM_TRY(const std::string root, xml_root(answer->body));
  if (root == kind.root) return std::optional(std::move(text));
  // A sub-resource that the server does not know is taken for the bucket, whose GET is a listing.
  known = Known::no;
  if (root == "ListBucketResult") return std::optional<std::string>();
  return Error(ErrorCode::corruption, "the answer is a " + root);
}

// Whether the document is its root and nothing more.
bool is_bare(const std::string& document) {
  bool bare = true;
  class Inner final : public XmlHandler {
   public:
    explicit Inner(bool& bare_in) : bare_(bare_in) {}
    Status begin(std::string_view path) override {
      if (path.find('/') != std::string_view::npos) bare_ = false;
      return {};
    }
    Status end(std::string_view, const std::string&) override { return {}; }

   private:
    bool& bare_;
  } inner(bare);
  return parse_xml(as_bytes(document), inner).has_value() && bare;
}

}  // namespace

Client::Client(std::unique_ptr<Requester> requester) : requester_(std::move(requester)) {}
Client::~Client() = default;

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  TM_TRY(auto requester, Requester::create(std::move(options)));
  return std::unique_ptr<Client>(new Client(std::move(requester)));
}

Status Client::create_bucket(const std::string& bucket, bool object_lock,
                             const std::string& location, const Call& call) const {
  Request request = named("PUT", bucket, {});
  if (object_lock) request.headers["x-amz-bucket-object-lock-enabled"] = "true";
  if (!location.empty())
    request.document =
        XmlWriter("CreateBucketConfiguration").leaf("LocationConstraint", location).finish();
  auto answer = requester_->perform(request, call);
  if (answer || answer.error().s3_code == "BucketAlreadyOwnedByYou") return {};
  return answer.error().context("create bucket " + bucket);
}

Status Client::remove_bucket(const std::string& bucket, const Call& call) const {
  auto answer = requester_->perform(named("DELETE", bucket, {}), call);
  if (answer) return {};
  return answer.error().context("remove bucket " + bucket);
}

Status Client::head_bucket(const std::string& bucket, const Call& call) const {
  auto answer = requester_->perform(named("HEAD", bucket, {}), call);
  if (answer) return {};
  return answer.error().context("bucket " + bucket);
}

Result<std::vector<Bucket>> Client::list_buckets(const Call& call) const {
  auto answer = requester_->perform(Request{}, call);
  if (!answer) return answer.error().context("list buckets");
  std::vector<Bucket> buckets;
  Bucket bucket;
  TM_DO(read_fields(answer->body, "ListAllMyBucketsResult",
                    [&](std::string_view path, const std::string& text) -> Status {
                      if (path == "Buckets/Bucket/Name") bucket.name = text;
                      if (path == "Buckets/Bucket/CreationDate") {
                        TM_TRY(bucket.created, time_of(text));
                      }
                      if (path == "Buckets/Bucket") buckets.push_back(std::exchange(bucket, {}));
                      return {};
                    }));
  return buckets;
}

Result<std::string> Client::location(const std::string& bucket, const Call& call) const {
  Request request = named("GET", bucket, {});
  request.query["location"] = "";
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context("location of bucket " + bucket);
  return read_field(answer->body, "LocationConstraint", "");
}

Result<Versioning> Client::versioning(const std::string& bucket, const Call& call) const {
  Request request = named("GET", bucket, {});
  request.query["versioning"] = "";
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context("versioning of bucket " + bucket);
  TM_TRY(const std::string status, read_field(answer->body, "VersioningConfiguration", "Status"));
  if (status == "Enabled") return Versioning::enabled;
  if (status == "Suspended") return Versioning::suspended;
  if (status.empty()) return Versioning::never;
  return Error(ErrorCode::corruption, "a versioning state that is unknown: " + status);
}

Status Client::set_versioning(const std::string& bucket, bool enabled, const Call& call) const {
  Request request = named("PUT", bucket, {});
  request.query["versioning"] = "";
  request.document = XmlWriter("VersioningConfiguration")
                         .leaf("Status", enabled ? "Enabled" : "Suspended")
                         .finish();
  auto answer = requester_->perform(request, call);
  if (answer) return {};
  return answer.error().context("set versioning of bucket " + bucket);
}

Result<std::optional<std::string>> Client::document(const std::string& bucket, BucketDocument which,
                                                    const Call& call) const {
  const DocumentKind& kind = kind_of(which);
  Known known = Known::yes;
  auto document = fetch_document(*requester_, bucket, kind, call, known);
  if (document) return document;
  return document.error().context(std::string(kind.resource) + " of bucket " + bucket);
}

Status Client::set_document(const std::string& bucket, BucketDocument which,
                            const std::string& document, const Call& call) const {
  const DocumentKind& kind = kind_of(which);
  const std::string doing = "set " + std::string(kind.resource) + " of bucket " + bucket;
  if (document.empty()) return Error(ErrorCode::invalid_argument, doing + ": an empty document");
  if (which == BucketDocument::encryption) {
    Known known = Known::yes;
    auto before = fetch_document(*requester_, bucket, kind, call, known);
    if (!before) return before.error().context(doing);
    if (known == Known::no)
      return Error(ErrorCode::unsupported, doing + ": the server knows no such thing");
  }
  Request request = for_document("PUT", bucket, kind);
  request.document = document;
  auto answer = requester_->perform(request, call);
  if (answer) return {};
  return answer.error().context(doing);
}

Status Client::remove_document(const std::string& bucket, BucketDocument which,
                               const Call& call) const {
  const DocumentKind& kind = kind_of(which);
  const std::string doing = "remove " + std::string(kind.resource) + " of bucket " + bucket;
  const bool notification = which == BucketDocument::notification;
  if (!kind.removable && !notification)
    return Error(ErrorCode::unsupported, doing + ": it can only be replaced");
  Known known = Known::yes;
  auto before = fetch_document(*requester_, bucket, kind, call, known);
  if (!before) return before.error().context(doing);
  // Only a server that has shown the document understands what this request removes.
  if (!*before || (notification && is_bare(**before))) return {};
  if (notification) {
    const auto emptied =
        set_document(bucket, which, XmlWriter("NotificationConfiguration").finish(), call);
    // radosgw 16 refuses the empty document and has this instead.
    if (emptied || emptied.error().code() != ErrorCode::invalid_argument) return emptied;
  }
  auto answer = requester_->perform(for_document("DELETE", bucket, kind), call);
  if (answer || says_not_configured(answer.error().s3_code)) return {};
  return answer.error().context(doing);
}

Result<Bytes> Client::admin(const std::string& method, const std::string& path, const Query& query,
                            const std::string& body, const Call& call) const {
  Request request;
  request.method = method;
  request.path = path;
  request.query = query;
  request.document = body;
  request.repeatable = call.repeat && method != "POST";
  request.answer_bytes_max = 64 * kMiB;
  if (!path.starts_with('/')) return Error(ErrorCode::invalid_argument, "not a path: " + path);
  auto answer = requester_->perform(request, call);
  if (!answer) return answer.error().context(method + " " + path);
  return std::move(answer->body);
}

}  // namespace tidemark::s3
