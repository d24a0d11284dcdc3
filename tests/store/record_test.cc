// Point records and committed points: nothing in them can be altered unseen.
#include "store/record.h"

#include "store/tree.h"
#include "tests/store/support.h"

namespace tidemark {
namespace {

using test::Rng;

PointRecord sample_record(Rng& rng, const StoreKeys& keys) {
  PointRecord record;
  record.id = rng.id<PointId>();
  record.store = rng.id<StoreId>();
  record.site = "tokyo";
  record.asset = "rbd/rbd/vm-7";
  record.parent = rng.id<PointId>();
  record.set = "nightly";
  record.time = {-5};
  record.root = {rng.id<ChunkId>(), 2, 12345};
  record.size_bytes = 1ULL << 40;
  record.changed_bytes = 300;
  record.shipped_bytes = 200;
  record.duration_ms = 77;
  record.labels = {{"app", "db"}, {"tier", ""}};
  record.sealed_meta = seal_meta(R"({"features":61})", record.id, keys);
  return record;
}

void expect_equal(const PointRecord& a, const PointRecord& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.store, b.store);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.site, b.site);
  EXPECT_EQ(a.asset, b.asset);
  EXPECT_EQ(a.parent, b.parent);
  EXPECT_EQ(a.set, b.set);
  EXPECT_EQ(a.time, b.time);
  EXPECT_EQ(a.root, b.root);
  EXPECT_EQ(a.size_bytes, b.size_bytes);
  EXPECT_EQ(a.region_bytes, b.region_bytes);
  EXPECT_EQ(a.changed_bytes, b.changed_bytes);
  EXPECT_EQ(a.shipped_bytes, b.shipped_bytes);
  EXPECT_EQ(a.duration_ms, b.duration_ms);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.sealed_meta, b.sealed_meta);
  EXPECT_EQ(a.mac, b.mac);
}

// The record's bytes with the MAC that it has, as a committed point holds them at its end.
Bytes bytes_with_mac_of(const PointRecord& record) {
  CommittedPoint point;
  point.record = record;
  Bytes committed = encode(point);
  ByteReader r(committed);
  r.raw(8 + 2 + 6 + 8 + 8 + Digest::kSize + 8);
  const ByteView inner = r.sized(kRecordBytesMax);
  EXPECT_TRUE(r.ok());
  return Bytes(inner.begin(), inner.end());
}

class Records : public testing::TestWithParam<bool> {
 protected:
  Rng rng_;
  StoreKeys keys_ = GetParam() ? StoreKeys(test::fixed_key(1)) : StoreKeys::unencrypted();
};

TEST_P(Records, ReadWhatWasWritten) {
  SCOPED_TRACE(rng_.trace());
  PointRecord record = sample_record(rng_, keys_);
  const Bytes bytes = encode(record, keys_);
  EXPECT_EQ(record.mac.is_null(), !keys_.encrypted());
  const auto decoded = decode_point_record(bytes);
  ASSERT_TRUE(decoded);
  expect_equal(*decoded, record);
  EXPECT_TRUE(check_record_mac(*decoded, keys_));
  EXPECT_EQ(bytes_with_mac_of(*decoded), bytes);
  const auto meta = open_meta(*decoded, keys_);
  ASSERT_TRUE(meta);
  EXPECT_EQ(*meta, R"({"features":61})");
}

TEST_P(Records, MinimalRecordIsReadable) {
  PointRecord record;
  record.id = rng_.id<PointId>();
  const auto decoded = decode_point_record(encode(record, keys_));
  ASSERT_TRUE(decoded);
  expect_equal(*decoded, record);
}

