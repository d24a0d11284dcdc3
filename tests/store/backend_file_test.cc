// What the `file` backend promises beyond the conformance suite: links do not lead out of the
// store, a full disk leaves nothing behind, leftovers go away under the lock only.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "store/backend/file_backend.h"
#include "store/backend/rados_pool.h"
#include "tests/store/backend_support.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<FileBackend> open_at(const fs::path& path, bool walking = false) {
  auto tree = DirectoryTree::open(path, true);
  EXPECT_TRUE(tree);
  if (walking) (*tree)->use_walk_for_tests();
  return std::make_unique<FileBackend>(path.string(), std::move(*tree));
}

std::size_t files_in(const fs::path& directory) {
  if (!fs::exists(directory)) return 0;
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In all of these, true: openat2; false: the walk for kernels without it.
class PlantedLinks : public ::testing::TestWithParam<bool> {
 protected:
  PlantedLinks() {
    fs::create_directories(outside_ / "dir");
    std::ofstream(outside_ / "secret") << "secret";
    std::ofstream(outside_ / "dir/secret") << "secret";
    backend_ = open_at(directory_.path() / "store", !GetParam());
  }
  fs::path store() const { return directory_.path() / "store"; }
  void expect_outside_untouched() {
    EXPECT_EQ(text_of(outside_ / "secret"), "secret");
    EXPECT_EQ(text_of(outside_ / "dir/secret"), "secret");
    EXPECT_EQ(files_in(outside_), 2U);
    EXPECT_EQ(files_in(outside_ / "dir"), 1U);
  }

  TestDirectory directory_{fast_directory()};
  const fs::path outside_ = directory_.path() / "outside";
  std::unique_ptr<FileBackend> backend_;
};
INSTANTIATE_TEST_SUITE_P(Opening, PlantedLinks, ::testing::Bool());

TEST_P(PlantedLinks, InPlaceOfABlobAreDamageAndAreNotFollowed) {
  fs::create_directories(store() / "packs");
  for (const char* target : {"../../outside/secret", "secret-here"}) {
    fs::remove(store() / "packs/link");
    fs::create_symlink(target, store() / "packs/link");
    const auto read = backend_->read("packs/link", 0, 6);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::corruption);
    EXPECT_FALSE(backend_->size("packs/link"));
    EXPECT_FALSE(backend_->create("packs/link", as_bytes("x")));
    auto writer = backend_->writer("packs/link");
    ASSERT_TRUE(writer && (*writer)->append(as_bytes("x")));
    EXPECT_FALSE((*writer)->commit()) << "a link is not the blob";
    const auto listed = backend_->list("packs/", [](const BlobInfo&) -> Status { return {}; });
    ASSERT_FALSE(listed);
    EXPECT_EQ(listed.error().code(), ErrorCode::corruption);
  }
  // Replacing and removing act on the link itself.
  EXPECT_TRUE(backend_->replace("packs/link", as_bytes("mine")));
  EXPECT_EQ(as_text(*backend_->read("packs/link", 0, 4)), "mine");
  fs::remove(store() / "packs/link");
  fs::create_symlink(outside_ / "secret", store() / "packs/link");
  EXPECT_TRUE(backend_->remove("packs/link"));
  expect_outside_untouched();
}

TEST_P(PlantedLinks, InPlaceOfADirectoryAreDamageAndAreNotFollowed) {
  for (const fs::path& target : {fs::path("../outside/dir"), outside_ / "dir"}) {
    fs::remove(store() / "packs");
    fs::create_directory_symlink(target, store() / "packs");
    EXPECT_FALSE(backend_->read("packs/secret", 0, 6));
    EXPECT_FALSE(backend_->size("packs/secret"));
    EXPECT_FALSE(backend_->create("packs/new", as_bytes("x")));
    EXPECT_FALSE(backend_->create("packs/sub/new", as_bytes("x")));
    EXPECT_FALSE(backend_->replace("packs/secret", as_bytes("x")));
    EXPECT_FALSE(backend_->remove("packs/secret"));
    EXPECT_FALSE(backend_->list("", [](const BlobInfo&) -> Status { return {}; }));
    expect_outside_untouched();
  }
}

