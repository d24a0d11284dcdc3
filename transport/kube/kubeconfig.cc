#include <yaml-cpp/yaml.h>

#include <optional>
#include <utility>

#include "base/crypto.h"
#include "base/files.h"
#include "base/text.h"
#include "transport/base64.h"
#include "transport/kube/access.h"

namespace tidemark::kube {
namespace {

constexpr std::uint64_t kFileBytesMax = 4 * kMiB;

Error malformed(const std::string& what) {
  return Error(ErrorCode::invalid_argument, "kubeconfig: " + what);
}

// The text under `key`; empty where there is none or it is null.
Result<std::string> text_at(const YAML::Node& map, const std::string& key) {
  const YAML::Node value = map[key];
  if (!value || value.IsNull()) return std::string();
  if (!value.IsScalar()) return malformed(key + " is no text");
  return value.Scalar();
}

// The entry called `name` of a list of {name, <what>: {...}}.
Result<YAML::Node> entry(const YAML::Node& root, const char* list, const char* what,
                         const std::string& name) {
  const YAML::Node entries = root[list];
  if (entries && !entries.IsNull() && !entries.IsSequence())
    return malformed(std::string(list) + " is no list");
  for (const YAML::Node& one : entries) {
    if (!one.IsMap()) return malformed(std::string(list) + " holds what is no map");
    TM_TRY(const std::string called, text_at(one, "name"));
    if (called != name) continue;
    const YAML::Node found = one[what];
    if (!found || !found.IsMap()) return malformed(std::string(what) + " " + name + " is no map");
    return found;
  }
  return Error(ErrorCode::not_found,
               "kubeconfig: no " + std::string(what) + " is called \"" + name + "\"");
}

// Refuses the entry where one of `keys` is set to something.
Status refuse(const YAML::Node& map, std::initializer_list<const char*> keys, const char* instead) {
  for (const char* const key : keys) {
    const YAML::Node value = map[key];
    if (!value || value.IsNull()) continue;
    if (value.IsScalar() && (value.Scalar().empty() || value.Scalar() == "false")) continue;
    return Error(ErrorCode::unsupported, "kubeconfig: " + std::string(key) + " is not supported")
        .with_hint(instead);
  }
  return {};
}

// What stands under `key` + "-data" as text, or else the path under `key`.
Status file_or_data(const YAML::Node& map, const std::string& key,
                    const std::filesystem::path& directory, std::filesystem::path& file,
                    std::string& text) {
  TM_TRY(const std::string data, text_at(map, key + "-data"));
  if (!data.empty()) {
    auto bytes = net::from_base64(data);
    if (!bytes) return malformed(key + "-data is no base64");
    text = std::string(as_text(*bytes));
    wipe(*bytes);
    return {};
  }
  TM_TRY(const std::string path, text_at(map, key));
  if (!path.empty()) file = directory / path;  // an absolute path replaces the directory
  return {};
}

Status take_cluster(const YAML::Node& cluster, const std::filesystem::path& directory,
                    Access& access) {
  TM_DO(refuse(cluster, {"insecure-skip-tls-verify"},
               "give the cluster's certificate-authority instead"));
  TM_DO(refuse(cluster, {"proxy-url"}, "the API server must be reachable directly"));
  TM_TRY(access.server, text_at(cluster, "server"));
  if (access.server.empty()) return malformed("the cluster has no server");
  TM_TRY(access.tls_server_name, text_at(cluster, "tls-server-name"));
  return file_or_data(cluster, "certificate-authority", directory, access.files.ca,
                      access.texts.ca);
}

Status take_user(const YAML::Node& user, const std::filesystem::path& directory, Access& access) {
  TM_DO(refuse(user, {"exec", "auth-provider"},
               "make a kubeconfig with a service account's token or a client certificate"));
  TM_DO(refuse(user, {"username", "password"}, "use a token or a client certificate"));
  TM_DO(refuse(user, {"as", "as-uid", "as-groups", "as-user-extra"},
               "use the credentials of the account itself"));
  TM_TRY(access.token, text_at(user, "token"));
  TM_TRY(const std::string token_file, text_at(user, "tokenFile"));
  if (!token_file.empty()) access.token_file = directory / token_file;
  TM_DO(file_or_data(user, "client-certificate", directory, access.files.certificate,
                     access.texts.certificate));
  TM_DO(file_or_data(user, "client-key", directory, access.files.key, access.texts.key));
  const bool certificate = !access.files.certificate.empty() || !access.texts.certificate.empty();
  const bool key = !access.files.key.empty() || !access.texts.key.empty();
  if (certificate != key) return malformed("a client certificate and its key belong together");
  return {};
}

Result<Access> access_of(const YAML::Node& root, std::string context,
                         const std::filesystem::path& directory) {
  if (!root.IsMap()) return malformed("the document is no map");
  if (context.empty()) {
    TM_TRY(context, text_at(root, "current-context"));
  }
  if (context.empty()) return malformed("it has no current-context, and none was named");
  TM_TRY(const YAML::Node chosen, entry(root, "contexts", "context", context));
  TM_TRY(const std::string cluster_name, text_at(chosen, "cluster"));
  TM_TRY(const std::string user_name, text_at(chosen, "user"));
  TM_TRY(const std::string default_namespace, text_at(chosen, "namespace"));
  Access access;
  if (!default_namespace.empty()) {
    TM_DO(check_name(default_namespace, "namespace"));
    access.default_namespace = default_namespace;
  }
  TM_TRY(const YAML::Node cluster, entry(root, "clusters", "cluster", cluster_name));
  TM_DO(take_cluster(cluster, directory, access));
  if (user_name.empty()) return access;
  TM_TRY(const YAML::Node user, entry(root, "users", "user", user_name));
  TM_DO(take_user(user, directory, access));
  return access;
}

}  // namespace

Result<Access> access_from_kubeconfig(const std::filesystem::path& file, std::string_view context) {
  TM_TRY(Bytes bytes, read_file(file, kFileBytesMax));
  std::string text(as_text(bytes));
  wipe(bytes);
  Result<Access> access = malformed("not read");
  try {
    access = access_of(YAML::Load(text), std::string(context),
                       std::filesystem::absolute(file).parent_path());
  } catch (const YAML::Exception& error) {
    // Its message may quote what stands there; the place alone may not.
    access = malformed("not valid YAML at line " + std::to_string(error.mark.line + 1));
  } catch (const std::exception&) {
    access = malformed("not readable");
  }
  wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  if (access) return access;
  return std::move(access).error().context(file.string());
}

}  // namespace tidemark::kube
