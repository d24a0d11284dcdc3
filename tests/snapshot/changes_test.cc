#include "snapshot/rbd/changes.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "rbd_support.h"

namespace tidemark::test {
namespace {

constexpr std::uint64_t kObject = 64 * kKiB;
constexpr std::uint64_t kMaps = RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK |
                                RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF;

ListChanges small_regions() {
  ListChanges options;
  options.region_bytes = kObject;
  options.threads = 2;
  return options;
}

template <class T>
ErrorCode code(const Result<T>& result) {
  return result ? ErrorCode::internal : result.error().code();
}

class ChangesTest : public testing::Test {
 protected:
  void SetUp() override {
    TM_REQUIRE_CLUSTER();
    cluster_ = connect();
    client_ = connect_as_client({});
    name_ = unique_image();
    parent_ = unique_image();
    parent_guard_.emplace(client_, parent_);
    guard_.emplace(client_, name_);
  }
  void TearDown() override {
    image_.reset();
    guard_.reset();
    parent_guard_.reset();
  }

  void create(std::uint64_t objects, std::uint64_t features = kMaps) {
    CreateImage what;
    what.size_bytes = objects * kObject;
    what.order = 16;
    what.features = features;
    must(RbdImage::create(*client_, name_, what));
    image_ = must(RbdImage::open_read_write(client_, name_));
  }

  // A clone of an image that is full of `value`.
  void create_clone(std::uint64_t objects, std::uint8_t value, std::uint64_t features = kMaps) {
    CreateImage what;
    what.size_bytes = objects * kObject;
    what.order = 16;
    must(RbdImage::create(*client_, parent_, what));
    {
      const auto image = must(RbdImage::open_read_write(client_, parent_));
      write_fill(*image, 0, what.size_bytes, value);
      must(image->create_snapshot("origin"));
    }
    clone(parent_, name_, features);
    image_ = must(RbdImage::open_read_write(client_, name_));
  }

  // Of its snapshot "origin".
  void clone(const RbdImageName& parent, const RbdImageName& child, std::uint64_t features) {
    const auto io = must(IoContext::open(*client_, "rbd", ""));
    rbd_image_options_t options = nullptr;
    rbd_image_options_create(&options);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, features);
    must_rbd(rbd_clone3(io.get(), parent.image.c_str(), "origin", io.get(), child.image.c_str(),
                        options),
             "clone");
    rbd_image_options_destroy(options);
  }

  rbd_image_t raw() { return image_->impl().image.get(); }
  std::uint64_t snapshot() {
    return must(image_->create_snapshot(fmt::format("s{}", snapshots_++)));
  }
  void roll_back(const char* name) { must_rbd(rbd_snap_rollback(raw(), name), "roll back"); }

  std::string check(std::uint64_t base, std::uint64_t newer) {
    return check_changes(cluster_, name_, base, newer, small_regions());
  }
  std::unique_ptr<RbdImage> at(std::uint64_t id) {
    return must(RbdImage::open_snapshot(cluster_, name_, id));
  }

  std::string object_name(std::uint64_t object) {
    char prefix[128] = {};
    must_rbd(rbd_get_block_name_prefix(raw(), prefix, sizeof prefix - 1), "prefix");
    return fmt::format("{}.{:016x}", prefix, object);
  }

  // A data object as a client without librbd's copy-up leaves it behind: made or removed in the
  // cluster directly, under the snapshots that the image has.
  void bare_object(std::uint64_t object, bool exists) {
    const auto io = must(IoContext::open(*client_, "rbd", ""));
    std::vector<rados_snap_t> ids;
    for (const auto& one : must(image_->snapshots())) ids.insert(ids.begin(), one.id);
    must_rbd(rados_ioctx_selfmanaged_snap_set_write_ctx(io.get(), ids.empty() ? 0 : ids.front(),
                                                        ids.data(), static_cast<int>(ids.size())),
             "set the snapshots");
    const std::string oid = object_name(object);
    if (exists)
      must_rbd(rados_write_full(io.get(), oid.c_str(), "", 0), "make an object");
    else
      must_rbd(rados_remove(io.get(), oid.c_str()), "remove an object");
  }

