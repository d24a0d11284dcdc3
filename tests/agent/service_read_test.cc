// What a point store promises to whoever reads: in this process, over HTTPS and from bare blobs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kAsset = "rbd/rbd/vm-1";

bool in_order(const PointRow& a, const PointRow& b) {
  const PointRecord &ra = a.point.record, &rb = b.point.record;
  return std::tie(ra.site, ra.asset, ra.time.us, a.point.sequence) <
         std::tie(rb.site, rb.asset, rb.time.us, b.point.sequence);
}

class PointStoreReadTest : public ::testing::TestWithParam<Kind> {
 protected:
  PointStoreReadTest() : store_(GetParam().encrypted), reach_(store_, GetParam().access) {}

  PointStore& reader() { return reach_.as("osaka"); }
  Content content(std::size_t entries = 100) {
    return make_content(store_.keys(), entries, rng_.next());
  }
  // Points of several sites and assets whose times are in no order.
  void add_history(std::size_t count) {
    const std::vector<std::string> sites = {"tokyo", "tokyo-2", "kyoto", "t"};
    const std::vector<std::string> assets = {"rbd/rbd/a", "rbd/rbd/a-1", "rbd/rbd/a.1", "rbd/rbd/b",
                                             "s3/bucket"};
    for (std::size_t i = 0; i < count; ++i) {
      const Timestamp time{static_cast<std::int64_t>(rng_.below(40)) - 10};
      model_.push_back(store_.add_point(sites[rng_.below(sites.size())],
                                        assets[rng_.below(assets.size())], Content{}, time));
    }
    std::sort(model_.begin(), model_.end(), in_order);
  }
  std::vector<PointRow> expected(const std::string& site, const std::string& asset) const {
    std::vector<PointRow> rows;
    for (const PointRow& row : model_)
      if ((site.empty() || row.point.record.site == site) &&
          (asset.empty() || row.point.record.asset == asset))
        rows.push_back(row);
    return rows;
  }
  void expect_rows(const std::vector<PointRow>& rows, const std::vector<PointRow>& wanted) {
    ASSERT_EQ(rows.size(), wanted.size());
    for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_TRUE(same_row(rows[i], wanted[i])) << i;
  }

  Rng rng_;
  TestService store_;
  Reach reach_;
  std::vector<PointRow> model_;  // in the order of points()
};

TEST_P(PointStoreReadTest, AnEmptyStoreHasNoPoints) {
  EXPECT_THAT(must(reader().points("", "")), IsEmpty());
  EXPECT_EQ(code_of(reader().find(newest_of("tokyo", kAsset))), ErrorCode::not_found);
  EXPECT_EQ(code_of(reader().find(as_of("tokyo", kAsset, {1}))), ErrorCode::not_found);
  EXPECT_EQ(code_of(reader().find(by_id("00"))), ErrorCode::not_found);
  EXPECT_EQ(must(reader().stats()).points, 0U);
}

TEST_P(PointStoreReadTest, TheDescriptorIsTheStores) {
  EXPECT_EQ(encode(must(reader().descriptor())), encode(store_.descriptor()));
}

TEST_P(PointStoreReadTest, PointsComeInTheOrderOfSiteAssetAndTime) {
  add_history(60);
  PointStore& store = reader();
  expect_rows(must(store.points("", "")), model_);
  expect_rows(must(store.points("tokyo", "")), expected("tokyo", ""));
  expect_rows(must(store.points("", "rbd/rbd/a")), expected("", "rbd/rbd/a"));
  expect_rows(must(store.points("t", "rbd/rbd/a-1")), expected("t", "rbd/rbd/a-1"));
  EXPECT_THAT(must(store.points("nowhere", "")), IsEmpty());
  EXPECT_THAT(must(store.points("tokyo", "rbd/rbd/none")), IsEmpty());
}

TEST_P(PointStoreReadTest, NewestIsTheLastThatTheStoreTookInWhateverItsTime) {
  add_history(60);
  PointStore& store = reader();
  for (const char* site : {"tokyo", "kyoto"}) {
    const auto rows = expected(site, "rbd/rbd/a");
    const auto newest = std::max_element(
        rows.begin(), rows.end(),
        [](const PointRow& a, const PointRow& b) { return a.point.sequence < b.point.sequence; });
    const auto found = store.find(newest_of(site, "rbd/rbd/a"));
    ASSERT_EQ(found.has_value(), newest != rows.end());
    if (found) {
      EXPECT_TRUE(same_row(*found, *newest));
    }
  }
}

