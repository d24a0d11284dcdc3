// What the client promises, held against the fake server and, where the environment names one
// (TM_S3_ENDPOINT, TM_S3_ACCESS_KEY, TM_S3_SECRET_KEY), a real one. TM_S3_REQUIRED: fail without.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tests/transport/s3_fixture.h"
#include "transport/s3/md5.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class S3Conformance : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      server_ = std::make_unique<S3Server>();
      client_ = s3_client(s3_options(server_->endpoint(), server_->credentials()));
    } else if (!environment("TM_S3_ENDPOINT").empty()) {
      client_ = s3_client(
          s3_options(environment("TM_S3_ENDPOINT"),
                     {environment("TM_S3_ACCESS_KEY"), environment("TM_S3_SECRET_KEY"), {}}));
    } else if (!environment("TM_S3_REQUIRED").empty()) {
      FAIL() << "TM_S3_ENDPOINT is not set";
    } else {
      GTEST_SKIP() << "TM_S3_ENDPOINT is not set";
    }
    bucket_ = unique_bucket("conformance");
    TM_ASSERT_OK(client_->create_bucket(bucket_));
  }
  void TearDown() override {
    if (client_ != nullptr) remove_whole_bucket(*client_, bucket_);
  }
  void put(const std::string& key, std::string_view text) {
    TM_ASSERT_OK(client_->put_bytes(bucket_, key, as_bytes(text)));
  }
  Result<std::string> get(const std::string& key, s3::GetOptions options = {}) {
    TM_TRY(const auto reader, client_->get(bucket_, key, std::move(options)));
    TM_TRY(const Bytes bytes, read_object(*reader));
    return std::string(as_text(bytes));
  }

  std::unique_ptr<S3Server> server_;
  std::unique_ptr<s3::Client> client_;
  std::string bucket_;
};

const std::vector<std::string>& odd_keys() {
  static const std::vector<std::string> keys = [] {
    std::vector<std::string> all = {"plain",
                                    "a b",
                                    "a+b",
                                    "a%b",
                                    "a%20b",
                                    "a%2Fb",
                                    "/lead",
                                    "//two",
                                    "x//y",
                                    "trail/",
                                    "./d",
                                    "../e",
                                    "a/../b",
                                    "a/./b",
                                    "q?x=1&y=2",
                                    "#frag",
                                    "t<a>&\"'",
                                    "semi;colon:@$,=!*()",
                                    "back\\slash",
                                    "tilde~",
                                    "{}|^`[]",
                                    "\xc3\xbc/\xc3\xb1\xe2\x82\xac",
                                    "\xf0\x9f\x8c\x8a",
                                    "c\x01"
                                    "d",
                                    "c\x02",
                                    "l\nf",
                                    "c\rr",
                                    "t\tb",
                                    "\x7f",
                                    " ",
                                    "  lead and trail  ",
                                    "+",
                                    std::string(1024, 'z'),
                                    "\xef\xbf\xbd"};
    std::string wide;
    while (wide.size() + 4 <= 1024) wide += "\xf0\x9f\x8c\x8a";
    all.push_back(wide);
    return all;
  }();
  return keys;
}

