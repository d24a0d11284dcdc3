#include "base/text.h"

#include <algorithm>

namespace tidemark {

bool glob_match(std::string_view pattern, std::string_view text) {
  // Iterative, with one point to come back to: linear in practice, and never exponential.
  std::size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() &&
               (pattern[p] == text[t] || (pattern[p] == '?' && text[t] != '/'))) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos && text[star_text] != '/') {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

Status check_name(std::string_view name, std::string_view what) {
  const bool control = std::any_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (name.empty() || name.size() > 255 || name == "." || name == ".." || control ||
      name.find('/') != std::string_view::npos)
    return Error(ErrorCode::invalid_argument, "not a usable name for a " + std::string(what))
        .with_hint("1 to 255 bytes, no control characters, no '/', not '.' or '..'");
  return {};
}

}  // namespace tidemark