TEST_P(PointStoreReadTest, AsOfIsTheLastByItsOwnTime) {
  add_history(60);
  PointStore& store = reader();
  const auto rows = expected("tokyo", "rbd/rbd/a");
  for (std::int64_t us = -12; us < 32; ++us) {
    const PointRow* wanted = nullptr;
    for (const PointRow& row : rows)
      if (row.point.record.time.us <= us) wanted = &row;
    const auto found = store.find(as_of("tokyo", "rbd/rbd/a", {us}));
    ASSERT_EQ(found.has_value(), wanted != nullptr) << us;
    if (wanted != nullptr) {
      EXPECT_TRUE(same_row(*found, *wanted)) << us;
    } else {
      EXPECT_EQ(code_of(found), ErrorCode::not_found);
    }
  }
}

TEST_P(PointStoreReadTest, APointIsFoundByAnyPrefixThatIsItsAlone) {
  add_history(40);
  PointStore& store = reader();
  for (const PointRow& row : model_) {
    const std::string id = row.point.record.id.hex();
    for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{3}, id.size()}) {
      const std::string prefix = id.substr(0, size);
      const auto same = std::count_if(model_.begin(), model_.end(), [&](const PointRow& other) {
        return other.point.record.id.hex().starts_with(prefix);
      });
      const auto found = store.find(by_id(prefix));
      if (same == 1) {
        ASSERT_TRUE(found) << prefix;
        EXPECT_TRUE(same_row(*found, row));
      } else {
        EXPECT_EQ(code_of(found), ErrorCode::invalid_argument) << prefix;
      }
    }
    std::string upper = id;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c; });
    EXPECT_TRUE(store.find(by_id(upper))) << upper;
  }
  for (const std::string& none : {rng_.id<PointId>().hex(), std::string("xyz"), std::string("0g"),
                                  model_.front().point.record.id.hex() + "00"})
    EXPECT_EQ(code_of(store.find(by_id(none))), ErrorCode::not_found) << none;
}

TEST_P(PointStoreReadTest, EveryBlobIsLocatedAndReadsAsItWas) {
  const Content sent = content(300);
  store_.add_point("tokyo", kAsset, sent);
  PointStore& store = reader();
  auto ids = sent.ids();
  std::shuffle(ids.begin(), ids.end(), std::mt19937_64(rng_.next()));
  ids.push_back(ids.front());
  const auto locations = must(store.locate(ids));
  ASSERT_EQ(locations.size(), ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const BlobLocation& at = locations[i];
    EXPECT_EQ(at.entry.id, ids[i]);
    const Bytes header = must(store.read(at.pack, 0, kPackHeaderBytes));
    const Bytes stored = must(store.read(at.pack, at.entry.offset, at.entry.stored_size));
    EXPECT_EQ(must(decode_blob(store_.keys(), header, at.entry, stored)), sent.plain.at(ids[i]));
  }
  EXPECT_THAT(must(store.locate({})), IsEmpty());
}

TEST_P(PointStoreReadTest, WhatIsNotThereIsNotLocated) {
  const Content sent = content();
  store_.add_point("tokyo", kAsset, sent);
  std::vector<ChunkId> ids = sent.chunks;
  ids.insert(ids.begin() + 50, rng_.id<ChunkId>());
  EXPECT_EQ(code_of(reader().locate(ids)), ErrorCode::corruption);
}

