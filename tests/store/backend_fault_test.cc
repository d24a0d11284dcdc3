// Every system call of every operation of the `file` backend fails once: the first, the second, and
// so on until the operation ends without a fault. Then, whatever failed:
//   - a success is true: the bytes are there, the listing was complete;
//   - after a failure the blob is absent (or as it was), or whole;
//   - blobs that were there before are untouched, and nothing half made is listed;
//   - the same operation succeeds when it is tried again.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <iostream>

#include "store/backend/file_backend.h"
#include "tests/fakes/io_fault_shim.h"
#include "tests/store/backend_support.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

constexpr unsigned long kCallsMax = 200;

const Bytes& kept_bytes() {
  static const Bytes bytes = patterned_bytes(1, 5000);
  return bytes;
}
const Bytes& new_bytes() {
  static const Bytes bytes = patterned_bytes(2, 70000);
  return bytes;
}

// A store with something in it, opened afresh.
class FaultedStore {
 public:
  FaultedStore() {
    open();
    EXPECT_TRUE(backend_->create("packs/keep", kept_bytes()));
    EXPECT_TRUE(backend_->create("head", as_bytes("old")));
    EXPECT_TRUE(backend_->create("points/a/b", as_bytes("point")));
    open();  // forgets what it knows of directories
  }
  void open() {
    auto tree = DirectoryTree::open(directory_.path(), true);
    ASSERT_TRUE(tree);
    backend_ = std::make_unique<FileBackend>(directory_.path().string(), std::move(*tree));
  }
  Backend& backend() { return *backend_; }

  std::optional<Bytes> bytes(const std::string& name) {
    auto read = read_blob(*backend_, name, kGiB);
    if (read) return std::move(*read);
    EXPECT_EQ(read.error().code(), ErrorCode::not_found);
    return std::nullopt;
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    EXPECT_TRUE(backend_->list("", [&](const BlobInfo& blob) -> Status {
      found.push_back(blob.name);
      return {};
    }));
    return found;
  }
  std::size_t leftovers() const {
    const auto tmp = directory_.path() / "tmp";
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(tmp), {}));
  }

 private:
  TestDirectory directory_{fast_directory()};
  std::unique_ptr<FileBackend> backend_;
};

struct Operation {
  std::string name;
  std::function<Status(Backend&)> run;
  // Holds the store against the operation's outcome; no fault is armed any more.
  std::function<void(FaultedStore&, bool succeeded)> check;
};

Status stream_new(Backend& backend) {
  TM_TRY(auto writer, backend.writer("packs/ab/new"));
  const ByteView bytes = new_bytes();
  TM_DO(writer->append(bytes.first(10)));
  TM_DO(writer->append(bytes.subspan(10, 40000)));
  TM_DO(writer->append(bytes.subspan(40010)));
  return writer->commit();
}

void check_new(FaultedStore& store, bool succeeded) {
  const auto found = store.bytes("packs/ab/new");
  if (succeeded) {
    ASSERT_TRUE(found) << "a silent success";
  }
  if (found) {
    EXPECT_EQ(*found, new_bytes()) << "half a blob";
  }
}

Status list_all(Backend& backend, std::vector<std::string>& found) {
  return backend.list("", [&](const BlobInfo& blob) -> Status {
    found.push_back(blob.name);
    return {};
  });
}

std::vector<Operation> operations() {
  static std::vector<std::string> listed;
  static Bytes read;
  return {
      {"create",
       [](Backend& b) {
         auto status = b.create("packs/ab/new", new_bytes());
         // The second try of one whose answer was an error may find it there.
         if (!status && status.error().code() == ErrorCode::already_exists) return Status();
         return status;
       },
       check_new},
      {"stream", stream_new, check_new},
      {"replace", [](Backend& b) { return b.replace("head", as_bytes("newer")); },
       [](FaultedStore& store, bool succeeded) {
         const auto head = store.bytes("head");
         ASSERT_TRUE(head) << "a replacement lost both";
         const auto text = as_text(*head);
         EXPECT_TRUE(text == "newer" || (!succeeded && text == "old")) << text;
       }},
      {"remove", [](Backend& b) { return b.remove("points/a/b"); },
       [](FaultedStore& store, bool succeeded) {
         const auto point = store.bytes("points/a/b");
         EXPECT_FALSE(succeeded && point) << "a silent success";
         if (point) {
           EXPECT_EQ(as_text(*point), "point");
         }
       }},
      {"read",
       [](Backend& b) -> Status {
         read.clear();
         TM_TRY(read, read_blob(b, "packs/keep", kGiB));
         return {};
       },
       [](FaultedStore&, bool succeeded) {
         if (succeeded) {
           EXPECT_EQ(read, kept_bytes());
         }
       }},
      {"list",
       [](Backend& b) {
         listed.clear();
         return list_all(b, listed);
       },
       [](FaultedStore&, bool succeeded) {
         if (succeeded) {
           EXPECT_EQ(listed.size(), 3U) << "an error read as absence";
         }
       }},
      {"lock",
       [](Backend& b) -> Status {
         TM_TRY(const auto lock, b.lock_writer("me"));
         return lock->held() ? Status() : Status(Error(ErrorCode::internal, "not held"));
       },
       [](FaultedStore& store, bool) {
         EXPECT_TRUE(store.backend().lock_writer("you")) << "a failed lock is held for ever";
       }},
  };
}

struct Counts {
  unsigned long faults = 0, failures = 0;
};