TEST_P(Records, DamageIsRefusedOrCanonicalAndNeverHasAValidMac) {
  SCOPED_TRACE(rng_.trace());
  PointRecord record = sample_record(rng_, keys_);
  const Bytes bytes = encode(record, keys_);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_point_record(ByteView(bytes).first(size)));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (unsigned flip = 1; flip < 256; ++flip) {
      Bytes damaged = bytes;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ flip);
      const auto decoded = decode_point_record(damaged);
      if (!decoded) continue;
      ASSERT_EQ(bytes_with_mac_of(*decoded), damaged);
      if (keys_.encrypted() || at + Digest::kSize >= bytes.size()) {
        ASSERT_EQ(test::code_of(check_record_mac(*decoded, keys_)), ErrorCode::corruption);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EncryptedOrNot, Records, testing::Bool());

TEST(PointRecord, MacOfAnotherKeyIsRefused) {
  Rng rng;
  const StoreKeys keys(test::fixed_key(1)), other(test::fixed_key(2));
  PointRecord record = sample_record(rng, keys);
  encode(record, keys);
  EXPECT_TRUE(check_record_mac(record, keys));
  EXPECT_EQ(test::code_of(check_record_mac(record, other)), ErrorCode::corruption);
  EXPECT_EQ(test::code_of(check_record_mac(record, StoreKeys::unencrypted())),
            ErrorCode::corruption);
}

TEST(PointRecord, MetadataIsBoundToItsPointAndKey) {
  Rng rng;
  const StoreKeys keys(test::fixed_key(1)), other(test::fixed_key(2));
  PointRecord record = sample_record(rng, keys);
  EXPECT_EQ(as_text(record.sealed_meta).find("features"), std::string_view::npos);
  EXPECT_EQ(test::code_of(open_meta(record, other)), ErrorCode::corruption);
  EXPECT_NE(seal_meta("{}", record.id, keys), seal_meta("{}", record.id, keys))
      << "a key and a nonce came twice";
  PointRecord elsewhere = sample_record(rng, keys);
  elsewhere.sealed_meta = record.sealed_meta;
  EXPECT_EQ(test::code_of(open_meta(elsewhere, keys)), ErrorCode::corruption);
  for (std::size_t at = 0; at < record.sealed_meta.size(); ++at) {
    PointRecord damaged = record;
    damaged.sealed_meta[at] ^= 1;
    EXPECT_EQ(test::code_of(open_meta(damaged, keys)), ErrorCode::corruption);
  }
}

TEST(PointRecord, LimitsAreKept) {
  Rng rng;
  const StoreKeys keys = StoreKeys::unencrypted();
  const auto decodes = [&](const std::function<void(PointRecord&)>& change) {
    PointRecord record = sample_record(rng, keys);
    change(record);
    return decode_point_record(encode(record, keys)).has_value();
  };
  const auto labels = [](PointRecord& r, std::size_t count) {
    r.labels.clear();
    for (std::size_t i = 0; i < count; ++i) r.labels["label" + std::to_string(i)] = "x";
  };
  const std::string longest(kRecordTextBytesMax, 'x'), longer = longest + "x";
  EXPECT_TRUE(decodes([&](PointRecord& r) { r.site = r.asset = r.set = longest; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.site = longer; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.asset = longer; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.set = longer; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.labels[longer] = ""; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.labels["a"] = longer; }));
  EXPECT_TRUE(decodes([&](PointRecord& r) { labels(r, kRecordLabelsMax); }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { labels(r, kRecordLabelsMax + 1); }));
  EXPECT_TRUE(decodes([&](PointRecord& r) { r.sealed_meta = Bytes(kRecordMetaBytesMax, 7); }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.sealed_meta = Bytes(kRecordMetaBytesMax + 1, 7); }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.id = {}; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.region_bytes = 0; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.root.level = kTreeLevelMax + 1; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.root = {{}, 0, 1}; }));
  EXPECT_FALSE(decodes([&](PointRecord& r) { r.root = {{}, 1, 0}; }));
  EXPECT_TRUE(decodes([&](PointRecord& r) { r.root = {}; }));
  EXPECT_TRUE(decodes([&](PointRecord& r) {
    r.kind = PointKind::bucket;
    r.region_bytes = 0;
  }));
  EXPECT_FALSE(decode_point_record(Bytes(kRecordBytesMax + 1, 0)));
}

