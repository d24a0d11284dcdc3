// Points of buckets whose index has a log, as radosgw keeps one.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "tests/agent/bucket_backup_support.h"

namespace tidemark::test {
namespace {

using nlohmann::json;
using testing::S3Answer;
using testing::S3Fault;
using testing::S3Request;

// What radosgw's administration says of the index of one bucket.
class FakeIndex {
 public:
  explicit FakeIndex(std::size_t shards) : shards_(shards) {}

  // The index changed, and the log has an entry under `name`.
  void change(const std::string& name) {
    std::lock_guard lock(mutex_);
    Shard& shard = shards_[std::hash<std::string>()(name) % shards_.size()];
    shard.marker = fmt::format("{:011}.{}.6", shard.version, shard.version * 3 % 17);
    shard.log.push_back({{"index_ver", shard.version},
                         {"op_id", "0#" + shard.marker},
                         {"object", name},
                         {"op", "write"},
                         {"state", "complete"}});
    ++shard.version;
  }
  // The index changed, and nobody wrote it down.
  void change_unlogged() {
    std::lock_guard lock(mutex_);
    ++shards_[0].version;
  }
  // As reshard does.
  void begin_anew(std::size_t shards) {
    std::lock_guard lock(mutex_);
    id_ += "x";
    shards_.assign(shards, {});
  }
  void trim() {
    std::lock_guard lock(mutex_);
    for (Shard& shard : shards_) shard.log.clear();
  }
  void stop() { stopped_ = true; }

  S3Answer answer(const S3Request& request) {
    std::lock_guard lock(mutex_);
    if (request.key == "bucket") return {200, {}, json{{"id", id_}, {"tenant", ""}}.dump()};
    const std::string instance = request.query.at("bucket-instance");
    if (request.query.contains("info")) {
      if (instance != kBucket + ":" + id_) return testing::s3_error(404, "NoSuchKey");
      return {200, {}, info().dump()};
    }
    const Shard& shard = shards_[std::stoul(instance.substr(instance.rfind(':') + 1))];
    const auto after = request.query.find("marker");
    json page = json::array();
    for (const json& entry : shard.log) {
      const std::string marker = entry["op_id"].get<std::string>().substr(2);
      const bool behind = after == request.query.end() || marker > after->second;
      if (behind && page.size() < std::stoul(request.query.at("max-entries")))
        page.push_back(entry);
    }
    return {200, {}, page.dump()};
  }

 private:
  struct Shard {
    std::uint64_t version = 1;
    std::string marker;
    std::vector<json> log;
  };
  json info() const {
    std::string versions, markers;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      versions += fmt::format("{}{}#{}", i == 0 ? "" : ",", i, shards_[i].version);
      markers += fmt::format("{}{}#{}", i == 0 ? "" : ",", i, shards_[i].marker);
    }
    return {{"bucket_ver", versions},
            {"max_marker", markers},
            {"syncstopped", stopped_ ? "true" : "false"}};
  }
  std::mutex mutex_;
  std::string id_ = "zone.1";  // guarded by mutex_
  std::vector<Shard> shards_;  // guarded by mutex_
  std::atomic<bool> stopped_ = false;
};

class BucketLogTest : public BucketBackupTest {
 public:
  BucketLogTest() {
    const auto administers = [](const S3Request& request) { return request.bucket == "admin"; };
    const auto alter = [this](const S3Request& request, S3Answer& answer) {
      answer = index_.answer(request);
    };
    server_.misbehave({S3Fault::alter, administers, -1, {}, alter});
  }
  static std::string name_of(const std::string& key) {
    return key.starts_with('_') ? "_" + key : key;
  }
  void write(const std::string& key, std::string_view text) {
    put(key, text);
    index_.change(name_of(key));
  }
  void drop(const std::string& key) {
    must(client_->remove(kBucket, {key, ""}));
    index_.change(name_of(key));
  }
  // Its tree must be the one that reading everything again gives.
  BackupReport back_up_and_compare() {
    const BackupReport report = back_up();
    BucketBackupOptions options;
    options.full = true;
    const BackupReport full = must(try_back_up(options));
    EXPECT_FALSE(full.by_index_log);
    EXPECT_EQ(report.point.point.record.root, full.point.point.record.root);
    EXPECT_EQ(report.point.point.record.size_bytes, full.point.point.record.size_bytes);
    return report;
  }

