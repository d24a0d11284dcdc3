// The bytes of each kind of row, as schema 1 has them for good. A change that shows here is a
// change of the schema: it needs a new version and a migration. TM_UPDATE_GOLDEN=1 writes the files
// anew.

#include <cstdlib>

#include "base/files.h"
#include "catalog/internal/control.h"
#include "catalog/internal/keys.h"
#include "catalog/internal/rows.h"
#include "support.h"
#include "tests/base/source_path.h"

namespace tidemark::catalog {
namespace {

struct GoldenRow {
  std::string name, key, value;
};

PointRow golden_point() {
  PointRow row = make_point(1, "tokyo", "rbd/rbd/vm", {1'790'000'000'000'000}, std::nullopt);
  row.point.record.version = 1;  // rows outlive the versions of what they hold
  row.record_hash = sha256(encode(row.point));
  row.pinned = true;
  row.verified = Timestamp{1'790'000'500'000'000};
  return row;
}

StoredChunk golden_chunk() {
  StoredChunk row;
  row.kind = BlobKind::node;
  row.codec = Codec::zstd;
  row.pack = 70000;
  row.ordinal = 300;
  row.offset = 123'456;
  row.stored_size = 4096;
  row.plain_size = 65536;
  row.closed_epoch = 2;
  return row;
}

SessionRow golden_session() {
  SessionRow row;
  row.id = nth<SessionId>(1);
  row.site = "tokyo";
  row.asset = "s3/photos";
  row.parent = nth<PointId>(2);
  row.fence = 7;
  row.opened = Timestamp{1'790'000'000'000'000};
  row.renewed = Timestamp{1'790'000'001'000'000};
  row.stored_bytes = 1 << 20;
  return row;
}

JournalEntry golden_entry() {
  JournalEntry entry;
  entry.sequence = 258;
  entry.time = Timestamp{1'790'000'000'000'000};
  entry.kind = "commit";
  entry.text = R"({"point":"00"})";
  entry.previous = nth<Digest>(3);
  entry.hash = journal_hash(entry);
  return entry;
}

State golden_state() {
  State row{9, 2, 70001, {}};
  row.stats = {1, 2, 3000, 4, 5, 600'000};
  return row;
}

std::vector<GoldenRow> golden_rows() {
  std::vector<GoldenRow> rows;
  const auto add = [&](std::string name, const std::string& key, const std::string& value) {
    rows.push_back({std::move(name), key, value});
  };
  std::string key = kind_key(RowKind::identity);
  add("identity", key, encode_identity(key, {1, test_store(), 5}));
  key = kind_key(RowKind::state);
  add("state", key, encode_state(key, golden_state()));
  key = number_key(RowKind::damaged_pack, 70000);
  add("damaged_pack", key, encode_mark(key));
  key = fence_key("tokyo", "rbd/rbd/vm");
  add("fence", key, encode_fence(key, 300));
  key = number_key(RowKind::journal, 258);
  add("journal", key, encode_journal(key, golden_entry()));
  key = pin_key(nth<SessionId>(1), nth<PackId>(2));
  add("pack_pin", key, encode_mark(key));
  key = number_key(RowKind::pack_number, 70000);
  add("pack_number", key, encode_pack_number(key, nth<PackId>(2)));
  key = id_key(RowKind::pack, nth<PackId>(2));
  add("pack", key, encode_pack(key, {70000, 16'777'216, 420, true}));
  const PointRow point = golden_point();
  const PointId id = point.point.record.id;
  key = sequence_key(1, id);
  add("sequence", key, encode_mark(key));
  key = id_key(RowKind::point, id);
  add("point", key, encode_point(key, point));
  key = id_key(RowKind::session, nth<SessionId>(1));
  add("session", key, encode_session(key, golden_session()));
  key = time_key(RowKind::live_point, "tokyo", "rbd/rbd/vm", point.point.record.time, 1, id);
  add("live_point", key, encode_mark(key));
  key = time_key(RowKind::deleted_point, "tokyo", "rbd/rbd/vm", {-1}, 1, id);
  add("deleted_point", key, encode_mark(key));
  const ChunkId chunk = nth<ChunkId>(4);
  add("chunk", std::string(as_text(chunk.view())), encode_chunk(chunk, golden_chunk()));
  return rows;
}

std::filesystem::path golden_path(const std::string& name) {
  return test::source_path("tests/golden/catalog/" + name + ".hex");
}

// The line of a golden file that begins with this word, as bytes.
std::string golden_line(const std::string& name, const std::string& word) {
  const Bytes bytes = must(read_file(golden_path(name), 1 << 20));
  const std::string text(as_text(bytes));
  const std::size_t begin = text.find(word + " ");
  if (begin == std::string::npos) throw std::runtime_error(name + " has no " + word);
  const std::size_t from = begin + word.size() + 1;
  const auto decoded = from_hex(text.substr(from, text.find('\n', from) - from));
  if (!decoded) throw std::runtime_error(name + " is not hex");
  return std::string(as_text(*decoded));
}

TEST(GoldenTest, EveryRowIsEncodedAsBefore) {
  for (const GoldenRow& row : golden_rows()) {
    if (std::getenv("TM_UPDATE_GOLDEN") != nullptr) {
      const std::string text =
          "key " + to_hex(as_bytes(row.key)) + "\nvalue " + to_hex(as_bytes(row.value)) + "\n";
      must(write_file_durably(golden_path(row.name), as_bytes(text), 0644));
    }
    EXPECT_EQ(to_hex(as_bytes(row.key)), to_hex(as_bytes(golden_line(row.name, "key"))))
        << row.name;
    EXPECT_EQ(to_hex(as_bytes(row.value)), to_hex(as_bytes(golden_line(row.name, "value"))))
        << row.name;
  }
}

class GoldenRead : public ::testing::Test {
 protected:
  void load(const std::string& name) {
    key_ = golden_line(name, "key");
    value_ = golden_line(name, "value");
  }
  std::string key_, value_;
};

TEST_F(GoldenRead, IdentityStateAndFence) {
  load("identity");
  const Identity identity = must(decode_identity(key_, value_));
  EXPECT_EQ(identity.schema, 1U);
  EXPECT_EQ(identity.store, test_store());
  EXPECT_EQ(identity.fence_floor, 5U);
  load("state");
  const State state = must(decode_state(key_, value_));
  EXPECT_EQ(state.synced, 9U);
  EXPECT_EQ(state.closed_epoch, 2U);
  EXPECT_EQ(state.next_pack, 70001U);
  EXPECT_EQ(state.stats.points, 1U);
  EXPECT_EQ(state.stats.plain_bytes, 600'000U);
  load("fence");
  EXPECT_EQ(must(decode_fence(key_, value_)), 300U);
}

TEST_F(GoldenRead, PacksAndChunks) {
  load("pack");
  const StoredPack pack = must(decode_pack(key_, value_));
  EXPECT_EQ(parse_id_key<PackId>(key_), nth<PackId>(2));
  EXPECT_EQ(pack.number, 70000U);
  EXPECT_EQ(pack.size_bytes, 16'777'216U);
  EXPECT_EQ(pack.entries, 420U);
  EXPECT_TRUE(pack.damaged);
  load("pack_number");
  EXPECT_EQ(must(decode_pack_number(key_, value_)), nth<PackId>(2));
  load("chunk");
  const StoredChunk chunk = must(decode_chunk(nth<ChunkId>(4), value_));
  EXPECT_EQ(key_, as_text(nth<ChunkId>(4).view()));
  EXPECT_EQ(chunk.pack, 70000U);
  EXPECT_EQ(chunk.ordinal, 300U);
  EXPECT_EQ(chunk.offset, 123'456U);
  EXPECT_EQ(chunk.closed_epoch, 2U);
}

TEST_F(GoldenRead, PointsAndTheirIndexes) {
  load("point");
  EXPECT_TRUE(same_row(must(decode_point(key_, value_)), golden_point()));
  for (const std::string name : {"live_point", "deleted_point"}) {
    load(name);
    must(decode_mark(key_, value_));
    const auto parsed = parse_time_key(key_);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->site, "tokyo");
    EXPECT_EQ(parsed->time.us, name == "live_point" ? 1'790'000'000'000'000 : -1);
  }
  load("sequence");
  must(decode_mark(key_, value_));
  EXPECT_EQ(parse_sequence_key(key_)->sequence, 1U);
}

TEST_F(GoldenRead, SessionsAndTheJournal) {
  load("session");
  const SessionRow session = must(decode_session(key_, value_));
  EXPECT_EQ(session.id, nth<SessionId>(1));
  EXPECT_EQ(session.asset, "s3/photos");
  EXPECT_EQ(session.fence, 7U);
  EXPECT_EQ(session.stored_bytes, 1U << 20);
  load("pack_pin");
  must(decode_mark(key_, value_));
  EXPECT_EQ(parse_pin_key(key_)->pack, nth<PackId>(2));
  load("damaged_pack");
  must(decode_mark(key_, value_));
  EXPECT_EQ(parse_number_key(key_), 70000U);
  load("journal");
  const JournalEntry entry = must(decode_journal(key_, value_));
  EXPECT_EQ(entry.sequence, 258U);
  EXPECT_EQ(entry.kind, "commit");
  EXPECT_EQ(entry.hash, golden_entry().hash);
}

TEST(GoldenTest, TheControlFileIsAsBefore) {
  TempDir directory;
  const auto path = directory.path() / "control";
  must(Control::create(path, 1, test_store()));
  must(must(Control::open(path)).advance(259));
  const Bytes bytes = must(read_file(path, 1 << 20));
  ASSERT_EQ(bytes.size(), 4096U + 48U);
  const std::string slots = std::string(as_text(ByteView(bytes).first(48))) +
                            std::string(as_text(ByteView(bytes).last(48)));
  if (std::getenv("TM_UPDATE_GOLDEN") != nullptr) {
    const std::string text = "slots " + to_hex(as_bytes(slots)) + "\n";
    must(write_file_durably(golden_path("control"), as_bytes(text), 0644));
  }
  EXPECT_EQ(to_hex(as_bytes(slots)), to_hex(as_bytes(golden_line("control", "slots"))));
}

}  // namespace
}  // namespace tidemark::catalog
