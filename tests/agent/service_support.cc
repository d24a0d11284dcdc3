#include "tests/agent/service_support.h"

#include <algorithm>
#include <cstdlib>

#include "agent/service/bare_store.h"
#include "agent/service/remote_store.h"
#include "tests/transport/fixture.h"

namespace tidemark::test {
namespace {

constexpr std::size_t kBlobsPerPack = 40;
constexpr const char* kOwnSite = "osaka";

StoreKeys keys_of(bool encrypted) {
  return encrypted ? StoreKeys(fixed_key(7)) : StoreKeys::unencrypted();
}

// One certificate of each site for the whole program: what they say is the same in every test.
const testing::Pki& pki() {
  static const testing::Pki pki;
  static const bool issued = [] {
    for (const char* site : {kOwnSite, "tokyo", "kyoto", "nara"}) pki.issue(site);
    return true;
  }();
  static_cast<void>(issued);
  return pki;
}

// Collects blobs into packs.
class Packer {
 public:
  Packer(const StoreKeys& keys, Content& content) : writer_(keys), content_(content) {}
  void add(const ChunkId& id, BlobKind kind, ByteView plain, std::size_t clear_size) {
    if (!content_.plain.emplace(id, Bytes(plain.begin(), plain.end())).second) return;
    (kind == BlobKind::node ? content_.nodes : content_.chunks).push_back(id);
    writer_.add(must(encode_blob(id, kind, plain, clear_size, 1)));
    if (writer_.count() == kBlobsPerPack) finish();
  }
  void finish() {
    if (writer_.count() > 0) content_.packs.push_back(writer_.finish());
  }

 private:
  PackWriter writer_;
  Content& content_;
};

class StoreNodes final : public NodeSource {
 public:
  StoreNodes(PointStore& store, const StoreKeys& keys) : store_(store), keys_(keys) {}
  Result<std::vector<Bytes>> fetch_nodes(std::span<const ChunkId> ids) override {
    TM_TRY(const auto locations, store_.locate(ids));
    std::vector<Bytes> nodes;
    for (const BlobLocation& at : locations) {
      TM_TRY(const Bytes header, store_.read(at.pack, 0, kPackHeaderBytes));
      TM_TRY(const Bytes stored, store_.read(at.pack, at.entry.offset, at.entry.stored_size));
      TM_TRY(Bytes plain, decode_blob(keys_, header, at.entry, stored));
      nodes.push_back(std::move(plain));
    }
    return nodes;
  }