  FakeIndex index_{3};
  Rng rng_;
};

TEST_F(BucketLogTest, OnlyTheKeysOfTheLogAreLookedAt) {
  for (const char* key : {"a", "b", "b!", "c", "_u", "large"}) write(key, "text");
  EXPECT_FALSE(back_up().by_index_log);
  write("b", "changed");
  write("new", "text");
  write("_u", "another");
  write("_new", "text");
  drop("c");
  index_.change("_multipart_large.2~xyz.meta");
  index_.change("b!");  // which did not change
  index_.change("never there");
  const auto whole = [](const S3Request& request) {
    return request.query.contains("list-type") && !request.query.contains("prefix");
  };
  server_.misbehave({S3Fault::answer, whole, 1, testing::s3_error(403, "AccessDenied"), {}});
  const BackupReport report = back_up();
  EXPECT_TRUE(report.by_index_log);
  EXPECT_EQ(report.objects_read, 4U);
  EXPECT_EQ(texts(report),
            (std::vector<std::string>{"_new: text", "_u: another", "a: text", "b: changed",
                                      "b!: text", "large: text", "new: text"}));
  const BackupReport idle = back_up();
  EXPECT_TRUE(idle.by_index_log);
  EXPECT_EQ(idle.point.point.record.root, report.point.point.record.root);
  EXPECT_EQ(idle.point.point.record.size_bytes, report.point.point.record.size_bytes);
}

TEST_F(BucketLogTest, RandomHistoriesGiveWhatReadingEverythingGives) {
  SCOPED_TRACE(rng_.trace());
  back_up();
  for (std::size_t round = 0; round < rounds(30); ++round) {
    if (round == rounds(30) / 3) must(client_->set_versioning(kBucket, true));
    if (round == 2 * rounds(30) / 3) must(client_->set_versioning(kBucket, false));
    for (std::size_t i = rng_.below(12); i > 0; --i) {
      const std::string key = std::string(1 + rng_.below(2), "ab_"[rng_.below(3)]);
      rng_.chance(30) ? drop(key) : write(key, std::string(rng_.below(600), 'x'));
    }
    const BackupReport report = back_up_and_compare();
    EXPECT_EQ(report.by_index_log, round != rounds(30) / 3) << "round " << round;
  }
}

TEST_F(BucketLogTest, ManyPagesOfTheLogAreRead) {
  write("a", "one");
  back_up();
  for (int i = 0; i < 5000; ++i) index_.change("key" + std::to_string(i % 700));
  write("a", "two");
  const BackupReport report = back_up_and_compare();
  EXPECT_TRUE(report.by_index_log);
  EXPECT_EQ(texts(report), std::vector<std::string>{"a: two"});
}

TEST_F(BucketLogTest, ALogThatIsNotWholeLeadsToAListing) {
  write("a", "one");
  write("b", "one");
  back_up();
  const auto listed_after = [&](const char* what, const auto& spoil) {
    put("a", what);  // which the log does not tell
    spoil();
    const BackupReport report = back_up();
    EXPECT_FALSE(report.by_index_log) << what;
    EXPECT_EQ(texts(report).front(), "a: " + std::string(what));
    back_up();
  };
  listed_after("trimmed", [&] {
    index_.change("b");
    index_.trim();
  });
  listed_after("trimmed in part", [&] {
    index_.change("b");
    index_.trim();
    index_.change("b");
  });
  listed_after("another instance", [&] { index_.begin_anew(3); });
  listed_after("other shards", [&] { index_.begin_anew(5); });
  listed_after("too many", [&] {
    for (int i = 0; i < 1100; ++i) index_.change("b" + std::to_string(i));
  });
  listed_after("too old", [&] { store_.clock().advance(std::chrono::hours(8 * 24)); });
  listed_after("set back", [&] { store_.clock().advance(-std::chrono::hours(24)); });
  listed_after("unlogged", [&] { index_.change_unlogged(); });
  index_.begin_anew(3);
  back_up();
  EXPECT_TRUE(back_up().by_index_log);
  listed_after("stopped", [&] { index_.stop(); });
}

TEST_F(BucketLogTest, ABucketWithVersionsIsListedUntilTheLogIsSeenToBeOn) {
  must(client_->set_versioning(kBucket, true));
  write("a", "one");
  back_up();
  EXPECT_TRUE(back_up().by_index_log);
  put("a", "two");
  index_.change_unlogged();
  back_up();
  must(client_->remove(kBucket, {"a", ""}));  // which raises no version where nothing is logged
  const BackupReport report = back_up();
  EXPECT_FALSE(report.by_index_log);
  EXPECT_TRUE(entries(report).front().delete_marker);
  for (int i = 0; i < 20; ++i) index_.change("key" + std::to_string(i));
  back_up();
  EXPECT_TRUE(back_up().by_index_log);
}

TEST_F(BucketLogTest, AListingIsDueSoLongAfterTheLastOne) {
  write("a", "one");
  back_up();
  for (int day = 1; day <= 6; ++day) {
    store_.clock().advance(std::chrono::hours(24) - std::chrono::seconds(1));
    EXPECT_TRUE(back_up().by_index_log) << "day " << day;
  }
  store_.clock().advance(std::chrono::hours(24));
  EXPECT_FALSE(back_up().by_index_log);
  EXPECT_TRUE(back_up().by_index_log);
}

TEST_F(BucketLogTest, AKeyThatWasNotSettledIsLookedAtAgain) {
  write("a", "one");
  write("b", "one");
  back_up();
  write("b", "two");
  const auto of_b = [](const S3Request& request) {
    return request.key == "b" && request.method == "GET" && !request.query.contains("acl");
  };
  server_.misbehave({S3Fault::answer, of_b, 8, testing::s3_error(412, "PreconditionFailed"), {}});
  const BackupReport part = back_up();
  EXPECT_TRUE(part.by_index_log);
  EXPECT_EQ(part.unsettled.count, 1U);
  EXPECT_EQ(texts(part), (std::vector<std::string>{"a: one", "b: one"}));
  const BackupReport next = back_up();
  EXPECT_TRUE(next.by_index_log);
  EXPECT_EQ(texts(next), (std::vector<std::string>{"a: one", "b: two"}));
}

TEST_F(BucketLogTest, ABucketThatIsGoneIsNotOneWithoutObjects) {
  write("a", "one");
  back_up();
  drop("a");
  const auto of_bucket = [](const S3Request& request) {
    return request.method == "HEAD" && request.key.empty();
  };
  auto first = std::make_shared<std::atomic<bool>>(true);
  server_.misbehave({S3Fault::answer,
                     [of_bucket, first](const S3Request& request) {
                       return of_bucket(request) && !first->exchange(false);
                     },
                     -1,
                     testing::s3_error(404, "NoSuchBucket"),
                     {}});
  EXPECT_EQ(why_none(), ErrorCode::not_found);
}

}  // namespace
}  // namespace tidemark::test
