#include "transport/kube/document.h"

namespace tidemark::kube {
namespace {

// Whether brackets outside of strings go no deeper than is allowed.
bool is_shallow(std::string_view text) {
  unsigned depth = 0;
  bool within_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (within_string) {
      if (c == '\\') ++i;
      within_string = c != '"';
      continue;
    }
    within_string = c == '"';
    if ((c == '{' || c == '[') && ++depth > kDocumentDepthMax) return false;
    if ((c == '}' || c == ']') && depth > 0) --depth;
  }
  return true;
}

}  // namespace

nlohmann::json parse_document(std::string_view text) {
  if (!is_shallow(text)) return nlohmann::json(nlohmann::json::value_t::discarded);
  return nlohmann::json::parse(text, nullptr, false);
}

}  // namespace tidemark::kube