TEST_P(S3Conformance, AnObjectComesBackWithAllThatWasPutWithIt) {
  s3::PutOptions options;
  options.settings.content_headers = {{"content-type", "text/x-tide"},
                                      {"cache-control", "max-age=7"},
                                      {"content-disposition", "attachment"},
                                      {"content-encoding", "identity"},
                                      {"content-language", "de"}};
  options.settings.metadata = {{"color", "sea green"}, {"name", "\xc3\xbc\xe2\x82\xac"}};
  options.settings.tags = {{"team", "a b&c=d"}, {"tier", "1"}};
  const Bytes body = patterned(300'000);
  const auto result = client_->put_bytes(bucket_, "k", body, options);
  TM_ASSERT_OK(result);
  EXPECT_EQ(result->etag, s3::md5(body).hex());
  const auto reader = client_->get(bucket_, "k");
  TM_ASSERT_OK(reader);
  EXPECT_EQ(*read_object(**reader), body);
  for (const s3::ObjectInfo& info : {(*reader)->info(), *client_->head(bucket_, "k")}) {
    EXPECT_EQ(info.size, body.size());
    EXPECT_EQ(info.etag, result->etag);
    EXPECT_EQ(info.metadata, options.settings.metadata);
    for (const auto& [name, value] : options.settings.content_headers)
      EXPECT_EQ(info.content_headers.at(name), value) << name;
    EXPECT_LT(std::chrono::abs(info.last_modified - Clock::system().now()), 1h);
  }
  EXPECT_EQ(*client_->tags(bucket_, {"k", {}}), options.settings.tags);
}

TEST_P(S3Conformance, StreamedBodiesOfAllSizesArrive) {
  for (const std::size_t size : {0UL, 1UL, 262'143UL, 262'144UL, 262'145UL, 3'000'000UL}) {
    const Bytes body = patterned(size);
    s3::BytesSource source(body);
    const auto result = client_->put(bucket_, "sized", source);
    TM_ASSERT_OK(result);
    EXPECT_EQ(result->etag, s3::md5(body).hex());
    EXPECT_EQ(*get("sized"), as_text(body)) << size;
  }
}

TEST_P(S3Conformance, OddKeysSurviveEveryOperation) {
  std::set<std::string> expected;
  for (const std::string& key : odd_keys()) {
    put(key, "body of " + key);
    expected.insert(key);
    EXPECT_EQ(get(key).value_or("?"), "body of " + key);
    EXPECT_TRUE(client_->head(bucket_, key)) << key;
  }
  // Page by page, so that each of them is once where a page ends.
  for (const unsigned page_size : {1U, 2U, 1000U}) {
    std::set<std::string> objects, versions;
    s3::ListOptions options;
    options.page_size = page_size;
    const auto listing = client_->list_objects(bucket_, options);
    while (true) {
      const auto page = listing->next_page();
      TM_ASSERT_OK(page);
      if (page->empty()) break;
      for (const auto& object : *page) objects.insert(object.key);
    }
    EXPECT_EQ(objects, expected);
    const auto history = client_->list_versions(bucket_, "", {}, {}, page_size);
    while (true) {
      const auto page = history->next_page();
      TM_ASSERT_OK(page);
      if (page->empty()) break;
      for (const auto& version : *page) versions.insert(version.key);
    }
    EXPECT_EQ(versions, expected);
  }
  std::vector<s3::ObjectName> names;
  for (const std::string& key : expected) names.push_back({key, {}});
  const auto failed = client_->remove_all(bucket_, names);
  TM_ASSERT_OK(failed);
  EXPECT_TRUE(failed->empty());
  EXPECT_TRUE(client_->list_objects(bucket_, {})->next_page()->empty());
}

TEST_P(S3Conformance, ListingsObeyPrefixStartAndPageSize) {
  for (int i = 0; i < 25; ++i) put((i < 20 ? "p/" : "q/") + std::to_string(100 + i), "x");
  s3::ListOptions options;
  options.prefix = "p/";
  options.start_after = "p/104";
  options.page_size = 4;
  const auto listing = client_->list_objects(bucket_, options);
  std::vector<std::string> keys;
  std::size_t pages = 0;
  while (true) {
    const auto page = listing->next_page();
    TM_ASSERT_OK(page);
    if (page->empty()) break;
    EXPECT_LE(page->size(), 4u);
    ++pages;
    for (const auto& object : *page) {
      keys.push_back(object.key);
      EXPECT_EQ(object.etag, s3::md5(as_bytes("x")).hex());
      EXPECT_EQ(object.size, 1u);
    }
  }
  ASSERT_EQ(keys.size(), 15u);
  EXPECT_EQ(keys.front(), "p/105");
  EXPECT_EQ(keys.back(), "p/119");
  EXPECT_EQ(pages, 4u);
  const auto folder = client_->list_folder(bucket_, "", "/");
  TM_ASSERT_OK(folder);
  EXPECT_EQ(folder->prefixes, (std::vector<std::string>{"p/", "q/"}));
  EXPECT_TRUE(folder->next.empty());
}

TEST_P(S3Conformance, RangesAreExact) {
  put("k", "0123456789");
  EXPECT_EQ(*get("k", {.offset = 2, .length = 3}), "234");
  EXPECT_EQ(*get("k", {.offset = 7}), "789");
  EXPECT_EQ(*get("k", {.offset = 8, .length = 100}), "89");
  TM_EXPECT_ERROR(ErrorCode::invalid_argument, get("k", {.offset = 10, .length = 1}));
  const auto reader = client_->get(bucket_, "k", {.offset = 2, .length = 3});
  TM_ASSERT_OK(reader);
  EXPECT_EQ((*reader)->info().size, 10u);
  EXPECT_EQ((*reader)->length(), 3u);
}

TEST_P(S3Conformance, PreconditionsHold) {
  put("k", "one");
  const std::string first = client_->head(bucket_, "k")->etag;
  EXPECT_EQ(*get("k", {.if_match = first}), "one");
  put("k", "two");
  TM_EXPECT_ERROR(ErrorCode::refused, get("k", {.if_match = first}));
  s3::PutOptions only_new;
  only_new.if_none_match = "*";
  TM_EXPECT_ERROR(ErrorCode::already_exists,
                  client_->put_bytes(bucket_, "k", as_bytes("three"), only_new));
  TM_ASSERT_OK(client_->put_bytes(bucket_, "new", as_bytes("three"), only_new));
  EXPECT_EQ(*get("k"), "two");
}

TEST_P(S3Conformance, WhatIsNotThereIsNotFound) {
  TM_EXPECT_ERROR(ErrorCode::not_found, get("nothing"));
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head(bucket_, "nothing"));
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head_bucket(bucket_ + "-x"));
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->list_objects(bucket_ + "-x", {})->next_page());
  TM_EXPECT_ERROR(ErrorCode::not_found,
                  client_->document(bucket_ + "-x", s3::BucketDocument::policy));
  TM_ASSERT_OK(client_->remove(bucket_, {"nothing", {}}));
  TM_ASSERT_OK(client_->create_bucket(bucket_));
  put("k", "x");
  TM_EXPECT_ERROR(ErrorCode::refused, client_->remove_bucket(bucket_));
}