  std::shared_ptr<CephCluster> cluster_, client_;
  RbdImageName name_, parent_;
  std::optional<ImageGuard> parent_guard_, guard_;
  std::unique_ptr<RbdImage> image_;
  int snapshots_ = 0;
};

TEST_F(ChangesTest, ShrinkSnapshotGrowLosesNothing) {
  create(8);
  write_fill(*image_, 0, 8 * kObject, 1);
  const auto a = snapshot();
  must(image_->resize(2 * kObject));
  const auto b = snapshot();
  must(image_->resize(8 * kObject));
  const auto c = snapshot();
  EXPECT_EQ(check(a, c), "");
  EXPECT_EQ(check(a, b), "");
  EXPECT_EQ(check(b, c), "");
  EXPECT_EQ(check(0, c), "");
  const auto listed = must(list(*at(c), at(a).get(), small_regions()));
  EXPECT_TRUE(listed.stats.object_map_used);
  ASSERT_EQ(listed.changes.size(), 6u);
  for (const auto& change : listed.changes) {
    EXPECT_EQ(change.extents, (std::vector<ChangedExtent>{{0, kObject, true}}));
  }
  // The cheap way, for comparison. Should this fail, the cluster's fast-diff has been mended.
  int reported = 0;
  const auto count = [](std::uint64_t, std::size_t, int, void* argument) {
    ++*static_cast<int*>(argument);
    return 0;
  };
  must_rbd(
      rbd_diff_iterate2(at(c)->impl().image.get(), "s0", 0, 8 * kObject, 0, 1, count, &reported),
      "fast-diff");
  EXPECT_EQ(reported, 0);
}

TEST_F(ChangesTest, ShrinkAndGrowWithinARegionIsReported) {
  create(8);
  write_fill(*image_, 0, 8 * kObject, 1);
  const auto a = snapshot();
  must(image_->resize(3 * kObject + 1000));
  const auto b = snapshot();
  must(image_->resize(8 * kObject - 77));
  write_fill(*image_, 5 * kObject + 9, 100, 2);
  const auto c = snapshot();
  EXPECT_EQ(check(a, b), "");
  EXPECT_EQ(check(b, c), "");
  EXPECT_EQ(check(a, c), "");
}

TEST_F(ChangesTest, BytesLeftBehindTheEndAreSeenWhenTheImageGrows) {
  create(4);
  must(image_->resize(3 * kObject + 1000));
  write_fill(*image_, 3 * kObject, 10, 1);
  // What a client that does not clean up behind itself leaves when it shrinks an image.
  const auto io = must(IoContext::open(*client_, "rbd", ""));
  const std::string left(4096, 'x');
  must_rbd(rados_write(io.get(), object_name(3).c_str(), left.data(), left.size(), 2000), "write");
  const auto a = snapshot();
  must(image_->resize(4 * kObject));
  const auto b = snapshot();
  EXPECT_EQ(check(a, b), "");
  EXPECT_EQ(read_snapshot(cluster_, name_, b)[3 * kObject + 2000], 'x');
}

TEST_F(ChangesTest, ARollbackIsReported) {
  create(8);
  write_fill(*image_, 0, 4 * kObject, 1);
  snapshot();
  const auto b = snapshot();
  write_fill(*image_, 0, 8 * kObject, 2);
  const auto c = snapshot();
  roll_back("s1");
  const auto d = snapshot();
  EXPECT_EQ(check(c, d), "");
  EXPECT_EQ(check(b, d), "");
  EXPECT_EQ(check(b, c), "");
  EXPECT_EQ(check(0, d), "");
}

TEST_F(ChangesTest, ImagesOfNoBytesAreListedAsNothing) {
  create(0);
  const auto a = snapshot();
  const auto b = snapshot();
  EXPECT_EQ(check(0, a), "");
  EXPECT_EQ(check(a, b), "");
  must(image_->resize(3 * kObject + 5));
  write_fill(*image_, kObject, kObject + 7, 1);
  const auto c = snapshot();
  EXPECT_EQ(check(a, c), "");
  must(image_->resize(0));
  const auto d = snapshot();
  EXPECT_EQ(check(c, d), "");
  EXPECT_EQ(check(a, d), "");
  must(image_->resize(4 * kObject));
  const auto e = snapshot();
  EXPECT_EQ(check(c, e), "");
  EXPECT_EQ(check(0, e), "");
}

TEST_F(ChangesTest, SmallOverwritesAreReportedExactly) {
  create(64);
  write_fill(*image_, 0, 64 * kObject, 1);
  const auto a = snapshot();
  write_fill(*image_, 5 * kObject + 4096, 4096, 2);
  write_fill(*image_, 40 * kObject - 512, 1024, 3);
  const auto b = snapshot();
  const auto listed = must(list(*at(b), at(a).get(), small_regions()));
  ASSERT_EQ(listed.changes.size(), 3u);
  EXPECT_EQ(listed.changes[0].region, 5u);
  EXPECT_EQ(listed.changes[0].extents, (std::vector<ChangedExtent>{{4096, 4096, false}}));
  EXPECT_EQ(listed.changes[1].region, 39u);
  EXPECT_EQ(listed.changes[1].extents, (std::vector<ChangedExtent>{{kObject - 512, 512, false}}));
  EXPECT_EQ(listed.changes[2].region, 40u);
  EXPECT_EQ(listed.stats.regions_changed, 3u);
  const auto nothing = must(list(*at(b), at(b).get(), small_regions()));
  EXPECT_TRUE(nothing.changes.empty());
}

TEST_F(ChangesTest, OnlyRegionsWithObjectsAreAskedAbout) {
  create(4096);
  write_fill(*image_, 17 * kObject, 4096, 1);
  const auto a = snapshot();
  write_fill(*image_, 4000 * kObject, 4096, 1);
  const auto b = snapshot();
  const auto listed = must(list(*at(b), at(a).get(), small_regions()));
  EXPECT_EQ(listed.stats.regions_listed, 2u);
  EXPECT_EQ(listed.stats.regions_changed, 1u);
}

TEST_F(ChangesTest, TheLostOverlapOfACloneIsReported) {
  create_clone(8, 7);
  const auto a = snapshot();
  must(image_->resize(2 * kObject + 100));
  must(image_->resize(8 * kObject));
  const auto b = snapshot();
  EXPECT_EQ(check(a, b), "");
  EXPECT_EQ(check(0, a), "");
  EXPECT_EQ(check(0, b), "");
  write_fill(*image_, 4 * kObject, 10, 1);
  const auto c = snapshot();
  EXPECT_EQ(check(a, c), "");
  EXPECT_EQ(check(b, c), "");
}

TEST_F(ChangesTest, AFlattenLosesNothing) {
  for (const std::uint64_t more : {std::uint64_t{0}, std::uint64_t{RBD_FEATURE_DEEP_FLATTEN}}) {
    TearDown();
    SetUp();
    create_clone(8, 7, kMaps | more);
    const auto a = snapshot();
    write_fill(*image_, kObject, 100, 1);
    must(image_->resize(6 * kObject));
    must(image_->resize(9 * kObject));
    const auto b = snapshot();
    must_rbd(rbd_flatten(raw()), "flatten");
    const auto c = snapshot();
    write_fill(*image_, 3 * kObject, 100, 2);
    const auto d = snapshot();
    for (const auto base : {a, b, c}) {
      EXPECT_EQ(check(base, d), "") << more;
      if (base < c) {
        EXPECT_EQ(check(base, c), "") << more;
      }
    }
    EXPECT_EQ(check(0, a), "");
    EXPECT_EQ(check(0, c), "");
  }
}

TEST_F(ChangesTest, AnEmptyObjectThatHidesTheParentIsSeen) {
  for (const std::uint64_t features : {std::uint64_t{RBD_FEATURE_LAYERING}, kMaps}) {
    TearDown();
    SetUp();
    create_clone(8, 7, features);
    if (features == kMaps) write_fill(*image_, 3 * kObject, 4096, 1);  // the map says: exists
    const auto a = snapshot();
    bare_object(3, true);
    const auto b = snapshot();
    bare_object(3, false);
    const auto c = snapshot();
    EXPECT_EQ(check(a, b), "");
    EXPECT_EQ(check(b, c), "");
    EXPECT_EQ(check(a, c), "");
    EXPECT_EQ(check(0, b), "");
    EXPECT_EQ(check(0, c), "");
    EXPECT_NE(difference(read_snapshot(cluster_, name_, a), read_snapshot(cluster_, name_, b)), "");
  }
}

TEST_F(ChangesTest, AllGenerationsOfAClonesAncestorsAreSeen) {
  for (const std::uint64_t features : {std::uint64_t{RBD_FEATURE_LAYERING}, kMaps}) {
    TearDown();
    SetUp();
    create_clone(8, 7, features);
    write_fill(*image_, 2 * kObject + 100, 2 * kObject, 1);
    must(image_->resize(6 * kObject + 100));  // what lies behind is not shown to the grandchild
    must(image_->resize(10 * kObject));
    write_fill(*image_, 9 * kObject, 10, 2);
    must(image_->create_snapshot("origin"));
    const RbdImageName middle = std::exchange(name_, unique_image());
    const ImageGuard middle_guard(client_, middle);
    const ImageGuard guard(client_, name_);
    clone(middle, name_, features);
    image_ = must(RbdImage::open_read_write(client_, name_));
    write_fill(*image_, 5 * kObject, 100, 3);
    const auto a = snapshot();
    bare_object(0, true);
    write_fill(*image_, kObject, 100, 4);
    const auto b = snapshot();
    EXPECT_EQ(check(0, a), "");
    EXPECT_EQ(check(0, b), "");
    EXPECT_EQ(check(a, b), "");
    const auto listed = must(list(*at(a), nullptr, small_regions()));
    std::vector<std::uint64_t> regions;
    for (const auto& change : listed.changes) regions.push_back(change.region);
    EXPECT_EQ(regions, (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 9}));
    image_.reset();
  }
}

