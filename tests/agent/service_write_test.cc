// What a point store promises to whoever writes points: in this process and over HTTPS alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;

constexpr const char* kAsset = "rbd/rbd/vm-1";
constexpr const char* kOther = "rbd/rbd/vm-2";

class PointStoreWriteTest : public ::testing::TestWithParam<Kind> {
 protected:
  PointStoreWriteTest() : store_(GetParam().encrypted), reach_(store_, GetParam().access) {}

  PointStore& tokyo() { return reach_.as("tokyo"); }
  UploadSession begin(const std::string& asset = kAsset) {
    return must(tokyo().begin("tokyo", asset, {}));
  }
  Bytes record_of(const UploadSession& session, const Content& content,
                  const std::string& asset = kAsset) const {
    return store_.sealed(store_.record(session, "tokyo", asset, content.root));
  }
  Content content(std::size_t entries = 100, std::size_t shared = 0) {
    return make_content(store_.keys(), entries, rng_.next(), shared);
  }
  void expect_no_points() {
    EXPECT_THAT(must(store_.service().points("", "")), IsEmpty());
    for (const std::string& name : store_.medium().names())
      EXPECT_FALSE(name.starts_with("points/")) << name;
  }
  // The session goes on nowhere.
  void expect_ended(const UploadSession& session, const Content& content) {
    const auto& pack = content.packs.front();
    const std::size_t blobs = store_.medium().count();
    EXPECT_EQ(code_of(tokyo().missing(session, content.chunks)), ErrorCode::refused);
    EXPECT_EQ(code_of(tokyo().put_pack(session, pack.id, pack.bytes)), ErrorCode::refused);
    EXPECT_EQ(code_of(tokyo().commit(session, record_of(session, content))), ErrorCode::refused);
    EXPECT_EQ(code_of(tokyo().abandon(session)), ErrorCode::refused);
    EXPECT_EQ(store_.medium().count(), blobs);
  }

  Rng rng_;
  TestService store_;
  Reach reach_;
};

TEST_P(PointStoreWriteTest, ACommittedPointIsWhatTheRecordSays) {
  const Content sent = content(300);
  ASSERT_GT(sent.packs.size(), 2U);
  ASSERT_GT(sent.root.level, 0);
  const UploadSession session = begin();
  EXPECT_EQ(session.point, PointId::from(session.id.view()));
  must(send(tokyo(), session, sent));
  const Bytes record = record_of(session, sent);
  store_.clock().advance(std::chrono::seconds(7));
  const PointRow row = must(tokyo().commit(session, record));
  EXPECT_EQ(row.point.record.id, session.point);
  PointRecord committed = row.point.record;
  EXPECT_EQ(encode(committed, store_.keys()), record);
  EXPECT_EQ(row.point.received, store_.clock().now());
  EXPECT_EQ(row.point.sequence, 1U);
  EXPECT_TRUE(row.point.previous.is_null());
  std::uint64_t bytes = 0;
  for (const auto& pack : sent.packs) bytes += pack.bytes.size();
  EXPECT_EQ(row.point.stored_bytes, bytes);
  EXPECT_EQ(row.record_hash, sha256(encode(row.point)));
  EXPECT_TRUE(same_row(must(tokyo().find(by_id(session.point.hex()))), row));
  const auto ids = sent.ids();
  EXPECT_EQ(read_all(tokyo(), store_.keys(), sent.root), std::set<ChunkId>(ids.begin(), ids.end()));
}

TEST_P(PointStoreWriteTest, NoPointExistsBeforeItsCommit) {
  const Content sent = content();
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  expect_no_points();
  EXPECT_EQ(code_of(tokyo().find(by_id(session.point.hex()))), ErrorCode::not_found);
}

