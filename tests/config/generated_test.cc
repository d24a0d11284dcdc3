// What is made from the option table: the schema, the reference page and `config show`.
#include <nlohmann/json.hpp>

#include "config/internal/document.h"
#include "config/internal/options.h"
#include "tests/config/support.h"

namespace tidemark::test {
namespace {

TEST(Generated, SchemaIsTheOneOnRecord) {
  expect_golden("tests/golden/config/schema.json", config_schema());
}

TEST(Generated, ReferencePageIsTheOneInDocs) {
  expect_golden("docs/configuration.md", config_reference());
}

TEST(Generated, ShowOfTheExampleIsTheOneOnRecord) {
  const auto config = accepted(source_file("docs/example/tidemark.yaml"));
  expect_golden("tests/golden/config/show.yaml", show_config(config));
}

TEST(Show, ParsesToTheSameConfiguration) {
  for (const char* file : {"docs/example/tidemark.yaml", "tests/golden/config/show.yaml"}) {
    const auto config = accepted(source_file(file));
    EXPECT_EQ(accepted(show_config(config)), config) << show_config(config);
  }
}

TEST(Show, QuotesWhatYamlWouldReadAsSomethingElse) {
  const auto config = accepted(R"(
site: "null"
state: "/a b/#c/\"d\"/\\e/ü"
policies:
  "- a: b": { assets: [ "rbd/*x/&y", "rbd/~/'" ], to: "null" }
store: { backend: { type: file, path: "/[{,}]" } }
)");
  EXPECT_EQ(config.site, "null");
  EXPECT_EQ(config.state, "/a b/#c/\"d\"/\\e/ü");
  EXPECT_EQ(accepted(show_config(config)), config) << show_config(config);
}

TEST(Show, NamesWhereSecretsAreAndNothingOfThem) {
  const std::filesystem::path file = std::filesystem::path(::testing::TempDir()) / "tm-secret";
  ASSERT_TRUE(write_file_durably(file, as_bytes("hunter2-of-the-file\n")));
  ASSERT_EQ(::setenv("TM_TEST_SECRET", "hunter2-of-the-environment", 1), 0);
  const auto config = accepted("site: a\npeers:\n  b: { key_file: " + file.string() +
                               " }\n  c: { passphrase_file: \"${env:TM_TEST_SECRET}\" }\n");
  EXPECT_EQ(*read_secret(config.peers.at("b").key), "hunter2-of-the-file");
  EXPECT_EQ(*read_secret(config.peers.at("c").passphrase), "hunter2-of-the-environment");
  const std::string shown = show_config(config);
  EXPECT_EQ(shown.find("hunter2"), std::string::npos) << shown;
  EXPECT_NE(shown.find(file.string()), std::string::npos) << shown;
  EXPECT_NE(shown.find("${env:TM_TEST_SECRET}"), std::string::npos) << shown;
  std::filesystem::remove(file);
}

void check_described(const nlohmann::json& schema, const std::string& path, int& options) {
  if (schema.contains("properties") && schema.value("type", "") == "object") {
    EXPECT_EQ(schema.value("additionalProperties", true), false) << path;
    for (const auto& [name, property] : schema["properties"].items()) {
      ++options;
      const std::string at = path + "." + name;
      const std::string sentence = property.value("description", "");
      EXPECT_TRUE(sentence.ends_with('.')) << at << ": " << sentence;
      EXPECT_TRUE(property.contains("examples") || property.contains("default")) << at;
      check_described(property, at, options);
    }
  }
  if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object())
    check_described(schema["additionalProperties"], path + ".*", options);
}

TEST(Table, EveryOptionHasASentenceAndAnExampleOrDefault) {
  int options = 0;
  check_described(nlohmann::json::parse(config_schema()), "", options);
  EXPECT_GE(options, 55);
}

// The page, the schema and the decoder follow from one table; the examples on the page must decode.
TEST(Table, EveryExampleIsAccepted) {
  std::vector<config::Table> tables;
  config::options().tables("", "", tables);
  int tried = 0;
  for (const auto& table : tables) {
    for (const auto& row : table.rows) {
      if (row.example.empty()) continue;
      std::string path = table.path.empty() ? row.name : table.path + "." + row.name;
      // Nest the one option in flow maps: a.b.c -> {a: {b: {c: example}}}.
      std::string text, closing;
      for (std::size_t at = 0; at != std::string::npos;) {
        const auto dot = path.find('.', at);
        std::string key = path.substr(at, dot == std::string::npos ? dot : dot - at);
        if (key.starts_with('<')) key = "x";
        text += "{ " + key + ": ";
        closing += " }";
        at = dot == std::string::npos ? dot : dot + 1;
      }
      text += row.example + closing;
      std::vector<config::Problem> problems;
      config::YamlNode node;
      ASSERT_TRUE(config::read_document(text, node, problems)) << text;
      config::Context context{kBase, problems, {}};
      Config out;
      config::options().decode(node, "", out, context);
      for (const auto& problem : problems)
        EXPECT_TRUE(problem.text.starts_with("missing")) << text << "\n"
                                                         << problem.path << ": " << problem.text;
      ++tried;
    }
  }
  EXPECT_GE(tried, 50);
}

}  // namespace
}  // namespace tidemark::test