TEST_F(ChangesTest, AParentThatLivesOnInTheTrashIsSeen) {
  create_clone(4, 7);
  write_fill(*image_, kObject, 100, 1);
  const auto a = snapshot();
  {
    const auto parent = must(RbdImage::open_read_write(client_, parent_));
    const auto origin = must(parent->snapshots()).front();
    must(parent->remove_snapshot(origin.id, "origin"));
  }
  const auto io = must(IoContext::open(*client_, "rbd", ""));
  const std::string id = [&] {
    const auto parent = must(RbdImage::open_read_only(client_, parent_));
    return must(parent->info()).id;
  }();
  must_rbd(rbd_trash_move(io.get(), parent_.image.c_str(), 0), "move to the trash");
  EXPECT_EQ(check(0, a), "");
  must_rbd(rbd_trash_restore(io.get(), id.c_str(), parent_.image.c_str()), "restore");
}

TEST_F(ChangesTest, WithInvalidObjectMapsEverythingIsListed) {
  create(8, RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK);
  write_fill(*image_, 0, 4 * kObject, 1);
  const auto a = snapshot();
  // Maps of images that exist already start out invalid, until they are rebuilt.
  must_rbd(rbd_update_features(raw(), RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF, 1), "enable");
  write_fill(*image_, 2 * kObject, 5 * kObject, 2);
  const auto b = snapshot();
  EXPECT_EQ(check(a, b), "");
  const auto listed = must(list(*at(b), at(a).get(), small_regions()));
  EXPECT_FALSE(listed.stats.object_map_used);
  EXPECT_EQ(listed.stats.regions_listed, 8u);
}