TEST_P(PointStoreWriteTest, MissingAnswersForEachIdInTurn) {
  const Content known = content(50), unknown = content(50);
  const UploadSession session = begin();
  EXPECT_THAT(must(tokyo().missing(session, {})), IsEmpty());
  EXPECT_THAT(must(tokyo().missing(session, known.chunks)), Each(true));
  must(send(tokyo(), session, known));
  std::vector<ChunkId> asked;
  std::vector<bool> expected;
  for (std::size_t i = 0; i < 500; ++i) {
    const bool is_known = rng_.chance(50);
    const auto& ids = is_known ? known.chunks : unknown.chunks;
    asked.push_back(ids[rng_.below(ids.size())]);
    expected.push_back(!is_known);
  }
  EXPECT_EQ(must(tokyo().missing(session, asked)), expected);
}

TEST_P(PointStoreWriteTest, BatchesOfTheLimitAreTakenAndLargerOnesRefused) {
  const UploadSession session = begin();
  std::vector<ChunkId> ids(kIdsPerCallMax);
  for (ChunkId& id : ids) id = rng_.id<ChunkId>();
  EXPECT_EQ(must(tokyo().missing(session, ids)).size(), kIdsPerCallMax);
  ids.push_back(rng_.id<ChunkId>());
  EXPECT_EQ(code_of(tokyo().missing(session, ids)), ErrorCode::invalid_argument);
}

TEST_P(PointStoreWriteTest, APackMayBePutAgain) {
  const Content sent = content(30);
  const UploadSession session = begin();
  for (int i = 0; i < 2; ++i)
    for (const auto& pack : sent.packs) must(tokyo().put_pack(session, pack.id, pack.bytes));
  const std::size_t blobs = store_.medium().count();
  const UploadSession other = begin(kOther);
  for (const auto& pack : sent.packs) must(tokyo().put_pack(other, pack.id, pack.bytes));
  EXPECT_EQ(store_.medium().count(), blobs);
  EXPECT_EQ(must(tokyo().stats()).packs, sent.packs.size());
  must(tokyo().commit(other, record_of(other, sent, kOther)));
  must(tokyo().commit(session, record_of(session, sent)));
}

TEST_P(PointStoreWriteTest, TheSameRecordCommittedAgainGivesTheSamePoint) {
  const Content sent = content();
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  const Bytes record = record_of(session, sent);
  const PointRow row = must(tokyo().commit(session, record));
  store_.clock().advance(std::chrono::hours(1));
  EXPECT_TRUE(same_row(must(tokyo().commit(session, record)), row));
  begin();  // the answer may come later than the next run
  EXPECT_TRUE(same_row(must(tokyo().commit(session, record)), row));
  EXPECT_EQ(must(tokyo().points("tokyo", kAsset)).size(), 1U);
}

TEST_P(PointStoreWriteTest, AnotherRecordForACommittedPointIsRefused) {
  const Content sent = content();
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  const PointRow row = must(tokyo().commit(session, record_of(session, sent)));
  PointRecord other = store_.record(session, "tokyo", kAsset, TreeRoot{});
  EXPECT_EQ(code_of(tokyo().commit(session, store_.sealed(other))), ErrorCode::refused);
  EXPECT_TRUE(same_row(must(tokyo().find(by_id(session.point.hex()))), row));
}

TEST_P(PointStoreWriteTest, ANewerSessionOfTheAssetEndsTheOlder) {
  const Content sent = content();
  const UploadSession older = begin();
  const UploadSession of_another_asset = begin(kOther);
  must(send(tokyo(), older, sent));
  const UploadSession newer = begin();
  EXPECT_GT(newer.fence, older.fence);
  expect_ended(older, sent);
  expect_no_points();
  must(send(tokyo(), newer, sent));
  must(tokyo().commit(newer, record_of(newer, sent)));
  must(tokyo().commit(of_another_asset, record_of(of_another_asset, sent, kOther)));
}

TEST_P(PointStoreWriteTest, TheSameAssetOfAnotherSiteIsNotFenced) {
  const UploadSession session = begin();
  must(reach_.as("kyoto").begin("kyoto", kAsset, {}));
  must(tokyo().commit(session, record_of(session, Content{})));
}

