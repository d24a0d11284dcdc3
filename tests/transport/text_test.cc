#include <gtest/gtest.h>

#include "tests/transport/fixture.h"
#include "transport/http_text.h"

namespace tidemark::testing {
namespace {

using net::parse_target;

TEST(HttpText, EncodingAndDecodingAreInverse) {
  std::mt19937_64 random(test_seed());
  EXPECT_EQ(url_encode("a-z_.~/ ü%"), "a-z_.~%2F%20%C3%BC%25");
  for (int i = 0; i < 1000; ++i) {
    std::string text;
    for (std::size_t n = random() % 20; n > 0; --n)
      text += static_cast<char>(0x20 + random() % 0x5f);
    const auto back = net::percent_decode(url_encode(text));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, text);
  }
}

TEST(HttpText, TraversalIsRefusedInEveryEncoding) {
  for (const char* target :
       {"/..", "/../a", "/a/..", "/a/../b", "/.", "/a/./b", "/%2e%2e/a", "/a/%2E%2e", "/a%2f..",
        "/a/.%2e/b", "/%2e", "/a%2f%2e%2e%2fb", "/..%2fa"}) {
    EXPECT_FALSE(parse_target(target)) << target;
  }
}

TEST(HttpText, WhatIsNoPathIsRefused) {
  for (const char* target : {"",       "a",        "*",           "https://h/a",
                             "//%",    "/%",       "/%4",         "/%zz",
                             "/%00",   "/a%0a",    "/%1f",        "/%7f",
                             "/%ff",   "/%c0%af",  "/%ed%a0%80",  "/%f4%90%80%80",
                             "/a#b",   "/a?x=%00", "/a?x=%0d%0a", "/a?x=1&x=2",
                             "/a?x=%", "/%C3"}) {
    EXPECT_FALSE(parse_target(target)) << target;
  }
}

TEST(HttpText, ATargetIsDecodedExactlyOnce) {
  const auto twice = parse_target("/a/%252e%252e/b%252fc");
  ASSERT_TRUE(twice);
  EXPECT_EQ(twice->path, "/a/%2e%2e/b%2fc");
  const auto odd = parse_target("/...//a..b/%E2%82%AC?a=b=c&&d&e=%2B+");
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->path, "/...//a..b/€");
  EXPECT_EQ(odd->query.at("a"), "b=c");
  EXPECT_EQ(odd->query.at("d"), "");
  EXPECT_EQ(odd->query.at("e"), "++");
}

TEST(HttpText, ErrorsAreJson) {
  const auto response = net::error_response(400, ErrorCode::invalid_argument, "a \"b\"\n\xff");
  EXPECT_EQ(
      as_text(response.body),
      "{\"error\":{\"code\":\"invalid_argument\",\"message\":\"a \\\"b\\\"\\n\xEF\xBF\xBD\"}}\n");
}

TEST(HttpText, DatesAreInTheFormOfRfc9110) {
  EXPECT_EQ(net::http_date(Timestamp{784111777LL * 1'000'000}), "Sun, 06 Nov 1994 08:49:37 GMT");
}

}  // namespace
}  // namespace tidemark::testing
