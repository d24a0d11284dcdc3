// Points of buckets, taken from a server that can be told to misbehave.
#include "tests/agent/bucket_backup_support.h"

namespace tidemark::test {
namespace {

using testing::S3Fault;

bool reads_object(const testing::S3Request& request) {
  return request.method == "GET" && request.bucket == kBucket && !request.key.empty() &&
         !request.query.contains("acl");
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

// A misdeed of every GET of one object's bytes.
testing::S3Misdeed on_reading(const std::string& key, S3Fault fault, testing::S3Answer answer,
                              int times = -1) {
  const auto of_key = [key](const testing::S3Request& request) {
    return request.key == key && reads_object(request);
  };
  return {fault, of_key, times, std::move(answer), {}};
}

TEST_F(BucketBackupTest, AKeyThatNeverHoldsStillIsKeptAsThePointBeforeHasIt) {
  put("a", "one");
  put("hot", "first");
  back_up();
  put("a", "two");
  put("hot", "second");
  put("hot too", "never read");
  for (const char* key : {"hot", "hot too"})
    server_.misbehave(
        on_reading(key, S3Fault::answer, testing::s3_error(412, "PreconditionFailed"), 8));
  const BackupReport report = back_up();
  EXPECT_EQ(texts(report), (std::vector<std::string>{"a: two", "hot: first"}));
  EXPECT_EQ(report.unsettled.count, 2U);
  ASSERT_EQ(report.unsettled.named.size(), 2U);
  EXPECT_EQ(report.unsettled.named[0].key, "hot");
  EXPECT_EQ(report.unsettled.named[1].key, "hot too");
  const BucketMeta meta = must(read_bucket_meta(report.point.point.record, store_.keys()));
  EXPECT_EQ(meta.unsettled.count, 2U);
  EXPECT_EQ(meta.unsettled.named.at(1).key, "hot too");
  EXPECT_EQ(meta.unsettled.named.at(1).why.code(), ErrorCode::unavailable);

  const BackupReport next = back_up();
  EXPECT_EQ(next.objects_read, 2U);
  EXPECT_EQ(next.unsettled.count, 0U);
  EXPECT_EQ(texts(next),
            (std::vector<std::string>{"a: two", "hot: second", "hot too: never read"}));
}

TEST_F(BucketBackupTest, AKeyThatIsListedAndNotThereIsSaidToBeThat) {
  put("a", "one");
  put("lost", "first");
  testing::S3Misdeed lost =
      on_reading("lost", S3Fault::answer, testing::s3_error(404, "NoSuchKey"));
  lost.when = [](const testing::S3Request& request) { return request.key == "lost"; };
  server_.misbehave(lost);
  const BackupReport report = back_up();
  EXPECT_EQ(texts(report), (std::vector<std::string>{"a: one"}));
  ASSERT_EQ(report.unsettled.named.size(), 1U);
  EXPECT_EQ(report.unsettled.named[0].key, "lost");
  EXPECT_EQ(report.unsettled.named[0].why.code(), ErrorCode::corruption);
}

TEST_F(BucketBackupTest, ARefusedVersionLeavesTheOthers) {
  must(client_->set_versioning(kBucket, true));
  put("a", "one");
  put("a", "two");
  testing::S3Misdeed refuse =
      on_reading("a", S3Fault::answer, testing::s3_error(403, "AccessDenied"));
  const std::string newest = must(client_->head(kBucket, "a")).version_id;
  refuse.when = [newest](const testing::S3Request& request) {
    const auto version = request.query.find("versionId");
    return version != request.query.end() && version->second == newest;
  };
  refuse.times = 1;
  server_.misbehave(refuse);
  const BackupReport report = back_up();
  EXPECT_EQ(report.unsettled.count, 1U);
  EXPECT_EQ(texts(report), std::vector<std::string>{"a: one"});
  EXPECT_TRUE(entries(report).front().latest) << "a restore finds what there is";
  const BackupReport next = back_up();
  EXPECT_EQ(texts(next), (std::vector<std::string>{"a: two", "a: one"}));
  EXPECT_TRUE(entries(next)[0].latest && !entries(next)[1].latest);
}

TEST_F(BucketBackupTest, ADamagedObjectIsKeptAsThePointBeforeHasIt) {
  put("a", "whole");
  put("b", "two");
  back_up();
  put("a", std::string(10'000, 'a'));
  testing::S3Misdeed damage = on_reading("a", S3Fault::alter, {});
  damage.alter = [](const testing::S3Request&, testing::S3Answer& answer) {
    answer.body.front() = 'x';
  };
  server_.misbehave(damage);
  const BackupReport report = back_up();
  EXPECT_EQ(texts(report), (std::vector<std::string>{"a: whole", "b: two"}));
  ASSERT_EQ(report.unsettled.named.size(), 1U);
  EXPECT_EQ(report.unsettled.named[0].why.code(), ErrorCode::corruption);
}

TEST_F(BucketBackupTest, NamesOfUnsettledKeysAreBounded) {
  put("a", "read");
  for (int i = 0; i < 100; ++i) put("no" + std::to_string(i), "text");
  const auto refuses = [](const testing::S3Request& request) {
    return request.key.starts_with("no");
  };
  server_.misbehave({S3Fault::answer, refuses, -1, testing::s3_error(403, "AccessDenied"), {}});
  const BackupReport report = back_up();
  EXPECT_EQ(report.unsettled.count, 100U);
  EXPECT_EQ(report.unsettled.named.size(), kUnsettledNamedMax);
  EXPECT_EQ(keys(report), std::vector<std::string>{"a"});
}

TEST_F(BucketBackupTest, AUserWhoMayReadNothingGetsNoPoint) {
  put("a", "one");
  server_.misbehave(on_reading("a", S3Fault::answer, testing::s3_error(403, "AccessDenied")));
  EXPECT_EQ(why_none(), ErrorCode::permission_denied);
  EXPECT_FALSE(has_points());
}

TEST_F(BucketBackupTest, AServerThatRefusesEverythingLeavesNoPoint) {
  put("a", "one");
  put("b", "two");
  auto shut = std::make_shared<std::atomic<bool>>(false);
  const auto when = [shut](const testing::S3Request& request) {
    if (request.key == "b" && reads_object(request)) *shut = true;
    return shut->load();
  };
  server_.misbehave({S3Fault::answer, when, -1, testing::s3_error(403, "AccessDenied"), {}});
  EXPECT_EQ(why_none(), ErrorCode::permission_denied);
  EXPECT_FALSE(has_points());
}

TEST_F(BucketBackupTest, AGatewayThatIsDownLeavesNoPoint) {
  put("a", "one");
  put("b", "two");
  server_.misbehave(on_reading("b", S3Fault::answer, testing::s3_error(503, "SlowDown")));
  EXPECT_EQ(why_none(), ErrorCode::unavailable);
  EXPECT_FALSE(has_points());
}

TEST_F(BucketBackupTest, ManyObjectsAreListedInRangesAndTheChangedOnesRead) {
  const testing::GeneratedBucket before(kBucket, 20'000), now(kBucket, 19'500, 1000);
  commit_point(before);
  now.attach(server_);
  const BackupReport report = back_up();
  EXPECT_EQ(report.mode, "incremental");
  EXPECT_EQ(report.objects_read, 20U);
  const auto found = entries(report);
  ASSERT_EQ(found.size(), now.count());
  for (std::uint64_t i = 0; i < found.size(); ++i) {
    const bool same = found[i] == now.entry_at_first(i);
    ASSERT_EQ(same, i % 1000 != 0) << found[i].place.key;
  }
}

TEST_F(BucketBackupTest, RequestsAreInFlightByTheHundred) {
  for (int i = 0; i < 150; ++i) put("key" + std::to_string(i), "text");
  auto reading = std::make_shared<std::atomic<int>>(0);
  testing::S3Misdeed gather{S3Fault::alter, reads_object, -1, {}, {}};
  gather.alter = [reading](const testing::S3Request&, testing::S3Answer&) {
    ++*reading;
    for (int i = 0; i < 6000 && *reading < 120; ++i)  // until so many wait for their answers
      sleep_for({}, std::chrono::milliseconds(10));
  };
  server_.misbehave(gather);
  EXPECT_EQ(back_up().objects_read, 150U);
  EXPECT_GE(server_.connections_peak(), 120U);
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
}  // namespace tidemark::test