TEST_P(PointStoreWriteTest, ASessionIsHeldToItsFence) {
  const Content sent = content();
  const UploadSession session = begin();
  for (const std::uint64_t fence : {session.fence + 1, session.fence - 1, std::uint64_t{0}}) {
    UploadSession other = session;
    other.fence = fence;
    expect_ended(other, sent);
  }
  must(send(tokyo(), session, sent));
  must(tokyo().commit(session, record_of(session, sent)));
}

TEST_P(PointStoreWriteTest, ASessionThatNeverWasIsRefused) {
  UploadSession session;
  session.id = rng_.id<SessionId>();
  session.point = PointId::from(session.id.view());
  session.fence = 1;
  expect_ended(session, content());
}

TEST_P(PointStoreWriteTest, ASessionEndsWithItsCommit) {
  const Content sent = content();
  const UploadSession session = begin();
  must(tokyo().commit(session, record_of(session, Content{})));
  expect_ended(session, sent);
}

TEST_P(PointStoreWriteTest, WhatAnAbandonedSessionSentIsNotSentAgain) {
  const Content sent = content();
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  must(tokyo().abandon(session));
  expect_ended(session, sent);
  const UploadSession next = begin();
  EXPECT_THAT(must(tokyo().missing(next, sent.ids())), Each(false));
  must(tokyo().commit(next, record_of(next, sent)));
}

TEST_P(PointStoreWriteTest, ASessionThatIsNotHeardOfEnds) {
  const Content sent = content();
  const UploadSession silent = begin();
  const UploadSession active = begin(kOther);
  store_.clock().advance(StoreService::kSessionLease - std::chrono::minutes(1));
  must(send(tokyo(), active, sent));
  begin("rbd/rbd/vm-3");
  EXPECT_TRUE(store_.service().session(silent.id));
  store_.clock().advance(StoreService::kSessionLease);
  const UploadSession asking = begin("rbd/rbd/vm-3");
  expect_ended(silent, sent);
  // Asking alone keeps a session, too.
  store_.clock().advance(StoreService::kSessionLease - std::chrono::minutes(1));
  must(tokyo().missing(asking, sent.chunks));
  store_.clock().advance(std::chrono::minutes(2));
  begin("rbd/rbd/vm-4");
  must(tokyo().commit(asking, record_of(asking, sent, "rbd/rbd/vm-3")));
}