TEST_P(S3Conformance, WrongKeysAreDenied) {
  if (!GetParam()) {
    auto wrong = s3_client(s3_options(environment("TM_S3_ENDPOINT"), {"NOBODY", "x", {}}));
    TM_EXPECT_ERROR(ErrorCode::permission_denied, wrong->head_bucket(bucket_));
    wrong = s3_client(
        s3_options(environment("TM_S3_ENDPOINT"), {environment("TM_S3_ACCESS_KEY"), "wrong", {}}));
    TM_EXPECT_ERROR(ErrorCode::permission_denied, wrong->list_buckets());
    return;
  }
  const auto wrong =
      s3_client(s3_options(server_->endpoint(), {server_->credentials().access_key, "x", {}}));
  TM_EXPECT_ERROR(ErrorCode::permission_denied, wrong->head_bucket(bucket_));
}

TEST_P(S3Conformance, VersionsAndMarkersAreListedNewestFirst) {
  EXPECT_EQ(*client_->versioning(bucket_), s3::Versioning::never);
  put("k", "null one");
  TM_ASSERT_OK(client_->set_versioning(bucket_, true));
  EXPECT_EQ(*client_->versioning(bucket_), s3::Versioning::enabled);
  const auto second = client_->put_bytes(bucket_, "k", as_bytes("second"));
  TM_ASSERT_OK(second);
  EXPECT_FALSE(second->version_id.empty());
  const auto marker = client_->remove(bucket_, {"k", {}});
  TM_ASSERT_OK(marker);
  EXPECT_FALSE(marker->empty());
  TM_EXPECT_ERROR(ErrorCode::not_found, get("k"));
  for (const unsigned page_size : {1U, 2U, 1000U}) {
    std::vector<s3::ListedVersion> all;
    const auto listing = client_->list_versions(bucket_, "", {}, {}, page_size);
    while (true) {
      const auto page = listing->next_page();
      TM_ASSERT_OK(page);
      if (page->empty()) break;
      all.insert(all.end(), page->begin(), page->end());
    }
    ASSERT_EQ(all.size(), 3u);
    EXPECT_TRUE(all[0].is_delete_marker && all[0].is_latest);
    EXPECT_EQ(all[0].version_id, *marker);
    EXPECT_EQ(all[1].version_id, second->version_id);
    EXPECT_EQ(all[1].size, 6u);
    EXPECT_EQ(all[2].version_id, "null");
    EXPECT_FALSE(all[2].owner_id.empty());
  }
  put("l", "behind");
  for (const unsigned page_size : {1U, 1000U}) {
    const auto behind = client_->list_versions(bucket_, "", {"k", {}}, {}, page_size);
    const auto page = behind->next_page();
    TM_ASSERT_OK(page);
    ASSERT_EQ(page->size(), 1u);
    EXPECT_EQ(page->front().key, "l");
    EXPECT_TRUE(behind->next_page()->empty());
  }
  EXPECT_EQ(*get("k", {.version_id = "null"}), "null one");
  EXPECT_EQ(*get("k", {.version_id = second->version_id}), "second");
  TM_ASSERT_OK(client_->remove(bucket_, {"k", *marker}));
  EXPECT_EQ(*get("k"), "second");
  TM_ASSERT_OK(client_->set_versioning(bucket_, false));
  EXPECT_EQ(*client_->versioning(bucket_), s3::Versioning::suspended);
}

