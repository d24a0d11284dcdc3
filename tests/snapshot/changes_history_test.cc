// Random histories of small images, and every pair of their snapshots: the reported changes,
// applied to the older content, must give the newer one. TM_ROUNDS and TM_SEED choose how many and
// which.

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "rbd_support.h"

namespace tidemark::test {
namespace {

constexpr std::uint64_t kObject = 64 * kKiB;

struct Tally {
  std::uint64_t images = 0, pairs = 0, firsts = 0, regions = 0;
  std::uint64_t fast_pairs = 0, fast_wrong = 0, fast_failed = 0;
};

// What kind of image, drawn from the seed.
struct Kind {
  unsigned order = 16;
  std::uint64_t objects = 8;
  std::uint32_t region_bytes = 64 * 1024;
  std::uint64_t features = RBD_FEATURE_LAYERING;
  std::uint64_t stripe_unit = 0, stripe_count = 0;
  std::string data_pool, ns;
  bool clone = false, partial_discards = false;

  std::string text() const {
    return fmt::format(
        "objects {}x{} region {} features {:#x} stripes {}x{} data pool '{}' ns '{}' clone {} "
        "partial discards {}",
        objects, 1u << order, region_bytes, features, stripe_unit, stripe_count, data_pool, ns,
        clone, partial_discards);
  }
};

struct Snapshot {
  std::uint64_t id;
  std::string name;
  Content content;
};

class History {
 public:
  History(std::uint64_t seed, std::shared_ptr<CephCluster> ours,
          std::shared_ptr<CephCluster> client, std::shared_ptr<CephCluster> partial_client,
          Tally& tally)
      : random_(seed), ours_(std::move(ours)), tally_(tally) {
    kind_ = draw_kind();
    client_ = kind_.partial_discards ? std::move(partial_client) : std::move(client);
    name_ = unique_image("rbd", kind_.ns);
  }

