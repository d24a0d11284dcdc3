#include "base/markup.h"

#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// U+FFFE and U+FFFF are well-formed UTF-8, and no characters of XML 1.0.
constexpr std::string_view kNoCharacterA = "\xEF\xBF\xBE", kNoCharacterB = "\xEF\xBF\xBF";

void escape_character(char c, std::string& out) {
  switch (c) {
    case '&':
      out += "&amp;";
      return;
    case '<':
      out += "&lt;";
      return;
    case '>':
      out += "&gt;";
      return;
    case '"':
      out += "&quot;";
      return;
    case '\'':
      out += "&#39;";
      return;
    case '\n':
      out += "&#10;";
      return;
    case '\r':
      out += "&#13;";
      return;
    case '\t':
      out += "&#9;";
      return;
    default:
      break;
  }
  if (static_cast<unsigned char>(c) < 0x20)
    out += kReplacement;
  else
    out += c;
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::string_view valid = text.substr(0, utf8_prefix(text));
    text.remove_prefix(valid.size());
    while (!valid.empty()) {
      if (valid.starts_with(kNoCharacterA) || valid.starts_with(kNoCharacterB)) {
        out += kReplacement;
        valid.remove_prefix(kNoCharacterA.size());
        continue;
      }
      escape_character(valid.front(), out);
      valid.remove_prefix(1);
    }
    if (text.empty()) break;
    out += kReplacement;
    text.remove_prefix(1);
  }
  return out;
}

}  // namespace tidemark
