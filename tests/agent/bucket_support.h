// Points of buckets made by hand, and a fake S3 server to restore them to.
#pragma once

#include "agent/restore/bucket_restore.h"
#include "tests/agent/service_support.h"
#include "tests/transport/s3_fixture.h"

namespace tidemark::test {

// Collects objects and makes a point of them.
class BucketMaker {
 public:
  explicit BucketMaker(const StoreKeys& keys) : keys_(keys) {}
  BucketMeta meta{"photos", s3::Versioning::never, {}, {}, {}};

  // An object without versions; the entry may be changed until point() is called.
  ObjectEntry& add(const std::string& key, Bytes data);
  ObjectEntry& add(const std::string& key, std::string_view text) {
    return add(key, copy_of(as_bytes(text)));
  }
  // A newer version of the key than those before.
  ObjectEntry& add_version(const std::string& key, std::string_view text);
  void add_marker(const std::string& key);
  // The ETag that a PUT in parts of `part` bytes gives.
  static std::string parts_etag(ByteView data, std::size_t part);

  PointRow point(TestService& store) const;

 private:
  Content content() const;
  ObjectPlace next_place(const std::string& key);
  const StoreKeys& keys_;
  std::map<ChunkId, Bytes> chunks_;
  std::vector<std::unique_ptr<ObjectEntry>> entries_;
  int versions_ = 0;
};

// A store with a point, a server, and a client of it that counts.
class BucketLab {
 public:
  BucketLab();
  void restart_client();

  TestService store;
  testing::S3Server server;
  BucketMaker maker{store.keys()};
  std::unique_ptr<s3::Client> client;
  std::stop_source stop;

  BucketPoint& point();
  std::unique_ptr<BucketRestore> restore(BucketRestoreOptions options);
  // Restores, which must succeed.
  std::unique_ptr<BucketRestore> run(BucketRestoreOptions options);
  // Of the current object; "-" where there is none.
  std::string text(const std::string& bucket, const std::string& key);
  std::vector<std::string> keys(const std::string& bucket);
  // Newest first: texts, "-" for delete markers.
  std::vector<std::string> history(const std::string& bucket, const std::string& key);
  // Lets requests of a method fail.
  void fail(const std::string& method, testing::S3Fault fault, int times,
            testing::S3Answer answer = {});
  // PUTs of objects so far.
  std::size_t puts() const { return *puts_; }

 private:
  std::unique_ptr<BucketPoint> point_;
  std::shared_ptr<std::atomic<std::size_t>> puts_ = std::make_shared<std::atomic<std::size_t>>(0);
};

}  // namespace tidemark::test
