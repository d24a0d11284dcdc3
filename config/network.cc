#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "config/config.h"
#include "config/internal/values.h"

namespace tidemark {
namespace {

constexpr std::size_t kHostBytesMax = 253;

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, port);
  if (text.empty() || text.size() > 5 || error != std::errc() || rest != end) return std::nullopt;
  return port;
}

bool is_host_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}
bool is_v6_char(char c) {
  return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == ':' ||
         c == '.';
}

struct HostPort {
  std::string_view host;  // without brackets
  std::string_view port;  // empty where none was written
};

std::optional<HostPort> split_host_port(std::string_view text) {
  HostPort out;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    out.host = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (out.host.find(':') == std::string_view::npos ||
        !std::all_of(out.host.begin(), out.host.end(), is_v6_char))
      return std::nullopt;
  } else {
    out.host = text.substr(0, text.find(':'));
    text.remove_prefix(out.host.size());
    if (out.host.empty() || out.host.size() > kHostBytesMax || out.host.front() == '.' ||
        !std::all_of(out.host.begin(), out.host.end(), is_host_char))
      return std::nullopt;
  }
  if (text.empty()) return out;
  if (text.front() != ':' || text.size() == 1) return std::nullopt;
  out.port = text.substr(1);
  return out;
}

}  // namespace

std::string ListenAddress::text() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<ListenAddress> parse_listen(std::string_view text) {
  const Error wrong =
      Error(ErrorCode::invalid_argument, "write HOST:PORT, or [ADDRESS]:PORT for IPv6");
  const auto parts = split_host_port(text);
  if (!parts) return wrong;
  const auto port = parse_port(parts->port);
  if (!port) return Error(ErrorCode::invalid_argument, "the port is a number from 0 to 65535");
  return ListenAddress{std::string(parts->host), *port};
}

Status check_site_name(std::string_view name) {
  TM_DO(check_name(name, "site"));
  if (name.find(':') == std::string_view::npos) return {};
  return Error(ErrorCode::invalid_argument, "a site's name cannot hold ':'");
}

bool is_http_url(std::string_view url) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!url.starts_with(scheme)) continue;
    const std::string_view rest = url.substr(scheme.size());
    const std::size_t end = rest.find_first_of("/?");
    const auto parts = split_host_port(rest.substr(0, end));
    if (!parts || (!parts->port.empty() && parse_port(parts->port).value_or(0) == 0)) return false;
    const std::string_view path = end == std::string_view::npos ? "" : rest.substr(end);
    return std::ranges::all_of(path, [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
  }
  return false;
}

namespace config {

ShapePtr<std::string> http_url() {
  ScalarSpec<std::string> spec;
  spec.label = "URL";
  spec.expected = "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";
  spec.schema = Json{{"type", "string"}, {"pattern", "^https?://[^/@?# ]+([/?][^# ]*)?$"}};
  spec.read = [](const std::string& text, const Context&,
                 std::string&) -> std::optional<std::string> {
    return is_http_url(text) ? std::optional(text) : std::nullopt;
  };
  spec.write = [](const std::string& url) { return url; };
  spec.empty = [](const std::string& url) { return url.empty(); };
  return std::make_shared<Scalar<std::string>>(std::move(spec));
}

ShapePtr<std::string> base_url(bool plain_too) {
  ScalarSpec<std::string> spec;
  spec.label = "URL";
  spec.expected = plain_too ? "http://HOST[:PORT] or https://HOST[:PORT]" : "https://HOST[:PORT]";
  spec.schema = Json{{"type", "string"},
                     {"pattern", plain_too ? "^https?://[^/@?#]+/?$" : "^https://[^/@?#]+/?$"}};
  spec.read = [plain_too](const std::string& text, const Context&,
                          std::string&) -> std::optional<std::string> {
    std::string_view rest = text;
    const std::string_view scheme =
        plain_too && rest.starts_with("http://") ? "http://" : "https://";
    if (!rest.starts_with(scheme)) return std::nullopt;
    rest.remove_prefix(scheme.size());
    if (rest.ends_with('/')) rest.remove_suffix(1);
    const auto parts = split_host_port(rest);
    if (!parts) return std::nullopt;
    if (!parts->port.empty() && parse_port(parts->port).value_or(0) == 0) return std::nullopt;
    return std::string(scheme) + std::string(rest);
  };
  spec.write = [](const std::string& url) { return url; };
  spec.empty = [](const std::string& url) { return url.empty(); };
  return std::make_shared<Scalar<std::string>>(std::move(spec));
}

}  // namespace config
}  // namespace tidemark
