#include "transport/kube/client.h"

#include <utility>

#include "base/json.h"

namespace tidemark::kube {
namespace {

std::string in_metadata(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto metadata = object.find("metadata");
  return metadata != object.end() && metadata->is_object() ? text_at(*metadata, key)
                                                           : std::string();
}

std::string named(std::string_view verb, const Resource& resource, const ObjectRef& ref) {
  return std::string(verb) + " " + std::string(resource.plural) + " " + to_string(ref);
}

// The document as it is sent. `invalid_argument` for text that is no UTF-8.
Result<std::string> document_of(const Json& json) {
  try {
    return json.dump();
  } catch (const Json::exception&) {
    return Error(ErrorCode::invalid_argument, "the object holds text that is no UTF-8");
  }
}

Outcome<Json> object_of(Answer answer) {
  if (answer.body.is_object()) return std::move(answer.body);
  ApiError error(Error(ErrorCode::corruption, "the API server's answer is no JSON object"));
  error.status = answer.status;
  return error;
}

std::string_view content_type_of(PatchKind kind) {
  switch (kind) {
    case PatchKind::merge:
      return "application/merge-patch+json";
    case PatchKind::json:
      return "application/json-patch+json";
    case PatchKind::apply:
      break;
  }
  return "application/apply-patch+yaml";  // JSON is YAML
}

Json delete_options(const RemoveOptions& options) {
  Json body = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
  if (!options.resource_version.empty())
    body["preconditions"]["resourceVersion"] = options.resource_version;
  if (options.propagation == Propagation::background) body["propagationPolicy"] = "Background";
  if (options.propagation == Propagation::foreground) body["propagationPolicy"] = "Foreground";
  if (options.propagation == Propagation::orphan) body["propagationPolicy"] = "Orphan";
  return body;
}

}  // namespace

ObjectRef ref_of(const Json& object) {
  return {in_metadata(object, "namespace"), in_metadata(object, "name")};
}

std::string uid_of(const Json& object) { return in_metadata(object, "uid"); }

std::string resource_version_of(const Json& object) {
  return in_metadata(object, "resourceVersion");
}

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  TM_TRY(auto requester, Requester::create(std::move(options)));
  return std::unique_ptr<Client>(new Client(std::move(requester)));
}

Outcome<Json> Client::get(const Resource& resource, const ObjectRef& ref, const Call& call,
                          std::string_view subresource) {
  ApiRequest request;
  request.repeatable = true;
  TM_TRY(request.path, object_path(resource, ref, subresource));
  auto answer = requester_->perform(request, call);
  if (!answer) return std::move(answer).error().context(named("get", resource, ref));
  return object_of(*std::move(answer));
}

Outcome<Json> Client::write(ApiRequest request, const WriteOptions& options, const Call& call,
                            const std::string& doing) {
  if (options.dry_run) request.query.emplace_back("dryRun", "All");
  if (options.strict) request.query.emplace_back("fieldValidation", "Strict");
  if (!options.field_manager.empty())
    request.query.emplace_back("fieldManager", options.field_manager);
  auto answer = requester_->perform(request, call);
  if (!answer) return std::move(answer).error().context(doing);
  return object_of(*std::move(answer));
}

Outcome<Json> Client::create(const Resource& resource, const Json& object,
                             const WriteOptions& options, const Call& call) {
  const ObjectRef ref = ref_of(object);
  if (resource.namespaced && ref.ns.empty())
    return Error(ErrorCode::invalid_argument, named("create", resource, ref) + ": no namespace");
  ApiRequest request;
  request.method = "POST";
  TM_TRY(request.path, collection_path(resource, ref.ns));
  TM_TRY(request.body, document_of(object));
  return write(std::move(request), options, call, named("create", resource, ref));
}

Outcome<Json> Client::update(const Resource& resource, const Json& object,
                             const WriteOptions& options, const Call& call) {
  const ObjectRef ref = ref_of(object);
  const std::string doing = named("update", resource, ref);
  if (resource_version_of(object).empty() && !options.unconditional)
    return Error(ErrorCode::invalid_argument, doing + ": it carries no resourceVersion");
  ApiRequest request;
  request.method = "PUT";
  TM_TRY(request.path, object_path(resource, ref, options.subresource));
  TM_TRY(request.body, document_of(object));
  return write(std::move(request), options, call, doing);
}

Outcome<Json> Client::patch(const Resource& resource, const ObjectRef& ref, PatchKind kind,
                            const Json& patch, const WriteOptions& options, const Call& call) {
  ApiRequest request;
  request.method = "PATCH";
  request.content_type = content_type_of(kind);
  TM_TRY(request.path, object_path(resource, ref, options.subresource));
  TM_TRY(request.body, document_of(patch));
  WriteOptions complete = options;
  if (kind == PatchKind::apply) {
    if (complete.field_manager.empty())
      complete.field_manager = requester_->options().field_manager;
    if (complete.force) request.query.emplace_back("force", "true");
  }
  const char* const verb = kind == PatchKind::apply ? "apply" : "patch";
  return write(std::move(request), complete, call, named(verb, resource, ref));
}

Outcome<Removed> Client::remove(const Resource& resource, const ObjectRef& ref,
                                const RemoveOptions& options, const Call& call) {
  ApiRequest request;
  request.method = "DELETE";
  // Of one incarnation: a second one finds it gone.
  request.repeatable = !options.uid.empty();
  TM_TRY(request.path, object_path(resource, ref));
  TM_TRY(request.body, document_of(delete_options(options)));
  if (options.dry_run) request.query.emplace_back("dryRun", "All");
  auto answer = requester_->perform(request, call);
  if (!answer && answer.error().code() == ErrorCode::not_found) return Removed{true, nullptr};
  if (!answer) return std::move(answer).error().context(named("delete", resource, ref));
  TM_TRY(Json body, object_of(*std::move(answer)));
  const bool status = text_at(body, "kind") == "Status";
  return Removed{status, std::move(body)};
}

Outcome<Answer> Client::send(const ApiRequest& request, const Call& call) {
  auto answer = requester_->perform(request, call);
  if (answer) return answer;
  return std::move(answer).error().context(request.method + " " + request.path);
}

}  // namespace tidemark::kube
