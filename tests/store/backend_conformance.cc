#include "tests/store/backend_conformance.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "base/crypto.h"

namespace tidemark {

void BackendConformance::SetUp() {
  medium_ = GetParam().make_medium();
  ASSERT_NE(medium_, nullptr);
  backend_ = medium_->open();
  ASSERT_NE(backend_, nullptr);
}

void BackendConformance::TearDown() {
  backend_.reset();
  medium_.reset();
}

std::vector<std::string> BackendConformance::names(std::string_view prefix) {
  return names(backend(), prefix);
}

std::vector<std::string> BackendConformance::names(Backend& from, std::string_view prefix) {
  std::vector<std::string> found;
  const auto status = from.list(prefix, [&](const BlobInfo& blob) -> Status {
    found.push_back(blob.name);
    return {};
  });
  EXPECT_TRUE(status) << status.error().describe();
  std::sort(found.begin(), found.end());
  return found;
}

namespace {

// Nothing, or the code of the error.
template <class T>
std::optional<ErrorCode> code_of(const Result<T>& result) {
  if (result) return std::nullopt;
  return result.error().code();
}

Result<Bytes> whole(Backend& backend, std::string_view name) {
  return read_blob(backend, name, kGiB);
}

TEST_P(BackendConformance, RefusesInvalidNamesInEveryOperation) {
  const std::vector<std::string> bad = {"",
                                        "/",
                                        "a/",
                                        "/a",
                                        "a//b",
                                        ".",
                                        "..",
                                        "../a",
                                        "a/..",
                                        "a/../b",
                                        ".a",
                                        "a/.b",
                                        "a/./b",
                                        "A",
                                        "a b",
                                        "a\tb",
                                        "a\nb",
                                        std::string("a\0b", 3),
                                        "a\x7f",
                                        "\xc3\xa9",
                                        "a\\b",
                                        "a:b",
                                        "a+b",
                                        "a/b/c/d/e",
                                        "tmp",
                                        "tmp/a",
                                        "tmpx",
                                        std::string(201, 'a'),
                                        "a/" + std::string(199, 'b')};
  for (const auto& name : bad) {
    SCOPED_TRACE(testing::PrintToString(name));
    EXPECT_EQ(code_of(check_blob_name(name)), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().create(name, {})), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().replace(name, {})), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().writer(name)), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().read(name, 0, 0)), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().size(name)), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().remove(name)), ErrorCode::invalid_argument);
  }
  EXPECT_TRUE(names().empty());
}

TEST_P(BackendConformance, TakesEveryNameThatTheContractAllows) {
  std::vector<std::string> good = {"a",
                                   "0",
                                   "-",
                                   "_",
                                   "a.b",
                                   "a..b",
                                   "a/b/c/d",
                                   "packs/3f/3f09",
                                   "lock",
                                   "x/tmp",
                                   "a.tmp",
                                   "-rf",
                                   std::string(200, 'a'),
                                   std::string(50, 'b') + "/" + std::string(149, 'c')};
  // "a" is a blob and cannot be a part of other names on every backend.
  std::erase(good, "a");
  for (const auto& name : good) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(backend().create(name, as_bytes(name)));
    const auto bytes = whole(backend(), name);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(as_text(*bytes), name);
  }
  std::sort(good.begin(), good.end());
  EXPECT_EQ(names(), good);
}

// Where a name is a part of another's, a backend may refuse the second, but not mix them up.
TEST_P(BackendConformance, KeepsABlobApartFromBlobsBelowItsName) {
  ASSERT_TRUE(backend().create("a", as_bytes("one")));
  const auto below = backend().create("a/b", as_bytes("two"));
  if (!below) {
    EXPECT_EQ(below.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().read("a/b", 0, 1)), ErrorCode::not_found);
    EXPECT_EQ(code_of(backend().size("a/b")), ErrorCode::not_found);
    EXPECT_TRUE(backend().remove("a/b"));
  }
  ASSERT_TRUE(backend().create("c/d", as_bytes("three")));
  EXPECT_EQ(code_of(backend().size("c")), ErrorCode::not_found);
  EXPECT_EQ(code_of(backend().read("c", 0, 0)), ErrorCode::not_found);
  EXPECT_TRUE(backend().remove("c"));
  auto writer = backend().writer("c");
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->append(as_bytes("four")));
  const auto committed = (*writer)->commit();
  if (!committed) {
    EXPECT_EQ(committed.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(code_of(backend().replace("c", as_bytes("four"))), ErrorCode::invalid_argument);
  } else {
    EXPECT_TRUE(whole(backend(), "c"));
  }
  EXPECT_EQ(as_text(*whole(backend(), "a")), "one");
  EXPECT_EQ(as_text(*whole(backend(), "c/d")), "three");
}

