#include "config/label_selector.h"

#include <algorithm>

#include "base/text.h"

namespace tidemark {
namespace {

constexpr std::string_view kBlank = " \t";

std::string_view stripped(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

bool is_word(std::string_view text, bool key) {
  return (!key || !text.empty()) && std::ranges::all_of(text, [&](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.' || (key && c == '/');
         });
}

Error malformed(std::string_view part) {
  return Error(ErrorCode::invalid_argument,
               "'" + std::string(part) + "' is not a label requirement")
      .with_hint("key=value, key!=value, key in (a,b), key notin (a,b), key, !key");
}

// Commas within brackets do not part.
std::vector<std::string_view> requirements_in(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i < text.size() && (text[i] != ',' || depth > 0)) continue;
    parts.push_back(stripped(text.substr(begin, i - begin)));
    begin = i + 1;
  }
  return parts;
}

}  // namespace

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  using Operator = Requirement::Operator;
  LabelSelector selector;
  if (stripped(text).empty()) return selector;
  for (const std::string_view part : requirements_in(text)) {
    Requirement wanted;
    std::string_view key = part;
    if (const auto open = part.find('('); open != std::string_view::npos) {
      if (!part.ends_with(')')) return malformed(part);
      const std::string_view head = stripped(part.substr(0, open));
      const auto space = head.find_last_of(kBlank);
      if (space == std::string_view::npos) return malformed(part);
      const std::string_view word = head.substr(space + 1);
      if (word != "in" && word != "notin") return malformed(part);
      wanted.op = word == "in" ? Operator::in : Operator::not_in;
      key = stripped(head.substr(0, space));
      for (const std::string& value : split(part.substr(open + 1, part.size() - open - 2), ','))
        wanted.values.emplace_back(stripped(value));
    } else if (const auto equals = part.find('='); equals != std::string_view::npos) {
      const bool differs = equals > 0 && part[equals - 1] == '!';
      const bool twice = equals + 1 < part.size() && part[equals + 1] == '=';
      wanted.op = differs ? Operator::not_in : Operator::in;
      key = stripped(part.substr(0, equals - (differs ? 1 : 0)));
      wanted.values.emplace_back(stripped(part.substr(equals + (twice ? 2 : 1))));
    } else if (part.starts_with('!')) {
      wanted.op = Operator::absent;
      key = stripped(part.substr(1));
    }
    if (!is_word(key, true) || !std::ranges::all_of(wanted.values, [](const std::string& value) {
          return is_word(value, false);
        }))
      return malformed(part);
    wanted.key = key;
    selector.requirements_.push_back(std::move(wanted));
  }
  return selector;
}

bool LabelSelector::matches(const std::map<std::string, std::string>& labels) const {
  using Operator = Requirement::Operator;
  return std::ranges::all_of(requirements_, [&](const Requirement& wanted) {
    const auto found = labels.find(wanted.key);
    const bool has = found != labels.end();
    const bool listed =
        has && std::ranges::find(wanted.values, found->second) != wanted.values.end();
    switch (wanted.op) {
      case Operator::in:
        return listed;
      case Operator::not_in:  // also what does not have the key
        return !listed;
      case Operator::exists:
        return has;
      case Operator::absent:
        return !has;
    }
    return false;
  });
}

}  // namespace tidemark
