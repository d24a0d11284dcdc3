#include "tests/agent/bucket_support.h"

#include <algorithm>

#include "transport/s3/md5.h"

namespace tidemark::test {
namespace {

constexpr std::int64_t kCaptured = 1'700'000'000'000'000;

void put_pack(const StoreKeys& keys, Content& content, const ChunkId& id, BlobKind kind,
              ByteView plain, std::size_t clear_size) {
  PackWriter writer(keys);
  writer.add(must(encode_blob(id, kind, plain, clear_size, 1)));
  (kind == BlobKind::node ? content.nodes : content.chunks).push_back(id);
  content.packs.push_back(writer.finish());
}

}  // namespace

ObjectEntry& BucketMaker::add(const std::string& key, Bytes data) {
  auto entry = std::make_unique<ObjectEntry>();
  entry->place.key = key;
  entry->place.modified = {kCaptured};
  entry->latest = true;
  entry->size_bytes = data.size();
  entry->etag = s3::md5(data).hex();
  entry->sha256 = sha256(data);
  if (data.size() <= kInlineBytesMax) {
    entry->inline_data = std::move(data);
  } else {
    for (std::size_t at = 0; at < data.size(); at += kObjectChunkBytes) {
      const ByteView chunk =
          ByteView(data).subspan(at, std::min<std::size_t>(kObjectChunkBytes, data.size() - at));
      const ChunkId id = keys_.chunk_id(chunk);
      chunks_[id] = copy_of(chunk);
      entry->chunks.push_back(id);
    }
  }
  entries_.push_back(std::move(entry));
  return *entries_.back();
}

ObjectPlace BucketMaker::next_place(const std::string& key) {
  ++versions_;
  return {key, {kCaptured + versions_ * 1'000'000}, 0, "v" + std::to_string(versions_)};
}

ObjectEntry& BucketMaker::add_version(const std::string& key, std::string_view text) {
  ObjectEntry& entry = add(key, text);
  entry.place = next_place(key);
  return entry;
}

void BucketMaker::add_marker(const std::string& key) {
  auto entry = std::make_unique<ObjectEntry>();
  entry->place = next_place(key);
  entry->delete_marker = true;
  entries_.push_back(std::move(entry));
}

std::string BucketMaker::parts_etag(ByteView data, std::size_t part) {
  s3::Md5 all;
  std::size_t count = 0;
  for (std::size_t at = 0; at < data.size(); at += part, ++count)
    all.update(s3::md5(data.subspan(at, std::min(part, data.size() - at))).view());
  return all.finish().hex() + "-" + std::to_string(count);
}

Content BucketMaker::content() const {
  Content content;
  for (const auto& [id, bytes] : chunks_) put_pack(keys_, content, id, BlobKind::chunk, bytes, 0);
  TreeBuilder builder(keys_, [&](const ChunkId& id, EncodedNode node, std::uint8_t) -> Status {
    put_pack(keys_, content, id, BlobKind::node, node.plain, node.clear_size);
    return {};
  });
  std::vector<TreeEntry> entries;
  for (const auto& entry : entries_) entries.push_back(encode_object(*entry));
  std::ranges::sort(entries, {}, &TreeEntry::key);
  for (TreeEntry& entry : entries) must(builder.add(std::move(entry)));
  content.root = must(builder.finish(nullptr));
  return content;
}

PointRow BucketMaker::point(TestService& store) const {
  const Content made = content();
  StoreService& service = store.service();
  const std::string asset = "s3/" + meta.name;
  const UploadSession session = must(service.begin("osaka", asset, {}));
  must(send(service, session, made));
  PointRecord record = store.record(session, "osaka", asset, made.root);
  record.kind = PointKind::bucket;
  record.sealed_meta = seal_meta(format_bucket_meta(meta), record.id, keys_);
  return must(service.commit(session, store.sealed(std::move(record))));
}

BucketLab::BucketLab() {
  testing::S3Misdeed counter;
  counter.times = -1;
  counter.when = [puts = puts_](const testing::S3Request& request) {
    if (request.method == "PUT" && !request.key.empty() && !request.query.contains("acl")) ++*puts;
    return false;
  };
  server.misbehave(std::move(counter));
  restart_client();
}

void BucketLab::restart_client() {
  client = testing::s3_client(testing::s3_options(server.endpoint(), server.credentials()));
}

BucketPoint& BucketLab::point() {
  point_ = must(BucketPoint::open(store.service(), store.keys(), maker.point(store)));
  return *point_;
}

std::unique_ptr<BucketRestore> BucketLab::restore(BucketRestoreOptions options) {
  if (!point_) point();
  return std::make_unique<BucketRestore>(*point_, *client, std::move(options), store.clock(),
                                         stop.get_token());
}

std::unique_ptr<BucketRestore> BucketLab::run(BucketRestoreOptions options) {
  auto work = restore(std::move(options));
  must(work->run());
  return work;
}

std::string BucketLab::text(const std::string& bucket, const std::string& key) {
  const auto reader = client->get(bucket, key);
  if (!reader) return "-";
  return std::string(as_text(must(testing::read_object(**reader))));
}

std::vector<std::string> BucketLab::keys(const std::string& bucket) {
  std::vector<std::string> keys;
  const auto listing = client->list_objects(bucket, {});
  for (auto page = must(listing->next_page()); !page.empty(); page = must(listing->next_page()))
    for (const auto& object : page) keys.push_back(object.key);
  return keys;
}

std::vector<std::string> BucketLab::history(const std::string& bucket, const std::string& key) {
  std::vector<std::string> texts;
  const auto listing = client->list_versions(bucket, key);
  for (auto page = must(listing->next_page()); !page.empty(); page = must(listing->next_page())) {
    for (const auto& version : page) {
      if (version.key != key) continue;
      if (version.is_delete_marker) {
        texts.push_back("-");
        continue;
      }
      s3::GetOptions options;
      options.version_id = version.version_id;
      const auto reader = must(client->get(bucket, key, options));
      texts.emplace_back(as_text(must(testing::read_object(*reader))));
    }
  }
  return texts;
}

void BucketLab::fail(const std::string& method, testing::S3Fault fault, int times,
                     testing::S3Answer answer) {
  testing::S3Misdeed misdeed;
  misdeed.fault = fault;
  misdeed.times = times;
  misdeed.answer = std::move(answer);
  misdeed.when = [method](const testing::S3Request& request) {
    return request.method == method && !request.key.empty();
  };
  server.misbehave(std::move(misdeed));
}

}  // namespace tidemark::test
