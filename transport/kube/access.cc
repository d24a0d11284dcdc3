#include "transport/kube/access.h"

#include <cstdlib>
#include <utility>

#include "base/crypto.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "transport/origin.h"
#include "transport/socket.h"

namespace tidemark::kube {
namespace {

constexpr std::uint64_t kFileBytesMax = 64 * kKiB;
constexpr std::chrono::minutes kReadAgain{1};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const auto begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

void wipe_text(std::string& text) {
  wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
}

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

Result<Access> access_in_cluster(const std::filesystem::path& directory) {
  return access_in_cluster(environment("KUBERNETES_SERVICE_HOST"),
                           environment("KUBERNETES_SERVICE_PORT"), directory);
}

Result<Access> access_in_cluster(std::string_view host, std::string_view port,
                                 const std::filesystem::path& directory) {
  if (host.empty() || port.empty())
    return Error(ErrorCode::not_found, "not within a Kubernetes cluster")
        .with_hint("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set in every pod");
  const bool address6 =
      host.find(':') != std::string_view::npos && net::is_ip_address(std::string(host));
  Access access;
  access.server = "https://" + (address6 ? "[" + std::string(host) + "]" : std::string(host)) +
                  ":" + std::string(port);
  const auto origin = net::parse_origin(access.server);
  if (!origin) return origin.error().context("the API server's address");
  access.files.ca = directory / "ca.crt";
  access.token_file = directory / "token";
  const auto name = read_file(directory / "namespace", kFileBytesMax);
  if (!name) return name.error().context("the service account's namespace");
  access.default_namespace = std::string(trimmed(as_text(*name)));
  TM_DO(check_name(access.default_namespace, "namespace"));
  return access;
}

TokenSource::TokenSource(std::string token, std::filesystem::path file, const Clock& clock)
    : file_(std::move(file)), clock_(clock), token_(trimmed(token)) {
  wipe_text(token);
}

TokenSource::~TokenSource() { wipe_text(token_); }

Result<std::string> TokenSource::current() {
  const std::lock_guard lock(mutex_);
  if (file_.empty()) return token_;
  if (!stale_ && clock_.uptime() - read_at_ < kReadAgain) return token_;
  auto bytes = read_file(file_, kFileBytesMax);
  const std::string_view text = bytes ? trimmed(as_text(*bytes)) : std::string_view();
  if (text.empty() && token_.empty())
    return Error(ErrorCode::permission_denied,
                 "no token: " + (bytes ? file_.string() + " is empty" : bytes.error().message()));
  read_at_ = clock_.uptime();
  stale_ = false;
  if (text.empty()) {
    log::warn("the token file cannot be read, the last token stays in use: {}",
              bytes ? file_.string() + " is empty" : bytes.error().message());
    return token_;
  }
  if (text != token_) {
    if (read_) log::info("the token has changed and is in use: {}", file_.string());
    wipe_text(token_);
    token_ = std::string(text);
  }
  read_ = true;
  wipe(*bytes);
  return token_;
}

bool TokenSource::refused(std::string_view token) {
  const std::lock_guard lock(mutex_);
  // Another thread may have seen the newer one already.
  if (!file_.empty() && token == token_) stale_ = true;
  return !file_.empty();
}

}  // namespace tidemark::kube
