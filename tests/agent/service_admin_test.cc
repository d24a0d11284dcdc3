// Who may do what at a store, and what operators decide about points.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kAsset = "rbd/rbd/vm-1";

class PointStoreAdminTest : public ::testing::TestWithParam<Kind> {
 protected:
  PointStoreAdminTest() : store_(GetParam().encrypted), reach_(store_, GetParam().access) {}

  PointStore& osaka() { return reach_.as("osaka"); }
  PointId add() { return store_.add_point("tokyo", kAsset, Content{}).point.record.id; }
  PointRow find(const PointId& id) { return must(osaka().find(by_id(id.hex()))); }

  Rng rng_;
  TestService store_;
  Reach reach_;
};

TEST_P(PointStoreAdminTest, APinnedPointCannotBeDeleted) {
  const PointId id = add();
  must(osaka().set_pinned(id, true));
  must(osaka().set_pinned(id, true));
  EXPECT_TRUE(find(id).pinned);
  EXPECT_EQ(code_of(osaka().remove(id)), ErrorCode::refused);
  EXPECT_FALSE(find(id).deleted);
  must(osaka().set_pinned(id, false));
  must(osaka().remove(id));
  EXPECT_TRUE(find(id).deleted);
}

TEST_P(PointStoreAdminTest, ADeletedPointIsFoundByItsIdOnlyAndCannotBePinned) {
  const PointId older = add(), id = add();
  must(osaka().remove(id));
  must(osaka().remove(id));
  EXPECT_EQ(code_of(osaka().set_pinned(id, true)), ErrorCode::refused);
  EXPECT_EQ(find(id).deleted, store_.clock().now());
  EXPECT_EQ(must(osaka().find(newest_of("tokyo", kAsset))).point.record.id, older);
  EXPECT_EQ(must(osaka().find(as_of("tokyo", kAsset, store_.clock().now()))).point.record.id,
            older);
  EXPECT_THAT(must(osaka().points("", "")), SizeIs(1));
  EXPECT_EQ(must(osaka().stats()).points, 1U);
}

TEST_P(PointStoreAdminTest, ADeletionCanBeTakenBack) {
  const PointId id = add();
  must(osaka().undelete(id));  // of nothing
  must(osaka().remove(id));
  must(osaka().undelete(id));
  EXPECT_FALSE(find(id).deleted);
  EXPECT_THAT(must(osaka().points("", "")), SizeIs(1));
  store_.reopen_without_catalog();
  EXPECT_THAT(must(store_.service().points("", "")), SizeIs(1));
}

TEST_P(PointStoreAdminTest, ALockedPointCannotBeDeletedBeforeItsTime) {
  const UploadSession session = must(store_.service().begin("tokyo", kAsset, {}));
  PointRecord record = store_.record(session, "tokyo", kAsset, TreeRoot{});
  record.labels["keep"] = "last=1 locked_for=7200s";
  const PointId id = must(store_.service().commit(session, store_.sealed(record))).point.record.id;
  EXPECT_EQ(code_of(osaka().remove(id)), ErrorCode::refused);
  store_.clock().advance(std::chrono::minutes(119));
  EXPECT_EQ(code_of(osaka().remove(id)), ErrorCode::refused);
  // Set forward, the clock does not end it.
  store_.clock().jump(std::chrono::hours(10));
  EXPECT_EQ(code_of(osaka().remove(id)), ErrorCode::refused);
  store_.clock().jump(-std::chrono::hours(20));
  EXPECT_EQ(code_of(osaka().remove(id)), ErrorCode::refused);
  store_.clock().jump(std::chrono::hours(10));
  store_.clock().advance(std::chrono::minutes(2));
  must(osaka().remove(id));
}

TEST_P(PointStoreAdminTest, WhatIsNotThereIsNotFound) {
  const PointId none = rng_.id<PointId>();
  EXPECT_EQ(code_of(osaka().set_pinned(none, true)), ErrorCode::not_found);
  EXPECT_EQ(code_of(osaka().set_pinned(none, false)), ErrorCode::not_found);
  EXPECT_EQ(code_of(osaka().remove(none)), ErrorCode::not_found);
  EXPECT_EQ(code_of(osaka().undelete(none)), ErrorCode::not_found);
  EXPECT_EQ(code_of(osaka().set_verified(none)), ErrorCode::not_found);
  EXPECT_EQ(store_.medium().count(), 1U);  // the descriptor; no mark
}