TEST_F(ChangesTest, SnapshotsOfAGroupServeAsBaseAndAsNewer) {
  create(8);
  const auto io = must(IoContext::open(*client_, "rbd", ""));
  const std::string group = "g" + name_.image;
  must_rbd(rbd_group_create(io.get(), group.c_str()), "group");
  must_rbd(rbd_group_image_add(io.get(), group.c_str(), io.get(), name_.image.c_str()), "add");
  write_fill(*image_, 0, 3 * kObject, 1);
  must_rbd(rbd_group_snap_create(io.get(), group.c_str(), "one"), "group snapshot");
  write_fill(*image_, kObject, 10, 2);
  must(zero_sync(*image_, 2 * kObject, kObject));
  must_rbd(rbd_group_snap_create(io.get(), group.c_str(), "two"), "group snapshot");
  const auto user = snapshot();
  const auto all = must(image_->snapshots());
  ASSERT_EQ(all.size(), 3u);
  EXPECT_FALSE(all[0].user);
  EXPECT_EQ(check(all[0].id, all[1].id), "");
  EXPECT_EQ(check(all[0].id, user), "");
  EXPECT_EQ(check(0, all[1].id), "");
  must_rbd(rbd_group_snap_remove(io.get(), group.c_str(), "one"), "remove");
  must_rbd(rbd_group_snap_remove(io.get(), group.c_str(), "two"), "remove");
  must_rbd(rbd_group_remove(io.get(), group.c_str()), "remove");
}