TEST_P(PointStoreWriteTest, BeginTakesAssetsAndTheirOwnParentsOnly) {
  const UploadSession first = begin();
  must(tokyo().commit(first, record_of(first, Content{})));
  EXPECT_TRUE(tokyo().begin("tokyo", kAsset, first.point));
  EXPECT_EQ(code_of(tokyo().begin("tokyo", kOther, first.point)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(reach_.as("kyoto").begin("kyoto", kAsset, first.point)),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(tokyo().begin("tokyo", kAsset, rng_.id<PointId>())), ErrorCode::not_found);
  for (const char* name : {"", "rbd", "rbd/", "vm-1", "rbd/../x", "nfs/a/b"})
    EXPECT_EQ(code_of(tokyo().begin("tokyo", name, {})), ErrorCode::invalid_argument) << name;
}

TEST_P(PointStoreWriteTest, APackThatIsNotWhatItsNameSaysIsRefused) {
  const Content sent = content(30);
  const UploadSession session = begin();
  const std::size_t blobs = store_.medium().count();
  const auto& pack = sent.packs.front();
  for (int round = 0; round < 40; ++round) {
    Bytes bytes = copy_of(pack.bytes);
    const std::size_t at = rng_.below(bytes.size());
    if (rng_.chance(50))
      bytes[at] ^= static_cast<std::uint8_t>(1U << rng_.below(8));
    else
      bytes.resize(at);
    EXPECT_EQ(code_of(tokyo().put_pack(session, pack.id, bytes)), ErrorCode::invalid_argument)
        << at;
  }
  Bytes longer = copy_of(pack.bytes);
  longer.push_back(0);
  EXPECT_EQ(code_of(tokyo().put_pack(session, pack.id, longer)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(tokyo().put_pack(session, rng_.id<PackId>(), pack.bytes)),
            ErrorCode::invalid_argument);
  EXPECT_EQ(store_.medium().count(), blobs);
  EXPECT_THAT(must(tokyo().missing(session, sent.ids())), Each(true));
  must(tokyo().put_pack(session, pack.id, pack.bytes));
}

TEST_P(PointStoreWriteTest, BytesThatAreNoPackAreRefusedUnderTheirOwnName) {
  const Content sent = content(30);
  const UploadSession session = begin();
  const std::size_t blobs = store_.medium().count();
  const auto put = [&](const Bytes& bytes) {
    return code_of(tokyo().put_pack(session, PackId::from(sha256(bytes).view()), bytes));
  };
  EXPECT_EQ(put({}), ErrorCode::invalid_argument);
  EXPECT_EQ(put(rng_.bytes(5000)), ErrorCode::invalid_argument);
  for (int round = 0; round < 20; ++round) {
    Bytes bytes = copy_of(sent.packs.front().bytes);
    bytes.resize(rng_.below(bytes.size()));
    EXPECT_EQ(put(bytes), ErrorCode::invalid_argument) << bytes.size();
  }
  EXPECT_EQ(store_.medium().count(), blobs);
}

TEST_P(PointStoreWriteTest, APackUnderAnotherKeyIsRefused) {
  const UploadSession session = begin();
  const std::size_t blobs = store_.medium().count();
  std::vector<StoreKeys> others;
  others.push_back(StoreKeys(fixed_key(100)));
  if (GetParam().encrypted) others.push_back(StoreKeys::unencrypted());
  for (const StoreKeys& keys : others) {
    const Content foreign = make_content(keys, 30, rng_.next());
    for (const auto& pack : foreign.packs)
      EXPECT_EQ(code_of(tokyo().put_pack(session, pack.id, pack.bytes)),
                ErrorCode::invalid_argument);
    EXPECT_THAT(must(tokyo().missing(session, foreign.ids())), Each(true));
  }
  EXPECT_EQ(store_.medium().count(), blobs);
}

TEST_P(PointStoreWriteTest, APlainChunkUnderAnIdThatIsNotItsOwnIsRefused) {
  if (GetParam().encrypted) GTEST_SKIP() << "ids under a key can be checked by its holders only";
  const UploadSession session = begin();
  PackWriter writer(store_.keys());
  writer.add(must(encode_blob(rng_.id<ChunkId>(), BlobKind::chunk, as_bytes("a lie"), 0, 1)));
  const auto pack = writer.finish();
  EXPECT_EQ(code_of(tokyo().put_pack(session, pack.id, pack.bytes)), ErrorCode::invalid_argument);
}

// A record whose tree is not all there.
TEST_P(PointStoreWriteTest, ACommitIsRefusedUntilEverythingIsThere) {
  const Content sent = content(300);
  const UploadSession session = begin();
  const Bytes record = record_of(session, sent);
  for (const auto& pack : sent.packs) {
    EXPECT_EQ(code_of(tokyo().commit(session, record)), ErrorCode::corruption);
    expect_no_points();
    must(tokyo().put_pack(session, pack.id, pack.bytes));
  }
  must(tokyo().commit(session, record));
}

TEST_P(PointStoreWriteTest, ACommitWithoutOnePackIsRefusedWhicheverItIs) {
  const Content sent = content(300);
  for (std::size_t absent = 0; absent < sent.packs.size(); ++absent) {
    TestService fresh(GetParam().encrypted);
    Reach reach(fresh, GetParam().access);
    PointStore& store = reach.as("tokyo");
    const UploadSession session = must(store.begin("tokyo", kAsset, {}));
    for (std::size_t i = 0; i < sent.packs.size(); ++i)
      if (i != absent) must(store.put_pack(session, sent.packs[i].id, sent.packs[i].bytes));
    const Bytes record = record_of(session, sent);
    EXPECT_EQ(code_of(store.commit(session, record)), ErrorCode::corruption) << absent;
    EXPECT_THAT(must(store.points("", "")), IsEmpty());
    // The session goes on: what is missing may still come.
    must(store.put_pack(session, sent.packs[absent].id, sent.packs[absent].bytes));
    must(store.commit(session, record));
  }
}

TEST_P(PointStoreWriteTest, ACommitWhoseRootIsAChunkIsRefused) {
  const Content sent = content();
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  TreeRoot root = sent.root;
  root.id = sent.chunks.front();
  EXPECT_EQ(code_of(tokyo().commit(session,
                                   store_.sealed(store_.record(session, "tokyo", kAsset, root)))),
            ErrorCode::corruption);
  root.id = rng_.id<ChunkId>();
  EXPECT_EQ(code_of(tokyo().commit(session,
                                   store_.sealed(store_.record(session, "tokyo", kAsset, root)))),
            ErrorCode::corruption);
  expect_no_points();
}

TEST_P(PointStoreWriteTest, ACommitThatCallsANodeAChunkIsRefused) {
  const Content sent = content(20);
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  PackWriter writer(store_.keys());
  TreeBuilder builder(
      store_.keys(), [&](const ChunkId& id, EncodedNode node, std::uint8_t) -> Status {
        writer.add(must(encode_blob(id, BlobKind::node, node.plain, node.clear_size, 1)));
        return {};
      });
  must(builder.add({"0", Bytes(8, 0), {sent.nodes.front()}}));
  const TreeRoot root = must(builder.finish(nullptr));
  const auto pack = writer.finish();
  must(tokyo().put_pack(session, pack.id, pack.bytes));
  EXPECT_EQ(code_of(tokyo().commit(session,
                                   store_.sealed(store_.record(session, "tokyo", kAsset, root)))),
            ErrorCode::corruption);
  expect_no_points();
}

TEST_P(PointStoreWriteTest, ACommitThatLiesAboutTheRootsLevelIsRefused) {
  const Content sent = content(300);
  const UploadSession session = begin();
  must(send(tokyo(), session, sent));
  for (const int by : {-1, 1, 200}) {
    TreeRoot root = sent.root;
    root.level = static_cast<std::uint8_t>(root.level + by);
    const auto code = code_of(
        tokyo().commit(session, store_.sealed(store_.record(session, "tokyo", kAsset, root))));
    EXPECT_TRUE(code == ErrorCode::corruption || code == ErrorCode::invalid_argument) << by;
  }
  expect_no_points();
}

TEST_P(PointStoreWriteTest, ARecordThatDoesNotFitItsSessionIsRefused) {
  const UploadSession session = begin();
  const PointRecord good = store_.record(session, "tokyo", kAsset, TreeRoot{});
  const auto refused = [&](const std::function<void(PointRecord&)>& change) {
    PointRecord record = good;
    change(record);
    return code_of(tokyo().commit(session, store_.sealed(std::move(record))));
  };
  EXPECT_EQ(refused([](PointRecord& r) { r.asset = kOther; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](PointRecord& r) { r.store.bytes[0] ^= 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](PointRecord& r) { r.id.bytes[0] ^= 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&](PointRecord& r) { r.parent = r.id; }), ErrorCode::invalid_argument);
  // Over HTTPS this is told apart: who asks is another one than whose point it is.
  EXPECT_EQ(refused([](PointRecord& r) { r.site = "kyoto"; }), GetParam().access == Access::remote
                                                                   ? ErrorCode::permission_denied
                                                                   : ErrorCode::invalid_argument);
  expect_no_points();
  must(tokyo().commit(session, store_.sealed(good)));
}

TEST_P(PointStoreWriteTest, ARecordIsAuthenticatedWhereAndOnlyWhereTheStoreHasAKey) {
  const UploadSession session = begin();
  PointRecord record = store_.record(session, "tokyo", kAsset, TreeRoot{});
  const StoreKeys wrong = GetParam().encrypted ? StoreKeys::unencrypted() : StoreKeys(fixed_key(3));
  EXPECT_EQ(code_of(tokyo().commit(session, encode(record, wrong))), ErrorCode::invalid_argument);
  expect_no_points();
}

TEST_P(PointStoreWriteTest, BytesThatAreNoRecordAreRefused) {
  const UploadSession session = begin();
  const Bytes record = record_of(session, Content{});
  for (std::size_t size = 0; size < record.size(); size += 7) {
    Bytes cut = copy_of(record);
    cut.resize(size);
    EXPECT_EQ(code_of(tokyo().commit(session, cut)), ErrorCode::invalid_argument) << size;
  }
  Bytes longer = copy_of(record);
  longer.push_back(0);
  EXPECT_EQ(code_of(tokyo().commit(session, longer)), ErrorCode::invalid_argument);
  expect_no_points();
  must(tokyo().commit(session, record));
}

TEST_P(PointStoreWriteTest, PointsAreNumberedAndLinkedOverAllAssets) {
  Digest previous;
  Timestamp received;
  for (std::uint64_t n = 1; n <= 12; ++n) {
    // The store's clock runs both ways; what retention counts by does not.
    store_.clock().advance(n % 3 == 0 ? -std::chrono::hours(2) : std::chrono::minutes(1));
    const std::string asset = "rbd/rbd/vm-" + std::to_string(rng_.below(4));
    const UploadSession session = begin(asset);
    const PointRow row = must(tokyo().commit(session, record_of(session, Content{}, asset)));
    EXPECT_EQ(row.point.sequence, n);
    EXPECT_EQ(row.point.previous, previous);
    EXPECT_GE(row.point.received, received);
    previous = row.record_hash;
    received = row.point.received;
  }
}

TEST_P(PointStoreWriteTest, AnUnchangedVolumeSendsNothing) {
  const Content sent = content(300);
  const UploadSession first = begin();
  must(send(tokyo(), first, sent));
  must(tokyo().commit(first, record_of(first, sent)));
  const UploadSession second = must(tokyo().begin("tokyo", kAsset, first.point));
  EXPECT_THAT(must(tokyo().missing(second, sent.ids())), Each(false));
  const PointRow row = must(tokyo().commit(
      second, store_.sealed(store_.record(second, "tokyo", kAsset, sent.root, first.point))));
  EXPECT_EQ(row.point.stored_bytes, 0U);
}

TEST_P(PointStoreWriteTest, WhatADamagedPackHeldIsMissingUntilItIsSentAgain) {
  const Content sent = content(300);
  const UploadSession first = begin();
  must(send(tokyo(), first, sent));
  must(tokyo().commit(first, record_of(first, sent)));
  const auto& pack = sent.packs.front();
  store_.medium().flip(pack_blob_name(pack.id), pack.bytes.size() / 2);
  must(store_.service().catalog().mark_pack_damaged(pack.id));

  const UploadSession second = begin();
  const Bytes record = record_of(second, sent);
  EXPECT_EQ(code_of(tokyo().commit(second, record)), ErrorCode::corruption);
  // Without a key equal content makes an equal pack.
  must(send(tokyo(), second, sent));
  must(tokyo().commit(second, record));
  EXPECT_EQ(read_all(tokyo(), store_.keys(), sent.root).size(), sent.ids().size());
  EXPECT_THAT(must(store_.service().catalog().check()), IsEmpty());
  store_.reopen();
  EXPECT_EQ(read_all(store_.service(), store_.keys(), sent.root).size(), sent.ids().size());
}

INSTANTIATE_TEST_SUITE_P(Stores, PointStoreWriteTest,
                         ::testing::Values(Kind{Access::direct, true}, Kind{Access::direct, false},
                                           Kind{Access::remote, true}, Kind{Access::remote, false}),
                         [](const auto& kind) { return kind_name(kind.param); });

}  // namespace
}  // namespace tidemark::test
