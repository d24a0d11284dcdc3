#include <fstream>

#include "catalog/internal/database.h"
#include "catalog/internal/keys.h"
#include "catalog/internal/rows.h"
#include "support.h"

namespace tidemark {
namespace {

using catalog::Cursor;
using catalog::Database;
using catalog::RowKind;
using catalog::Table;
using ::testing::IsEmpty;
using ::testing::Not;

struct Row {
  Table table;
  std::string key, value;
};

// A catalog with rows of every kind, closed, and its rows at hand to be damaged.
class CheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    {
      const auto catalog = open_catalog(path());
      for (std::uint64_t n = 1; n <= 4; ++n)
        must(add(*catalog, make_pack(n, {n * 10, n * 10 + 1})));
      must(add(*catalog, make_pack(9, {90, 91}, BlobKind::node)));
      must(catalog->mark_pack_damaged(nth<PackId>(2)));
      for (std::uint64_t n = 1; n <= 4; ++n)
        commit(*catalog, n, "tokyo", "rbd/rbd/vm", {static_cast<std::int64_t>(n)});
      must(catalog->set_deleted(nth<PointId>(2), Timestamp{5}, {5}));
      SessionRow session;
      session.site = "tokyo";
      session.asset = "rbd/rbd/vm";
      session.id = nth<SessionId>(1);
      must(catalog->open_session(session));
      const PackId pack = nth<PackId>(1);
      must(catalog->pin_packs(session.id, std::span(&pack, 1)));
      // The last entries are verified on opening; damage is to be found by check() as well.
      for (int i = 0; i < 1100; ++i) must(catalog->append_journal("note", "", {i}));
      EXPECT_THAT(must(catalog->check()), IsEmpty());
    }
    const auto database = open_database();
    for (const Table table : {Table::rows, Table::chunks}) {
      Cursor cursor = database->cursor(table, "", "");
      for (cursor.first(); cursor.valid(); cursor.next()) {
        const Row row{table, std::string(cursor.key()), std::string(cursor.value())};
        const std::string kind = table == Table::rows ? row.key.substr(0, 1) : "";
        rows_.emplace(kind, row);  // the first of its kind; not the newest of the journal
      }
    }
    ASSERT_EQ(rows_.size(), 14U) << "a kind of row is missing in this test";
  }

  std::filesystem::path path() const { return directory_.path() / "catalog"; }
  std::unique_ptr<Database> open_database() const {
    return must(Database::open(path() / "rocksdb", false));
  }
  void put(const Row& row) const {
    const auto database = open_database();
    rocksdb::WriteBatch batch;
    database->put(batch, row.table, row.key, row.value);
    must(database->write(batch, true));
  }
  void erase(const Row& row) const {
    const auto database = open_database();
    rocksdb::WriteBatch batch;
    database->erase(batch, row.table, row.key);
    must(database->write(batch, true));
  }
  // Refused on opening, or found.
  bool is_noticed() const {
    const auto opened = Catalog::open(path(), test_store());
    if (!opened) {
      EXPECT_EQ(opened.error().code(), ErrorCode::corruption);
      return true;
    }
    return !must((*opened)->check()).empty();
  }

  TempDir directory_;
  std::map<std::string, Row> rows_;  // one of each kind, by the key's first byte
};

TEST_F(CheckTest, FindsAFlippedBitInAnyKindOfRow) {
  std::mt19937_64 random(test_seed());
  for (const auto& [kind, row] : rows_) {
    Row flipped = row;
    const std::size_t at = random() % row.value.size();
    flipped.value[at] = static_cast<char>(flipped.value[at] ^ (1 << random() % 8));
    put(flipped);
    EXPECT_TRUE(is_noticed()) << "kind '" << kind << "' byte " << at;
    put(row);
    ASSERT_FALSE(is_noticed()) << kind;
  }
}

TEST_F(CheckTest, FindsACutValueInAnyKindOfRow) {
  for (const auto& [kind, row] : rows_) {
    for (const std::size_t size : {std::size_t{0}, row.value.size() - 1}) {
      Row cut = row;
      cut.value.resize(size);
      put(cut);
      EXPECT_TRUE(is_noticed()) << "kind '" << kind << "' to " << size;
    }
    put(row);
  }
}

TEST_F(CheckTest, FindsARowThatIsGone) {
  for (const auto& [kind, row] : rows_) {
    // Nothing else speaks of a pin. Losing one is what a rebuild does as well.
    if (kind == std::string(1, static_cast<char>(RowKind::pack_pin))) continue;
    erase(row);
    EXPECT_TRUE(is_noticed()) << kind;
    put(row);
    ASSERT_FALSE(is_noticed()) << kind;
  }
}

TEST_F(CheckTest, FindsARowUnderTheKeyOfAnother) {
  for (const auto& [kind, row] : rows_) {
    if (row.key.size() < 2) continue;
    Row moved = row;
    moved.key[1] = static_cast<char>(moved.key[1] ^ 0x40);  // nobody's yet
    put(moved);
    EXPECT_TRUE(is_noticed()) << kind;
    erase(moved);
    ASSERT_FALSE(is_noticed()) << kind;
  }
}

TEST_F(CheckTest, FindsARowOfNoKnownKind) {
  const Row row{Table::rows, "zzz", "?"};
  put(row);
  EXPECT_TRUE(is_noticed());
}

// Bits flipped in RocksDB's own files: noticed, or without any effect.
TEST_F(CheckTest, AFlippedBitInAFileNeverChangesWhatIsReadUnnoticed) {
  std::mt19937_64 random(test_seed());
  open_catalog(path());  // moves all rows into table files
  TempDir copies;
  int noticed = 0;
  for (int round = 0; round < rounds(60); ++round) {
    const auto copy = copies.path() / std::to_string(round);
    std::filesystem::copy(path(), copy, std::filesystem::copy_options::recursive);
    const auto files = files_of(copy);
    auto file = files.begin();
    std::advance(file, random() % files.size());
    if (file->second.empty()) continue;
    std::string bytes = file->second;
    const std::size_t at = random() % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    std::ofstream(copy / file->first, std::ios::binary) << bytes;

    const auto opened = Catalog::open(copy, test_store());
    if (!opened || !must((*opened)->check()).empty()) {
      ++noticed;
      continue;
    }
    SCOPED_TRACE(file->first + " at " + std::to_string(at));
    EXPECT_EQ(points(**opened).size(), 3U);
    EXPECT_EQ(journal(**opened).size(), 5U + 1100U);
    for (const std::uint64_t chunk : {10U, 11U, 30U, 31U, 40U, 41U, 90U, 91U})
      EXPECT_TRUE(find_chunk(**opened, chunk)) << chunk;
    EXPECT_FALSE(find_chunk(**opened, 20));
  }
  EXPECT_GT(noticed, 0);
}

}  // namespace
}  // namespace tidemark
