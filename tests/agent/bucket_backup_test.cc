// Points of buckets, taken from a server that can be told to misbehave.
#include "agent/backup/bucket_backup.h"

#include "agent/backup/bucket_meta.h"
#include "agent/read/blob_reader.h"
#include "store/bucket.h"
#include "tests/agent/service_support.h"
#include "tests/fakes/s3_server.h"

namespace tidemark {
namespace {

using test::must;
using testing::S3Fault;

const std::string kBucket = "photos";

class BucketBackupTest : public ::testing::Test {
 protected:
  BucketBackupTest() {
    s3::ClientOptions options;
    options.endpoint = server_.endpoint();
    options.credentials = [this]() -> Result<s3::Credentials> { return server_.credentials(); };
    options.retry.attempts_max = 2;
    options.retry.backoff_first = options.retry.backoff_max = std::chrono::milliseconds(1);
    options.stall_timeout = std::chrono::seconds(30);
    client_ = must(s3::Client::create(std::move(options)));
    must(client_->create_bucket(kBucket));
  }

  void put(const std::string& key, std::string_view text, s3::PutOptions options = {}) {
    must(client_->put_bytes(kBucket, key, as_bytes(text), options));
  }
  Result<BackupReport> try_back_up() {
    BucketBackupOptions options;
    options.site = "tokyo";
    store_.clock().advance(std::chrono::seconds(1));
    return back_up_bucket(*client_, kBucket, store_.service(), store_.keys(), options,
                          store_.clock());
  }
  BackupReport back_up() { return must(try_back_up()); }

  std::vector<ObjectEntry> entries(const BackupReport& report) {
    BlobReader reader(store_.service(), store_.keys());
    TreeNodes nodes(reader);
    TreeCursor cursor(nodes, report.point.point.record.root);
    std::vector<ObjectEntry> out;
    for (must(cursor.seek("")); cursor.valid(); must(cursor.next()))
      out.push_back(must(decode_object(cursor.entry())));
    return out;
  }
  std::vector<std::string> keys(const BackupReport& report) {
    std::vector<std::string> out;
    for (const ObjectEntry& entry : entries(report)) out.push_back(entry.place.key);
    return out;
  }
  bool has_points() { return !must(store_.service().points("tokyo", "")).empty(); }