TEST_P(BackendConformance, CreateKeepsWhatIsThere) {
  ASSERT_TRUE(backend().create("x/y", as_bytes("first")));
  EXPECT_EQ(code_of(backend().create("x/y", as_bytes("second"))), ErrorCode::already_exists);
  EXPECT_EQ(as_text(*whole(backend(), "x/y")), "first");
}

TEST_P(BackendConformance, StreamedBlobAppearsWholeAndOnlyOnCommit) {
  const Bytes data = patterned_bytes(7, 3 * kMiB + 17);
  auto writer = backend().writer("packs/ab/abcd");
  ASSERT_TRUE(writer);
  for (std::size_t at = 0; at < data.size();) {
    const std::size_t n = std::min<std::size_t>(data.size() - at, 777777);
    ASSERT_TRUE((*writer)->append(ByteView(data).subspan(at, n)));
    at += n;
    EXPECT_EQ(code_of(backend().size("packs/ab/abcd")), ErrorCode::not_found);
    EXPECT_TRUE(names().empty());
  }
  ASSERT_TRUE((*writer)->commit());
  EXPECT_EQ(*whole(backend(), "packs/ab/abcd"), data);
  EXPECT_EQ(names(), std::vector<std::string>{"packs/ab/abcd"});
  EXPECT_FALSE((*writer)->append(as_bytes("more")));
  EXPECT_FALSE((*writer)->commit());
  EXPECT_EQ(*whole(backend(), "packs/ab/abcd"), data);
}

TEST_P(BackendConformance, AbandonedWriterLeavesNothing) {
  {
    auto writer = backend().writer("packs/ab/abcd");
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->append(patterned_bytes(1, kMiB)));
  }
  EXPECT_EQ(code_of(backend().size("packs/ab/abcd")), ErrorCode::not_found);
  EXPECT_TRUE(names().empty());
  EXPECT_TRUE(backend().create("packs/ab/abcd", as_bytes("x")));
}

TEST_P(BackendConformance, SecondCommitOfANameSucceedsAndKeepsTheFirstBytes) {
  auto one = backend().writer("packs/p"), two = backend().writer("packs/p");
  ASSERT_TRUE(one && two);
  ASSERT_TRUE((*one)->append(as_bytes("one")));
  ASSERT_TRUE((*two)->append(as_bytes("two!")));
  EXPECT_TRUE((*one)->commit());
  EXPECT_TRUE((*two)->commit());
  EXPECT_EQ(as_text(*whole(backend(), "packs/p")), "one");
  EXPECT_EQ(names().size(), 1U);
}

TEST_P(BackendConformance, KeepsBlobsOfZeroBytes) {
  ASSERT_TRUE(backend().create("zero/created", {}));
  ASSERT_TRUE(backend().replace("zero/replaced", as_bytes("x")));
  ASSERT_TRUE(backend().replace("zero/replaced", {}));
  auto writer = backend().writer("zero/streamed");
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->append({}));
  ASSERT_TRUE((*writer)->commit());
  for (const auto* name : {"zero/created", "zero/replaced", "zero/streamed"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(*backend().size(name), 0U);
    const auto nothing = backend().read(name, 0, 0);
    ASSERT_TRUE(nothing);
    EXPECT_TRUE(nothing->empty());
    EXPECT_EQ(code_of(backend().read(name, 0, 1)), ErrorCode::corruption);
    EXPECT_EQ(code_of(backend().read(name, 1, 0)), ErrorCode::corruption);
  }
  EXPECT_EQ(names("zero/").size(), 3U);
}

TEST_P(BackendConformance, ReadsExactlyWhatWasAsked) {
  const std::size_t size = 2 * kMiB + 5;
  const Bytes data = patterned_bytes(3, size);
  ASSERT_TRUE(backend().create("r", data));
  EXPECT_EQ(*backend().size("r"), size);
  const std::vector<std::pair<std::uint64_t, std::size_t>> ranges = {
      {0, 0},    {0, 1},    {0, size},    {1, size - 1},    {size - 1, 1},
      {size, 0}, {4095, 2}, {4096, 4096}, {kMiB - 1, kMiB}, {size - 4097, 4097}};
  for (const auto& [offset, count] : ranges) {
    SCOPED_TRACE(std::to_string(offset) + "+" + std::to_string(count));
    const auto bytes = backend().read("r", offset, count);
    ASSERT_TRUE(bytes);
    const ByteView expected = ByteView(data).subspan(offset, count);
    EXPECT_TRUE(std::equal(bytes->begin(), bytes->end(), expected.begin(), expected.end()));
  }
}

