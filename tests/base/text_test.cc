#include "base/text.h"

#include <gtest/gtest.h>

#include "tests/base/random.h"

namespace tidemark::test {
namespace {

// The definition, word for word; exponential, so for short texts only.
bool reference_match(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    if (reference_match(pattern.substr(1), text)) return true;
    return !text.empty() && text[0] != '/' && reference_match(pattern, text.substr(1));
  }
  if (text.empty()) return false;
  const bool one = pattern[0] == '?' ? text[0] != '/' : pattern[0] == text[0];
  return one && reference_match(pattern.substr(1), text.substr(1));
}

TEST(Glob, KnownAnswers) {
  EXPECT_TRUE(glob_match("rbd/rbd/vol-*", "rbd/rbd/vol-1"));
  EXPECT_TRUE(glob_match("rbd/rbd/vol-*", "rbd/rbd/vol-"));
  EXPECT_FALSE(glob_match("rbd/rbd/vol-*", "rbd/rbd/vol"));
  EXPECT_FALSE(glob_match("rbd/*", "rbd/rbd/vol-1"));
  EXPECT_TRUE(glob_match("rbd/*/*", "rbd/rbd/vol-1"));
  EXPECT_FALSE(glob_match("a?b", "a/b"));
  EXPECT_TRUE(glob_match("a?b", "a?b"));
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_FALSE(glob_match("?", ""));
  EXPECT_TRUE(glob_match("**", "abc"));
  EXPECT_TRUE(glob_match("[a]", "[a]"));
  EXPECT_FALSE(glob_match("[a]", "a"));
}

TEST(Glob, AgreesWithItsDefinition) {
  Random random;
  static constexpr std::string_view kPattern = "ab/*?", kText = "ab/";
  int matched = 0;
  for (int i = 0; i < 300'000; ++i) {
    std::string pattern(random.below(8), ' '), text(random.below(9), ' ');
    for (char& c : pattern) c = kPattern[random.below(kPattern.size())];
    for (char& c : text) c = kText[random.below(kText.size())];
    const bool expected = reference_match(pattern, text);
    matched += expected ? 1 : 0;
    ASSERT_EQ(glob_match(pattern, text), expected) << pattern << " on " << text;
  }
  EXPECT_GT(matched, 1000);
}

TEST(Glob, IsNotExponential) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "a*";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(20'000, 'a')));
}

TEST(Split, KeepsEmptyParts) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(split("a,b", ','), (Parts{"a", "b"}));
  EXPECT_EQ(split("", ','), (Parts{""}));
  EXPECT_EQ(split(",", ','), (Parts{"", ""}));
  EXPECT_EQ(split("a,,b,", ','), (Parts{"a", "", "b", ""}));
}

TEST(Utf8, KnownAnswers) {
  for (const char* good :
       {"", "a", "ü", "東京", "😀", "\xf4\x8f\xbf\xbf", "\xee\x80\x80", "\xc2\x80"})
    EXPECT_EQ(utf8_prefix(good), std::string_view(good).size()) << good;
  for (const char* bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2 ", "\xe0\x9f\xbf",
                          "\xe0\xa0", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xff", "\xfe", "\xf0\x9f\x98"}) {
    EXPECT_EQ(utf8_prefix(bad), 0U) << to_hex(as_bytes(bad));
    EXPECT_EQ(utf8_prefix(std::string("aü") + bad + "z"), 3U) << to_hex(as_bytes(bad));
  }
}

TEST(Utf8, EveryCodePointIsAcceptedAndNothingElse) {
  const auto encode = [](std::uint32_t c) {
    std::string out;
    const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3f)); };
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += static_cast<char>(0xc0 | c >> 6);
      tail(0);
    } else if (c < 0x10000) {
      out += static_cast<char>(0xe0 | c >> 12);
      tail(6);
      tail(0);
    } else {
      out += static_cast<char>(0xf0 | c >> 18);
      tail(12);
      tail(6);
      tail(0);
    }
    return out;
  };
  for (std::uint32_t c = 0; c < 0x120000; ++c) {
    const std::string text = encode(c);
    const bool valid = (c < 0xd800 || c > 0xdfff) && c < 0x110000;
    ASSERT_EQ(utf8_prefix(text), valid ? text.size() : 0) << c;
  }
}

TEST(Names, Usable) {
  for (const char* name : {"a", "tokyo-1", "a b", "...", ".a", "東京", "a:b", "a@b", "-", "*"})
    EXPECT_TRUE(check_name(name, "site")) << name;
  EXPECT_TRUE(check_name(std::string(255, 'x'), "site"));
}

TEST(Names, Refused) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("a\nb"), std::string("a\x7f"), std::string("a\0b", 3), std::string("\x1b[0m"),
        std::string(256, 'x'), std::string("\xff"), std::string("a\xc3"), std::string("\xc2\x9b"),
        std::string("\xc0\xaf")}) {
    const auto status = check_name(name, "site");
    ASSERT_FALSE(status) << to_hex(as_bytes(name));
    EXPECT_EQ(status.error().code(), ErrorCode::invalid_argument);
    EXPECT_NE(status.error().message().find("site"), std::string::npos);
  }
}

}  // namespace
}  // namespace tidemark::test