// --- what goes wrong while a listing runs ----------------------------------------------------

class InterruptedChangesTest : public ChangesTest {
 protected:
  void SetUp() override {
    ChangesTest::SetUp();
    if (IsSkipped()) return;
    create(2000);
    write_every(2, 1);
    base_ = snapshot();
    write_every(20, 2);
    newer_ = snapshot();
  }

  void write_every(std::uint64_t stride, std::uint8_t value) {
    const Content data(512, value);
    std::atomic<int> failed{0};
    for (std::uint64_t i = 0; i < 2000; i += stride) {
      image_->write(i * kObject, data, [&](Status status) { failed += status ? 0 : 1; });
    }
    image_.reset();  // waits for all of them
    ASSERT_EQ(failed, 0);
    image_ = must(RbdImage::open_read_write(client_, name_));
  }

  // Lists with `meddle` run at the first region.
  Result<ChangeStats> list_while(const std::function<void()>& meddle, std::stop_token stop = {}) {
    const auto newer = at(newer_);
    const auto base = at(base_);
    bool done = false;
    return list_changes(
        *newer, base.get(), small_regions(),
        [&](RegionChange) -> Status {
          if (!std::exchange(done, true)) meddle();
          return {};
        },
        stop);
  }

  std::uint64_t base_ = 0, newer_ = 0;
};

TEST_F(InterruptedChangesTest, UndisturbedItWorks) {
  const auto stats = must(list_while([] {}));
  EXPECT_EQ(stats.regions_changed, 100u);
}

TEST_F(InterruptedChangesTest, TheBaseIsRemoved) {
  const auto result = list_while([&] { must(image_->remove_snapshot(base_, "s0")); });
  EXPECT_EQ(code(result), ErrorCode::not_found);
}

TEST_F(InterruptedChangesTest, TheNewerSnapshotIsRemoved) {
  const auto result = list_while([&] { must(image_->remove_snapshot(newer_, "s1")); });
  EXPECT_EQ(code(result), ErrorCode::not_found);
}

TEST_F(InterruptedChangesTest, TheBaseIsReplacedByOneOfTheSameName) {
  const auto result = list_while([&] {
    must(image_->remove_snapshot(base_, "s0"));
    must(image_->create_snapshot("s0"));
  });
  EXPECT_EQ(code(result), ErrorCode::not_found);
}

TEST_F(InterruptedChangesTest, TheBaseIsReplacedBeforeTheListing) {
  const auto newer = at(newer_);
  const auto base = at(base_);
  must(image_->remove_snapshot(base_, "s0"));
  must(image_->create_snapshot("s0"));
  EXPECT_EQ(code(list(*newer, base.get(), small_regions())), ErrorCode::not_found);
}

TEST_F(InterruptedChangesTest, TheBaseIsRenamed) {
  const auto result =
      list_while([&] { must_rbd(rbd_snap_rename(raw(), "s0", "other"), "rename"); });
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(result->regions_changed, 100u);
}

TEST_F(InterruptedChangesTest, TheImageIsRemoved) {
  const auto result = list_while([&] {
    must(image_->remove_snapshot(base_, "s0"));
    must(image_->remove_snapshot(newer_, "s1"));
    image_.reset();
    must(RbdImage::remove(*client_, name_));
  });
  EXPECT_EQ(code(result), ErrorCode::not_found);
}

TEST_F(InterruptedChangesTest, TheReceiverFails) {
  int calls = 0;
  const auto newer = at(newer_);
  const auto result = list_changes(*newer, nullptr, small_regions(), [&](RegionChange) -> Status {
    if (++calls < 3) return {};
    return Error(ErrorCode::resource_exhausted, "enough");
  });
  EXPECT_EQ(code(result), ErrorCode::resource_exhausted);
  EXPECT_EQ(calls, 3);
}

TEST_F(InterruptedChangesTest, ItIsStopped) {
  std::stop_source source;
  EXPECT_EQ(code(list_while([&] { source.request_stop(); }, source.get_token())),
            ErrorCode::cancelled);
  EXPECT_EQ(code(list_while([] {}, source.get_token())), ErrorCode::cancelled);
}