TEST_P(BackendConformance, CallsAReadPastTheEndCorruption) {
  ASSERT_TRUE(backend().create("r", patterned_bytes(3, 1000)));
  const auto max = std::numeric_limits<std::uint64_t>::max();
  const std::vector<std::pair<std::uint64_t, std::size_t>> ranges = {
      {0, 1001}, {1, 1000}, {999, 2},      {1000, 1}, {1001, 0},     {5000, 10},
      {max, 0},  {max, 1},  {max - 5, 10}, {0, max},  {10, max - 5}, {0, std::size_t{1} << 40}};
  for (const auto& [offset, count] : ranges) {
    SCOPED_TRACE(std::to_string(offset) + "+" + std::to_string(count));
    EXPECT_EQ(code_of(backend().read("r", offset, count)), ErrorCode::corruption);
  }
}

TEST_P(BackendConformance, CallsAnAbsentBlobNotFound) {
  EXPECT_EQ(code_of(backend().read("none", 0, 1)), ErrorCode::not_found);
  EXPECT_EQ(code_of(backend().read("none", 0, 0)), ErrorCode::not_found);
  EXPECT_EQ(code_of(backend().read("none/at/all", 5, 1)), ErrorCode::not_found);
  EXPECT_EQ(code_of(backend().read("none", 0, std::size_t{1} << 40)), ErrorCode::not_found);
  EXPECT_EQ(code_of(backend().size("none/at/all")), ErrorCode::not_found);
  EXPECT_EQ(code_of(read_blob(backend(), "none", 10)), ErrorCode::not_found);
}

TEST_P(BackendConformance, ReadBlobHoldsItsLimit) {
  ASSERT_TRUE(backend().create("b", as_bytes("12345")));
  EXPECT_TRUE(read_blob(backend(), "b", 5));
  EXPECT_EQ(code_of(read_blob(backend(), "b", 4)), ErrorCode::invalid_argument);
}

TEST_P(BackendConformance, RemovalIsSeenAtOnceAndTwiceIsASuccess) {
  EXPECT_TRUE(backend().remove("gone"));
  EXPECT_TRUE(backend().remove("gone/far/away"));
  ASSERT_TRUE(backend().create("gone", as_bytes("old")));
  ASSERT_TRUE(backend().read("gone", 0, 3));  // caches, if any, are warm
  ASSERT_TRUE(backend().remove("gone"));
  EXPECT_EQ(code_of(backend().read("gone", 0, 3)), ErrorCode::not_found);
  EXPECT_EQ(code_of(backend().size("gone")), ErrorCode::not_found);
  EXPECT_TRUE(names().empty());
  EXPECT_TRUE(backend().remove("gone"));
  ASSERT_TRUE(backend().create("gone", as_bytes("newer")));
  EXPECT_EQ(as_text(*whole(backend(), "gone")), "newer");
}

TEST_P(BackendConformance, AnotherHandleSeesEveryChangeAtOnce) {
  const auto other = medium().open();
  ASSERT_NE(other, nullptr);
  ASSERT_TRUE(backend().create("c/1", as_bytes("one")));
  EXPECT_EQ(as_text(*whole(*other, "c/1")), "one");
  ASSERT_TRUE(backend().replace("c/1", as_bytes("another")));
  EXPECT_EQ(as_text(*whole(*other, "c/1")), "another");
  EXPECT_EQ(as_text(*other->read("c/1", 0, 7)), "another");
  ASSERT_TRUE(backend().remove("c/1"));
  EXPECT_EQ(code_of(other->read("c/1", 0, 1)), ErrorCode::not_found);
  EXPECT_TRUE(names(*other, "").empty());
}

// Goal: no blob missing and none twice, over many pages of any listing underneath.
TEST_P(BackendConformance, ListingIsComplete) {
  constexpr int kCount = 3500;
  std::map<std::string, std::uint64_t> expected;
  for (int i = 0; i < kCount; ++i) {
    const std::string number = std::to_string(i);
    const std::string name =
        i % 3 == 0   ? "packs/" + to_hex({{static_cast<std::uint8_t>(i)}}) + "/" + number
        : i % 3 == 1 ? "points/" + number
                     : "flat-" + number;
    expected[name] = static_cast<std::uint64_t>(i % 50);
  }
  std::vector<std::string> all;
  for (const auto& [name, size] : expected) all.push_back(name);
  std::atomic<std::size_t> next{0}, failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (std::size_t i = next++; i < all.size(); i = next++)
        if (!backend().create(all[i], patterned_bytes(i, expected[all[i]]))) ++failed;
    });
  for (auto& thread : threads) thread.join();
  ASSERT_EQ(failed, 0U);
  std::map<std::string, std::uint64_t> found;
  std::size_t calls = 0;
  ASSERT_TRUE(backend().list("", [&](const BlobInfo& blob) -> Status {
    ++calls;
    found[blob.name] = blob.size_bytes;
    return {};
  }));
  EXPECT_EQ(calls, expected.size());
  EXPECT_EQ(found, expected);
  EXPECT_EQ(names("packs/").size(), std::size_t{kCount + 2} / 3);
  // The other way of listing says the same.
  for (const std::string_view prefix : {"", "packs/", "packs/3", "points/1", "flat", "q"}) {
    std::vector<std::string> by_name;
    EXPECT_TRUE(backend().list_names(prefix, [&](std::string_view name) -> Status {
      by_name.emplace_back(name);
      return {};
    }));
    std::sort(by_name.begin(), by_name.end());
    EXPECT_EQ(by_name, names(prefix)) << prefix;
  }
}

