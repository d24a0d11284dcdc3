#include "base/markup.h"

#include <gtest/gtest.h>

namespace tidemark::test {
namespace {

TEST(MarkupTest, WhatMeansSomethingIsEscaped) {
  EXPECT_EQ(escape_markup("a<b>&\"c\"'d'"), "a&lt;b&gt;&amp;&quot;c&quot;&#39;d&#39;");
  EXPECT_EQ(escape_markup("l\xC3\xA4nger\n\tx\r"), "l\xC3\xA4nger&#10;&#9;x&#13;");
  EXPECT_EQ(escape_markup(""), "");
}

TEST(MarkupTest, WhatXmlCannotCarryIsReplaced) {
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(escape_markup(std::string("a\0b\x1f", 4)), "a" + mark + "b" + mark);
  EXPECT_EQ(escape_markup("a\xff\xfe z"), "a" + mark + mark + " z");
  EXPECT_EQ(escape_markup("\xED\xA0\x80"), mark + mark + mark) << "half of a surrogate pair";
  EXPECT_EQ(escape_markup("\xEF\xBF\xBE\xEF\xBF\xBF!"), mark + mark + "!");
  EXPECT_EQ(escape_markup("\xE2\x82"), mark + mark) << "a sequence that is cut off";
  EXPECT_EQ(escape_markup("\xF0\x9F\x8C\x8A"), "\xF0\x9F\x8C\x8A");
}

}  // namespace
}  // namespace tidemark::test
