#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/base/random.h"

namespace tidemark::test {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/tidemark-files-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  std::string content(const fs::path& path) const {
    const auto bytes = read_file(path, 1 << 26);
    EXPECT_TRUE(bytes) << path;
    return bytes ? std::string(as_text(*bytes)) : "";
  }
  fs::path dir_;
};

TEST_F(Files, ReplaceWritesAllAndLeavesNothingBeside) {
  const fs::path path = dir_ / "a";
  for (const std::string& text : {std::string("one"), std::string(), std::string(3'000'000, 'x')}) {
    ASSERT_TRUE(write_file_durably(path, as_bytes(text)));
    EXPECT_EQ(content(path), text);
    EXPECT_EQ(entries(), 1U);
  }
}

TEST_F(Files, ReplaceSetsTheMode) {
  const ::mode_t before = ::umask(022);
  ASSERT_TRUE(write_file_durably(dir_ / "secret", as_bytes("x")));
  ASSERT_TRUE(write_file_durably(dir_ / "public", as_bytes("x"), 0644));
  ::umask(before);
  struct stat st {};
  ASSERT_EQ(::stat((dir_ / "secret").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600U);
  ASSERT_EQ(::stat((dir_ / "public").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0644U);
}

TEST_F(Files, AFailedReplaceLeavesTheOldAndNothingBeside) {
  const fs::path path = dir_ / "directory";
  fs::create_directory(path);
  ASSERT_TRUE(write_file_durably(path / "x", as_bytes("kept")));
  EXPECT_FALSE(write_file_durably(path, as_bytes("new")));
  EXPECT_EQ(content(path / "x"), "kept");
  EXPECT_EQ(entries(), 1U);
  const auto gone = write_file_durably(dir_ / "absent" / "x", as_bytes("new"));
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::not_found);
  EXPECT_NE(gone.error().message().find("absent"), std::string::npos);
}

// Readers see the old or the new bytes, whole, at any moment.
TEST_F(Files, AReaderNeverSeesHalfAReplacement) {
  const fs::path path = dir_ / "a";
  const std::string versions[] = {std::string(100'000, 'a'), std::string(50'000, 'b')};
  ASSERT_TRUE(write_file_durably(path, as_bytes(versions[0])));
  std::atomic<bool> stop = false, half = false;
  std::atomic<int> reads = 0;
  std::thread reader([&] {
    while (!stop) {
      const auto bytes = read_file(path, 1 << 20);
      if (!bytes || (as_text(*bytes) != versions[0] && as_text(*bytes) != versions[1])) half = true;
      ++reads;
    }
  });
  for (int i = 0; i < 50 || reads < 10; ++i)
    ASSERT_TRUE(write_file_durably(path, as_bytes(versions[i % 2])));
  stop = true;
  reader.join();
  EXPECT_FALSE(half);
}

TEST_F(Files, WritesAndReadsAtOffsets) {
  auto fd = open_file(dir_ / "a", O_RDWR | O_CREAT);
  ASSERT_TRUE(fd);
  ASSERT_TRUE(write_at(fd->get(), as_bytes("world"), 6));
  ASSERT_TRUE(write_at(fd->get(), as_bytes("hello "), 0));
  EXPECT_EQ(as_text(*read_at(fd->get(), 0, 11)), "hello world");
  EXPECT_EQ(as_text(*read_at(fd->get(), 6, 5)), "world");
  EXPECT_TRUE(read_at(fd->get(), 11, 0)->empty());
  const auto beyond = read_at(fd->get(), 6, 6);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code(), ErrorCode::corruption);
}

TEST_F(Files, ErrorsNameThePath) {
  const auto gone = open_file(dir_ / "gone", O_RDONLY);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::not_found);
  EXPECT_NE(gone.error().message().find("gone"), std::string::npos);
  EXPECT_EQ(read_file(dir_ / "gone", 1).error().code(), ErrorCode::not_found);
}