TEST_P(PlantedLinks, InPlaceOfTheTemporaryDirectoryOrTheLockAreNotFollowed) {
  fs::create_directory_symlink(outside_ / "dir", store() / "tmp");
  EXPECT_FALSE(backend_->create("a", as_bytes("x")));
  EXPECT_FALSE(backend_->writer("a"));
  EXPECT_TRUE(backend_->lock_writer("me"));  // which would remove what is in tmp/
  fs::remove(store() / ".lock");
  fs::create_symlink(outside_ / "secret", store() / ".lock");
  EXPECT_FALSE(backend_->lock_writer("me"));
  expect_outside_untouched();
}

TEST(FileBackend, OtherThingsThanFilesAreNoBlobsAndHoldNobodyUp) {
  TestDirectory directory(fast_directory());
  const auto backend = open_at(directory.path());
  ASSERT_EQ(::mkfifo((directory.path() / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(backend->read("fifo", 0, 1));
  EXPECT_FALSE(backend->size("fifo"));
  EXPECT_FALSE(backend->create("fifo", as_bytes("x")));
  fs::remove(directory.path() / "fifo");
  // What no blob can be named is not ours to judge.
  fs::create_directory(directory.path() / "lost+found");
  std::ofstream(directory.path() / "README.txt") << "x";
  std::ofstream(directory.path() / ".hidden") << "x";
  int listed = 0;
  EXPECT_TRUE(backend->list("", [&](const BlobInfo&) -> Status { return ++listed, Status(); }));
  EXPECT_EQ(listed, 0);
}

TEST(FileBackend, WritesNothingUntilItIsAskedTo) {
  TestDirectory directory(fast_directory());
  const auto absent = open_file_backend(directory.path() / "none", false);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code(), ErrorCode::not_found);
  const auto backend = open_file_backend(directory.path(), false);
  ASSERT_TRUE(backend);
  EXPECT_FALSE((*backend)->size("store"));
  EXPECT_TRUE((*backend)->list("", [](const BlobInfo&) -> Status { return {}; }));
  EXPECT_TRUE((*backend)->remove("a/b"));
  EXPECT_EQ(files_in(directory.path()), 0U);
}

TEST(FileBackend, ADeletedStoreIsNotAnEmptyOne) {
  TestDirectory directory(fast_directory());
  const auto backend = open_at(directory.path() / "store");
  ASSERT_TRUE(backend->create("a", as_bytes("x")));
  fs::remove_all(directory.path() / "store");
  EXPECT_FALSE(backend->list("", [](const BlobInfo&) -> Status { return {}; }));
  EXPECT_FALSE(backend->create("packs/b", as_bytes("x")));
}

TEST(FileBackend, MakesADirectoryAnewThatSomebodyRemoved) {
  TestDirectory directory(fast_directory());
  const auto backend = open_at(directory.path());
  ASSERT_TRUE(backend->create("packs/aa/1", as_bytes("x")));
  ASSERT_TRUE(backend->remove("packs/aa/1"));
  fs::remove(directory.path() / "packs/aa");
  ASSERT_TRUE(backend->create("packs/aa/2", as_bytes("y")));
  fs::remove_all(directory.path() / "tmp");
  ASSERT_TRUE(backend->create("packs/aa/3", as_bytes("z")));
}

TEST(FileBackend, LeftoversOfTheDeadGoWhenTheLockIsTakenAndTheLivingKeepTheirs) {
  TestDirectory directory(fast_directory());
  const auto backend = open_at(directory.path());
  auto living = backend->writer("packs/living");
  ASSERT_TRUE(living && (*living)->append(as_bytes("half ")));
  std::ofstream(directory.path() / "tmp/0123456789abcdef") << "of a dead process";
  ASSERT_EQ(files_in(directory.path() / "tmp"), 2U);
  const auto other = open_at(directory.path());
  ASSERT_TRUE(other->create("x", as_bytes("x")));
  EXPECT_EQ(files_in(directory.path() / "tmp"), 2U) << "removed without the lock";
  ASSERT_TRUE(other->lock_writer("me"));
  EXPECT_EQ(files_in(directory.path() / "tmp"), 1U);
  ASSERT_TRUE((*living)->append(as_bytes("and whole")));
  ASSERT_TRUE((*living)->commit());
  EXPECT_EQ(as_text(*backend->read("packs/living", 0, 14)), "half and whole");
  EXPECT_EQ(files_in(directory.path() / "tmp"), 0U);
}

TEST(FileBackend, ADeletedLockFileIsALostLock) {
  TestDirectory directory(fast_directory());
  const auto backend = open_at(directory.path());
  const auto lock = backend->lock_writer("first");
  ASSERT_TRUE(lock && (*lock)->held());
  fs::remove(directory.path() / ".lock");
  EXPECT_FALSE((*lock)->held());
  const auto next = backend->lock_writer("second");
  ASSERT_TRUE(next);
  EXPECT_TRUE((*next)->held());
  EXPECT_FALSE((*lock)->held());
}

TEST(FileBackend, KeepsABoundedNumberOfFilesOpenAndFreesThoseThatAreRemoved) {
  TestDirectory directory(fast_directory());
  const auto backend = open_at(directory.path());
  for (int i = 0; i < 200; ++i) {
    const std::string name = "p/" + std::to_string(i);
    ASSERT_TRUE(backend->create(name, as_bytes("x")));
    ASSERT_TRUE(backend->read(name, 0, 1));
    ASSERT_LE(backend->files_for_tests().size(), FileBackend::kOpenFilesMax);
  }
  EXPECT_EQ(backend->files_for_tests().size(), FileBackend::kOpenFilesMax);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(backend->remove("p/" + std::to_string(i)));
  EXPECT_EQ(backend->files_for_tests().size(), 0U) << "open files keep their space";
}

// A small filesystem of its own, unmounted at the end whatever happens.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& options) {
    fs::create_directory(path());
    mounted_ = ::mount("tmpfs", path().c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  fs::path path() const { return directory_.path() / "disk"; }

 private:
  TestDirectory directory_;
  bool mounted_ = false;
};

// A file system that can go past the page cache and, where there is one, one that cannot.
TEST(FileBackend, LargeBlobsOfAnySizeAreWhatWasWritten) {
  for (const fs::path& place : {fs::temp_directory_path(), fast_directory()}) {
    const TestDirectory directory(place);
    const auto backend = open_at(directory.path() / "store");
    for (const std::size_t size : {kMiB - 1, kMiB, kMiB + 1, 3 * kMiB + 4095, 4 * kMiB + 4097}) {
      Bytes data(size);
      for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::uint8_t>(i * 31 + i / 4096);
      const std::string name = "packs/" + std::to_string(size);
      ASSERT_TRUE(backend->create(name, data));
      const auto whole = backend->read(name, 0, size);
      ASSERT_TRUE(whole);
      EXPECT_TRUE(std::ranges::equal(*whole, data)) << place << ' ' << size;
      // In pieces: the second one begins within a block.
      const auto writer = backend->writer(name + "-streamed");
      ASSERT_TRUE(writer);
      ASSERT_TRUE((*writer)->append(ByteView(data).first(size - 100)));
      ASSERT_TRUE((*writer)->append(data));
      ASSERT_TRUE((*writer)->commit());
      const auto tail = backend->read(name + "-streamed", size - 100, size);
      ASSERT_TRUE(tail);
      EXPECT_TRUE(std::ranges::equal(*tail, data)) << place << ' ' << size;
    }
  }
}

TEST(FileBackend, AFullDiskIsAnErrorThatLeavesNothingBehind) {
  const SmallDisk disk("size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "mounting is not permitted";
  const auto backend = open_at(disk.path());
  ASSERT_TRUE(backend->create("keep", patterned_bytes(1, kMiB)));
  ASSERT_TRUE(backend->replace("head", as_bytes("old")));
  const Bytes large = patterned_bytes(2, 10 * kMiB);
  const auto free_before = (*backend->space())->free_bytes;
  for (int i = 0; i < 3; ++i) {
    for (const auto& status : {backend->create("large", large), backend->replace("head", large)}) {
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().code(), ErrorCode::resource_exhausted) << status.error().describe();
    }
    auto writer = backend->writer("large");
    ASSERT_TRUE(writer);
    Status appended;
    for (std::size_t at = 0; at < large.size() && appended; at += kMiB)
      appended = (*writer)->append(ByteView(large).subspan(at, kMiB));
    ASSERT_FALSE(appended);
    EXPECT_EQ(appended.error().code(), ErrorCode::resource_exhausted);
    EXPECT_FALSE((*writer)->commit());
    writer->reset();
    EXPECT_FALSE(backend->size("large"));
    EXPECT_EQ(files_in(disk.path() / "tmp"), 0U);
    EXPECT_EQ((*backend->space())->free_bytes, free_before) << "space leaked";
  }
  EXPECT_EQ(as_text(*read_blob(*backend, "head", 100)), "old");
  EXPECT_EQ(*read_blob(*backend, "keep", 2 * kMiB), patterned_bytes(1, kMiB));
  EXPECT_TRUE(backend->create("small", as_bytes("fits")));
}

// No inodes left: directories and temporary files cannot be made either. Room can be made all the
// same.
TEST(FileBackend, ADiskWithoutInodesIsAnErrorAndRoomCanBeMade) {
  const SmallDisk disk("size=8m,nr_inodes=12");
  if (!disk.mounted()) GTEST_SKIP() << "mounting is not permitted";
  const auto backend = open_at(disk.path());
  ASSERT_TRUE(backend->lock_writer("me"));
  Status status;
  int made = 0;
  for (; made < 20 && status; ++made) status = backend->create("b" + std::to_string(made), {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::resource_exhausted);
  const auto nested = backend->create("deep/er/blob", {});
  ASSERT_FALSE(nested);
  EXPECT_EQ(nested.error().code(), ErrorCode::resource_exhausted);
  const auto lock = backend->lock_writer("prune");
  ASSERT_TRUE(lock);
  ASSERT_TRUE(backend->remove("b0"));
  EXPECT_TRUE(backend->create("again", {}));
}

TEST(PoolSpace, IsWhatUsersOfThePoolMayStillWrite) {
  const std::string df =
      R"({"stats":{},"pools":[{"name":"other","stats":{"stored":1,"max_avail":2}},
      {"name":"p","id":3,"stats":{"stored":100,"max_avail":900,"quota_bytes":0}},
      {"name":"q","id":4,"stats":{"stored":100,"max_avail":900,"quota_bytes":300}},
      {"name":"over","id":5,"stats":{"stored":400,"max_avail":9.5e2,"quota_bytes":300}}]})";
  EXPECT_EQ(parse_pool_space(df, "p")->total_bytes, 1000U);
  EXPECT_EQ(parse_pool_space(df, "p")->free_bytes, 900U);
  EXPECT_EQ(parse_pool_space(df, "q")->free_bytes, 200U);
  EXPECT_EQ(parse_pool_space(df, "over")->free_bytes, 0U);
  for (const auto* text : {"", "[]", "{", "{\"pools\":3}", "{\"pools\":[1,{\"name\":\"p\"}]}"})
    EXPECT_FALSE(parse_pool_space(text, "p")) << text;
  EXPECT_FALSE(parse_pool_space(df, "none"));
}

}  // namespace
}  // namespace tidemark