TEST_P(PointStoreReadTest, BatchesOfTheLimitAreTakenAndLargerOnesRefused) {
  const Content sent = content(20);
  store_.add_point("tokyo", kAsset, sent);
  PointStore& store = reader();
  std::vector<ChunkId> ids(kIdsPerCallMax, sent.chunks.front());
  EXPECT_THAT(must(store.locate(ids)), SizeIs(kIdsPerCallMax));
  ids.push_back(sent.chunks.front());
  EXPECT_EQ(code_of(store.locate(ids)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(store.read(sent.packs[0].id, 0, kReadBytesMax + 1)),
            ErrorCode::invalid_argument);
}

TEST_P(PointStoreReadTest, AReadGivesExactlyWhatWasAskedOrFails) {
  const Content sent = content();
  store_.add_point("tokyo", kAsset, sent);
  PointStore& store = reader();
  const auto& pack = sent.packs.front();
  const std::size_t size = pack.bytes.size();
  for (int round = 0; round < 30; ++round) {
    const std::size_t from = rng_.below(size), to = rng_.between(from + 1, size);
    const Bytes bytes = must(store.read(pack.id, from, to - from));
    EXPECT_EQ(bytes, copy_of(ByteView(pack.bytes).subspan(from, to - from)));
  }
  EXPECT_EQ(code_of(store.read(pack.id, 0, size + 1)), ErrorCode::corruption);
  EXPECT_EQ(code_of(store.read(pack.id, size, 1)), ErrorCode::corruption);
  EXPECT_EQ(code_of(store.read(rng_.id<PackId>(), 0, 1)), ErrorCode::not_found);
}

TEST_P(PointStoreReadTest, StatisticsCountEachBlobOnce) {
  const Content sent = content(300);
  store_.add_point("tokyo", kAsset, sent);
  store_.add_point("tokyo", "rbd/rbd/vm-2", sent);
  const CatalogStats stats = must(reader().stats());
  std::uint64_t pack_bytes = 0, plain_bytes = 0;
  for (const auto& pack : sent.packs) pack_bytes += pack.bytes.size();
  for (const auto& [id, plain] : sent.plain) plain_bytes += plain.size();
  EXPECT_EQ(stats.points, 2U);
  EXPECT_EQ(stats.packs, sent.packs.size());
  EXPECT_EQ(stats.pack_bytes, pack_bytes);
  EXPECT_EQ(stats.chunks, sent.chunks.size());
  EXPECT_EQ(stats.nodes, sent.nodes.size());
  EXPECT_EQ(stats.plain_bytes, plain_bytes);
}

TEST_P(PointStoreReadTest, PinsShowAndDeletedPointsDoNot) {
  add_history(8);
  const PointId pinned = model_[2].point.record.id, deleted = model_[5].point.record.id;
  must(store_.service().set_pinned(pinned, true));
  must(store_.service().remove(deleted));
  const auto rows = must(reader().points("", ""));
  ASSERT_THAT(rows, SizeIs(7));
  for (const PointRow& row : rows) {
    EXPECT_NE(row.point.record.id, deleted);
    EXPECT_EQ(row.pinned, row.point.record.id == pinned);
  }
  must(store_.service().set_pinned(pinned, false));
  EXPECT_FALSE(must(reader().find(by_id(pinned.hex()))).pinned);
}

INSTANTIATE_TEST_SUITE_P(Stores, PointStoreReadTest,
                         ::testing::Values(Kind{Access::direct, true}, Kind{Access::direct, false},
                                           Kind{Access::remote, true}, Kind{Access::remote, false},
                                           Kind{Access::bare, true}, Kind{Access::bare, false}),
                         [](const auto& kind) { return kind_name(kind.param); });

TEST(BareStoreTest, RefusesToWrite) {
  TestService store;
  Reach reach(store, Access::bare);
  const PointRow row = store.add_point("tokyo", kAsset, Content{});
  const PointId& id = row.point.record.id;
  const std::size_t blobs = store.medium().count();
  PointStore& bare = reach.as("osaka");
  const UploadSession session{SessionId::from(id.view()), id, 1};
  EXPECT_EQ(code_of(bare.begin("tokyo", kAsset, {})), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.missing(session, {})), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.put_pack(session, {}, {})), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.commit(session, {})), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.abandon(session)), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.set_pinned(id, true)), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.remove(id)), ErrorCode::refused);
  EXPECT_EQ(code_of(bare.set_verified(id)), ErrorCode::refused);
  EXPECT_EQ(store.medium().count(), blobs);
}

TEST(BareStoreTest, ADamagedRecordIsReportedAndNothingIsGuessedAroundIt) {
  TestService store;
  Reach reach(store, Access::bare);
  const PointRow first = store.add_point("tokyo", kAsset, Content{}, Timestamp{1});
  const PointRow second = store.add_point("tokyo", kAsset, Content{}, Timestamp{2});
  store.medium().flip(point_blob_name(second.point.record.id), 30);
  PointStore& bare = reach.as("osaka");
  ASSERT_THAT(bare.damaged_records(), SizeIs(1));
  EXPECT_EQ(bare.damaged_records()[0].id, second.point.record.id.hex());
  EXPECT_THAT(must(bare.points("", "")), SizeIs(1));
  EXPECT_EQ(code_of(bare.find(newest_of("tokyo", kAsset))), ErrorCode::corruption);
  EXPECT_EQ(code_of(bare.find(as_of("tokyo", kAsset, {9}))), ErrorCode::corruption);
  EXPECT_TRUE(same_row(must(bare.find(by_id(first.point.record.id.hex()))), first));
}

}  // namespace
}  // namespace tidemark::test
