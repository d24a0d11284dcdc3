#include <fstream>

#include "catalog/internal/control.h"
#include "catalog/internal/database.h"
#include "catalog/internal/keys.h"
#include "catalog/internal/rows.h"
#include "child.h"
#include "support.h"

namespace tidemark {
namespace {

using catalog::Control;
using catalog::Database;
using catalog::RowKind;
using catalog::Table;

class OpenTest : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return directory_.path() / "catalog"; }
  std::filesystem::path control() const { return path() / "control"; }
  ErrorCode open_error() { return code_of(Catalog::open(path(), test_store())); }
  void fill() {
    const auto catalog = open_catalog(path());
    for (std::uint64_t n = 1; n <= 5; ++n) {
      must(add(*catalog, make_pack(n, {n * 10, n * 10 + 1})));
      commit(*catalog, n, "tokyo", "rbd/rbd/vm", {static_cast<std::int64_t>(n)});
    }
  }
  // Of the log that holds what was not moved into table files yet.
  std::filesystem::path log_file() const {
    std::filesystem::path newest;
    for (const auto& entry : std::filesystem::directory_iterator(path() / "rocksdb"))
      if (entry.path().extension() == ".log" && entry.file_size() > 0) newest = entry.path();
    return newest;
  }
  static void flip(const std::filesystem::path& file, std::uint64_t offset) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(static_cast<std::streamoff>(offset));
    stream.put(byte);
  }
  TempDir directory_;
};

TEST_F(OpenTest, CreatesTheDirectoriesAboveIt) {
  const auto deep = directory_.path() / "a" / "b" / "catalog/";
  must(open_catalog(deep)->append_journal("note", "", {1}));
  EXPECT_EQ(journal(*open_catalog(deep)).size(), 1U);
}

TEST_F(OpenTest, IsRefusedWhileItIsOpen) {
  const auto catalog = open_catalog(path());
  EXPECT_EQ(open_error(), ErrorCode::refused);
}

TEST_F(OpenTest, DISABLED_Second) {
  const auto opened = Catalog::open(child_argument(0), test_store());
  say(opened ? "opened" : to_string(opened.error().code()));
}

TEST_F(OpenTest, IsRefusedToAnotherProcessUntilItIsClosed) {
  auto catalog = open_catalog(path());
  EXPECT_EQ(Child("OpenTest.DISABLED_Second", {path().string()}).read_line(), "refused");
  catalog.reset();
  EXPECT_EQ(Child("OpenTest.DISABLED_Second", {path().string()}).read_line(), "opened");
}

TEST_F(OpenTest, ACatalogOfAnotherStoreIsRefused) {
  fill();
  const auto before = files_of(path());
  EXPECT_EQ(code_of(Catalog::open(path(), nth<StoreId>(2))), ErrorCode::invalid_argument);
  EXPECT_EQ(files_of(path()), before);
}

TEST_F(OpenTest, ANewerSchemaIsRefusedWithoutAWrite) {
  fill();
  must(Control::create(control(), catalog::kSchemaVersion + 1, test_store()));
  const auto before = files_of(path());
  EXPECT_EQ(open_error(), ErrorCode::unsupported);
  EXPECT_EQ(files_of(path()), before);
}

TEST_F(OpenTest, ANewerIdentityRowIsRefused) {
  fill();
  {
    const auto database = must(Database::open(path() / "rocksdb", false));
    const std::string key = catalog::kind_key(RowKind::identity);
    catalog::Identity identity;
    identity.schema = catalog::kSchemaVersion + 1;
    identity.store = test_store();
    rocksdb::WriteBatch batch;
    database->put(batch, Table::rows, key, catalog::encode_identity(key, identity));
    must(database->write(batch, true));
  }
  EXPECT_EQ(open_error(), ErrorCode::unsupported);
}

TEST_F(OpenTest, AnInterruptedCreationIsFinished) {
  std::filesystem::create_directories(path());
  must(Control::create(control(), catalog::kSchemaVersion, test_store()));
  must(open_catalog(path())->append_journal("note", "", {1}));
  EXPECT_EQ(journal(*open_catalog(path())).size(), 1U);
}

TEST_F(OpenTest, AControlFileThatLagsBehindCatchesUp) {
  open_catalog(path());
  const auto earlier = files_of(path()).at("control");
  fill();
  std::ofstream(control(), std::ios::binary) << earlier;
  EXPECT_EQ(points(*open_catalog(path())).size(), 5U);
  EXPECT_NE(files_of(path()).at("control"), earlier);
}