// One operation, every call of kind `op` in turn. `survivable`: the operation must succeed all the
// same.
Counts fail_each(const Operation& operation, const char* op, int errnum, const char* mode,
                 bool survivable = false) {
  Counts counts;
  for (unsigned long nth = 1; nth <= kCallsMax; ++nth) {
    FaultedStore store;
    tm_io_fault_arm(op, nth, errnum, mode);
    const auto status = operation.run(store.backend());
    tm_io_fault_disarm();
    SCOPED_TRACE(operation.name + ", call " + std::to_string(nth) + " of " + op + " (" +
                 tm_io_fault_last() + ") " + mode + " " + std::to_string(errnum) + ": " +
                 (status ? "succeeded" : status.error().describe()));
    const bool fired = tm_io_fault_fired() > 0;
    if (!fired) {
      EXPECT_TRUE(status) << "failed without a fault";
      return counts;
    }
    ++counts.faults;
    if (!status) ++counts.failures;
    if (survivable) {
      EXPECT_TRUE(status);
    }
    // A file that was made or kept against what the system said is left to the next holder of the
    // lock.
    const std::string last = tm_io_fault_last();
    if (std::string(mode) == "error" && !last.starts_with("unlink")) {
      EXPECT_EQ(store.leftovers(), 0U);
    }
    operation.check(store, status.has_value());
    store.open();  // as after a restart: no cached descriptor helps
    operation.check(store, status.has_value());
    EXPECT_TRUE(store.backend().lock_writer("cleaner"));
    EXPECT_EQ(store.leftovers(), 0U);
    EXPECT_EQ(store.bytes("packs/keep"), kept_bytes());
    for (const auto& name : store.names())
      EXPECT_TRUE(name == "packs/keep" || name == "head" || name == "points/a/b" ||
                  name == "packs/ab/new")
          << name;
    EXPECT_TRUE(operation.run(store.backend())) << "does not work when tried again";
    operation.check(store, true);
    if (::testing::Test::HasFailure()) return counts;
  }
  ADD_FAILURE() << operation.name << ": the faults never end";
  return counts;
}

class FileFaults : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Errno, FileFaults, ::testing::Values(EIO, ENOSPC, EINTR, EACCES));

TEST_P(FileFaults, OfAnySystemCallAreNeverASilentSuccess) {
  unsigned long faults = 0, failures = 0;
  for (const auto& operation : operations())
    for (const std::string mode : {"error", "late", "onward"}) {
      // Interrupted for ever is tried for ever.
      if (mode == "onward" && GetParam() == EINTR) continue;
      const Counts counts = fail_each(operation, "any", GetParam(), mode.c_str());
      EXPECT_GT(counts.faults, 2U) << operation.name << ": the shim is not in the way";
      faults += counts.faults;
      failures += counts.failures;
    }
  std::cout << faults << " faults, " << failures << " failed operations" << std::endl;
  EXPECT_GT(failures, 30U);
}

TEST(FileFault, ShortReadsAndWritesAreFinished) {
  for (const auto& operation : operations()) {
    fail_each(operation, "write", 0, "short", true);
    fail_each(operation, "read", 0, "short", true);
  }
}

TEST(FileFault, InterruptedReadsAndWritesAreRepeated) {
  for (const auto& operation : operations()) {
    fail_each(operation, "write", EINTR, "error", true);
    fail_each(operation, "read", EINTR, "error", true);
  }
}

// After a failed fsync of its directory a new blob must not stay: the next attempt would find it
// there, sync nothing, and call it durable.
TEST(FileFault, AFailedSyncTakesTheBlobBack) {
  for (const auto& operation : operations()) {
    if (operation.name != "create" && operation.name != "stream") continue;
    unsigned long nth = 1;
    for (; nth <= kCallsMax; ++nth) {
      FaultedStore store;
      tm_io_fault_arm("sync", nth, EIO, "error");
      const auto status = operation.run(store.backend());
      tm_io_fault_disarm();
      if (tm_io_fault_fired() == 0) break;
      SCOPED_TRACE(operation.name + ", sync " + std::to_string(nth));
      ASSERT_FALSE(status) << "a failed fsync was passed over";
      EXPECT_FALSE(store.bytes("packs/ab/new"));
    }
    EXPECT_GE(nth, 3U) << "fewer syncs than the bytes and the name need";
  }
}

// The name was there already, but whether its directory is durable is not known: that is what the
// fsync was for.
TEST(FileFault, AnExistingBlobIsCalledDurableOnlyOnceItIs) {
  FaultedStore store;
  ASSERT_TRUE(stream_new(store.backend()));
  unsigned long nth = 1;
  for (;; ++nth) {
    store.open();
    tm_io_fault_arm("sync", nth, EIO, "error");
    const auto status = stream_new(store.backend());
    tm_io_fault_disarm();
    if (tm_io_fault_fired() == 0) break;
    EXPECT_FALSE(status) << "sync " << nth;
  }
  EXPECT_GE(nth, 3U);
  EXPECT_EQ(store.bytes("packs/ab/new"), new_bytes()) << "taken back although it was there before";
}

// As on filesystems that cannot rename without replacing: hard links do it, and take nothing over.
TEST(FileFault, WithoutRenameNoreplaceALinkDoesTheSame) {
  for (const int errnum : {EINVAL, ENOSYS}) {
    FaultedStore store;
    tm_io_fault_arm("rename", 1, errnum, "onward");
    EXPECT_TRUE(stream_new(store.backend()));
    EXPECT_GT(tm_io_fault_fired(), 0U);
    EXPECT_EQ(store.leftovers(), 0U);
    const auto again = store.backend().create("packs/ab/new", as_bytes("other"));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
    tm_io_fault_disarm();
    EXPECT_EQ(store.bytes("packs/ab/new"), new_bytes());
  }
}

}  // namespace
}  // namespace tidemark
