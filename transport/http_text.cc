#include "transport/http_text.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace tidemark {

std::string url_encode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

Result<Bytes> BodyReader::read_all(std::uint64_t bytes_max) {
  const auto announced = length();
  const Error too_large(ErrorCode::invalid_argument,
                        "the body is larger than " + format_bytes(bytes_max));
  if (announced && *announced > bytes_max) return too_large;
  constexpr std::size_t kStep = 256 * kKiB;
  // One byte more than announced, so that the end is seen and not assumed.
  Bytes out(announced ? static_cast<std::size_t>(*announced) + 1 : kStep);
  std::size_t filled = 0;
  while (true) {
    if (filled == out.size()) out.resize(filled * 2);
    TM_TRY(const std::size_t n, read(ByteSpan(out).subspan(filled)));
    if (n == 0) break;
    filled += n;
    if (filled > bytes_max) return too_large;
  }
  out.resize(filled);
  return out;
}

namespace net {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

Error bad(std::string why) { return Error(ErrorCode::invalid_argument, std::move(why)); }

Status parse_query(std::string_view text, Target& into) {
  for (const std::string& part : split(text, '&')) {
    if (part.empty()) continue;
    const auto equals = part.find('=');
    TM_TRY(std::string key, percent_decode(std::string_view(part).substr(0, equals)));
    std::string value;
    if (equals != std::string::npos) {
      TM_TRY(value, percent_decode(std::string_view(part).substr(equals + 1)));
    }
    // Which of two values counts is read differently by different programs: neither does.
    if (!into.query.emplace(std::move(key), std::move(value)).second)
      return bad("a query parameter is given twice");
  }
  return {};
}

// Headers that say where a message ends or what becomes of the connection.
bool is_framing(std::string_view lower) {
  return lower == "content-length" || lower == "transfer-encoding" || lower == "connection" ||
         lower == "date" || lower == "keep-alive" || lower == "upgrade" || lower == "trailer";
}

}  // namespace

bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  const auto byte = [&](std::size_t at) -> unsigned {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
  };
  while (i < text.size()) {
    const unsigned first = byte(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4) return false;
    for (std::size_t k = 1; k < size; ++k)
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    const unsigned second = byte(i + 1);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
      return false;
    i += size;
  }
  return true;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0) return bad("a '%' without two hexadecimal digits behind it");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (std::any_of(out.begin(), out.end(), is_control)) return bad("a control character");
  if (!is_utf8(out)) return bad("not UTF-8");
  return out;
}

Result<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/')) return bad("the request target does not begin with '/'");
  if (target.find('#') != std::string_view::npos) return bad("the request target has a '#'");
  const auto question = target.find('?');
  Target parsed;
  auto path = percent_decode(target.substr(0, question));
  if (!path) return path.error().context("the path holds");
  for (const std::string& part : split(*path, '/'))
    if (part == "." || part == "..") return bad("the path has a '.' or '..' part");
  parsed.path = *std::move(path);
  if (question != std::string_view::npos) {
    const auto query = parse_query(target.substr(question + 1), parsed);
    if (!query) return query.error().context("the query");
  }
  return parsed;
}

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool is_header(std::string_view name, std::string_view value) {
  return is_token(name) && std::none_of(value.begin(), value.end(),
                                        [](char c) { return c != '\t' && is_control(c); });
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view reason_phrase(unsigned status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Payload Too Large";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Entity";
    case 423:
      return "Locked";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Status";
  }
}

bool is_bodiless(unsigned status) { return status == 204 || status == 304; }

Result<std::string> response_head(const HttpResponse& response, bool head_only, bool close) {
  if (response.status < 200 || response.status > 599)
    return Error(ErrorCode::internal,
                 "no status to answer with: " + std::to_string(response.status));
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " " +
                    std::string(reason_phrase(response.status)) + "\r\n";
  std::string length = std::to_string(response.body.size());
  for (const auto& [name, value] : response.headers) {
    if (!is_header(name, value))
      return Error(ErrorCode::internal, "a header that cannot be written");
    const std::string lower = lower_case(name);
    if (lower == "content-length" && head_only && response.body.empty()) length = value;
    if (!is_framing(lower)) out += name + ": " + value + "\r\n";
  }
  out += "date: " + http_date(Clock::system().now()) + "\r\n";
  if (!is_bodiless(response.status)) out += "content-length: " + length + "\r\n";
  if (close) out += "connection: close\r\n";
  return out + "\r\n";
}

Result<std::string> request_head(std::string_view method, std::string_view target,
                                 std::string_view host, const HttpHeaders& headers,
                                 std::uint64_t body_bytes) {
  if (!is_token(method)) return bad("not an HTTP method");
  const bool plain = target.starts_with('/') &&
                     std::all_of(target.begin(), target.end(),
                                 [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  if (!plain) return bad("not a request target: '/' and printable ASCII, the rest percent-encoded");
  std::string out = std::string(method) + " " + std::string(target) +
                    " HTTP/1.1\r\nhost: " + std::string(host) + "\r\n";
  for (const auto& [name, value] : headers) {
    const std::string lower = lower_case(name);
    if (!is_header(name, value) || is_framing(lower) || lower == "host" || lower == "expect")
      return bad("not a header that a caller can set: " + lower);
    out += name + ": " + value + "\r\n";
  }
  if (body_bytes > 0 || method == "PUT" || method == "POST")
    out += "content-length: " + std::to_string(body_bytes) + "\r\n";
  return out + "\r\n";
}

HttpResponse error_response(unsigned status, ErrorCode code, std::string_view message) {
  const nlohmann::json body = {{"error", {{"code", to_string(code)}, {"message", message}}}};
  const std::string text =
      body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  HttpResponse response;
  response.status = status;
  response.headers["content-type"] = "application/json";
  append(response.body, as_bytes(text));
  return response;
}

std::string http_date(Timestamp time) {
  constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  const auto seconds = static_cast<std::time_t>(time.us / 1'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  // Written out here because strftime's names follow the process's locale.
  std::array<char, 32> rest{};
  std::strftime(rest.data(), rest.size(), "%Y %H:%M:%S GMT", &utc);
  std::string day = std::to_string(utc.tm_mday);
  if (day.size() == 1) day.insert(0, "0");
  return std::string(kDays[static_cast<std::size_t>(utc.tm_wday)]) + ", " + day + " " +
         std::string(kMonths[static_cast<std::size_t>(utc.tm_mon)]) + " " + rest.data();
}

std::optional<Timestamp> parse_http_date(std::string_view text) {
  // "Sun, 06 Nov 1994 08:49:37 GMT"
  if (text.size() != 29 || text.substr(3, 2) != ", " || !text.ends_with(" GMT"))
    return std::nullopt;
  const auto month = std::find(kMonths.begin(), kMonths.end(), text.substr(8, 3));
  if (month == kMonths.end()) return std::nullopt;
  std::string number = std::to_string(month - kMonths.begin() + 1);
  if (number.size() == 1) number.insert(0, "0");
  const auto time =
      parse_time(std::string(text.substr(12, 4)) + "-" + number + "-" +
                     std::string(text.substr(5, 2)) + "T" + std::string(text.substr(17, 8)) + "Z",
                 Timestamp{});
  if (!time) return std::nullopt;
  return *time;
}

}  // namespace net
}  // namespace tidemark