TEST_P(S3Conformance, UploadsInPartsMakeOneObject) {
  const Bytes first = patterned(5 << 20, 1), second = patterned(5 << 20, 2),
              tail = patterned(1234, 3);
  s3::ObjectSettings settings;
  settings.content_headers = {{"content-type", "text/x-parts"}};
  settings.metadata = {{"m", "v"}};
  const std::string key = "parts/\xc3\xbc x";
  const auto id = client_->create_upload(bucket_, key, settings);
  TM_ASSERT_OK(id);
  std::vector<s3::Part> parts;
  unsigned number = 0;
  for (const Bytes* body : {&first, &second, &tail}) {
    s3::BytesSource source(*body);
    const auto part = client_->upload_part(bucket_, key, *id, ++number, source);
    TM_ASSERT_OK(part);
    EXPECT_EQ(part->etag, s3::md5(*body).hex());
    parts.push_back(*part);
  }
  const auto listed = client_->list_parts(bucket_, key, *id);
  TM_ASSERT_OK(listed);
  ASSERT_EQ(listed->size(), 3u);
  EXPECT_EQ((*listed)[2].size, tail.size());
  const auto uploads = client_->list_uploads(bucket_, "parts/");
  TM_ASSERT_OK(uploads);
  ASSERT_EQ(uploads->size(), 1u);
  EXPECT_EQ(uploads->front().upload_id, *id);
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head(bucket_, key));
  const auto done = client_->complete_upload(bucket_, key, *id, parts);
  TM_ASSERT_OK(done);
  EXPECT_TRUE(done->etag.ends_with("-3"));
  const auto info = client_->head(bucket_, key);
  TM_ASSERT_OK(info);
  EXPECT_EQ(info->etag, done->etag);
  EXPECT_EQ(info->size, first.size() + second.size() + tail.size());
  EXPECT_EQ(info->metadata, settings.metadata);
  EXPECT_EQ(info->content_headers.at("content-type"), "text/x-parts");
  Bytes whole = copy_of(first);
  append(whole, second);
  append(whole, tail);
  const auto reader = client_->get(bucket_, key);
  TM_ASSERT_OK(reader);
  EXPECT_EQ(*read_object(**reader), whole);
  const auto sizes = client_->part_sizes(bucket_, {key, {}});
  TM_ASSERT_OK(sizes);
  EXPECT_TRUE(!*sizes || (*sizes)->size() == 3u);
}

TEST_P(S3Conformance, AnAbortedUploadLeavesNothing) {
  const auto id = client_->create_upload(bucket_, "k");
  TM_ASSERT_OK(id);
  const Bytes body = patterned(1000);
  s3::BytesSource source(body);
  const auto part = client_->upload_part(bucket_, "k", *id, 1, source);
  TM_ASSERT_OK(part);
  TM_ASSERT_OK(client_->abort_upload(bucket_, "k", *id));
  TM_ASSERT_OK(client_->abort_upload(bucket_, "k", *id));
  EXPECT_TRUE(client_->list_uploads(bucket_, "")->empty());
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head(bucket_, "k"));
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->complete_upload(bucket_, "k", *id, {*part}));
}

