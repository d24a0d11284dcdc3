#include "snapshot/rbd/image.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "rbd_support.h"

namespace tidemark::test {
namespace {

class RbdImageTest : public testing::Test {
 protected:
  void SetUp() override {
    TM_REQUIRE_CLUSTER();
    cluster_ = connect();
  }

  CreateImage plain(std::uint64_t size) {
    CreateImage what;
    what.size_bytes = size;
    return what;
  }

  std::shared_ptr<CephCluster> cluster_;
};

template <class T>
ErrorCode code(const Result<T>& result) {
  return result ? ErrorCode::internal : result.error().code();
}

TEST_F(RbdImageTest, ConnectsAndKnowsTheCluster) { EXPECT_EQ(cluster_->fsid().size(), 36u); }

TEST_F(RbdImageTest, ConnectingWithoutAConfigurationOrAKeyFails) {
  CephConfig config;
  config.conf = "/nonexistent/ceph.conf";
  config.user = "admin";
  EXPECT_EQ(code(CephCluster::connect(config)), ErrorCode::not_found);
  config.conf = test_conf();
  config.user = "nobody";
  const auto nobody = CephCluster::connect(config);
  EXPECT_FALSE(nobody);
}

TEST_F(RbdImageTest, CreatesWithEveryOptionAndReadsItBack) {
  make_pool(*cluster_, "rbd-data");
  make_namespace(*cluster_, "rbd", "images");
  const auto name = unique_image("rbd", "images");
  const ImageGuard guard(cluster_, name);
  CreateImage what;
  what.size_bytes = 10 * kMiB + 513;
  what.order = 20;
  what.stripe_unit = 64 * kKiB;
  what.stripe_count = 5;
  what.features = RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |
                  RBD_FEATURE_FAST_DIFF;
  what.data_pool = "rbd-data";
  what.metadata = {{"a", "1"}, {"conf_rbd_cache", "true"}, {"empty", ""}};
  must(RbdImage::create(*cluster_, name, what));
  EXPECT_EQ(code(RbdImage::create(*cluster_, name, what)), ErrorCode::already_exists);

  const auto image = must(RbdImage::open_read_only(cluster_, name));
  const auto info = must(image->info());
  EXPECT_FALSE(info.id.empty());
  EXPECT_EQ(info.size_bytes, what.size_bytes);
  EXPECT_EQ(image->size(), what.size_bytes);
  EXPECT_EQ(info.order, 20u);
  EXPECT_EQ(info.stripe_unit, what.stripe_unit);
  EXPECT_EQ(info.stripe_count, what.stripe_count);
  EXPECT_EQ(info.features & *what.features, *what.features);
  EXPECT_EQ(info.data_pool, "rbd-data");
  EXPECT_EQ(info.metadata, what.metadata);
  EXPECT_EQ(info.parent, "");
  EXPECT_TRUE(info.object_map_usable());

  const auto listed = must(cluster_->list_images("rbd", "images"));
  EXPECT_NE(std::find(listed.begin(), listed.end(), name.image), listed.end());
}

TEST_F(RbdImageTest, AnImageMadeFromAnotherOnesInfoIsLikeIt) {
  const auto first = unique_image(), second = unique_image();
  const ImageGuard guard(cluster_, first), guard2(cluster_, second);
  must(RbdImage::create(*cluster_, first, plain(kMiB)));
  const auto info = must(must(RbdImage::open_read_only(cluster_, first))->info());
  CreateImage what;
  what.size_bytes = info.size_bytes;
  what.order = info.order;
  what.stripe_unit = info.stripe_unit;
  what.stripe_count = info.stripe_count;
  what.features = info.features;
  what.data_pool = info.data_pool;
  what.metadata = info.metadata;
  must(RbdImage::create(*cluster_, second, what));
  const auto copy = must(must(RbdImage::open_read_only(cluster_, second))->info());
  EXPECT_EQ(copy.features, info.features);
  EXPECT_EQ(copy.order, info.order);
  EXPECT_EQ(copy.stripe_unit, info.stripe_unit);
  EXPECT_EQ(copy.stripe_count, info.stripe_count);
  EXPECT_NE(copy.id, info.id);
}

TEST_F(RbdImageTest, ManyAndLargeMetadataComeBackWhole) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  auto what = plain(kMiB);
  for (int i = 0; i < 200; ++i) what.metadata[fmt::format("key{:03}", i)] = fmt::format("v{}", i);
  what.metadata["large"] = std::string(200000, 'x');
  must(RbdImage::create(*cluster_, name, what));
  EXPECT_EQ(must(must(RbdImage::open_read_only(cluster_, name))->info()).metadata, what.metadata);
}

TEST_F(RbdImageTest, TooMuchMetadataIsAnErrorNotALoss) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  auto what = plain(kMiB);
  for (int i = 0; i < 6; ++i) what.metadata[fmt::format("k{}", i)] = std::string(250000, 'x');
  must(RbdImage::create(*cluster_, name, what));
  const auto image = must(RbdImage::open_read_only(cluster_, name));
  EXPECT_EQ(code(image->info()), ErrorCode::resource_exhausted);
}