TEST_F(Files, ReadFileIsBounded) {
  ASSERT_TRUE(write_file_durably(dir_ / "a", as_bytes("12345")));
  EXPECT_EQ(read_file(dir_ / "a", 5)->size(), 5U);
  EXPECT_EQ(read_file(dir_ / "a", 4).error().code(), ErrorCode::invalid_argument);
}

TEST_F(Files, ReadFileReadsFilesOnly) {
  EXPECT_EQ(read_file(dir_, 100).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(read_file("/dev/zero", 100).error().code(), ErrorCode::invalid_argument);
  // A FIFO without a writer: an open that waits would never return.
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_file(dir_ / "fifo", 100).error().code(), ErrorCode::invalid_argument);
}

TEST_F(Files, WriteAllWritesThroughAPipe) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  Fd in(ends[0]), out(ends[1]);
  const Bytes data = Random().bytes(1'000'000);
  std::thread writer([&] {
    EXPECT_TRUE(write_all(out.get(), data));
    out.reset();
  });
  Bytes got;
  std::array<std::uint8_t, 7001> buffer;
  for (ssize_t n = 0; (n = ::read(in.get(), buffer.data(), buffer.size())) > 0;)
    append(got, ByteView(buffer).first(static_cast<std::size_t>(n)));
  writer.join();
  EXPECT_EQ(got, data);
}

TEST_F(Files, AFullMediumIsReported) {
  auto full = open_file("/dev/full", O_WRONLY);
  ASSERT_TRUE(full);
  EXPECT_EQ(write_all(full->get(), as_bytes("x")).error().code(), ErrorCode::resource_exhausted);
}

TEST_F(Files, DescriptorsCloseThemselvesAndMove) {
  int number = -1;
  {
    auto fd = open_file("/dev/null", O_RDONLY);
    ASSERT_TRUE(fd);
    number = fd->get();
    Fd moved = std::move(*fd);
    EXPECT_EQ(moved.get(), number);
    EXPECT_FALSE(*fd);
    EXPECT_EQ(::fcntl(number, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    Fd other;
    other = std::move(moved);
    EXPECT_EQ(other.get(), number);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

// The exit code of a child that runs `body`.
template <class F>
int in_child(F body) {
  const ::pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Files, ALockKeepsOtherProcessesOut) {
  const fs::path path = dir_ / "lock";
  const auto try_lock = [&] {
    const auto lock = lock_file(path);
    if (lock) return 0;
    return lock.error().code() == ErrorCode::refused ? 1 : 2;
  };
  {
    const auto held = lock_file(path);
    ASSERT_TRUE(held);
    EXPECT_EQ(in_child(try_lock), 1);
    EXPECT_EQ(try_lock(), 1);
    EXPECT_NE(lock_file(path).error().message().find("lock"), std::string::npos);
  }
  EXPECT_EQ(in_child(try_lock), 0);
}

TEST_F(Files, ALockEndsWithItsProcess) {
  const fs::path path = dir_ / "lock";
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const ::pid_t pid = ::fork();
  if (pid == 0) {
    const auto lock = lock_file(path);
    const char ok = lock ? 'y' : 'n';
    if (::write(ready[1], &ok, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char ok = 0;
  ASSERT_EQ(::read(ready[0], &ok, 1), 1);
  EXPECT_EQ(ok, 'y');
  EXPECT_EQ(lock_file(path).error().code(), ErrorCode::refused);
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_TRUE(lock_file(path));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(Files, SyncOfADirectory) {
  EXPECT_TRUE(sync_directory(dir_));
  EXPECT_EQ(sync_directory(dir_ / "gone").error().code(), ErrorCode::not_found);
  ASSERT_TRUE(write_file_durably(dir_ / "a", as_bytes("x")));
  EXPECT_FALSE(sync_directory(dir_ / "a"));
}

TEST_F(Files, ANameWithoutDirectoryIsRelative) {
  const fs::path before = fs::current_path();
  fs::current_path(dir_);
  EXPECT_TRUE(write_file_durably("bare", as_bytes("x")));
  fs::current_path(before);
  EXPECT_EQ(content(dir_ / "bare"), "x");
}

}  // namespace
}  // namespace tidemark::test
