// A bucket's point restored into a bucket.
#include "tests/agent/bucket_support.h"

namespace tidemark::test {
namespace {

using testing::S3Fault;
using Texts = std::vector<std::string>;

BucketRestoreOptions into(std::string bucket) {
  BucketRestoreOptions options;
  options.bucket = std::move(bucket);
  return options;
}

void fill(BucketMaker& maker) {
  maker.add("a", "first");
  maker.add("a/b", testing::patterned(2000));
  maker.add("dir/c", testing::patterned(5 << 20));
  maker.add("empty", "");
}

TEST(BucketRestoreTest, BringsAWholeBucketBackAndWritesNothingTwice) {
  BucketLab lab;
  fill(lab.maker);
  const auto first = lab.run(into("copy"));
  EXPECT_TRUE(first->created());
  EXPECT_EQ(first->counts().written, 4U);
  EXPECT_EQ(first->problems().count(), 0U);
  EXPECT_EQ(lab.keys("copy"), (Texts{"a", "a/b", "dir/c", "empty"}));
  EXPECT_EQ(lab.text("copy", "a/b"), as_text(testing::patterned(2000)));
  EXPECT_EQ(lab.text("copy", "dir/c"), as_text(testing::patterned(5 << 20)));
  const std::size_t puts = lab.puts();
  const auto second = lab.run(into("copy"));
  EXPECT_EQ(lab.puts(), puts);
  EXPECT_EQ(second->counts().skipped, 4U);
  EXPECT_FALSE(second->created());
}

TEST(BucketRestoreTest, WritesOnlyWhatDiffersAndDeletesOnlyWhenAsked) {
  BucketLab lab;
  fill(lab.maker);
  lab.run(into("copy"));
  must(lab.client->put_bytes("copy", "a", as_bytes("other")));
  must(lab.client->put_bytes("copy", "b-extra", as_bytes("extra")));
  const std::size_t puts = lab.puts();
  BucketRestoreOptions options = into("copy");
  options.plan = true;
  options.delete_extra = true;
  const auto plan = lab.run(options);
  EXPECT_EQ(plan->counts().written, 1U);
  EXPECT_EQ(plan->counts().written_bytes, 5U);
  EXPECT_EQ(plan->counts().overwritten, 1U);
  EXPECT_EQ(plan->counts().deleted, 1U);
  EXPECT_EQ(plan->counts().deleted_bytes, 5U);
  EXPECT_EQ(plan->counts().skipped, 3U);
  EXPECT_EQ(lab.puts(), puts);
  EXPECT_EQ(lab.text("copy", "a"), "other");

  const auto kept = lab.run(into("copy"));
  EXPECT_EQ(lab.puts(), puts + 1);
  EXPECT_EQ(lab.text("copy", "a"), "first");
  EXPECT_EQ(lab.text("copy", "b-extra"), "extra");
  EXPECT_EQ(kept->counts().extra, 1U);

  options.plan = false;
  EXPECT_EQ(lab.run(options)->counts().deleted, 1U);
  EXPECT_EQ(lab.keys("copy"), (Texts{"a", "a/b", "dir/c", "empty"}));
}

TEST(BucketRestoreTest, APrefixAKeyOrAVersionLeavesTheRestAlone) {
  BucketLab lab;
  lab.maker.meta.versioning = s3::Versioning::enabled;
  lab.maker.add_version("dir/x", "old");
  lab.maker.add_version("dir/x", "new");
  lab.maker.add_version("dir/x2", "beside");
  lab.maker.add_version("other", "other");
  lab.maker.add_version("gone", "was here");
  lab.maker.add_marker("gone");
  BucketRestoreOptions options = into("copy");
  options.selection.prefix = "dir/";
  options.delete_extra = true;
  lab.run(options);
  must(lab.client->put_bytes("copy", "untouched", as_bytes("1")));
  lab.run(options);
  EXPECT_EQ(lab.keys("copy"), (Texts{"dir/x", "dir/x2", "untouched"}));
  EXPECT_EQ(lab.text("copy", "dir/x"), "new");

  options.selection = {"", "dir/x", "v1"};
  lab.run(options);
  EXPECT_EQ(lab.text("copy", "dir/x"), "old");
  EXPECT_EQ(lab.text("copy", "dir/x2"), "beside");

  for (const BucketSelection& missing :
       {BucketSelection{"", "gone", ""}, {"", "dir/", ""}, {"", "dir/x", "v9"}}) {
    options.selection = missing;
    TM_EXPECT_ERROR(ErrorCode::not_found, lab.restore(options)->run());
  }
}

TEST(BucketRestoreTest, VersionsComeBackInTheirOrderAndOnlyOnce) {
  BucketLab lab;
  lab.maker.meta.versioning = s3::Versioning::suspended;
  lab.maker.add_version("k", "one");
  lab.maker.add_version("k", "two");
  lab.maker.add_marker("k");
  lab.maker.add_version("k", "two");
  lab.maker.add_version("dead", "x");
  lab.maker.add_marker("dead");
  BucketRestoreOptions options = into("copy");
  options.versions = true;
  const auto first = lab.run(options);
  EXPECT_EQ(first->counts().markers, 2U);
  EXPECT_EQ(lab.history("copy", "k"), (Texts{"two", "-", "two", "one"}));
  EXPECT_EQ(lab.history("copy", "dead"), (Texts{"-", "x"}));
  EXPECT_EQ(must(lab.client->versioning("copy")), s3::Versioning::suspended);
  TM_EXPECT_ERROR(ErrorCode::refused, lab.restore(options)->run());

  must(lab.client->set_versioning("copy", true));
  const std::size_t puts = lab.puts();
  lab.run(options);
  EXPECT_EQ(lab.puts(), puts);
  must(lab.client->put_bytes("copy", "k", as_bytes("later")));
  options.delete_extra = true;
  lab.run(options);
  EXPECT_EQ(lab.history("copy", "k"), (Texts{"two", "-", "two", "one"}));
}

TEST(BucketUsersTest, PrincipalsOfAPolicyAreRenamedAndNothingElse) {
  const UserNames users = {{"old", "new"}, {"acme$old", "new"}, {"", "never"}};
  const std::string policy =
      R"({"Version":"2012-10-17","Statement":[)"
      R"({"Sid":"old","Principal":{"AWS":["arn:aws:iam:::user/old","arn:aws:iam::acme:user/old"]},)"
      R"("Action":"s3:*","Resource":"arn:aws:iam:::user/old"},)"
      R"({"NotPrincipal":{"AWS":"arn:aws:iam:::user/old"},"Effect":"Deny"},)"
      R"({"Principal":"*"},{"Principal":{"AWS":"arn:aws:iam:::user/older"}}]})";
  EXPECT_EQ(
      rename_principals(policy, users),
      R"({"Version":"2012-10-17","Statement":[)"
      R"({"Sid":"old","Principal":{"AWS":["arn:aws:iam:::user/new","arn:aws:iam:::user/new"]},)"
      R"("Action":"s3:*","Resource":"arn:aws:iam:::user/old"},)"
      R"({"NotPrincipal":{"AWS":"arn:aws:iam:::user/new"},"Effect":"Deny"},)"
      R"({"Principal":"*"},{"Principal":{"AWS":"arn:aws:iam:::user/older"}}]})");
  EXPECT_EQ(
      rename_principals(R"({"Statement":{"Principal":{"AWS":"arn:aws:iam:::user/old"}}})", users),
      R"({"Statement":{"Principal":{"AWS":"arn:aws:iam:::user/new"}}})");
  for (const char* const as_it_is : {"", "no policy", "[1]", R"({"Statement" : 3})",
                                     R"({ "Statement": [ 1, {"Principal": 2} ] })",
                                     R"({ "Statement": [ { "Principal": "*" } ] })"})
    EXPECT_EQ(rename_principals(as_it_is, users), as_it_is);
}

TEST(BucketUsersTest, OwnersAndGranteesOfAnAclAreRenamed) {
  const UserNames users = {{"a&b", "c"}, {"c", "d"}};
  EXPECT_EQ(rename_owners("<Owner><ID>a&amp;b</ID><DisplayName>c</DisplayName></Owner>"
                          "<Grantee><ID>other</ID></Grantee><ID>c</ID><URI>c</URI><ID>a&amp;b",
                          users),
            "<Owner><ID>c</ID><DisplayName>d</DisplayName></Owner>"
            "<Grantee><ID>other</ID></Grantee><ID>d</ID><URI>c</URI><ID>a&amp;b");
  EXPECT_EQ(rename_owners("<ID></ID>", {{"", "x"}}), "<ID></ID>");
}

TEST(BucketRestoreTest, EverythingAroundTheBytesComesBack) {
  BucketLab lab;
  lab.maker.meta.documents[s3::BucketDocument::object_lock] =
      "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
      "</ObjectLockConfiguration>";
  lab.maker.meta.documents[s3::BucketDocument::policy] =
      R"({"Resource":["arn:aws:s3:::photos","arn:aws:s3:::photos/*","arn:aws:s3:::photos2"]})";
  lab.maker.meta.versioning = s3::Versioning::enabled;
  ObjectEntry& entry = lab.maker.add_version("k", "text");
  entry.headers = {{"content-type", "text/plain"}, {"cache-control", "no-store"}};
  entry.metadata = {{"who", "me"}};
  entry.tags = {{"colour", "blue & green"}};
  entry.acl = "<AccessControlPolicy><Owner><ID>me</ID></Owner></AccessControlPolicy>";
  entry.lock = ObjectLock{"GOVERNANCE", {2'000'000'000'000'000}, true};
  const auto done = lab.run(into("copy"));
  EXPECT_EQ(done->problems().count(), 0U);
  const auto info = must(lab.client->head("copy", "k"));
  EXPECT_EQ(info.content_headers.at("content-type"), "text/plain");
  EXPECT_EQ(info.content_headers.at("cache-control"), "no-store");
  EXPECT_EQ(info.metadata, (s3::UserMetadata{{"who", "me"}}));
  EXPECT_EQ(must(lab.client->tags("copy", {"k", ""})), (s3::Tags{{"colour", "blue & green"}}));
  EXPECT_EQ(must(lab.client->acl("copy", {"k", ""})), entry.acl);
  EXPECT_EQ(info.retention.value().until, entry.lock->until);
  EXPECT_TRUE(info.legal_hold.value_or(false));
  EXPECT_EQ(must(lab.client->document("copy", s3::BucketDocument::policy)),
            R"({"Resource":["arn:aws:s3:::copy","arn:aws:s3:::copy/*","arn:aws:s3:::photos2"]})");
}

TEST(BucketRestoreTest, SettingsOfAnExistingBucketNeedForceAndWhatIsRefusedIsSaid) {
  BucketLab lab;
  lab.maker.meta.documents[s3::BucketDocument::cors] = "<CORSConfiguration/>";
  ObjectEntry& entry = lab.maker.add("k", "text");
  entry.lock = ObjectLock{"GOVERNANCE", {2'000'000'000'000'000}, false};
  must(lab.client->create_bucket("copy"));
  must(lab.client->set_document("copy", s3::BucketDocument::policy, "{}"));
  const auto first = lab.run(into("copy"));
  EXPECT_FALSE(first->settings_applied());
  ASSERT_EQ(first->problems().count(), 1U);  // no object lock
  EXPECT_EQ(first->problems().list()[0].what, "lock");
  EXPECT_EQ(lab.text("copy", "k"), "text");
  EXPECT_TRUE(must(lab.client->document("copy", s3::BucketDocument::policy)));

  testing::S3Misdeed misdeed;
  misdeed.fault = S3Fault::answer;
  misdeed.answer = testing::s3_error(403, "AccessDenied");
  misdeed.when = [](const testing::S3Request& request) {
    return request.method == "PUT" && request.query.contains("cors");
  };
  lab.server.misbehave(std::move(misdeed));
  BucketRestoreOptions options = into("copy");
  options.force = true;
  const auto second = lab.run(options);
  EXPECT_TRUE(second->settings_applied());
  ASSERT_EQ(second->problems().count(), 1U);
  EXPECT_EQ(second->problems().list()[0].what, "cors");
  EXPECT_FALSE(must(lab.client->document("copy", s3::BucketDocument::policy)));
}

TEST(BucketRestoreTest, PartsGiveTheSameETagAgain) {
  BucketLab lab;
  const Bytes data = testing::patterned(21 << 20);
  ObjectEntry& entry = lab.maker.add("big", data);
  entry.etag = BucketMaker::parts_etag(data, 5 << 20);
  lab.maker.add("known", data).part_sizes = {6 << 20, 15 << 20};
  lab.run(into("copy"));
  EXPECT_EQ(must(lab.client->head("copy", "big")).etag, entry.etag);
  EXPECT_EQ(sha256(as_bytes(lab.text("copy", "big"))), entry.sha256);
  const std::size_t puts = lab.puts();
  EXPECT_EQ(lab.run(into("copy"))->counts().skipped, 2U);
  EXPECT_EQ(lab.puts(), puts);
}

TEST(BucketRestoreTest, WhereETagsSayNothingTheBytesAreRead) {
  BucketLab lab;
  const Bytes data = testing::patterned(6 << 20);
  ObjectEntry& entry = lab.maker.add("k", data);
  entry.etag = "00000000000000000000000000000000-1";
  entry.metadata = {{"x", "y"}};
  must(lab.client->create_bucket("copy"));
  s3::PutOptions put;
  put.settings.metadata = {{"x", "y"}};
  must(lab.client->put_bytes("copy", "k", data, put));
  std::size_t puts = lab.puts();
  const auto same = lab.run(into("copy"));
  EXPECT_EQ(lab.puts(), puts);
  EXPECT_EQ(same->counts().compared, 1U);
  Bytes other = data;
  other[5 << 20] ^= 1;
  must(lab.client->put_bytes("copy", "k", other, put));
  puts = lab.puts();
  lab.run(into("copy"));
  EXPECT_GT(lab.puts(), puts);
  EXPECT_EQ(sha256(as_bytes(lab.text("copy", "k"))), entry.sha256);
}

TEST(BucketRestoreTest, OddKeysSurvive) {
  BucketLab lab;
  const Texts odd = {"/",    "//", "..",       "../../etc/passwd",    "a//b", "a b+c%20&<>\"",
                     "\x01", "é✓", "\xff\xfe", std::string(1024, 'k')};
  for (const std::string& key : odd) lab.maker.add(key, key);
  lab.run(into("copy"));
  for (const std::string& key : odd) EXPECT_EQ(lab.text("copy", key), key);
  EXPECT_EQ(lab.run(into("copy"))->counts().skipped, odd.size());
}

TEST(BucketRestoreTest, ManySmallObjectsComeTogether) {
  BucketLab lab;
  for (int i = 0; i < 600; ++i)
    lab.maker.add("k" + std::to_string(i), testing::patterned(600 + static_cast<std::size_t>(i)));
  const auto done = lab.run(into("copy"));
  EXPECT_EQ(done->counts().written, 600U);
  EXPECT_EQ(lab.keys("copy").size(), 600U);
  EXPECT_EQ(lab.text("copy", "k599"), as_text(testing::patterned(1199)));
}

TEST(BucketRestoreTest, ABusyGatewayIsAskedAgain) {
  BucketLab lab;
  fill(lab.maker);
  lab.fail("PUT", S3Fault::answer, 3, testing::s3_error(503, "SlowDown"));
  lab.fail("PUT", S3Fault::drop_before, 1);
  lab.run(into("copy"));
  EXPECT_EQ(lab.keys("copy").size(), 4U);
}

TEST(BucketRestoreTest, ALostAnswerMakesNoSecondVersion) {
  BucketLab lab;
  lab.maker.meta.versioning = s3::Versioning::enabled;
  lab.maker.add_version("k", "same");
  lab.maker.add_version("k", "same");
  lab.maker.add_marker("k");
  BucketRestoreOptions options = into("copy");
  options.versions = true;
  lab.fail("PUT", S3Fault::drop_after, 1);
  lab.fail("DELETE", S3Fault::drop_after, 1);
  lab.run(options);
  EXPECT_EQ(lab.history("copy", "k"), (Texts{"-", "same", "same"}));
}

TEST(BucketRestoreTest, AQuotaEndsItAndLeavesNoHalfObject) {
  BucketLab lab;
  const Bytes data = testing::patterned(21 << 20);
  lab.maker.add("big", data).etag = BucketMaker::parts_etag(data, 5 << 20);
  testing::S3Misdeed full;
  full.fault = S3Fault::answer;
  full.times = -1;
  full.answer = testing::s3_error(403, "QuotaExceeded");
  full.when = [](const testing::S3Request& request) {
    const auto part = request.query.find("partNumber");
    return part != request.query.end() && part->second == "3";
  };
  lab.server.misbehave(std::move(full));
  TM_EXPECT_ERROR(ErrorCode::resource_exhausted, lab.restore(into("copy"))->run());
  EXPECT_TRUE(lab.keys("copy").empty());
  EXPECT_TRUE(must(lab.client->list_uploads("copy", "")).empty());
}

TEST(BucketRestoreTest, AnObjectThatTheStoreLostIsSaidAndTheOthersComeBack) {
  BucketLab lab;
  fill(lab.maker);
  lab.maker.add("wrong", "text").sha256 = sha256(as_bytes("another"));
  lab.maker.add("wrong-big", testing::patterned(9 << 20)).sha256 = Digest{};
  const auto done = lab.run(into("copy"));
  EXPECT_EQ(done->problems().count(), 2U);
  EXPECT_TRUE(done->problems().damage());
  EXPECT_EQ(lab.keys("copy"), (Texts{"a", "a/b", "dir/c", "empty"}));
}

TEST(BucketRestoreTest, AnInterruptionEndsIt) {
  BucketLab lab;
  fill(lab.maker);
  lab.stop.request_stop();
  TM_EXPECT_ERROR(ErrorCode::cancelled, lab.restore(into("copy"))->run());
}

}  // namespace
}  // namespace tidemark::test