TEST_F(RbdImageTest, MissingThingsAreNotFound) {
  EXPECT_EQ(code(RbdImage::open_read_only(cluster_, {"rbd", "", "none"})), ErrorCode::not_found);
  EXPECT_EQ(code(RbdImage::open_read_only(cluster_, {"none", "", "x"})), ErrorCode::not_found);
  EXPECT_EQ(code(RbdImage::remove(*cluster_, {"rbd", "", "none"})), ErrorCode::not_found);
  EXPECT_EQ(code(cluster_->list_images("none", "")), ErrorCode::not_found);
  EXPECT_EQ(code(cluster_->list_images("rbd", "none")), ErrorCode::not_found);
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  EXPECT_EQ(code(RbdImage::open_snapshot(cluster_, name, 4711)), ErrorCode::not_found);
}

TEST_F(RbdImageTest, ReadsGiveWhatWasWrittenAtAnyOffset) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(40 * kMiB + 7)));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  Content model(image->size(), 0);
  std::mt19937_64 random(7);
  for (int i = 0; i < 30; ++i) {
    const std::uint64_t offset = random() % model.size();
    const std::uint64_t size =
        std::min<std::uint64_t>(random() % (12 * kMiB), model.size() - offset);
    if (i % 3 == 2) {
      must(zero_sync(*image, offset, size));
      std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), size, 0);
      continue;
    }
    Content data(size);
    for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
    must(write_sync(*image, offset, data));
    std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  must(image->flush());
  Content back(model.size());
  must(image->read_sync(0, back));
  EXPECT_EQ(difference(model, back), "");
  Content odd(3 * kMiB + 1);
  must(image->read_sync(4 * kMiB - 5, odd));
  EXPECT_TRUE(std::equal(odd.begin(), odd.end(), model.begin() + 4 * kMiB - 5));
}

TEST_F(RbdImageTest, WrittenZeroesReadAsZerosWhateverTheirAlignment) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  auto what = plain(2 * kMiB);
  what.order = 18;
  must(RbdImage::create(*cluster_, name, what));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  Content model(image->size(), 0xaa);
  must(write_sync(*image, 0, model));
  std::mt19937_64 random(11);
  for (int i = 0; i < 60; ++i) {
    const std::uint64_t offset = random() % model.size();
    const std::uint64_t size =
        std::min<std::uint64_t>(1 + random() % (i % 2 == 0 ? 5000 : kMiB), model.size() - offset);
    must(zero_sync(*image, offset, size));
    std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), size, 0);
    ASSERT_EQ(difference(model, read_all(image->impl().image.get())), "") << offset << " " << size;
  }
}

TEST_F(RbdImageTest, OperationsPastTheEndAreRefused) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  Content bytes(4096);
  EXPECT_EQ(code(image->read_sync(kMiB - 4095, bytes)), ErrorCode::invalid_argument);
  EXPECT_EQ(code(image->read_sync(~std::uint64_t{0}, bytes)), ErrorCode::invalid_argument);
  EXPECT_EQ(code(write_sync(*image, kMiB, bytes)), ErrorCode::invalid_argument);
  EXPECT_EQ(code(zero_sync(*image, 1, kMiB)), ErrorCode::invalid_argument);
  must(image->read_sync(kMiB - 4096, bytes));
  must(image->read_sync(kMiB, ByteSpan{}));
}