TEST(PointRecord, LargestRecordThatIsAllowedCanBeCommittedAndReadAgain) {
  const StoreKeys keys(test::fixed_key(1));
  Rng rng;
  CommittedPoint point;
  point.record = sample_record(rng, keys);
  PointRecord& record = point.record;
  record.site = record.asset = record.set = std::string(kRecordTextBytesMax, 's');
  record.labels.clear();
  for (std::size_t i = 0; i < kRecordLabelsMax; ++i)
    record.labels[std::to_string(i) + std::string(kRecordTextBytesMax - 2, 'l')] =
        std::string(kRecordTextBytesMax, 'v');
  record.sealed_meta = rng.bytes(kRecordMetaBytesMax);
  encode(record, keys);
  point.sequence = 1;
  const auto decoded = decode_committed_point(encode(point));
  ASSERT_TRUE(decoded) << decoded.error().describe();
  expect_equal(decoded->record, record);
}

CommittedPoint sample_point(Rng& rng, const StoreKeys& keys) {
  CommittedPoint point;
  point.record = sample_record(rng, keys);
  encode(point.record, keys);
  point.received = {1'800'000'000'000'001};
  point.sequence = 42;
  point.previous = rng.id<Digest>();
  point.stored_bytes = 4096;
  return point;
}

TEST(CommittedPoint, ReadsWhatWasWritten) {
  Rng rng;
  const StoreKeys keys(test::fixed_key(1));
  const CommittedPoint point = sample_point(rng, keys);
  const auto decoded = decode_committed_point(encode(point));
  ASSERT_TRUE(decoded);
  expect_equal(decoded->record, point.record);
  EXPECT_EQ(decoded->received, point.received);
  EXPECT_EQ(decoded->sequence, point.sequence);
  EXPECT_EQ(decoded->previous, point.previous);
  EXPECT_EQ(decoded->stored_bytes, point.stored_bytes);
  EXPECT_TRUE(check_record_mac(decoded->record, keys));
}

TEST(CommittedPoint, EveryTruncationAndEveryChangedByteFails) {
  Rng rng;
  const Bytes bytes = encode(sample_point(rng, StoreKeys::unencrypted()));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_committed_point(ByteView(bytes).first(size)));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {1, 0x10, 0x80, 0xff}) {
      Bytes damaged = bytes;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ flip);
      EXPECT_FALSE(decode_committed_point(damaged));
    }
  }
  Bytes longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(decode_committed_point(longer));
}

TEST(CommittedPoint, WithAValidDigestDecodesOnlyWhatEncodesToTheSame) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  const Bytes bytes = encode(sample_point(rng, StoreKeys::unencrypted()));
  for (std::size_t at = 0; at + Digest::kSize < bytes.size(); ++at) {
    for (const int flip : {1, 2, 3, 4, 8, 0x40, 0x80, 0xff}) {
      Bytes forged(bytes.begin(), bytes.end() - Digest::kSize);
      forged[at] = static_cast<std::uint8_t>(forged[at] ^ flip);
      append(forged, sha256(forged).view());
      const auto decoded = decode_committed_point(forged);
      if (decoded) {
        ASSERT_EQ(encode(*decoded), forged);
      }
    }
  }
}

TEST(PointNames, AreThereAndBack) {
  const PointId id = random_id<PointId>();
  const std::string name = point_blob_name(id);
  EXPECT_EQ(name, "points/" + id.hex());
  EXPECT_EQ(point_of_blob_name(name), id);
  for (const std::string& wrong :
       {std::string(), std::string("points/"), name + "0", name.substr(0, name.size() - 1),
        "Points/" + id.hex(), "points/" + std::string(32, 'g'), "points/" + std::string(32, 'A'),
        "points//" + id.hex()})
    EXPECT_FALSE(point_of_blob_name(wrong)) << wrong;
}

}  // namespace
}  // namespace tidemark
