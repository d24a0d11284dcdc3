// XML as no server should write it.
#include <gtest/gtest.h>

#include "transport/s3/fields.h"

namespace tidemark::s3 {
namespace {

struct Collector : XmlHandler {
  Status begin(std::string_view path) override {
    begun.emplace_back(path);
    return {};
  }
  Status end(std::string_view path, const std::string& text) override {
    ended.emplace_back(path, text);
    return {};
  }
  std::vector<std::string> begun;
  std::vector<std::pair<std::string, std::string>> ended;
};

Status parse(std::string_view text, XmlLimits limits = {}) {
  Collector collector;
  return parse_xml(as_bytes(text), collector, limits);
}

void expect_corrupt(std::string_view text, XmlLimits limits = {}) {
  const auto parsed = parse(text, limits);
  ASSERT_FALSE(parsed) << text.substr(0, 100);
  EXPECT_EQ(parsed.error().code(), ErrorCode::corruption) << parsed.error().message();
}

TEST(S3Xml, ElementsComeInOrderWithTheirText) {
  Collector collector;
  ASSERT_TRUE(parse_xml(as_bytes("\n <?xml version='1.0'?><n:a xmlns:n='u' y='z'> <b>1&amp;2</b>"
                                 "<c><![CDATA[<x>]]></c>t<d/></n:a>"),
                        collector, {}));
  EXPECT_EQ(collector.begun, (std::vector<std::string>{"a", "a/b", "a/c", "a/d"}));
  ASSERT_EQ(collector.ended.size(), 4u);
  EXPECT_EQ(collector.ended[0].second, "1&2");
  EXPECT_EQ(collector.ended[1].second, "<x>");
  EXPECT_EQ(collector.ended[3].second, " t");
}

TEST(S3Xml, TheSameWhereverThePiecesAreCut) {
  const std::string text = "<a><k>x&#x01;y&lt;&#65;\xc3\xbc</k><k>&#13;</k></a>";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Collector collector;
    XmlReader reader(collector, {});
    ASSERT_TRUE(reader.feed(as_bytes(text).first(cut)));
    ASSERT_TRUE(reader.feed(as_bytes(text).subspan(cut)));
    ASSERT_TRUE(reader.finish());
    ASSERT_EQ(collector.ended.size(), 3u);
    EXPECT_EQ(collector.ended[0].second, "x" + std::string(kXmlReplacement) + "y<A\xc3\xbc");
    EXPECT_EQ(collector.ended[1].second, "\r");
  }
}

TEST(S3Xml, DoctypesAreRefused) {
  expect_corrupt("<!DOCTYPE a><a/>");
  expect_corrupt(
      "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'>"
      "<!ENTITY lol2 '&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;'>"
      "<!ENTITY lol3 '&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;'>]><lolz>&lol3;</lolz>");
  expect_corrupt("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>");
  expect_corrupt("<a>&unknown;</a>");
}

TEST(S3Xml, LimitsHold) {
  XmlLimits limits;
  limits.depth_max = 4;
  EXPECT_TRUE(parse("<a><b><c><d/></c></b></a>", limits));
  expect_corrupt("<a><b><c><d><e/></d></c></b></a>", limits);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  expect_corrupt(deep);
  expect_corrupt("<a>" + std::string(70'000, 'x') + "</a>");
  expect_corrupt("<" + std::string(1000, 'n') + "/>");
  limits.bytes_max = 100;
  expect_corrupt("<a>" + std::string(100, ' ') + "</a>", limits);
  limits = {};
  limits.elements_max = 10;
  std::string many = "<a>";
  for (int i = 0; i < 10; ++i) many += "<b/>";
  expect_corrupt(many + "</a>", limits);
  // Text in pieces around children counts together.
  std::string split = "<a>";
  for (int i = 0; i < 100; ++i) split += std::string(1000, 'x') + "<b/>";
  expect_corrupt(split + "</a>");
}

TEST(S3Xml, NonsenseIsCorruption) {
  for (const char* text : {"",
                           " ",
                           "x",
                           "{}",
                           "<a>",
                           "<a></b>",
                           "<a/><b/>",
                           "<a></a>x",
                           "<a",
                           "<a b></a>",
                           "<a>\x01</a>",
                           "<a>\xff</a>",
                           "<a>\xc3</a>",
                           "<a>\xed\xa0\x80</a>",
                           "<a>&#x110000;</a>",
                           "<a>&#xD800</a>",
                           "<a>&</a>",
                           "<a>&#;</a>",
                           "<a>&;</a>",
                           "<a>&#x;</a>",
                           "<html><br></html>"})
    expect_corrupt(text);
  expect_corrupt(std::string_view("<a>\0</a>", 8));
  // UTF-16, as announced and not.
  expect_corrupt(std::string_view("\xff\xfe<\0a\0/\0>\0", 10));
  expect_corrupt("<?xml version='1.0' encoding='ISO-8859-1'?><a>\xfc</a>");
}

// Found by the fuzz target: a prefix and nothing behind it made an empty path.
TEST(S3Xml, APrefixAloneIsNoName) {
  expect_corrupt("<n:/>");
  expect_corrupt("<a><n:></n:></a>");
}

TEST(S3Xml, AnErrorStays) {
  Collector collector;
  XmlReader reader(collector, {});
  EXPECT_FALSE(reader.feed(as_bytes("<a></b>")));
  EXPECT_FALSE(reader.feed(as_bytes("<a/>")));
  EXPECT_FALSE(reader.finish());
}

TEST(S3Xml, WhatIsWrittenReadsTheSame) {
  const std::string text = "a<b>&\"'\r\n\t]]>\xc3\xbc\xf0\x9f\x8c\x8a";
  const std::string document = XmlWriter("R").open("x").leaf("k", text).finish();
  EXPECT_EQ(*read_field(as_bytes(document), "R", "x/k"), text);
  EXPECT_EQ(*xml_root(as_bytes(document)), "R");
  EXPECT_FALSE(read_field(as_bytes(document), "S", "x/k"));
}

TEST(S3Xml, KnowsWhatXmlCannotCarry) {
  EXPECT_TRUE(xml_can_carry("a\t\n\r\xc3\xbc\xef\xbf\xbd"));
  for (const char* text : {"\x01", "\x1f", "\xff", "\xef\xbf\xbe", "\xef\xbf\xbf"})
    EXPECT_FALSE(xml_can_carry(text));
  EXPECT_FALSE(xml_can_carry(std::string_view("\0", 1)));
}

}  // namespace
}  // namespace tidemark::s3