TEST_F(InterruptedChangesTest, WrongPairsAreRefused) {
  const auto newer = at(newer_);
  const auto base = at(base_);
  const auto head = must(RbdImage::open_read_only(cluster_, name_));
  EXPECT_EQ(code(list(*base, newer.get())), ErrorCode::invalid_argument);
  EXPECT_EQ(code(list(*head, base.get())), ErrorCode::invalid_argument);
  EXPECT_EQ(code(list(*newer, head.get())), ErrorCode::invalid_argument);
  const auto other_name = unique_image();
  const ImageGuard guard(client_, other_name);
  CreateImage what;
  what.size_bytes = kObject;
  must(RbdImage::create(*client_, other_name, what));
  const auto other = must(RbdImage::open_read_write(client_, other_name));
  const auto theirs =
      must(RbdImage::open_snapshot(cluster_, other_name, must(other->create_snapshot("x"))));
  EXPECT_EQ(code(list(*newer, theirs.get())), ErrorCode::invalid_argument);
}

TEST_F(InterruptedChangesTest, AClusterThatDoesNotAnswerEndsInADeadline) {
  const auto impatient = connect(std::chrono::seconds(2));
  const auto newer = must(RbdImage::open_snapshot(impatient, name_, newer_));
  const auto base = must(RbdImage::open_snapshot(impatient, name_, base_));
  const auto head = must(RbdImage::open_read_only(impatient, name_));
  const auto began = std::chrono::steady_clock::now();
  {
    const StoppedOsd osd;
    ASSERT_TRUE(osd.stopped());
    EXPECT_EQ(code(list(*newer, base.get(), small_regions())), ErrorCode::deadline_exceeded);
    Content bytes(4096);
    EXPECT_EQ(code(head->read_sync(0, bytes)), ErrorCode::deadline_exceeded);
    EXPECT_EQ(code(RbdImage::open_read_only(impatient, name_)), ErrorCode::deadline_exceeded);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(60));
  EXPECT_EQ(check_changes(cluster_, name_, base_, newer_, small_regions()), "");
}

TEST_F(InterruptedChangesTest, AnOsdThatStopsMidwayEndsInADeadlineNotInAShortList) {
  const auto impatient = connect(std::chrono::seconds(2));
  const auto newer = must(RbdImage::open_snapshot(impatient, name_, newer_));
  const auto base = must(RbdImage::open_snapshot(impatient, name_, base_));
  auto options = small_regions();
  options.threads = 1;
  std::optional<StoppedOsd> osd;
  const auto result = list_changes(*newer, base.get(), options, [&](RegionChange) -> Status {
    if (!osd) osd.emplace();
    return {};
  });
  EXPECT_EQ(code(result), ErrorCode::deadline_exceeded);
}

// --- a client that keeps writing -------------------------------------------------------------

TEST_F(ChangesTest, SnapshotsTakenUnderWritesAreListedRight) {
  create(48);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::mt19937_64 random(1);
    for (std::uint8_t value = 1; !stop; ++value) {
      const std::uint64_t offset = random() % (48 * kObject - 20000);
      const std::uint64_t size = 1 + random() % 20000;
      if (value % 5 == 0) {
        must(zero_sync(*image_, offset, size));
      } else {
        write_fill(*image_, offset, size, value);
      }
    }
  });
  const auto ours = must(RbdImage::open_read_write(cluster_, name_));
  std::vector<std::uint64_t> ids;
  for (int i = 0; i < 30 && !HasFailure(); ++i) {
    ids.push_back(must(ours->create_snapshot(fmt::format("c{}", i))));
    if (ids.size() >= 2) {
      EXPECT_EQ(check(ids[ids.size() - 2], ids.back()), "") << i;
      EXPECT_EQ(check(ids.front(), ids.back()), "") << i;
    }
    if (ids.size() > 6) {
      must(ours->remove_snapshot(ids[1], fmt::format("c{}", i - 5)));
      ids.erase(ids.begin() + 1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  stop = true;
  writer.join();
  EXPECT_EQ(check(0, ids.back()), "");
}

}  // namespace
}  // namespace tidemark::test