TEST_F(RbdImageTest, ReadOnlyImagesCannotBeWritten) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  const auto image = must(RbdImage::open_read_only(cluster_, name));
  EXPECT_EQ(code(write_sync(*image, 0, Content(512, 1))), ErrorCode::refused);
  EXPECT_EQ(code(zero_sync(*image, 0, 512)), ErrorCode::refused);
  EXPECT_EQ(code(image->create_snapshot("s")), ErrorCode::refused);
  EXPECT_EQ(code(image->resize(1)), ErrorCode::refused);
}

TEST_F(RbdImageTest, ManyOperationsAtOnceAllEndBeforeTheImageCloses) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(64 * kMiB)));
  auto image = must(RbdImage::open_read_write(cluster_, name));
  std::vector<Content> buffers(256, Content(64 * kKiB, 3));
  std::atomic<int> ended{0}, failed{0};
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const auto done = [&](Status status) {
      failed += status ? 0 : 1;
      ++ended;
    };
    if (i % 2 == 0)
      image->write(i * 256 * kKiB, buffers[i], done);
    else
      image->read(i * 256 * kKiB, buffers[i], done);
  }
  image.reset();
  EXPECT_EQ(ended, 256);
  EXPECT_EQ(failed, 0);
}

TEST_F(RbdImageTest, SnapshotsAreMadeListedReadAndRemoved) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  write_fill(*image, 0, kMiB, 1);
  const auto first = must(image->create_snapshot("one"));
  EXPECT_EQ(code(image->create_snapshot("one")), ErrorCode::already_exists);
  write_fill(*image, 0, kMiB, 2);
  must(image->resize(2 * kMiB));
  const auto second = must(image->create_snapshot("two"));
  EXPECT_GT(second, first);

  const auto list = must(image->snapshots());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "one");
  EXPECT_EQ(list[0].size_bytes, kMiB);
  EXPECT_TRUE(list[0].user);
  EXPECT_EQ(list[1].size_bytes, 2 * kMiB);
  EXPECT_EQ(read_snapshot(cluster_, name, first), Content(kMiB, 1));
  EXPECT_EQ(must(RbdImage::open_snapshot(cluster_, name, second))->size(), 2 * kMiB);

  EXPECT_EQ(code(RbdImage::remove(*cluster_, name)), ErrorCode::refused);
  EXPECT_EQ(code(image->remove_snapshot(first, "two")), ErrorCode::refused);
  must(image->remove_snapshot(first, "one"));
  must(image->remove_snapshot(first, "one"));  // gone is gone
  EXPECT_EQ(code(RbdImage::open_snapshot(cluster_, name, first)), ErrorCode::not_found);
}

TEST_F(RbdImageTest, ASnapshotWithClonesGoesAsFarAsItCan) {
  const auto name = unique_image(), child = unique_image();
  const ImageGuard guard(cluster_, name);
  const ImageGuard child_guard(cluster_, child);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  const auto id = must(image->create_snapshot("origin"));
  const auto io = must(IoContext::open(*cluster_, "rbd", ""));
  rbd_image_options_t options = nullptr;
  rbd_image_options_create(&options);
  rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
  must_rbd(
      rbd_clone3(io.get(), name.image.c_str(), "origin", io.get(), child.image.c_str(), options),
      "clone");
  rbd_image_options_destroy(options);
  const auto info = must(must(RbdImage::open_read_only(cluster_, child))->info());
  EXPECT_EQ(info.parent, fmt::format("{}@origin", name.text()));
  EXPECT_EQ(info.parent_overlap, kMiB);
  must(image->remove_snapshot(id, "origin"));
  EXPECT_EQ(code(RbdImage::open_snapshot(cluster_, name, id)), ErrorCode::not_found);
  must(image->remove_snapshot(id, "origin"));
}

TEST_F(RbdImageTest, SeesOtherClientsAndNotItself) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  const auto again = must(RbdImage::open_read_write(cluster_, name));
  EXPECT_FALSE(must(image->watched_by_others()));
  const auto other = connect_as_client({});
  {
    const auto theirs = must(RbdImage::open_read_write(other, name));
    EXPECT_TRUE(must(image->watched_by_others()));
    EXPECT_EQ(code(RbdImage::remove(*cluster_, name)), ErrorCode::refused);
  }
  EXPECT_FALSE(must(image->watched_by_others()));
}