TEST_P(S3Conformance, ACutBodyIsNeverAnObject) {
  class Short final : public s3::BodySource {
   public:
    std::uint64_t length() const override { return 1'000'000; }
    Result<std::size_t> read(ByteSpan into) override {
      if (given_ > 500'000) return std::size_t{0};
      given_ += into.size();
      std::fill(into.begin(), into.end(), std::uint8_t{7});
      return into.size();
    }
    Status rewind() override { return Error(ErrorCode::unsupported, "once"); }
    std::size_t given_ = 0;
  };
  for (int i = 0; i < 3; ++i) {
    Short source;
    TM_EXPECT_ERROR(ErrorCode::invalid_argument, client_->put(bucket_, "cut", source));
  }
  // Long enough for a server that stores what it got so far.
  std::this_thread::sleep_for(200ms);
  TM_EXPECT_ERROR(ErrorCode::not_found, client_->head(bucket_, "cut"));
}

TEST_P(S3Conformance, TagsAndAclsOfObjectsAreSetAndRead) {
  put("k", "x");
  EXPECT_TRUE(client_->tags(bucket_, {"k", {}})->empty());
  const s3::Tags tags = {{"a", "1"}, {"b c", "<&>"}};
  TM_ASSERT_OK(client_->set_tags(bucket_, {"k", {}}, tags));
  EXPECT_EQ(*client_->tags(bucket_, {"k", {}}), tags);
  const auto acl = client_->acl(bucket_, {"k", {}});
  TM_ASSERT_OK(acl);
  TM_ASSERT_OK(client_->set_acl(bucket_, {"k", {}}, *acl));
  EXPECT_EQ(*client_->acl(bucket_, {"k", {}}), *acl);
  EXPECT_EQ(client_->retention(bucket_, {"k", {}})->has_value(), false);
  EXPECT_EQ(client_->legal_hold(bucket_, {"k", {}})->has_value(), false);
}

TEST_P(S3Conformance, LocksAreSetReadAndObeyed) {
  const std::string bucket = unique_bucket("lock");
  TM_ASSERT_OK(client_->create_bucket(bucket, true));
  const auto config = client_->document(bucket, s3::BucketDocument::object_lock);
  TM_ASSERT_OK(config);
  EXPECT_TRUE(config->has_value());
  const auto made = client_->put_bytes(bucket, "k", as_bytes("x"));
  TM_ASSERT_OK(made);
  const s3::ObjectName name{"k", made->version_id};
  const s3::Retention until{"GOVERNANCE",
                            {(Clock::system().now().us / 1'000'000 + 86'400) * 1'000'000}};
  TM_ASSERT_OK(client_->set_retention(bucket, name, until));
  const auto read = client_->retention(bucket, name);
  TM_ASSERT_OK(read);
  EXPECT_EQ(**read, until);
  TM_ASSERT_OK(client_->set_legal_hold(bucket, name, true));
  EXPECT_EQ(**client_->legal_hold(bucket, name), true);
  TM_EXPECT_ERROR(ErrorCode::permission_denied, client_->remove(bucket, name, true));
  TM_ASSERT_OK(client_->set_legal_hold(bucket, name, false));
  TM_ASSERT_OK(client_->remove(bucket, name, true));
  remove_whole_bucket(*client_, bucket);
}

TEST_P(S3Conformance, DocumentsOfBucketsAreSetReadAndRemoved) {
  using enum s3::BucketDocument;
  const std::map<s3::BucketDocument, std::string> documents = {
      {policy,
       R"({"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},)"
       R"("Action":["s3:GetObject"],"Resource":["arn:aws:s3:::)" +
           bucket_ + R"(/*"]}]})"},
      {lifecycle,
       "<LifecycleConfiguration><Rule><ID>r</ID><Prefix>p/</Prefix><Status>Enabled"
       "</Status><Expiration><Days>365</Days></Expiration></Rule>"
       "</LifecycleConfiguration>"},
      {cors,
       "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*"
       "</AllowedOrigin></CORSRule></CORSConfiguration>"},
      {tagging, "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"},
  };
  for (const auto& [which, text] : documents) {
    const auto before = client_->document(bucket_, which);
    TM_ASSERT_OK(before);
    EXPECT_FALSE(before->has_value());
    TM_ASSERT_OK(client_->remove_document(bucket_, which));
    TM_ASSERT_OK(client_->set_document(bucket_, which, text));
    const auto after = client_->document(bucket_, which);
    TM_ASSERT_OK(after);
    ASSERT_TRUE(after->has_value());
    // What was read can be written.
    TM_ASSERT_OK(client_->set_document(bucket_, which, **after));
    TM_ASSERT_OK(client_->remove_document(bucket_, which));
    EXPECT_FALSE(client_->document(bucket_, which)->has_value());
  }
  const auto acl_document = client_->document(bucket_, acl);
  TM_ASSERT_OK(acl_document);
  TM_ASSERT_OK(client_->set_document(bucket_, acl, **acl_document));
  TM_ASSERT_OK(client_->document(bucket_, notification));
  TM_EXPECT_ERROR(ErrorCode::unsupported, client_->remove_document(bucket_, acl));
  TM_EXPECT_ERROR(ErrorCode::unsupported, client_->remove_document(bucket_, object_lock));
}

