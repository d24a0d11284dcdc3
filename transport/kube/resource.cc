#include "transport/kube/resource.h"

#include "base/text.h"
#include "transport/http.h"

namespace tidemark::kube {

std::string Resource::api_version() const {
  return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
}

std::string to_string(const ObjectRef& ref) {
  return ref.ns.empty() ? ref.name : ref.ns + "/" + ref.name;
}

Result<std::string> collection_path(const Resource& resource, std::string_view ns) {
  std::string path = (resource.group.empty() ? "/api/" : "/apis/") + resource.api_version();
  if (!ns.empty()) {
    if (!resource.namespaced)
      return Error(ErrorCode::invalid_argument,
                   std::string(resource.plural) + " are not in namespaces");
    TM_DO(check_name(ns, "namespace"));
    path += "/namespaces/" + url_encode(ns);
  }
  return path + "/" + std::string(resource.plural);
}

Result<std::string> object_path(const Resource& resource, const ObjectRef& ref,
                                std::string_view subresource) {
  if (resource.namespaced && ref.ns.empty())
    return Error(ErrorCode::invalid_argument,
                 "a namespace is needed for " + std::string(resource.plural) + " " + ref.name);
  TM_DO(check_name(ref.name, "name of an object"));
  TM_TRY(std::string path, collection_path(resource, ref.ns));
  path += "/" + url_encode(ref.name);
  if (!subresource.empty()) {
    TM_DO(check_name(subresource, "subresource"));
    path += "/" + url_encode(subresource);
  }
  return path;
}

std::string target_of(std::string_view path, const Query& query) {
  std::string target(path);
  char separator = '?';
  for (const auto& [name, value] : query) {
    target += separator + url_encode(name) + "=" + url_encode(value);
    separator = '&';
  }
  return target;
}

}  // namespace tidemark::kube
