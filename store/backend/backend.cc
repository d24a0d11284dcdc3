#include "store/backend.h"

#include <algorithm>

#include "base/text.h"
#include "store/backend/file_backend.h"
#include "store/backend/rados_backend.h"

namespace tidemark {
namespace {

constexpr std::size_t kNameBytesMax = 200;
constexpr std::size_t kNamePartsMax = 4;

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_plain_text(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
  });
}

// Nothing where the text has no scheme: what stands before a ':' ahead of any '/'.
std::string_view scheme_of(std::string_view url) {
  const auto colon = url.find(':');
  if (colon == std::string_view::npos || colon > url.find('/')) return {};
  return url.substr(0, colon);
}

Result<BackendConfig> parse_rados(std::string_view rest, BackendConfig config) {
  config.type = BackendConfig::Type::rados;
  const auto slash = rest.find('/');
  config.pool = std::string(rest.substr(0, slash));
  TM_DO(check_name(config.pool, "pool"));
  if (slash != std::string_view::npos) {
    config.ns = std::string(rest.substr(slash + 1));
    TM_DO(check_name(config.ns, "namespace"));
  }
  return config;
}

}  // namespace

Status check_blob_name(std::string_view name) {
  // The name itself is not quoted: it may be anything, and errors end up in logs.
  const auto bad = [](std::string_view why) {
    return Error(ErrorCode::invalid_argument, "blob name: " + std::string(why));
  };
  if (name.empty()) return bad("empty");
  if (name.size() > kNameBytesMax) return bad("longer than 200 bytes");
  if (name.starts_with("tmp")) return bad("names beginning with \"tmp\" are the backend's own");
  std::size_t parts = 0;
  for (std::size_t begin = 0; begin <= name.size();) {
    const auto end = std::min(name.find('/', begin), name.size());
    const auto part = name.substr(begin, end - begin);
    if (part.empty()) return bad("a part is empty");
    if (part.front() == '.') return bad("a part begins with '.'");
    if (!std::all_of(part.begin(), part.end(), is_name_char))
      return bad("characters other than a-z, 0-9, '.', '_', '-'");
    if (++parts > kNamePartsMax) return bad("more than four parts");
    begin = end + 1;
  }
  return {};
}

Result<Bytes> read_blob(Backend& backend, std::string_view name, std::uint64_t bytes_max) {
  TM_TRY(const std::uint64_t size, backend.size(name));
  if (size > bytes_max)
    return Error(ErrorCode::invalid_argument,
                 std::string(name) + ": larger than " + std::to_string(bytes_max) + " bytes");
  return backend.read(name, 0, static_cast<std::size_t>(size));
}

Result<BackendConfig> parse_backend_url(std::string_view url, std::string ceph_conf,
                                        std::string ceph_user) {
  const auto bad = [](std::string_view why) {
    return Error(ErrorCode::invalid_argument, "store URL: " + std::string(why))
        .with_hint("\"file:/path\", a path, or \"rados:pool[/namespace]\"");
  };
  if (url.empty() || !is_plain_text(url)) return bad("empty, or with control characters");
  BackendConfig config;
  const auto scheme = scheme_of(url);
  const auto rest = scheme.data() == nullptr ? url : url.substr(scheme.size() + 1);
  if (scheme.data() != nullptr && scheme == "rados") {
    config.ceph_conf = std::move(ceph_conf);
    config.ceph_user = std::move(ceph_user);
    return parse_rados(rest, std::move(config));
  }
  if (scheme.data() != nullptr && scheme != "file") return bad("no such kind of backend");
  // "file://host/path" would name another machine; "file:///path" is this one.
  if (rest.starts_with("//") && !rest.starts_with("///")) return bad("a host is not understood");
  if (rest.empty()) return bad("the path is empty");
  config.path = std::string(rest.starts_with("///") ? rest.substr(2) : rest);
  return config;
}

Result<std::unique_ptr<Backend>> open_backend(const BackendConfig& config, bool create) {
  switch (config.type) {
    case BackendConfig::Type::file:
      return open_file_backend(config.path, create);
    case BackendConfig::Type::rados:
      return open_rados_backend(config);
  }
  return Error(ErrorCode::internal, "unknown type of backend");
}

}  // namespace tidemark
