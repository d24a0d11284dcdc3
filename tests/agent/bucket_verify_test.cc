// Verifying points of buckets.
#include "agent/verify/verify.h"
#include "tests/agent/bucket_support.h"

namespace tidemark::test {
namespace {

class BucketVerifyTest : public ::testing::Test {
 protected:
  VerifyReport verify(double share) {
    VerifyOptions options;
    options.read_share = share;
    return must(verify_points(store_.service(), store_.keys(), {maker_.point(store_)}, options));
  }
  TestService store_;
  BucketMaker maker_{store_.keys()};
};

TEST_F(BucketVerifyTest, AWholePointIsWhole) {
  maker_.add("inline", "text");
  maker_.add("empty", "");
  maker_.add("k", testing::patterned(9 << 20));
  maker_.add_version("v", "1");
  maker_.add_marker("v");
  EXPECT_TRUE(verify(0).damaged.empty());
  const VerifyReport read = verify(1);
  EXPECT_TRUE(read.damaged.empty());
  EXPECT_GT(read.bytes_read, 9U << 20);
}

TEST_F(BucketVerifyTest, ObjectsThatAreNotWhatWasCapturedAreFoundByReading) {
  maker_.add("good", "text");
  maker_.add("inline", "text").sha256 = Digest{};
  maker_.add("big", testing::patterned(9 << 20)).sha256 = Digest{};
  EXPECT_TRUE(verify(0).damaged.empty());
  const VerifyReport read = verify(1);
  ASSERT_EQ(read.damaged.size(), 2U);
  for (const Damage& damage : read.damaged) EXPECT_EQ(damage.kind, "object");
}

TEST_F(BucketVerifyTest, AFlippedByteIsAChunksDamage) {
  maker_.add("big", testing::patterned(5 << 20));
  maker_.point(store_);
  std::string largest;
  std::uint64_t size = 0;
  const auto backend = store_.backend();
  must(backend->list("packs/", [&](const BlobInfo& blob) -> Status {
    if (blob.size_bytes > size) {
      size = blob.size_bytes;
      largest = blob.name;
    }
    return {};
  }));
  store_.medium().flip(largest, size / 2);
  const VerifyReport read = verify(1);
  ASSERT_EQ(read.damaged.size(), 1U);
  EXPECT_EQ(read.damaged[0].kind, "chunk");
}

}  // namespace
}  // namespace tidemark::test
