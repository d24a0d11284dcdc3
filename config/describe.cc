#include <algorithm>
#include <charconv>

#include "config/config.h"
#include "config/internal/options.h"

namespace tidemark {
namespace config {

void Context::mismatch(const YamlNode& node, const std::string& path, std::string_view expected,
                       bool secret) {
  std::string found;
  switch (node.kind) {
    case YamlNode::Kind::nothing:
      found = "nothing";
      break;
    case YamlNode::Kind::scalar:
      found = secret ? "something else" : in_quotes(node.text);
      break;
    case YamlNode::Kind::list:
      found = node.items.empty() ? "an empty list" : "a list";
      break;
    case YamlNode::Kind::map:
      found = "a map";
      break;
  }
  problem(node.mark, path, "found " + found + ", expected " + std::string(expected));
}

YamlNode literal(const std::string& text, Mark mark) {
  return text == "{}" ? YamlNode::map(mark) : YamlNode::scalar(text, mark);
}

namespace {

Json to_json(const YamlNode& node, const Json& schema) {
  switch (node.kind) {
    case YamlNode::Kind::nothing:
      return nullptr;
    case YamlNode::Kind::scalar: {
      std::uint64_t number = 0;
      const char* const end = node.text.data() + node.text.size();
      const auto [rest, error] = std::from_chars(node.text.data(), end, number);
      const bool integer = schema.value("type", "") == "integer";
      if (integer && error == std::errc() && rest == end) return number;
      return node.text;
    }
    case YamlNode::Kind::list: {
      Json out = Json::array();
      const Json items = schema.value("items", Json::object());
      for (const YamlNode& item : node.items) out.push_back(to_json(item, items));
      return out;
    }
    case YamlNode::Kind::map: {
      Json out = Json::object();
      const Json properties = schema.value("properties", Json::object());
      for (const YamlEntry& entry : node.entries)
        out[entry.key] = to_json(entry.value, properties.value(entry.key, Json::object()));
      return out;
    }
  }
  return nullptr;
}

// Insertions, deletions, substitutions and swaps of neighbours between two short words.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

// A table's cell: '|' would end it.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string code_cell(const std::string& text) {
  return text.empty() ? "" : "`" + cell(text) + "`";
}

// Defaults that are values are code; those worked out from elsewhere are words.
std::string fallback_cell(const Row& row, bool is_value) {
  return is_value ? code_cell(row.fallback) : cell(row.fallback);
}

constexpr std::string_view kIntroduction =
    R"(# Configuration

One YAML file per site, `/etc/tidemark/tidemark.yaml` unless `--config` or `$TIDEMARK_CONFIG` says
otherwise. [example/tidemark.yaml](example/tidemark.yaml) uses every part of it. This page is made
from the option table in `config/options.cc`, as are `tidemark config schema` and the checks
themselves.

- `tidemark config check` reads the file as the agent does and names everything that is wrong with
  it by line and column. Unknown keys, wrong types and impossible values are refused.
- `tidemark config show` prints what is in force, with the defaults filled in.
- Relative paths start at the directory of the configuration file.
- Durations are written `90s`, `15m`, `2h`, `7d`, `1w` or as a sum: `1h30m`. Sizes and rates count
  in powers of 1024: `400MiB/s`.
- A secret never stands in the file. An option that ends in `_file` and holds a secret takes a path,
  `{ file: PATH }` or `${env:NAME}`.
- In globs `*` stands for any run of characters and `?` for one, neither for `/`.
- Text that begins with `*`, `&`, `!`, `{`, `[` or `"` stands in quotes. Anchors, aliases, tags and
  tabs are not used.
)";

}  // namespace

Json literal_json(const std::string& text, const Json& schema) {
  YamlNode node;
  std::vector<Problem> problems;
  TM_CHECK(read_document(text, node, problems));
  return to_json(node, schema);
}

std::string near_miss(const std::string& key, const std::vector<std::string>& known) {
  static constexpr std::size_t kComparedMax = 64;
  if (key.size() > kComparedMax || known.size() > kComparedMax) return "";
  const std::string typed = lower(key);
  const std::string* nearest = nullptr;
  std::size_t best = std::max<std::size_t>(1, typed.size() / 3) + 1;
  for (const std::string& candidate : known) {
    if (candidate.empty() || candidate.size() > kComparedMax) continue;
    std::size_t d = distance(typed, lower(candidate));
    if (candidate.starts_with(typed + "_")) d = 1;
    if (d >= best) continue;
    best = d;
    nearest = &candidate;
  }
  return nearest == nullptr ? "" : " (did you mean " + in_quotes(*nearest) + "?)";
}

}  // namespace config

std::string config_schema() {
  config::Json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                      {"title", "tidemark.yaml"}};
  schema.update(config::options().schema());
  return schema.dump(2) + "\n";
}

std::string config_reference() {
  std::vector<config::Table> tables;
  config::options().tables("", "", tables);
  std::string out(config::kIntroduction);
  for (const config::Table& table : tables) {
    if (table.path.empty())
      out += "\n## Top level\n\n";
    else
      out += "\n## `" + table.path + "`\n\n" + table.sentence + "\n\n";
    out += "| option | type | default | meaning | example |\n|---|---|---|---|---|\n";
    for (const config::Row& row : table.rows)
      out += "| `" + row.name + "` | " + config::cell(row.type) + " | " +
             config::fallback_cell(row, row.fallback_is_value) + " | " +
             config::cell(row.sentence) + " | " + config::code_cell(row.example) + " |\n";
  }
  return out;
}

std::string show_config(const Config& config) {
  return config::emit(config::options().show(config));
}

}  // namespace tidemark