TEST_P(PointStoreAdminTest, ACollectionTellsWhatItDid) {
  const PointId old =
      store_.add_point("tokyo", kAsset, make_content(store_.keys(), 50, 1)).point.record.id;
  add();
  must(osaka().remove(old));
  CollectRequest request;
  request.grace = std::chrono::hours(1);
  store_.clock().advance(request.grace);
  const CollectReport first = must(osaka().collect(request));
  EXPECT_EQ(first.points_dropped, 1U);
  EXPECT_GT(first.packs_waiting, 0U);
  store_.clock().advance(request.grace);
  const CollectReport second = must(osaka().collect(request));
  EXPECT_EQ(second.packs_removed, first.packs_waiting);
  EXPECT_EQ(second.bytes_removed, first.bytes_waiting);
  store_.clock().jump(std::chrono::hours(1));
  EXPECT_EQ(code_of(osaka().collect(request)), ErrorCode::refused);
}

TEST_P(PointStoreAdminTest, TheTimeOfVerificationIsTheStores) {
  const PointId id = add();
  EXPECT_FALSE(find(id).verified);
  store_.clock().advance(std::chrono::hours(3));
  must(osaka().set_verified(id));
  EXPECT_EQ(find(id).verified, store_.clock().now());
}

TEST_P(PointStoreAdminTest, ADrillIsWrittenDownInTheJournal) {
  const JournalEntry first = must(osaka().record_drill(R"({"drill":"a"})"));
  const JournalEntry second = must(osaka().record_drill(R"({"drill":"b"})"));
  EXPECT_EQ(first.kind, "drill");
  EXPECT_EQ(first.text, R"({"drill":"a"})");
  EXPECT_EQ(first.time, store_.clock().now());
  EXPECT_EQ(second.previous, first.hash);
  const JournalEntry read = must(osaka().journal_entry(first.sequence));
  EXPECT_EQ(read.text, first.text);
  EXPECT_EQ(read.hash, first.hash);
  EXPECT_EQ(read.previous, first.previous);
  EXPECT_EQ(code_of(osaka().journal_entry(second.sequence + 1)), ErrorCode::not_found);
  store_.faults().lose_locks();
  EXPECT_EQ(code_of(osaka().record_drill("{}")), ErrorCode::refused);
  store_.reopen();
  EXPECT_EQ(must(store_.service().journal_entry(second.sequence)).hash, second.hash);
}

INSTANTIATE_TEST_SUITE_P(Stores, PointStoreAdminTest,
                         ::testing::Values(Kind{Access::direct, true}, Kind{Access::remote, true}),
                         [](const auto& kind) { return kind_name(kind.param); });

class StoreServiceTest : public ::testing::Test {
 protected:
  Rng rng_;
  TestService store_;
};

TEST_F(StoreServiceTest, DecisionsOutliveTheProcessAndTheCatalog) {
  const Content sent = make_content(store_.keys(), 100, rng_.next());
  const PointId pinned = store_.add_point("tokyo", kAsset, sent).point.record.id;
  const PointId deleted = store_.add_point("tokyo", kAsset, sent).point.record.id;
  const PointId unpinned = store_.add_point("tokyo", kAsset, sent).point.record.id;
  must(store_.service().set_pinned(pinned, true));
  must(store_.service().remove(deleted));
  must(store_.service().set_pinned(unpinned, true));
  must(store_.service().set_pinned(unpinned, false));
  for (int round = 0; round < 2; ++round) {
    round == 0 ? store_.reopen() : store_.reopen_without_catalog();
    StoreService& service = store_.service();
    EXPECT_TRUE(must(service.find(by_id(pinned.hex()))).pinned);
    EXPECT_TRUE(must(service.find(by_id(deleted.hex()))).deleted);
    EXPECT_FALSE(must(service.find(by_id(unpinned.hex()))).pinned);
    EXPECT_THAT(must(service.points("", "")), SizeIs(2));
    EXPECT_EQ(read_all(service, store_.keys(), sent.root).size(), sent.ids().size());
    EXPECT_THAT(must(service.catalog().check()), IsEmpty());
  }
}

