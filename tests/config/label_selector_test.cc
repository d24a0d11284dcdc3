#include "config/label_selector.h"

#include <gtest/gtest.h>

namespace tidemark::test {
namespace {

TEST(LabelSelectorTest, MatchesAsKubectlDoes) {
  const std::map<std::string, std::string> labels = {{"app", "db"}, {"tier", "gold"}, {"e", ""}};
  const auto matches = [&](const char* text) {
    const auto selector = LabelSelector::parse(text);
    EXPECT_TRUE(selector) << text;
    return selector && selector->matches(labels);
  };
  for (const char* const text :
       {"", "app=db", "app==db", "app = db, tier!=silver", "app in (web, db)", "app notin (web)",
        "other notin (x)", "tier", "!other", "other!=x", "e=", "app in (db),tier in (gold)"})
    EXPECT_TRUE(matches(text)) << text;
  for (const char* const text : {"app=web", "app!=db", "app in (web)", "app notin (db,web)",
                                 "other", "!app", "app=db,tier=silver", "other=x"})
    EXPECT_FALSE(matches(text)) << text;
  for (const char* const text : {"=x", "app=(", "app in db", "app of (db)", ",", "app=a b", "a b"})
    EXPECT_FALSE(LabelSelector::parse(text)) << text;
}

}  // namespace
}  // namespace tidemark::test
