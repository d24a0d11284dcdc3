// Thousands of damaged configurations: each is accepted or refused with a place, none crashes, and
// what is accepted shows and reads back as itself.
#include <random>

#include "tests/config/support.h"

namespace tidemark::test {
namespace {

std::uint64_t seed() {
  const char* const given = std::getenv("TM_SEED");
  const std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10)
                                               : static_cast<std::uint64_t>(std::random_device{}());
  std::printf("TM_SEED=%llu\n", static_cast<unsigned long long>(value));
  return value;
}

class Mutator {
 public:
  Mutator(std::string original, std::uint64_t from)
      : original_(std::move(original)), random_(from) {}

  std::string next() {
    std::string text = original_;
    for (std::size_t n = 1 + below(4); n > 0; --n) mutate(text);
    return text;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  void mutate(std::string& text) {
    static const std::string_view kSnippets[] = {
        "\n",       ":",    ": ",       "- ",        "[",           "]",
        "{",        "}",    "\"",       "'",         "#",           "&a ",
        "*a",       "!!x ", "|\n",      ">\n",       "?",           "\t",
        "~",        "null", "---\n",    "...\n",     "%YAML 1.2\n", "<<: *a\n",
        "${env:X}", "\\",   "0",        "-1",        "1e9",         "99999999999999999999",
        "%",        "\xff", "\xc3\xbc", "site: x\n", "  ",          "keep: {",
        "windows:", ",",    "rbd/",     "s3/",       "type: s3",    "every: 0s",
        "1h",       "/s",   "\r\n"};
    const std::size_t at = below(text.size() + 1);
    const std::size_t size = below(std::min<std::size_t>(text.size() - at + 1, 40));
    switch (below(7)) {
      case 0:
        text.erase(at, size);
        return;
      case 1:
        text.insert(at, kSnippets[below(std::size(kSnippets))]);
        return;
      case 2:
        text.insert(below(text.size() + 1), text.substr(at, size));
        return;
      case 3:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        return;
      case 4:
        text.resize(at);
        return;
      case 5:
        swap_lines(text);
        return;
      case 6:
        text.replace(at, size, kSnippets[below(std::size(kSnippets))]);
        return;
    }
  }

  void swap_lines(std::string& text) {
    const auto a = text.find('\n', below(text.size() + 1));
    const auto b = a == std::string::npos ? a : text.find('\n', a + 1);
    if (b == std::string::npos) return;
    const std::string line = text.substr(a + 1, b - a);
    text.erase(a + 1, b - a);
    const auto to = text.find('\n', below(text.size() + 1));
    text.insert(to == std::string::npos ? 0 : to + 1, line);
  }

  std::string original_;
  std::mt19937_64 random_;
};

// "t.yaml:3:5: " or "t.yaml: ", and the place within the text.
void expect_placed(const std::string& text, const std::string& message) {
  const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
  ASSERT_TRUE(message.starts_with("t.yaml:")) << message;
  int line = 0, column = 0;
  if (std::sscanf(message.c_str(), "t.yaml:%d:%d: ", &line, &column) != 2) return;
  EXPECT_GE(line, 1) << message;
  EXPECT_LE(line, lines) << message;
  EXPECT_GE(column, 1) << message;
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(Fuzz, MutationsOfTheExampleAreAcceptedOrRefusedWithAPlace) {
  Mutator mutator(source_file("docs/example/tidemark.yaml"), seed());
  int accepted_count = 0, refused_count = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = mutator.next();
    SCOPED_TRACE(text);
    const auto config = parse(text);
    if (config) {
      ++accepted_count;
      const auto again = parse(show_config(*config));
      ASSERT_TRUE(again) << again.error().message();
      ASSERT_EQ(*again, *config) << show_config(*config);
    } else {
      ++refused_count;
      ASSERT_EQ(config.error().code(), ErrorCode::invalid_argument);
      expect_placed(text, config.error().message());
    }
    if (HasFailure()) return;
  }
  // Both ends of the road were seen.
  EXPECT_GT(accepted_count, 100);
  EXPECT_GT(refused_count, 5000);
}

TEST(Fuzz, EveryBeginningOfTheExampleIsAcceptedOrRefused) {
  const std::string text = source_file("docs/example/tidemark.yaml");
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const std::string cut = text.substr(0, size);
    const auto config = parse(cut);
    if (!config) expect_placed(cut, config.error().message());
  }
  EXPECT_TRUE(parse(text));
}

TEST(Fuzz, RandomBytesAreRefused) {
  std::mt19937_64 random(seed());
  for (int i = 0; i < 5000; ++i) {
    std::string text(random() % 300, '\0');
    for (char& c : text) c = static_cast<char>(random() % 256);
    const auto config = parse(text);
    ASSERT_FALSE(config);
    expect_placed(text, config.error().message());
  }
}

}  // namespace
}  // namespace tidemark::test