TEST_F(StoreServiceTest, ASessionGoesOnAfterARestart) {
  const Content sent = make_content(store_.keys(), 100, rng_.next());
  const UploadSession session = must(store_.service().begin("tokyo", kAsset, {}));
  must(store_.service().put_pack(session, sent.packs[0].id, sent.packs[0].bytes));
  store_.reopen();
  must(send(store_.service(), session, sent));
  const PointRow row = must(store_.service().commit(
      session, store_.sealed(store_.record(session, "tokyo", kAsset, sent.root))));
  store_.reopen();
  // And the answer may be asked for again.
  EXPECT_TRUE(
      same_row(must(store_.service().commit(session, store_.sealed(row.point.record))), row));
}

TEST_F(StoreServiceTest, OneProcessServesAStore) {
  EXPECT_EQ(code_of(store_.try_open()), ErrorCode::refused);
  store_.close();
  EXPECT_TRUE(store_.try_open());
}

TEST_F(StoreServiceTest, AStoreIsCreatedOnce) {
  MemoryBackend empty;
  EXPECT_EQ(code_of(StoreService::read_descriptor(empty)), ErrorCode::not_found);
  must(StoreService::create(empty, store_.descriptor()));
  EXPECT_EQ(code_of(StoreService::create(empty, store_.descriptor())), ErrorCode::already_exists);
}

TEST_F(StoreServiceTest, WhoLostTheWriterLockWritesNothingMore) {
  const Content sent = make_content(store_.keys(), 30, rng_.next());
  StoreService& service = store_.service();
  const PointId id = store_.add_point("tokyo", kAsset, sent).point.record.id;
  const UploadSession session = must(service.begin("tokyo", kAsset, {}));
  const Content more = make_content(store_.keys(), 30, rng_.next());
  const std::size_t blobs = store_.medium().count();
  store_.faults().lose_locks();
  EXPECT_EQ(code_of(service.still_owner()), ErrorCode::refused);
  EXPECT_EQ(code_of(service.begin("tokyo", kAsset, {})), ErrorCode::refused);
  EXPECT_EQ(code_of(service.missing(session, more.chunks)), ErrorCode::refused);
  EXPECT_EQ(code_of(service.put_pack(session, more.packs[0].id, more.packs[0].bytes)),
            ErrorCode::refused);
  EXPECT_EQ(code_of(service.commit(
                session, store_.sealed(store_.record(session, "tokyo", kAsset, TreeRoot{})))),
            ErrorCode::refused);
  EXPECT_EQ(code_of(service.abandon(session)), ErrorCode::refused);
  EXPECT_EQ(code_of(service.set_pinned(id, true)), ErrorCode::refused);
  EXPECT_EQ(code_of(service.remove(id)), ErrorCode::refused);
  EXPECT_EQ(store_.medium().count(), blobs);
  EXPECT_EQ(read_all(service, store_.keys(), sent.root).size(), sent.ids().size());
}

// Rights of peers, which only the API knows of.
class RightsTest : public StoreServiceTest {
 protected:
  std::vector<std::string> seen_by(const std::string& site) {
    std::vector<std::string> seen;
    for (const PointRow& row : must(reach_.as(site).points("", "")))
      seen.push_back(row.point.record.site + ":" + row.point.record.asset);
    return seen;
  }
  Reach reach_{store_, Access::remote};
};

