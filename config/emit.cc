#include <algorithm>
#include <array>
#include <cstdio>

#include "config/internal/document.h"

namespace tidemark::config {
namespace {

bool is_plain_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("/_.-:%+@").find(c) != std::string_view::npos;
}

// True where YAML reads `text` without quotes as exactly this text.
bool is_plain(std::string_view text) {
  if (text.empty() || text.back() == ':' || text.front() == '-' || text.front() == ':' ||
      text.front() == '%' || text.front() == '@')
    return false;
  for (const std::string_view word : {"null", "Null", "NULL", "true", "false", "...", "yes", "no"})
    if (text == word) return false;
  return std::all_of(text.begin(), text.end(), is_plain_char);
}

std::string as_scalar(std::string_view text) {
  return is_plain(text) ? std::string(text) : "\"" + escaped(text) + "\"";
}

void emit_into(const YamlNode& node, std::size_t indent, std::string& out);

// What stands behind "key:" or "-", up to and with the line's end.
void emit_value(const YamlNode& node, std::size_t indent, std::string& out) {
  switch (node.kind) {
    case YamlNode::Kind::nothing:
      out += " ~\n";
      return;
    case YamlNode::Kind::scalar:
      out += " " + as_scalar(node.text) + "\n";
      return;
    case YamlNode::Kind::list:
      if (node.items.empty()) {
        out += " []\n";
        return;
      }
      break;
    case YamlNode::Kind::map:
      if (node.entries.empty()) {
        out += " {}\n";
        return;
      }
      break;
  }
  out += '\n';
  emit_into(node, indent, out);
}

void emit_into(const YamlNode& node, std::size_t indent, std::string& out) {
  for (const YamlNode& item : node.items) {
    out += std::string(indent, ' ') + "-";
    emit_value(item, indent + 2, out);
  }
  for (const YamlEntry& entry : node.entries) {
    out += std::string(indent, ' ') + as_scalar(entry.key) + ":";
    emit_value(entry.value, indent + 2, out);
  }
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    auto code = static_cast<unsigned>(static_cast<unsigned char>(c));
    const bool c1 =
        code == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (code < 0x20 || code == 0x7f || c1) {
      if (c1) code = static_cast<unsigned char>(text[++i]);
      std::array<char, 8> hex{};
      std::snprintf(hex.data(), hex.size(), "\\x%02x", code);
      out += hex.data();
    } else {
      out += c;
    }
  }
  return out;
}

std::string emit(const YamlNode& node) {
  std::string out;
  if (node.kind == YamlNode::Kind::map && !node.entries.empty()) {
    emit_into(node, 0, out);
  } else if (node.kind == YamlNode::Kind::list && !node.items.empty()) {
    emit_into(node, 0, out);
  } else {
    emit_value(node, 0, out);
    out.erase(0, 1);
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  static constexpr std::size_t kShownMax = 60;
  std::size_t cut = std::min(text.size(), kShownMax);
  // Not within a UTF-8 sequence.
  while (cut > 0 && cut < text.size() && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80)
    --cut;
  return "'" + escaped(text.substr(0, cut)) + (cut < text.size() ? "…'" : "'");
}

}  // namespace tidemark::config
