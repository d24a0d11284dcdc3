// Backups of a bucket of a fake S3 server, and what their points hold.
#pragma once

#include "agent/backup/bucket_backup.h"
#include "agent/backup/bucket_meta.h"
#include "agent/read/blob_reader.h"
#include "snapshot/bucket/pages.h"
#include "store/bucket.h"
#include "tests/agent/service_support.h"
#include "tests/fakes/generated_bucket.h"
#include "tests/fakes/s3_server.h"

namespace tidemark::test {

inline const std::string kBucket = "photos";

class BucketBackupTest : public ::testing::Test {
 public:
  BucketBackupTest() {
    s3::ClientOptions options;
    options.endpoint = server_.endpoint();
    options.credentials = [this]() -> Result<s3::Credentials> { return server_.credentials(); };
    options.retry.attempts_max = 2;
    options.retry.backoff_first = options.retry.backoff_max = std::chrono::milliseconds(1);
    options.stall_timeout = std::chrono::seconds(30);
    options.connections_max = kObjectReaders + kListedAtOnce;
    client_ = must(s3::Client::create(std::move(options)));
    must(client_->create_bucket(kBucket));
  }

  void put(const std::string& key, std::string_view text, s3::PutOptions options = {}) {
    must(client_->put_bytes(kBucket, key, as_bytes(text), options));
  }
  Result<BackupReport> try_back_up(BucketBackupOptions options = {}) {
    options.site = "tokyo";
    store_.clock().advance(std::chrono::seconds(1));
    return back_up_bucket(*client_, kBucket, store_.service(), store_.keys(), options,
                          store_.clock());
  }
  // Why there is no point.
  ErrorCode why_none() {
    const auto report = try_back_up();
    EXPECT_FALSE(report);
    return report ? ErrorCode::internal : report.error().code();
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
  // "key: text" of each entry; only where they are small.
  std::vector<std::string> texts(const BackupReport& report) {
    std::vector<std::string> out;
    for (const ObjectEntry& entry : entries(report))
      out.push_back(entry.place.key + ": " + std::string(as_text(entry.inline_data)));
    return out;
  }
  // Makes the point before, without reading anything.
  void commit_point(const testing::GeneratedBucket& bucket) {
    const UploadSession session = must(store_.service().begin("tokyo", "s3/" + kBucket, {}));
    PackSender sender(store_.service(), session, store_.keys(), nullptr);
    TreeBuilder builder(store_.keys(), node_sink(sender, 1));
    for (std::uint64_t i = 0; i < bucket.count(); ++i)
      must(builder.add(encode_object(bucket.entry_at_first(i))));
    const TreeRoot root = must(builder.finish(nullptr));
    must(sender.finish());
    PointRecord record = store_.record(session, "tokyo", "s3/" + kBucket, root);
    record.kind = PointKind::bucket;
    record.region_bytes = 0;
    BucketMeta meta;
    meta.name = kBucket;
    record.sealed_meta = seal_meta(format_bucket_meta(meta), record.id, store_.keys());
    must(store_.service().commit(session, store_.sealed(std::move(record))));
  }
  bool has_points() { return !must(store_.service().points("tokyo", "")).empty(); }

  test::TestService store_;
  testing::S3Server server_;
  std::unique_ptr<s3::Client> client_;
};

}  // namespace tidemark::test