TEST_F(RightsTest, ASiteSeesItsOwnPointsAndThoseItWasGranted) {
  const PointId hidden = store_.add_point("kyoto", "rbd/rbd/a", Content{}).point.record.id;
  const PointId shared = store_.add_point("kyoto", "rbd/shared/b", Content{}).point.record.id;
  const PointId own = store_.add_point("tokyo", "rbd/rbd/c", Content{}).point.record.id;
  using List = std::vector<std::string>;
  EXPECT_EQ(seen_by("tokyo"), (List{"kyoto:rbd/shared/b", "tokyo:rbd/rbd/c"}));
  EXPECT_EQ(seen_by("kyoto"), (List{"kyoto:rbd/rbd/a", "kyoto:rbd/shared/b"}));
  EXPECT_EQ(seen_by("osaka"), (List{"kyoto:rbd/rbd/a", "kyoto:rbd/shared/b", "tokyo:rbd/rbd/c"}));
  PointStore& tokyo = reach_.as("tokyo");
  EXPECT_TRUE(tokyo.find(by_id(own.hex())));
  EXPECT_TRUE(tokyo.find(by_id(shared.hex())));
  EXPECT_EQ(code_of(tokyo.find(by_id(hidden.hex()))), ErrorCode::not_found);
  EXPECT_EQ(code_of(tokyo.find(newest_of("kyoto", "rbd/rbd/a"))), ErrorCode::not_found);
  EXPECT_EQ(code_of(tokyo.find(as_of("kyoto", "rbd/rbd/a", store_.clock().now()))),
            ErrorCode::not_found);
}

TEST_F(RightsTest, ASiteBeginsForItselfWhateverItSays) {
  const UploadSession session = must(reach_.as("kyoto").begin("tokyo", kAsset, {}));
  EXPECT_EQ(must(store_.service().session(session.id)).site, "kyoto");
}

TEST_F(RightsTest, ASessionIsItsOwnSitesAlone) {
  const Content sent = make_content(store_.keys(), 30, rng_.next());
  const UploadSession session = must(reach_.as("tokyo").begin("tokyo", kAsset, {}));
  PointStore& kyoto = reach_.as("kyoto");
  EXPECT_EQ(code_of(kyoto.missing(session, sent.chunks)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(kyoto.put_pack(session, sent.packs[0].id, sent.packs[0].bytes)),
            ErrorCode::permission_denied);
  EXPECT_EQ(code_of(kyoto.abandon(session)), ErrorCode::permission_denied);
  for (const char* site : {"tokyo", "kyoto"})
    EXPECT_NE(code_of(kyoto.commit(
                  session, store_.sealed(store_.record(session, site, kAsset, TreeRoot{})))),
              std::nullopt)
        << site;
  EXPECT_THAT(must(store_.service().points("", "")), IsEmpty());
  must(reach_.as("tokyo").missing(session, sent.chunks));
}

TEST_F(RightsTest, NoPeerPinsDeletesOrVerifiesEvenItsOwn) {
  const PointRow row = store_.add_point("tokyo", kAsset, Content{});
  const PointId& id = row.point.record.id;
  PointStore& tokyo = reach_.as("tokyo");
  EXPECT_EQ(code_of(tokyo.set_pinned(id, true)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(tokyo.set_pinned(id, false)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(tokyo.remove(id)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(tokyo.set_verified(id)), ErrorCode::permission_denied);
  EXPECT_TRUE(same_row(must(store_.service().find(by_id(id.hex()))), row));
}

TEST_F(RightsTest, TheJournalIsTheStoresOwnSitesAlone) {
  const JournalEntry entry = must(reach_.as("osaka").record_drill("{}"));
  PointStore& tokyo = reach_.as("tokyo");
  EXPECT_EQ(code_of(tokyo.record_drill("{}")), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(tokyo.journal_entry(entry.sequence)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(store_.service().journal_entry(entry.sequence + 1)), ErrorCode::not_found);
}

TEST_F(RightsTest, ASiteThatIsNotConfiguredGetsNothing) {
  const Content sent = make_content(store_.keys(), 30, rng_.next());
  const PointId id = store_.add_point("nara", kAsset, sent).point.record.id;
  PointStore& nara = reach_.as("nara");
  EXPECT_EQ(code_of(nara.descriptor()), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(nara.begin("nara", kAsset, {})), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(nara.points("", "")), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(nara.find(by_id(id.hex()))), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(nara.locate(sent.chunks)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(nara.read(sent.packs[0].id, 0, 1)), ErrorCode::permission_denied);
  EXPECT_EQ(code_of(nara.stats()), ErrorCode::permission_denied);
}

}  // namespace
}  // namespace tidemark::test