  void run() {
    SCOPED_TRACE(kind_.text());
    const RbdImageName parent = unique_image("rbd", kind_.ns);
    const ImageGuard parent_guard(client_, parent);
    const ImageGuard guard(client_, name_);
    create(parent);
    image_ = must(RbdImage::open_read_write(client_, name_));
    content_ = read_all(raw());
    const auto steps = 24 + below(12);
    for (std::uint64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) step();
    take_snapshot();
    check_all_pairs();
    image_.reset();
    ++tally_.images;
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  rbd_image_t raw() { return image_->impl().image.get(); }

  Kind draw_kind() {
    Kind kind;
    kind.objects = 8 + below(9);
    constexpr std::uint32_t kRegions[] = {64 << 10, 64 << 10, 256 << 10, 32 << 10, 96 << 10};
    kind.region_bytes = kRegions[below(5)];
    constexpr std::uint64_t kMaps = RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |
                                    RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN;
    switch (below(8)) {
      case 0:
        break;
      case 1:
        kind.features |= RBD_FEATURE_EXCLUSIVE_LOCK;
        break;
      case 2:
        kind.features |= kMaps & ~std::uint64_t{RBD_FEATURE_DEEP_FLATTEN};
        break;
      default:
        kind.features |= kMaps;
    }
    if (one_in(5)) {
      kind.stripe_unit = 16 * kKiB;
      kind.stripe_count = 3;
    }
    if (one_in(6)) kind.data_pool = "rbd-data";
    if (one_in(6)) kind.ns = "history";
    kind.clone = one_in(3);
    kind.partial_discards = one_in(2);
    return kind;
  }

  void create(const RbdImageName& parent) {
    CreateImage what;
    what.size_bytes = one_in(12) ? 0 : kind_.objects * kObject - (one_in(3) ? below(kObject) : 0);
    what.order = kind_.order;
    what.stripe_unit = kind_.stripe_unit;
    what.stripe_count = kind_.stripe_count;
    what.features = kind_.features;
    what.data_pool = kind_.data_pool;
    if (!kind_.clone) {
      must(RbdImage::create(*client_, name_, what));
      return;
    }
    what.size_bytes = std::max(what.size_bytes, kObject);
    must(RbdImage::create(*client_, parent, what));
    const auto image = must(RbdImage::open_read_write(client_, parent));
    for (std::uint64_t at = 0; at + kObject <= what.size_bytes; at += kObject) {
      if (one_in(2)) write_fill(*image, at + below(kObject / 2), kObject / 4, next_value());
    }
    must(image->create_snapshot("origin"));
    clone(parent);
  }

  void clone(const RbdImageName& parent) {
    const auto io = must(IoContext::open(*client_, parent.pool, parent.ns));
    rbd_image_options_t options = nullptr;
    rbd_image_options_create(&options);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER, kind_.order);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, kind_.features);
    if (kind_.stripe_count != 0) {
      rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_STRIPE_UNIT, kind_.stripe_unit);
      rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_STRIPE_COUNT, kind_.stripe_count);
    }
    if (!kind_.data_pool.empty()) {
      rbd_image_options_set_string(options, RBD_IMAGE_OPTION_DATA_POOL, kind_.data_pool.c_str());
    }
    must_rbd(rbd_clone3(io.get(), parent.image.c_str(), "origin", io.get(), name_.image.c_str(),
                        options),
             "clone");
    rbd_image_options_destroy(options);
  }

  std::uint8_t next_value() { return value_ = static_cast<std::uint8_t>(1 + value_ % 255); }

  // A range of the image: small, about an object, or objects as a whole.
  std::pair<std::uint64_t, std::uint64_t> draw_range() {
    const std::uint64_t size = content_.size();
    if (one_in(3)) {
      const std::uint64_t object = below((size + kObject - 1) / kObject);
      const std::uint64_t start = object * kObject;
      return {start, std::min(kObject * (1 + below(2)), size - start)};
    }
    const std::uint64_t start = below(size);
    const std::uint64_t wanted = one_in(2) ? 1 + below(8192) : 1 + below(2 * kObject);
    return {start, std::min(wanted, size - start)};
  }

  void step() {
    if (content_.empty()) {
      one_in(2) ? resize() : take_snapshot();
      return;
    }
    const auto [offset, size] = draw_range();
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        write_fill(*image_, offset, size, next_value());
        std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), size, value_);
        break;
      case 5:
      case 6:
        must_rbd(rbd_discard(raw(), offset, size), "discard");
        content_ = read_all(raw());  // how much a discard discards is the client's choice
        break;
      case 7:
      case 8:
        must(zero_sync(*image_, offset, size));
        std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), size, 0);
        break;
      case 9:
      case 10:
        resize();
        break;
      case 11:
        roll_back();
        break;
      case 12:
        change_snapshots();
        break;
      default:
        take_snapshot();
    }
    ASSERT_EQ(difference(content_, read_all(raw())), "") << "the model went astray";
  }

  void resize() {
    const std::uint64_t size = one_in(10) ? 0 : below((kind_.objects + 4) * kObject);
    must(image_->resize(size));
    content_.resize(size, 0);
  }

  void take_snapshot() {
    const std::string name = fmt::format("s{}", names_++);
    const std::uint64_t id = must(image_->create_snapshot(name));
    snapshots_.push_back({id, name, content_});
  }

  void roll_back() {
    if (snapshots_.empty()) return;
    const auto& to = snapshots_[below(snapshots_.size())];
    must_rbd(rbd_snap_rollback(raw(), to.name.c_str()), "roll back");
    content_ = read_all(raw());
  }

  void change_snapshots() {
    if (kind_.clone && one_in(2)) {
      const int result = rbd_flatten(raw());
      if (result != -EINVAL) must_rbd(result, "flatten");  // EINVAL: has no parent any more
      return;
    }
    if (snapshots_.size() < 3) return;
    const auto victim = snapshots_.begin() + static_cast<std::ptrdiff_t>(below(snapshots_.size()));
    must(image_->remove_snapshot(victim->id, victim->name));
    snapshots_.erase(victim);
  }

  void check_all_pairs() {
    ListChanges options;
    options.region_bytes = kind_.region_bytes;
    options.threads = static_cast<unsigned>(1 + below(4));
    if (one_in(4)) options.extents_max = 2;
    for (std::size_t newer = 0; newer < snapshots_.size(); ++newer) {
      const auto image = must(RbdImage::open_snapshot(ours_, name_, snapshots_[newer].id));
      EXPECT_EQ(difference(snapshots_[newer].content, read_all(image->impl().image.get())), "");
      check(*image, nullptr, newer, options);
      for (std::size_t base = 0; base < newer && !testing::Test::HasFailure(); ++base) {
        check(*image, &snapshots_[base], newer, options);
        try_fast_diff(*image, snapshots_[base], newer);
      }
    }
  }

  void check(RbdImage& image, const Snapshot* base, std::size_t newer, const ListChanges& options) {
    std::unique_ptr<RbdImage> base_image;
    Content content;
    if (base != nullptr) {
      base_image = must(RbdImage::open_snapshot(ours_, name_, base->id));
      content = base->content;
    }
    auto listed = list(image, base_image.get(), options);
    ASSERT_TRUE(listed) << listed.error().describe();
    auto wrong = apply(image, options, listed->changes, content);
    if (wrong.empty()) wrong = difference(snapshots_[newer].content, content);
    EXPECT_EQ(wrong, "") << (base != nullptr ? base->name : "the beginning") << " to "
                         << snapshots_[newer].name;
    ++(base != nullptr ? tally_.pairs : tally_.firsts);
    tally_.regions += listed->changes.size();
  }

  // What a product that believes fast-diff would have got: shows that these histories can fail.
  void try_fast_diff(RbdImage& image, const Snapshot& base, std::size_t newer) {
    if (image.size() == 0 || (kind_.features & RBD_FEATURE_FAST_DIFF) == 0) return;
    struct Applied {
      const Content* newer;
      Content content;
    } applied{&snapshots_[newer].content, base.content};
    applied.content.resize(applied.newer->size(), 0);
    const auto copy = [](std::uint64_t offset, std::size_t size, int, void* argument) {
      auto& to = *static_cast<Applied*>(argument);
      const auto end = std::min<std::uint64_t>(offset + size, to.content.size());
      for (auto i = offset; i < end; ++i) to.content[i] = (*to.newer)[i];
      return 0;
    };
    const int result = rbd_diff_iterate2(image.impl().image.get(), base.name.c_str(), 0,
                                         image.size(), 1, 1, copy, &applied);
    ++tally_.fast_pairs;
    if (result < 0)
      ++tally_.fast_failed;
    else if (applied.content != *applied.newer)
      ++tally_.fast_wrong;
  }

  std::mt19937_64 random_;
  std::shared_ptr<CephCluster> ours_, client_;
  Tally& tally_;
  Kind kind_;
  RbdImageName name_;
  std::unique_ptr<RbdImage> image_;
  Content content_;
  std::vector<Snapshot> snapshots_;
  std::uint8_t value_ = 0;
  unsigned names_ = 0;
};

