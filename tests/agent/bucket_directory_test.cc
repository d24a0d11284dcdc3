// A bucket's point restored into a directory.
#include "agent/restore/bucket_directory.h"

#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/agent/bucket_support.h"

namespace tidemark::test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

Names path_of(const std::string& key, NameRules rules = {},
              const std::set<std::string>& keys = {}) {
  return must(path_of_key(key, rules, [&](const std::string& parent) -> Result<bool> {
    return keys.contains(parent);
  }));
}

std::string content_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class BucketDirectoryTest : public ::testing::Test {
 protected:
  DirectoryRestoreOptions options() {
    DirectoryRestoreOptions options;
    options.directory = scratch_.path() / "out";
    return options;
  }
  std::unique_ptr<DirectoryRestore> restore(DirectoryRestoreOptions wanted) {
    point_ = must(BucketPoint::open(store_.service(), store_.keys(), maker_.point(store_)));
    return std::make_unique<DirectoryRestore>(*point_, std::move(wanted), stop_.get_token());
  }
  fs::path out() { return scratch_.path() / "out"; }
  // Files below the directory, the manifest aside.
  std::size_t files(const fs::path& below) {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(below))
      if (entry.is_regular_file() && entry.path().filename() != kManifestName) ++count;
    return count;
  }

  TestService store_;
  BucketMaker maker_{store_.keys()};
  Scratch scratch_;
  std::stop_source stop_;
  std::unique_ptr<BucketPoint> point_;
};

TEST(FileNamesTest, NamesAreSafe) {
  EXPECT_EQ(path_of("a/b.txt"), (Names{"a", "b.txt"}));
  EXPECT_EQ(path_of("../../etc/passwd"), (Names{"%2e%2e", "%2e%2e", "etc", "passwd"}));
  EXPECT_EQ(path_of("/etc//x/"), (Names{"%-", "etc", "%-", "x", "%-"}));
  EXPECT_EQ(path_of(std::string("a\0b", 3)), (Names{"a%00b"}));
  EXPECT_EQ(path_of("100%"), (Names{"100%25"}));
  EXPECT_EQ(path_of("é\xff"), (Names{"é%ff"}));
  EXPECT_EQ(path_of(".tidemark-manifest.jsonl"), (Names{"%2etidemark-manifest.jsonl"}));
  EXPECT_EQ(path_of("a/b", {}, {"a"}), (Names{"a%~", "b"}));
  const std::string full(kFileNameBytesMax, 'x');
  EXPECT_EQ(path_of(full + ".."), (Names{full + "%+", "%2e%2e"}));
  EXPECT_EQ(path_of(full + "./y"), (Names{full + "%+", "%2e", "y"}));
  EXPECT_EQ(path_of("Aé", {.folds_case = true}), (Names{"%41%c3%a9"}));
}

TEST(FileNamesTest, EveryKeyComesBackFromItsPath) {
  Rng rng;
  SCOPED_TRACE(rng.trace());
  const std::string letters("/.%~-+aA\xc3\xa9\x01\0", 12);
  for (std::size_t round = 0; round < rounds(3000); ++round) {
    std::string key;
    const std::size_t size = rng.chance(5) ? 1024 : rng.between(1, 12);
    const bool long_pieces = rng.chance(50);
    while (key.size() < size) key += letters[rng.between(long_pieces ? 1 : 0, letters.size() - 1)];
    const bool parents = rng.chance(50), folds = rng.chance(50);
    const Names path = must(path_of_key(
        key, {.folds_case = folds}, [&](const std::string&) -> Result<bool> { return parents; }));
    EXPECT_EQ(must(key_of_path(path)), key);
    for (const std::string& name : path) {
      EXPECT_LE(name.size(), 255U);
      EXPECT_TRUE(!name.empty() && name != "." && name != "..");
      EXPECT_EQ(name.find_first_of(std::string_view("/\0", 2)), std::string::npos);
    }
  }
}