TEST_F(OpenTest, ATornSlotOfTheControlFileLeavesTheOther) {
  fill();
  for (const std::uint64_t slot : {0U, 4096U}) {
    flip(control(), slot + 33);
    EXPECT_EQ(points(*open_catalog(path())).size(), 5U);
    must(open_catalog(path())->append_journal("note", "", {1}));
    must(open_catalog(path())->append_journal("note", "", {1}));  // both slots are whole again
  }
  flip(control(), 33);
  flip(control(), 4096 + 33);
  EXPECT_EQ(open_error(), ErrorCode::corruption);
}

TEST_F(OpenTest, AMissingControlFileIsDamage) {
  fill();
  std::filesystem::remove(control());
  EXPECT_EQ(open_error(), ErrorCode::corruption);
}

TEST_F(OpenTest, AMissingDatabaseIsDamageAndNotAnEmptyCatalog) {
  fill();
  std::filesystem::remove_all(path() / "rocksdb");
  EXPECT_EQ(open_error(), ErrorCode::corruption);
}

TEST_F(OpenTest, AnInterruptedRebuildWithoutAnOldCatalogIsDamage) {
  std::filesystem::create_directories(path().string() + ".rebuilding");
  EXPECT_EQ(open_error(), ErrorCode::corruption);
  std::filesystem::create_directories(path());  // made by a caller, for a catalog to come
  EXPECT_EQ(open_error(), ErrorCode::corruption);
}

// What follows the last synced batch may be torn anywhere by a power failure.
TEST_F(OpenTest, ATornUnsyncedEndOfTheLogIsForgotten) {
  fill();
  const std::uint64_t synced = std::filesystem::file_size(log_file());
  std::uint64_t end = 0;
  {
    // Opening moves the log into table files; what is added now goes into a new one.
    const auto catalog = open_catalog(path());
    must(catalog->append_journal("note", "", {1}));
  }
  const auto first = files_of(path());
  const std::string log = std::filesystem::relative(log_file(), path()).string();
  const std::uint64_t kept = first.at(log).size();
  EXPECT_GT(synced, 0U);
  TempDir copies;
  for (std::uint64_t cut = 1; cut < 400; cut += 13) {
    const auto copy = copies.path() / std::to_string(cut);
    std::filesystem::copy(path(), copy, std::filesystem::copy_options::recursive);
    std::ofstream(copy / log, std::ios::binary | std::ios::app) << std::string(cut, '\x5a');
    const auto catalog = open_catalog(copy);
    EXPECT_EQ(points(*catalog).size(), 5U);
    EXPECT_THAT(must(catalog->check()), ::testing::IsEmpty());
    end = std::max(end, kept + cut);
  }
  EXPECT_GT(end, kept);
}

// What was acknowledged may not be missing without a word, whatever happened to the log.
TEST_F(OpenTest, ALogThatLostAcknowledgedChangesIsDamage) {
  open_catalog(path());
  fill();
  const std::filesystem::path log = log_file();
  const std::string name = std::filesystem::relative(log, path()).string();
  const std::uint64_t size = std::filesystem::file_size(log);
  TempDir copies;
  int number = 0;
  const auto copy = [&] {
    const auto to = copies.path() / std::to_string(number++);
    std::filesystem::copy(path(), to, std::filesystem::copy_options::recursive);
    return to;
  };
  for (std::uint64_t kept = 0; kept < size; kept += size / 20 + 1) {
    const auto damaged = copy();
    std::filesystem::resize_file(damaged / name, kept);
    EXPECT_EQ(code_of(Catalog::open(damaged, test_store())), ErrorCode::corruption) << kept;
  }
  for (std::uint64_t offset = 0; offset < size; offset += size / 40 + 1) {
    const auto damaged = copy();
    flip(damaged / name, offset);
    EXPECT_EQ(code_of(Catalog::open(damaged, test_store())), ErrorCode::corruption) << offset;
  }
  const auto damaged = copy();
  std::filesystem::remove(damaged / name);
  EXPECT_EQ(code_of(Catalog::open(damaged, test_store())), ErrorCode::corruption);
}

TEST_F(OpenTest, AGapInTheJournalIsDamage) {
  fill();
  {
    const auto database = must(Database::open(path() / "rocksdb", false));
    rocksdb::WriteBatch batch;
    database->erase(batch, Table::rows, catalog::number_key(RowKind::journal, 3));
    must(database->write(batch, true));
  }
  EXPECT_EQ(open_error(), ErrorCode::corruption);
}

}  // namespace
}  // namespace tidemark