// radosgw 16 deletes the bucket when it is asked to remove its encryption.
TEST_P(S3Conformance, RemovingADocumentNeverRemovesTheBucket) {
  using enum s3::BucketDocument;
  for (const auto which :
       {policy, lifecycle, cors, acl, tagging, object_lock, notification, encryption}) {
    ignore_error(client_->remove_document(bucket_, which), "some cannot be removed");
    TM_ASSERT_OK(client_->head_bucket(bucket_));
  }
  const auto read = client_->document(bucket_, encryption);
  TM_ASSERT_OK(read);
  EXPECT_FALSE(read->has_value());
}

TEST_P(S3Conformance, BucketsAreListed) {
  const auto buckets = client_->list_buckets();
  TM_ASSERT_OK(buckets);
  std::set<std::string> names;
  for (const auto& bucket : *buckets) names.insert(bucket.name);
  EXPECT_TRUE(names.contains(bucket_));
  TM_ASSERT_OK(client_->location(bucket_));
}

TEST_P(S3Conformance, PagesOfAThousandAndOneAreWhole) {
  // The edges of the largest page; Ceph before 14.2.5 ended such listings early.
  constexpr int kKeys = 2001;
  std::atomic<int> next = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t)
    threads.emplace_back([&] {
      for (int i = next++; i < kKeys; i = next++)
        EXPECT_TRUE(client_->put_bytes(bucket_, std::to_string(10'000 + i), {}));
    });
  for (std::thread& thread : threads) thread.join();
  const auto count = [&](const std::string& after) {
    s3::ListOptions options;
    options.start_after = after;
    const auto listing = client_->list_objects(bucket_, options);
    std::size_t keys = 0;
    while (true) {
      const auto page = listing->next_page();
      if (!page) ADD_FAILURE() << page.error().message();
      if (!page || page->empty()) return keys;
      keys += page->size();
    }
  };
  EXPECT_EQ(count(""), 2001u);
  EXPECT_EQ(count("10000"), 2000u);
  EXPECT_EQ(count("11000"), 1000u);
  EXPECT_EQ(count("10999"), 1001u);
}

TEST_P(S3Conformance, AdministrationAnswersJson) {
  if (GetParam()) GTEST_SKIP() << "only radosgw has it";
  const auto stats =
      client_->admin("GET", "/admin/bucket", {{"bucket", bucket_}, {"stats", "true"}});
  if (!stats && stats.error().code() == ErrorCode::permission_denied)
    GTEST_SKIP() << "the user has no caps";
  TM_ASSERT_OK(stats);
  EXPECT_NE(as_text(*stats).find("\"bucket\""), std::string_view::npos);
  TM_ASSERT_OK(client_->admin("GET", "/admin/metadata/bucket", {{"key", bucket_}}));
  // The bucket-index log goes by the bucket's instance; asked by its name, radosgw 16 refuses.
  const auto id = nlohmann::json::parse(as_text(*stats)).at("id").get<std::string>();
  const s3::Query log = {{"type", "bucket-index"}, {"bucket-instance", bucket_ + ":" + id}};
  const auto entries = client_->admin("GET", "/admin/log", log);
  TM_ASSERT_OK(entries);
  EXPECT_TRUE(as_text(*entries).starts_with('['));
  TM_EXPECT_ERROR(
      ErrorCode::not_found,
      client_->admin("GET", "/admin/bucket", {{"bucket", bucket_ + "-x"}, {"stats", "true"}}));
}

INSTANTIATE_TEST_SUITE_P(Fake, S3Conformance, ::testing::Values(true));
INSTANTIATE_TEST_SUITE_P(Real, S3Conformance, ::testing::Values(false));

}  // namespace
}  // namespace tidemark::testing