TEST_F(BucketDirectoryTest, WritesFilesAndAManifest) {
  maker_.add("a", "beside");
  ObjectEntry& entry = maker_.add("a/b", testing::patterned(9 << 20));
  entry.metadata = {{"who", "me"}};
  maker_.add("\xff", "");
  const auto done = restore(options());
  must(done->run());
  EXPECT_EQ(done->counts().written, 3U);
  EXPECT_EQ(content_of(out() / "a"), "beside");
  EXPECT_EQ(sha256(as_bytes(content_of(out() / "a%~" / "b"))), entry.sha256);
  EXPECT_TRUE(fs::exists(out() / "%ff"));
  std::ifstream in(out() / kManifestName);
  std::map<std::string, nlohmann::json> by_path;
  std::string line;
  ASSERT_TRUE(std::getline(in, line));
  EXPECT_EQ(nlohmann::json::parse(line)["bucket"]["name"], "photos");
  while (std::getline(in, line)) {
    const auto json = nlohmann::json::parse(line);
    by_path[json["path"].get<std::string>()] = json;
  }
  ASSERT_EQ(by_path.size(), 3U);
  EXPECT_EQ(by_path["a%~/b"]["key"], "a/b");
  EXPECT_EQ(by_path["a%~/b"]["metadata"]["who"], "me");
  EXPECT_EQ(by_path["%ff"]["key_hex"], "ff");
}

TEST_F(BucketDirectoryTest, NoKeyEscapes) {
  const Names hostile = {"../up",
                         "/abs",
                         "a/../../up2",
                         "..",
                         "link/x",
                         ".tidemark-1.tmp",
                         std::string(1024, 'n'),
                         std::string("a\0/b", 4)};
  for (const std::string& key : hostile) maker_.add(key, key);
  must(restore(options())->run());
  EXPECT_EQ(files(out()), hostile.size());
  EXPECT_EQ(files(scratch_.path()), hostile.size());

  // A link where a directory belongs is not followed.
  fs::remove_all(out());
  fs::create_directory(out());
  fs::create_directory(scratch_.path() / "elsewhere");
  fs::create_directory_symlink(scratch_.path() / "elsewhere", out() / "link");
  DirectoryRestoreOptions forced = options();
  forced.force = true;
  EXPECT_FALSE(restore(forced)->run());
  EXPECT_TRUE(fs::is_empty(scratch_.path() / "elsewhere"));
}

TEST_F(BucketDirectoryTest, AFullDirectoryNeedsForceAndALinkIsReplaced) {
  maker_.add("k", "text");
  fs::create_directory(out());
  std::ofstream(scratch_.path() / "victim") << "precious";
  fs::create_symlink(scratch_.path() / "victim", out() / "k");
  TM_EXPECT_ERROR(ErrorCode::refused, restore(options())->run());
  DirectoryRestoreOptions forced = options();
  forced.force = true;
  must(restore(forced)->run());
  EXPECT_EQ(content_of(scratch_.path() / "victim"), "precious");
  EXPECT_EQ(content_of(out() / "k"), "text");
  EXPECT_FALSE(fs::is_symlink(out() / "k"));
}

TEST_F(BucketDirectoryTest, WhatIsDamagedHasNoFile) {
  maker_.add("good", "text");
  maker_.add("bad", testing::patterned(9 << 20)).sha256 = Digest{};
  const auto done = restore(options());
  must(done->run());
  EXPECT_TRUE(done->problems().damage());
  EXPECT_EQ(files(out()), 1U);
}

TEST_F(BucketDirectoryTest, APlanCountsAndWritesNothing) {
  maker_.add("a/1", "text");
  maker_.add("a/2", "text");
  maker_.add("b", "text");
  DirectoryRestoreOptions wanted = options();
  wanted.plan = true;
  wanted.selection.prefix = "a/";
  const auto plan = restore(wanted);
  must(plan->run());
  EXPECT_EQ(plan->counts().written, 2U);
  EXPECT_EQ(plan->counts().written_bytes, 8U);
  EXPECT_FALSE(fs::exists(out()));
  wanted.selection = {"", "c", ""};
  TM_EXPECT_ERROR(ErrorCode::not_found, restore(wanted)->run());
}

}  // namespace
}  // namespace tidemark::test
