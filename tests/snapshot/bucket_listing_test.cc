// Listings of buckets, whole and cut into ranges.
#include <algorithm>

#include "snapshot/bucket/listing.h"
#include "tests/store/support.h"
#include "tests/transport/s3_fixture.h"

namespace tidemark {
namespace {

using test::Rng;
using testing::S3Fault;
using testing::S3Request;

class BucketListing : public ::testing::Test {
 protected:
  BucketListing() {
    client_ = testing::s3_client(testing::s3_options(server_.endpoint(), server_.credentials()));
    EXPECT_TRUE(client_->create_bucket("b"));
  }

  ListingScope scope(bool versions = false) const {
    return {client_.get(), "b", versions, stop_.get_token()};
  }
  void put(const std::string& key) {
    const auto done = client_->put_bytes("b", key, as_bytes("x"));
    ASSERT_TRUE(done) << done.error().message();
  }
  // Few letters, so that keys are prefixes of each other.
  std::string random_key() {
    std::string key(1 + rng_.below(5), 'a');
    for (char& c : key) c = "a/b\xc3_"[rng_.below(5)];
    return key;
  }
  NextCut cuts_at(std::vector<std::string> cuts) {
    std::ranges::reverse(cuts);
    return [cuts]() mutable -> Result<std::optional<std::string>> {
      if (cuts.empty()) return std::optional<std::string>();
      std::string next = std::move(cuts.back());
      cuts.pop_back();
      return std::optional(std::move(next));
    };
  }

  Rng rng_;
  std::stop_source stop_;
  testing::S3Server server_;
  std::unique_ptr<s3::Client> client_;
};

std::vector<ListedKey> read_all(KeyListing listing) {
  std::vector<ListedKey> keys;
  while (true) {
    auto key = listing.next();
    EXPECT_TRUE(key) << key.error().message();
    if (!key || !*key) return keys;
    keys.push_back(**std::move(key));
  }
}

void expect_same(const std::vector<ListedKey>& a, const std::vector<ListedKey>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].key, b[i].key);
    EXPECT_EQ(a[i].versions, b[i].versions);
  }
}

bool lists_behind(const S3Request& request, const std::string& key) {
  const auto after = request.query.find("start-after");
  return request.method == "GET" && after != request.query.end() && after->second == key;
}

TEST_F(BucketListing, RangesGiveWhatOneListingGives) {
  SCOPED_TRACE(rng_.trace());
  for (const bool versions : {false, true}) {
    if (versions) {
      ASSERT_TRUE(client_->set_versioning("b", true));
    }
    for (int i = 0; i < 150; ++i) {
      const std::string key = random_key();
      if (versions && rng_.chance(20)) {
        ASSERT_TRUE(client_->remove("b", {key, ""}));
      } else {
        put(key);
      }
    }
    const auto expected = read_all(KeyListing(list_in_turn(scope(versions), "", "")));
    ASSERT_GT(expected.size(), 50U);
    for (std::size_t round = 0; round < test::rounds(20); ++round) {
      std::vector<std::string> cuts;
      for (std::size_t i = rng_.below(40); i > 0; --i)
        cuts.push_back(rng_.chance(50) ? random_key() : expected[rng_.below(expected.size())].key);
      std::ranges::sort(cuts);  // the same one may come twice
      expect_same(read_all(KeyListing(list_in_ranges(scope(versions), cuts_at(cuts)))), expected);
    }
  }
}

TEST_F(BucketListing, AKeyOfManyVersionsStaysWholeWhereverTheCutsAre) {
  ASSERT_TRUE(client_->set_versioning("b", true));
  put("a");
  for (int i = 0; i < 1100; ++i) put("many");
  put("z");
  const auto keys =
      read_all(KeyListing(list_in_ranges(scope(true), cuts_at({"a", "many", "many!", "z"}))));
  ASSERT_EQ(keys.size(), 3U);
  EXPECT_EQ(keys[1].versions.size(), 1100U);
}

TEST_F(BucketListing, AnErrorOfOneRangeIsThatOfTheListing) {
  for (const char* key : {"a", "b", "c", "d", "e"}) put(key);
  const auto of_c = [](const S3Request& request) { return lists_behind(request, "c"); };
  server_.misbehave({S3Fault::answer, of_c, -1, testing::s3_error(503, "SlowDown"), {}});
  KeyListing listing(list_in_ranges(scope(), cuts_at({"a", "b", "c", "d"})));
  for (const char* key : {"a", "b", "c"}) {
    const auto next = listing.next();
    TM_ASSERT_OK(next);
    ASSERT_TRUE(*next);
    EXPECT_EQ((*next)->key, key);
    if ((*next)->key == "b") break;  // telling the end of c takes a look behind it
  }
  for (int i = 0; i < 3; ++i) TM_EXPECT_ERROR(ErrorCode::unavailable, listing.next());
}

TEST_F(BucketListing, AnErrorOfTheCutsIsThatOfTheListing) {
  put("a");
  const auto broken = []() -> Result<std::optional<std::string>> {
    return Error(ErrorCode::corruption, "no cut");
  };
  TM_EXPECT_ERROR(ErrorCode::corruption, KeyListing(list_in_ranges(scope(), broken)).next());
}

TEST_F(BucketListing, AListingThatIsStoppedSaysSo) {
  for (const char* key : {"a", "b", "c"}) put(key);
  const auto of_b = [](const S3Request& request) { return lists_behind(request, "b"); };
  server_.misbehave({S3Fault::never, of_b, -1, {}, {}});
  KeyListing listing(list_in_ranges(scope(), cuts_at({"a", "b"})));
  TM_ASSERT_OK(listing.next());
  std::jthread stopper([&] { stop_.request_stop(); });
  while (true) {
    const auto next = listing.next();
    if (next) {
      ASSERT_TRUE(*next) << "an end that is none";
      continue;
    }
    EXPECT_EQ(next.error().code(), ErrorCode::cancelled);
    break;
  }
}

TEST_F(BucketListing, OneThatIsNotReadToItsEndGoesAway) {
  for (int i = 0; i < 30; ++i) put("key" + std::to_string(i));
  std::vector<std::string> cuts;
  for (int i = 10; i < 30; ++i) cuts.push_back("key" + std::to_string(i));
  KeyListing listing(list_in_ranges(scope(), cuts_at(cuts)));
  TM_ASSERT_OK(listing.next());
}

}  // namespace
}  // namespace tidemark
