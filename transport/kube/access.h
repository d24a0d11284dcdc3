// Where the API server of a cluster is, and who we are there: from within a pod, or from a
// kubeconfig file. Nothing here connects.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "transport/http.h"

namespace tidemark::kube {

struct Access {
  // "https://host:port[/prefix]". Plain http is taken for loopback addresses only: tokens and
  // Secrets travel in it.
  std::string server;
  // The name that the server's certificate must be for; empty: the host in `server`.
  std::string tls_server_name = {};
  // Roots (none: the system's) and a client certificate (none: no certificate), each as a file that
  // is followed when it changes, or as text.
  TlsFiles files = {};
  TlsTexts texts = {};
  // A bearer token. The file comes first; neither: no token is sent.
  std::string token = {};
  std::filesystem::path token_file = {};
  // The namespace meant where none is named.
  std::string default_namespace = "default";
};

inline constexpr std::string_view kServiceAccountDirectory =
    "/var/run/secrets/kubernetes.io/serviceaccount";

// What a pod finds: the address in KUBERNETES_SERVICE_HOST (a name, IPv4 or IPv6) and
// KUBERNETES_SERVICE_PORT; token, ca.crt and namespace in `directory`. `not_found` outside of a
// cluster, `invalid_argument` for an address or a namespace that is none.
Result<Access> access_in_cluster(
    const std::filesystem::path& directory = std::filesystem::path(kServiceAccountDirectory));
// The same with the address as parameters.
Result<Access> access_in_cluster(std::string_view host, std::string_view port,
                                 const std::filesystem::path& directory);

// What a kubeconfig says for `context` (empty: its current-context). Paths in it are taken from its
// directory. One file only; KUBECONFIG with several is the caller's matter. `not_found` for a file,
// context, cluster or user that is not there, `invalid_argument` for a malformed one, `unsupported`
// for what this client does not do: programs and plugins that fetch credentials, passwords,
// impersonation, proxies, TLS without verification. Messages never carry keys or tokens.
Result<Access> access_from_kubeconfig(const std::filesystem::path& file,
                                      std::string_view context = {});

// The bearer token of an Access, which follows its file. Safe from any thread.
class TokenSource {
 public:
  // `clock` must outlive it.
  TokenSource(std::string token, std::filesystem::path file, const Clock& clock);
  ~TokenSource();
  TokenSource(const TokenSource&) = delete;
  TokenSource& operator=(const TokenSource&) = delete;

  // The token, without white space at its ends; empty where none is to be sent. The file is read
  // again once a minute at most; while it cannot be read, the last token that could is used, and
  // without any the error is `permission_denied`.
  Result<std::string> current();
  // The server took `token` for stale: the next current() reads the file at once. False where there
  // is no file, so that trying again is of no use.
  bool refused(std::string_view token);

 private:
  const std::filesystem::path file_;
  const Clock& clock_;
  std::mutex mutex_;
  std::string token_;                     // guarded by mutex_
  std::chrono::microseconds read_at_{0};  // of clock_.uptime(); guarded by mutex_
  bool read_ = false, stale_ = true;      // guarded by mutex_
};

}  // namespace tidemark::kube
