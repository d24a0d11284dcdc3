// A YAML file as a tree with positions, and what is found to be wrong with it.
//
// yaml-cpp only tokenises: its events build this tree under our own limits, because its node graph
// keeps no key positions, accepts duplicate keys and shares aliased nodes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark::config {

inline constexpr std::size_t kFileBytesMax = 1 << 20;
inline constexpr std::size_t kDepthMax = 32;
// Openings of flow lists and maps in one file: the tokeniser holds all of a nest before the first
// event, so the nest is bounded before it starts.
inline constexpr std::size_t kFlowOpeningsMax = 10'000;
// Keys and values in one file; what is done for each may look at all its neighbours.
inline constexpr std::size_t kValuesMax = 20'000;
inline constexpr std::size_t kProblemsMax = 50;

// Counted from 1, columns in bytes; line 0 stands for "no position".
struct Mark {
  int line = 0;
  int column = 0;
  auto operator<=>(const Mark&) const = default;
};

struct Problem {
  Mark mark;
  std::string path;  // of the key: "policies.hourly.every"; empty for the file as a whole
  std::string text;
};

struct YamlEntry;
struct YamlNode {
  enum class Kind { nothing, scalar, list, map };
  Kind kind = Kind::nothing;
  Mark mark;
  std::string text;
  std::vector<YamlNode> items;
  std::vector<YamlEntry> entries;

  static YamlNode scalar(std::string text, Mark mark = {});
  static YamlNode list(Mark mark = {});
  static YamlNode map(Mark mark = {});
};
struct YamlEntry {
  std::string key;
  Mark mark;
  YamlNode value;
};

// The tree of `text`, which is one document. False where it is not the YAML that we accept; why was
// then added to `problems`. Refused: more than kFileBytesMax, text that is not UTF-8, tabs and
// other control characters, anchors, aliases, tags, further documents, keys that are not text,
// duplicate keys, and nesting past kDepthMax.
bool read_document(std::string_view text, YamlNode& out, std::vector<Problem>& problems);

// Block-style YAML that read_document() reads back as the same tree.
std::string emit(const YamlNode& node);

// `text` with '"', '\\' and control characters escaped as YAML does in double quotes.
std::string escaped(std::string_view text);
// `text` as it is shown in a message: in quotes, escaped and cut where it is long.
std::string in_quotes(std::string_view text);

// "name:line:column: path: text", one line each, in the order of the file.
std::string render(std::string_view name, std::vector<Problem> problems);

}  // namespace tidemark::config