TEST_F(RbdImageTest, ASnapshotDoesNotTakeTheLockFromAClientThatWrites) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(8 * kMiB)));
  const auto writer = connect_as_client({});
  const auto theirs = must(RbdImage::open_read_write(writer, name));
  write_fill(*theirs, 0, 4096, 1);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> writes{0};
  std::thread client([&] {
    for (std::uint8_t value = 1; !stop; ++value, ++writes) {
      write_fill(*theirs, (value % 64) * 64 * kKiB, 64 * kKiB, value);
    }
  });
  {
    const auto ours = must(RbdImage::open_read_write(cluster_, name));
    for (int i = 0; i < 5; ++i) {
      const auto before = writes.load();
      const std::string snapshot = fmt::format("s{}", i);
      const auto id = must(ours->create_snapshot(snapshot));
      int owner = -1;
      must_rbd(rbd_is_exclusive_lock_owner(theirs->impl().image.get(), &owner), "owner");
      EXPECT_EQ(owner, 1);
      while (writes < before + 20) std::this_thread::yield();
      if (i % 2 == 0) must(ours->remove_snapshot(id, snapshot));
    }
  }
  stop = true;
  client.join();
}

// How long `body` runs while the OSD stands still.
std::chrono::seconds while_stopped(const std::function<void()>& body) {
  const auto began = std::chrono::steady_clock::now();
  const StoppedOsd osd;
  EXPECT_TRUE(osd.stopped());
  body();
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - began);
}

TEST_F(RbdImageTest, ADeadClusterEndsReadsAndWritesInTime) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(8 * kMiB)));
  const auto impatient = connect(std::chrono::seconds(2));
  auto image = must(RbdImage::open_read_write(impatient, name));
  write_fill(*image, 0, 4096, 1);
  const auto took = while_stopped([&] {
    const Content data(4096, 2);
    Content back(4096);
    EXPECT_EQ(code(write_sync(*image, kMiB, data)), ErrorCode::deadline_exceeded);
    EXPECT_EQ(code(image->read_sync(0, back)), ErrorCode::deadline_exceeded);
  });
  EXPECT_LT(took, std::chrono::seconds(12));
  image.reset();
  const auto again = must(RbdImage::open_read_write(cluster_, name));
  write_fill(*again, 2 * kMiB, 4096, 3);
  Content back(4096);
  must(again->read_sync(0, back));
  EXPECT_EQ(back, Content(4096, 1));
}

TEST_F(RbdImageTest, ADeadClusterEndsSnapshotsInTime) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(8 * kMiB)));
  const auto impatient = connect(std::chrono::seconds(2));
  const auto image = must(RbdImage::open_read_write(impatient, name));
  const auto took = while_stopped([&] {
    EXPECT_FALSE(image->create_snapshot("s"));
    EXPECT_FALSE(image->watched_by_others());
  });
  EXPECT_LT(took, std::chrono::seconds(12));
}

TEST_F(RbdImageTest, ADeadClusterDoesNotKeepImagesFromClosing) {
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(8 * kMiB)));
  const auto impatient = connect(std::chrono::seconds(2));
  auto image = must(RbdImage::open_read_write(impatient, name));
  write_fill(*image, 0, 4096, 1);
  const auto took = while_stopped([&] { image.reset(); });
  EXPECT_LT(took, std::chrono::seconds(12));
}

TEST_F(RbdImageTest, SignalsStayWithTheThreadsThatWantThem) {
  // A signal that only the main thread takes must be blocked in all of the library's threads: the
  // kernel is free to hand it to any thread that does not block it.
  const auto name = unique_image();
  const ImageGuard guard(cluster_, name);
  must(RbdImage::create(*cluster_, name, plain(kMiB)));
  const auto image = must(RbdImage::open_read_write(cluster_, name));
  write_fill(*image, 0, 4096, 1);
  std::size_t threads = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    if (entry.path().filename() == std::to_string(::getpid())) continue;
    std::ifstream status(entry.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigBlk:")) continue;
      const auto blocked = std::strtoull(line.c_str() + 7, nullptr, 16);
      EXPECT_NE(blocked & (1ull << (SIGTERM - 1)), 0u) << entry.path();
      ++threads;
    }
  }
  EXPECT_GT(threads, 5u);
}

}  // namespace
}  // namespace tidemark::test
