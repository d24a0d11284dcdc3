#include "agent/restore/file_names.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::string_view kOwnPrefix = ".tidemark";

bool is_dots(std::string_view name) { return name == "." || name == ".."; }

std::string percent(char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  return "%" + to_hex(ByteView(&byte, 1));
}

bool plain(char c, NameRules rules) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x20 || byte == 0x7f || c == '%') return false;
  return !rules.folds_case || (byte < 0x80 && (c < 'A' || c > 'Z'));
}

// The piece in units that must not be torn apart: escapes and whole characters.
std::vector<std::string> units(std::string_view piece, NameRules rules) {
  std::vector<std::string> out;
  const bool dots = is_dots(piece);
  for (std::size_t at = 0; at < piece.size();) {
    std::size_t size = 1;
    const bool ascii = static_cast<unsigned char>(piece[at]) < 0x80;
    if (!ascii) {
      while (size < 4 && at + size < piece.size() && utf8_prefix(piece.substr(at, size)) == 0)
        ++size;
    }
    const bool character = utf8_prefix(piece.substr(at, size)) == size;
    if (!character) size = 1;
    const bool own = at == 0 && piece.starts_with(kOwnPrefix);
    const bool as_is = character && plain(piece[at], rules) && !dots && !own;
    for (std::size_t i = 0; i < size && !as_is; ++i) out.push_back(percent(piece[at + i]));
    if (as_is) out.emplace_back(piece.substr(at, size));
    at += size;
  }
  if (out.empty()) out.emplace_back("%-");
  return out;
}

}  // namespace

Result<std::vector<std::string>> path_of_key(
    std::string_view key, NameRules rules,
    const std::function<Result<bool>(const std::string&)>& is_object) {
  std::vector<std::string> path;
  for (std::size_t at = 0;;) {
    const std::size_t slash = key.find('/', at);
    std::string name;
    for (const std::string& unit : units(key.substr(at, slash - at), rules)) {
      if (name.size() + unit.size() > kFileNameBytesMax)
        path.push_back(std::exchange(name, {}) + "%+");
      name += unit;
    }
    // What is left of a long piece can be the dots that its beginning is not.
    if (is_dots(name)) name = name.size() == 1 ? "%2e" : "%2e%2e";
    if (slash == key.npos) {
      path.push_back(std::move(name));
      return path;
    }
    const bool beside = slash > 0;
    if (beside) {
      TM_TRY(const bool object, is_object(std::string(key.substr(0, slash))));
      if (object) name += "%~";
    }
    path.push_back(std::move(name));
    at = slash + 1;
  }
}

Result<std::string> key_of_path(const std::vector<std::string>& path) {
  const Error wrong(ErrorCode::invalid_argument, "no path of an object");
  std::string key;
  for (std::size_t i = 0; i < path.size(); ++i) {
    std::string_view name = path[i];
    const bool last = i + 1 == path.size();
    const bool goes_on = name.ends_with("%+");
    if ((goes_on || name.ends_with("%~")) && last) return wrong;
    if (goes_on || name.ends_with("%~")) name.remove_suffix(2);
    if (name == "%-") name = {};
    while (!name.empty()) {
      if (name[0] != '%') {
        key += name[0];
        name.remove_prefix(1);
        continue;
      }
      const auto byte = name.size() < 3 ? std::nullopt : from_hex(name.substr(1, 2));
      if (!byte) return wrong;
      key += static_cast<char>((*byte)[0]);
      name.remove_prefix(3);
    }
    if (!last && !goes_on) key += '/';
  }
  return key;
}

}  // namespace tidemark
