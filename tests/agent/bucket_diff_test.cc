// What differs between two points of a bucket.
#include "agent/read/bucket_diff.h"

#include "tests/agent/bucket_support.h"

namespace tidemark::test {
namespace {

class BucketDiffTest : public ::testing::Test {
 protected:
  // "added k", in the order they come.
  std::vector<std::string> diff() {
    const auto from = must(BucketPoint::open(store_.service(), store_.keys(), a_.point(store_)));
    const auto to = must(BucketPoint::open(store_.service(), store_.keys(), b_.point(store_)));
    std::vector<std::string> out;
    must(diff_buckets(*from, *to, [&](const KeyChange& change) -> Status {
      out.push_back(std::string(to_string(change.kind)) + " " + change.key);
      return {};
    }));
    return out;
  }
  TestService store_;
  BucketMaker a_{store_.keys()}, b_{store_.keys()};
};

TEST_F(BucketDiffTest, KeysAddedChangedAndRemoved) {
  for (int i = 0; i < 500; ++i) {
    a_.add("same" + std::to_string(i), "x");
    b_.add("same" + std::to_string(i), "x");
  }
  a_.add("changed", "1");
  b_.add("changed", "2");
  a_.add("gone", "1");
  b_.add("new", "1");
  EXPECT_EQ(diff(), (std::vector<std::string>{"changed changed", "removed gone", "added new"}));
}

TEST_F(BucketDiffTest, VersionsCountByWhatAGetAnswers) {
  for (BucketMaker* maker : {&a_, &b_}) {
    maker->add_version("deleted", "1");
    maker->add_version("written", "1");
    maker->add_version("twice", "1");
  }
  b_.add_marker("deleted");
  b_.add_version("written", "2");
  b_.add_version("born-dead", "1");
  b_.add_marker("born-dead");
  EXPECT_EQ(diff(),
            (std::vector<std::string>{"changed born-dead", "removed deleted", "changed written"}));
}

TEST_F(BucketDiffTest, EqualPointsDoNotDiffer) {
  a_.add("k", "1");
  b_.add("k", "1");
  EXPECT_TRUE(diff().empty());
}

TEST(PrintableKeyTest, NothingReachesTheTerminalThatIsNotText) {
  EXPECT_EQ(printable_key("a b/é✓"), "a b/é✓");
  EXPECT_EQ(printable_key("\x1b[2J\n"), "\\x1b[2J\\x0a");
  EXPECT_EQ(printable_key("a\\b"), "a\\x5cb");
  EXPECT_EQ(printable_key("\xff"), "\\xff");
  EXPECT_EQ(printable_key("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(printable_key("\xe2\x80\xae"), "\\xe2\\x80\\xae");
}

}  // namespace
}  // namespace tidemark::test