 private:
  PointStore& store_;
  const StoreKeys& keys_;
};

}  // namespace

Scratch::Scratch() {
  std::error_code ignored;
  const std::filesystem::path memory = "/dev/shm";
  const bool usable = std::filesystem::is_directory(memory, ignored);
  std::string pattern =
      (usable ? memory : std::filesystem::temp_directory_path()) / "tidemark-agent-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = pattern;
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<ChunkId> Content::ids() const {
  std::vector<ChunkId> all = chunks;
  all.insert(all.end(), nodes.begin(), nodes.end());
  return all;
}

Content make_content(const StoreKeys& keys, std::size_t entries, std::uint64_t seed,
                     std::size_t shared) {
  Content content;
  Packer chunks(keys, content);
  Packer nodes(keys, content);
  TreeBuilder builder(keys, [&](const ChunkId& id, EncodedNode node, std::uint8_t) -> Status {
    nodes.add(id, BlobKind::node, node.plain, node.clear_size);
    return {};
  });
  for (std::size_t i = 0; i < entries; ++i) {
    const std::string number = std::to_string(100'000 + i);
    const std::string text =
        (i < shared ? "shared " : "of seed " + std::to_string(seed) + " ") + number;
    const ChunkId id = keys.chunk_id(as_bytes(text));
    chunks.add(id, BlobKind::chunk, as_bytes(text), 0);
    must(builder.add({number, Bytes(8, 0), {id}}));
  }
  chunks.finish();
  content.root = must(builder.finish(nullptr));
  nodes.finish();
  return content;
}

TestService::TestService(bool encrypted) : keys_(keys_of(encrypted)) {
  descriptor_.id = StoreId::from(fixed_key(40).view().first(StoreId::kSize));
  descriptor_.encrypted = encrypted;
  descriptor_.key_id = keys_.key_id();
  if (encrypted)
    descriptor_.slots.push_back(make_key_file_slot(fixed_key(7), fixed_key(9), "the test's"));
  MemoryBackend plain(medium_);
  must(StoreService::create(plain, descriptor_));
  faults_ = std::make_unique<FaultyBackend>(backend());
  reopen();
}

// The service owns a backend; what it owns passes on to the one whose faults the test sets.
Result<std::unique_ptr<StoreService>> TestService::try_open() {
  return StoreService::open(std::make_unique<FaultyBackend>(static_cast<Backend&>(*faults_)),
                            scratch_.path() / std::to_string(catalogs_), clock_);
}

void TestService::reopen() {
  close();
  faults_->clear();
  service_ = must(try_open());
}

void TestService::reopen_without_catalog() {
  ++catalogs_;
  reopen();
}

PointRecord TestService::record(const UploadSession& session, std::string site, std::string asset,
                                const TreeRoot& root, const PointId& parent) const {
  PointRecord record;
  record.id = session.point;
  record.store = descriptor_.id;
  record.site = std::move(site);
  record.asset = std::move(asset);
  record.parent = parent;
  record.time = clock_.now();
  record.root = root;
  record.size_bytes = 64 * kMiB;
  record.labels = {{"fence", std::to_string(session.fence)}};
  return record;
}

PointRow TestService::add_point(std::string site, std::string asset, const Content& content,
                                std::optional<Timestamp> time) {
  const UploadSession session = must(service_->begin(site, asset, {}));
  must(send(*service_, session, content));
  PointRecord wanted = record(session, std::move(site), std::move(asset), content.root);
  if (time) wanted.time = *time;
  return must(service_->commit(session, sealed(std::move(wanted))));
}

std::string kind_name(const Kind& kind) {
  const char* const access = kind.access == Access::direct   ? "direct"
                             : kind.access == Access::remote ? "remote"
                                                             : "bare";
  return std::string(access) + (kind.encrypted ? "_encrypted" : "_plain");
}

Reach::Reach(TestService& store, Access access) : store_(store), access_(access) {
  if (access_ == Access::remote) start_server();
}

Reach::~Reach() = default;

void Reach::start_server() {
  ApiPolicy policy;
  policy.own_site = kOwnSite;
  policy.known = [](const std::string& site) { return site != "nara"; };
  policy.may_read = [](const std::string& reader, const std::string& owner,
                       const AssetName& asset) {
    return reader == "tokyo" && owner == "kyoto" && asset.text().starts_with("rbd/shared/");
  };
  api_ = std::make_unique<StoreApi>(&store_.service(), std::move(policy));
  server_ = testing::start_server(testing::server_options(pki().files(kOwnSite)),
                                  [this](HttpRequest& request) { return api_->handle(request); });
}

PointStore& Reach::as(const std::string& site) {
  if (access_ == Access::direct) return store_.service();
  std::unique_ptr<PointStore>& store = stores_[site];
  if (access_ == Access::bare) {
    store = must(BareStore::open(store_.backend()));
  } else if (!store) {
    RemoteStore::Options options;
    options.http = testing::client_options(pki().files(site), server_->port());
    options.http.expect_site = kOwnSite;
    // Long enough for one repetition, which nothing here should need.
    options.retry_for = std::chrono::seconds(1);
    store = must(RemoteStore::create(std::move(options)));
  }
  return *store;
}

Status send(PointStore& store, const UploadSession& session, const Content& content) {
  for (const PackWriter::Pack& pack : content.packs) {
    std::vector<ChunkId> ids;
    for (const PackEntry& entry : pack.entries) ids.push_back(entry.id);
    TM_TRY(const auto missing, store.missing(session, ids));
    if (std::find(missing.begin(), missing.end(), true) == missing.end()) continue;
    TM_DO(store.put_pack(session, pack.id, pack.bytes));
  }
  return {};
}

std::set<ChunkId> read_all(PointStore& store, const StoreKeys& keys, const TreeRoot& root) {
  std::set<ChunkId> seen;
  if (root.id.is_null()) return seen;
  StoreNodes source(store, keys);
  TreeNodes nodes(source);
  std::vector<ChunkId> chunks;
  must(walk_nodes(nodes, root, [&](const ChunkId& id, const TreeNode& node) -> Status {
    seen.insert(id);
    for (const TreeEntry& entry : node.entries)
      chunks.insert(chunks.end(), entry.refs.begin(), entry.refs.end());
    return {};
  }));
  must(source.fetch_nodes(chunks));  // chunks and nodes are read alike
  seen.insert(chunks.begin(), chunks.end());
  return seen;
}

bool same_row(const PointRow& a, const PointRow& b) {
  return encode(a.point) == encode(b.point) && a.record_hash == b.record_hash &&
         a.pinned == b.pinned && a.deleted == b.deleted && a.verified == b.verified;
}

PointQuery by_id(std::string prefix) {
  PointQuery query;
  query.id_prefix = std::move(prefix);
  return query;
}

PointQuery newest_of(std::string site, std::string asset) {
  PointQuery query;
  query.site = std::move(site);
  query.asset = std::move(asset);
  query.newest = true;
  return query;
}

PointQuery as_of(std::string site, std::string asset, Timestamp time) {
  PointQuery query;
  query.site = std::move(site);
  query.asset = std::move(asset);
  query.as_of = time;
  return query;
}

}  // namespace tidemark::test