TEST_P(BackendConformance, PrefixesNeedNotEndAtASeparator) {
  for (const auto* name : {"packs/3f/3f00", "packs/3f/3f01", "packs/3e/3e00", "packs-old/1", "pack",
                           "points/1", "p/q/r/s"})
    ASSERT_TRUE(backend().create(name, as_bytes("x")));
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("packs/3f/"), (Names{"packs/3f/3f00", "packs/3f/3f01"}));
  EXPECT_EQ(names("packs/3"), (Names{"packs/3e/3e00", "packs/3f/3f00", "packs/3f/3f01"}));
  EXPECT_EQ(names("packs/3f"), (Names{"packs/3f/3f00", "packs/3f/3f01"}));
  EXPECT_EQ(names("packs/3f/3f01"), (Names{"packs/3f/3f01"}));
  EXPECT_EQ(names("packs"),
            (Names{"packs-old/1", "packs/3e/3e00", "packs/3f/3f00", "packs/3f/3f01"}));
  EXPECT_EQ(names("pack").size(), 5U);
  EXPECT_EQ(names("p").size(), 7U);
  EXPECT_EQ(names("p/q/r"), (Names{"p/q/r/s"}));
  EXPECT_TRUE(names("packs/3f/3f01/").empty());
  EXPECT_TRUE(names("packs/4").empty());
  EXPECT_TRUE(names("q").empty());
  EXPECT_TRUE(names("../").empty());
  EXPECT_TRUE(names("tmp").empty());
}

TEST_P(BackendConformance, ListingStopsAtTheErrorOfItsCaller) {
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(backend().create("l/" + std::to_string(i), {}));
  int calls = 0;
  const auto status = backend().list("l/", [&](const BlobInfo&) -> Status {
    if (++calls == 7) return Error(ErrorCode::cancelled, "enough");
    return {};
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::cancelled);
  EXPECT_EQ(status.error().message(), "enough");
  EXPECT_EQ(calls, 7);
}

TEST_P(BackendConformance, ListingLetsItsCallerUseTheBackend) {
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(backend().create("l/" + std::to_string(i), {}));
  std::size_t calls = 0;
  ASSERT_TRUE(backend().list("l/", [&](const BlobInfo& blob) -> Status {
    ++calls;
    TM_TRY(const auto size, backend().size(blob.name));
    EXPECT_EQ(size, blob.size_bytes);
    return backend().remove(blob.name);
  }));
  EXPECT_EQ(calls, 300U);
  EXPECT_TRUE(names().empty());
}

TEST_P(BackendConformance, TakesBlobsOf64MiB) {
  ASSERT_GE(backend().blob_bytes_max(), 64 * kMiB);
  const Bytes data = patterned_bytes(9, 64 * kMiB);
  ASSERT_TRUE(backend().create("big/created", data));
  auto writer = backend().writer("big/streamed");
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->append(ByteView(data).first(40 * kMiB)));
  ASSERT_TRUE((*writer)->append(ByteView(data).subspan(40 * kMiB)));
  ASSERT_TRUE((*writer)->commit());
  EXPECT_EQ(*whole(backend(), "big/created"), data);
  EXPECT_EQ(*whole(backend(), "big/streamed"), data);
}

TEST_P(BackendConformance, RefusesBlobsAboveItsLimit) {
  if (backend().blob_bytes_max() > 64 * kMiB) GTEST_SKIP() << "the limit is beyond a test's memory";
  const Bytes data(backend().blob_bytes_max() + 1);
  EXPECT_EQ(code_of(backend().create("big", data)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(backend().replace("big", data)), ErrorCode::invalid_argument);
  auto writer = backend().writer("big");
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->append(ByteView(data).first(data.size() - 1)));
  EXPECT_EQ(code_of((*writer)->append(as_bytes("x"))), ErrorCode::invalid_argument);
  EXPECT_FALSE((*writer)->commit()) << "what a failed append left must not be committed";
  EXPECT_TRUE(names().empty());
}

TEST_P(BackendConformance, SpaceMakesSense) {
  const auto space = backend().space();
  ASSERT_TRUE(space) << space.error().describe();
  if (!*space) return;
  EXPECT_GT((*space)->total_bytes, 0U);
  EXPECT_LE((*space)->free_bytes, (*space)->total_bytes);
}

}  // namespace
}  // namespace tidemark