TEST(ChangesHistoryTest, ChangesBetweenAnyTwoSnapshotsGiveTheNewerContent) {
  TM_REQUIRE_CLUSTER();
  const char* rounds_text = std::getenv("TM_ROUNDS");
  const char* seed_text = std::getenv("TM_SEED");
  const auto rounds = rounds_text != nullptr ? std::strtoull(rounds_text, nullptr, 10) : 12;
  const auto seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10)
                                         : std::uint64_t{std::random_device{}()};
  const auto ours = connect();
  make_pool(*ours, "rbd-data");
  make_namespace(*ours, "rbd", "history");
  const auto client = connect_as_client({});
  const auto partial = connect_as_client({{"rbd_skip_partial_discard", "false"}});
  Tally tally;
  std::uint64_t round = 0;
  for (; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(fmt::format("TM_SEED={} TM_ROUNDS=1", seed + round));
    History(seed + round, ours, client, partial, tally).run();
  }
  std::printf(
      "TM_SEED=%llu: %llu images, %llu pairs and %llu first listings right, %llu regions; "
      "fast-diff alone: %llu of %llu pairs wrong, %llu failed\n",
      static_cast<unsigned long long>(seed), static_cast<unsigned long long>(tally.images),
      static_cast<unsigned long long>(tally.pairs), static_cast<unsigned long long>(tally.firsts),
      static_cast<unsigned long long>(tally.regions),
      static_cast<unsigned long long>(tally.fast_wrong),
      static_cast<unsigned long long>(tally.fast_pairs),
      static_cast<unsigned long long>(tally.fast_failed));
}

}  // namespace
}  // namespace tidemark::test