  test::TestService store_;
  testing::S3Server server_;
  std::unique_ptr<s3::Client> client_;
};

bool reads_object(const testing::S3Request& request) {
  return request.method == "GET" && !request.key.empty() && !request.query.contains("acl");
}
bool lists(const testing::S3Request& request) {
  return request.method == "GET" && request.key.empty() && request.query.contains("list-type");
}

TEST_F(BucketBackupTest, FirstPointHoldsWhatTheBucketHolds) {
  const std::vector<std::string> odd = {"/", "//a", "..", "a b+c%20", "\xc3\xbc", "z"};
  s3::PutOptions options;
  options.settings.metadata = {{"colour", "red"}};
  options.settings.content_headers = {{"content-type", "text/x"}};
  for (const std::string& key : odd) put(key, "of " + key, options);
  const std::string large(kObjectChunkBytes + 5, 'x');
  put("large", large);
  const BackupReport report = back_up();
  EXPECT_EQ(report.mode, "first");
  EXPECT_EQ(report.objects_read, odd.size() + 1);
  const auto found = entries(report);
  ASSERT_EQ(found.size(), odd.size() + 1);
  std::uint64_t size = 0;
  for (const ObjectEntry& entry : found) {
    size += entry.size_bytes;
    const std::string text = entry.place.key == "large" ? large : "of " + entry.place.key;
    EXPECT_EQ(entry.sha256, sha256(as_bytes(text)));
    if (entry.place.key == "large") {
      EXPECT_EQ(entry.chunks.size(), 2U);
      continue;
    }
    EXPECT_EQ(as_text(entry.inline_data), text);
    EXPECT_EQ(entry.metadata.at("colour"), "red");
    EXPECT_EQ(entry.headers.at("content-type"), "text/x");
  }
  EXPECT_EQ(report.point.point.record.size_bytes, size);
  EXPECT_EQ(report.point.point.record.kind, PointKind::bucket);
  EXPECT_EQ(must(read_bucket_meta(report.point.point.record, store_.keys())).name, kBucket);
}

TEST_F(BucketBackupTest, UnchangedObjectsAreNotReadAgain) {
  for (int i = 0; i < 50; ++i) put("key" + std::to_string(i), "text");
  const BackupReport first = back_up();
  const BackupReport second = back_up();
  EXPECT_EQ(second.mode, "incremental");
  EXPECT_EQ(second.objects_read, 0U);
  EXPECT_EQ(second.point.point.record.root, first.point.point.record.root);
  put("key7", "another text");
  must(client_->remove(kBucket, {"key8", ""}));
  const BackupReport third = back_up();
  EXPECT_EQ(third.objects_read, 1U);
  EXPECT_EQ(third.point.point.record.changed_bytes, 12U);
  EXPECT_EQ(entries(third).size(), 49U);
}

TEST_F(BucketBackupTest, VersionsAndDeleteMarkersAreKept) {
  must(client_->set_versioning(kBucket, true));
  put("a", "one");
  put("a", "two");
  put("b", "three");
  must(client_->remove(kBucket, {"a", ""}));
  const auto found = entries(back_up());
  ASSERT_EQ(found.size(), 4U);
  EXPECT_TRUE(found[0].delete_marker && found[0].latest);
  EXPECT_EQ(as_text(found[1].inline_data), "two");
  EXPECT_EQ(as_text(found[2].inline_data), "one");
  EXPECT_TRUE(found[3].latest);
  EXPECT_EQ(back_up().objects_read, 0U);
}

TEST_F(BucketBackupTest, ANullVersionWithAnotherTimeThanItsListingIsKept) {
  put("a", "one");
  must(client_->set_versioning(kBucket, true));
  put("a", "two");
  const auto of_null = [](const testing::S3Request& request) {
    const auto version = request.query.find("versionId");
    return request.key == "a" && version != request.query.end() && version->second == "null";
  };
  server_.misbehave({S3Fault::alter, of_null, -1, {}, [](const auto&, testing::S3Answer& answer) {
                       answer.headers["last-modified"] = "Tue, 05 Jan 2027 10:00:00 GMT";
                     }});
  const auto found = entries(back_up());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(as_text(found[0].inline_data), "two");
  EXPECT_EQ(as_text(found[1].inline_data), "one");
  EXPECT_EQ(back_up().objects_read, 0U);
}

TEST_F(BucketBackupTest, AnObjectThatMovedIsLookedAtAgain) {
  put("a", "one");
  put("b", "two");
  const auto of_a = [](const testing::S3Request& request) {
    return request.key == "a" && reads_object(request);
  };
  server_.misbehave({S3Fault::answer, of_a, 1, testing::s3_error(412, "PreconditionFailed"), {}});
  const BackupReport report = back_up();
  EXPECT_EQ(report.keys_moved, 1U);
  EXPECT_EQ(keys(report), (std::vector<std::string>{"a", "b"}));
}

TEST_F(BucketBackupTest, BrokenListingsLeaveNoPoint) {
  put("a", "one");
  server_.misbehave({S3Fault::answer, lists, -1, testing::s3_error(503, "SlowDown"), {}});
  EXPECT_FALSE(try_back_up());
  EXPECT_FALSE(has_points());
}

TEST_F(BucketBackupTest, CutBodiesLeaveNoPoint) {
  put("a", std::string(100'000, 'a'));
  server_.misbehave({S3Fault::cut_half, reads_object, -1, {}, {}});
  EXPECT_FALSE(try_back_up());
  EXPECT_FALSE(has_points());
}

}  // namespace
}  // namespace tidemark
