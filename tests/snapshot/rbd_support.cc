#include "rbd_support.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>

namespace tidemark::test {

namespace {

Status wait_for(const std::function<void(RbdImage::Done)>& start) {
  std::promise<Status> ended;
  auto outcome = ended.get_future();
  start([&](Status status) { ended.set_value(std::move(status)); });
  return outcome.get();
}

std::string check_form(const RegionChange& change, const ListChanges& options,
                       std::uint64_t image_bytes, std::int64_t last_region) {
  const auto wrong = [&](const std::string& what) {
    return fmt::format("region {}: {}", change.region, what);
  };
  if (static_cast<std::int64_t>(change.region) <= last_region) return wrong("not ascending");
  const std::uint64_t start = change.region * options.region_bytes;
  if (start >= image_bytes) return wrong("behind the end");
  const std::uint64_t length = std::min<std::uint64_t>(options.region_bytes, image_bytes - start);
  if (change.extents.size() > options.extents_max) return wrong("too many extents");
  const ChangedExtent* before = nullptr;
  for (const auto& extent : change.extents) {
    if (extent.size == 0) return wrong("empty extent");
    if (std::uint64_t{extent.offset} + extent.size > length) return wrong("extent too long");
    if (change.whole && extent.zero) return wrong("zeros in a whole region");
    if (before != nullptr) {
      const auto end = before->offset + before->size;
      if (extent.offset < end) return wrong("extents overlap or are not sorted");
      if (extent.offset == end && extent.zero == before->zero) return wrong("not merged");
    }
    before = &extent;
  }
  return {};
}

}  // namespace

const char* test_conf() { return std::getenv("TM_TEST_CEPH_CONF"); }

int must_rbd(std::int64_t result, const char* what) {
  if (result >= 0) return static_cast<int>(result);
  const std::string text = rbd_error(result, what).describe();
  ADD_FAILURE() << text;
  throw std::runtime_error(text);
}

std::shared_ptr<CephCluster> connect(std::chrono::seconds operation_timeout) {
  CephConfig config;
  config.operation_timeout = operation_timeout;
  config.conf = test_conf();
  config.user = "admin";
  return must(CephCluster::connect(config));
}

std::shared_ptr<CephCluster> connect_as_client(const std::map<std::string, std::string>& options) {
  auto impl = std::make_unique<CephCluster::Impl>();
  must_rbd(rados_create2(&impl->rados, "ceph", "client.admin", 0), "create");
  must_rbd(rados_conf_read_file(impl->rados, test_conf()), "read the configuration");
  must_rbd(rados_conf_set(impl->rados, "log_to_stderr", "false"), "configure");
  must_rbd(rados_conf_set(impl->rados, "err_to_stderr", "false"), "configure");
  for (const auto& [name, value] : options) {
    must_rbd(rados_conf_set(impl->rados, name.c_str(), value.c_str()), name.c_str());
  }
  must_rbd(rados_connect(impl->rados), "connect");
  return std::make_shared<CephCluster>(std::move(impl));
}

RbdImageName unique_image(const std::string& pool, const std::string& ns) {
  static std::atomic<int> count{0};
  return {pool, ns, fmt::format("t{}-{}", ::getpid(), count++)};
}

void make_pool(CephCluster& cluster, const std::string& pool) {
  rados_t rados = cluster.impl().rados;
  if (rados_pool_lookup(rados, pool.c_str()) >= 0) return;
  must_rbd(rados_pool_create(rados, pool.c_str()), "create a pool");
  const auto io = must(IoContext::open(cluster, pool, ""));
  must_rbd(rados_application_enable(io.get(), "rbd", 1), "enable rbd");
}

void make_namespace(CephCluster& cluster, const std::string& pool, const std::string& ns) {
  const auto io = must(IoContext::open(cluster, pool, ""));
  const int result = rbd_namespace_create(io.get(), ns.c_str());
  if (result != -EEXIST) must_rbd(result, "create a namespace");
}

ImageGuard::~ImageGuard() {
  auto image = RbdImage::open_read_write(cluster_, name_);
  if (!image) return;
  auto snapshots = (*image)->snapshots();
  if (snapshots) {
    for (const auto& snapshot : *snapshots) {
      rbd_snap_remove2((*image)->impl().image.get(), snapshot.name.c_str(), RBD_SNAP_REMOVE_FORCE,
                       [](std::uint64_t, std::uint64_t, void*) { return 0; }, nullptr);
    }
  }
  image->reset();
  ignore_error(RbdImage::remove(*cluster_, name_), "another test's assertion has failed already");
}

StoppedOsd::StoppedOsd() {
  std::ifstream file(std::filesystem::path(test_conf()).parent_path() / "osd.pid");
  file >> pid_;
  if (pid_ > 1) ::kill(pid_, SIGSTOP);
}

StoppedOsd::~StoppedOsd() {
  if (pid_ > 1) ::kill(pid_, SIGCONT);
}

Content read_all(rbd_image_t image) {
  std::uint64_t size = 0;
  must_rbd(rbd_get_size(image, &size), "size");
  Content content(size);
  if (size > 0) {
    const auto got = rbd_read(image, 0, size, reinterpret_cast<char*>(content.data()));
    EXPECT_EQ(got, static_cast<ssize_t>(size));
  }
  return content;
}

Content read_snapshot(const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name,
                      std::uint64_t snapshot) {
  const auto image = must(RbdImage::open_snapshot(cluster, name, snapshot));
  return read_all(image->impl().image.get());
}

Status write_sync(RbdImage& image, std::uint64_t offset, ByteView data) {
  return wait_for([&](RbdImage::Done done) { image.write(offset, data, std::move(done)); });
}

Status zero_sync(RbdImage& image, std::uint64_t offset, std::uint64_t size) {
  return wait_for([&](RbdImage::Done done) { image.write_zeroes(offset, size, std::move(done)); });
}

void write_fill(RbdImage& image, std::uint64_t offset, std::size_t size, std::uint8_t value) {
  const Content data(size, value);
  must(write_sync(image, offset, data));
}

Result<Listed> list(RbdImage& newer, RbdImage* base, const ListChanges& options) {
  Listed listed;
  TM_TRY(listed.stats, list_changes(newer, base, options, [&](RegionChange change) -> Status {
           listed.changes.push_back(std::move(change));
           return {};
         }));
  return listed;
}

std::string apply(RbdImage& newer, const ListChanges& options,
                  const std::vector<RegionChange>& changes, Content& content) {
  const std::uint64_t size = newer.size();
  content.resize(size, 0);
  std::int64_t last_region = -1;
  for (const auto& change : changes) {
    auto wrong = check_form(change, options, size, last_region);
    if (!wrong.empty()) return wrong;
    last_region = static_cast<std::int64_t>(change.region);
    const std::uint64_t start = change.region * options.region_bytes;
    const std::uint64_t length = std::min<std::uint64_t>(options.region_bytes, size - start);
    if (change.whole) std::fill_n(content.data() + start, length, 0);
    for (const auto& extent : change.extents) {
      const ByteSpan into(content.data() + start + extent.offset, extent.size);
      if (extent.zero) {
        std::fill(into.begin(), into.end(), 0);
      } else {
        must(newer.read_sync(start + extent.offset, into));
      }
    }
  }
  return {};
}

std::string difference(const Content& expected, const Content& actual) {
  if (expected.size() != actual.size()) {
    return fmt::format("{} bytes instead of {}", actual.size(), expected.size());
  }
  const auto [e, a] = std::mismatch(expected.begin(), expected.end(), actual.begin());
  if (e == expected.end()) return {};
  std::size_t differing = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) differing += expected[i] != actual[i] ? 1u : 0u;
  return fmt::format("{} bytes differ, the first at {}: {:#x} instead of {:#x}", differing,
                     e - expected.begin(), *a, *e);
}

std::string check_changes(const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name,
                          std::uint64_t base, std::uint64_t newer, const ListChanges& options) {
  const auto newer_image = must(RbdImage::open_snapshot(cluster, name, newer));
  std::unique_ptr<RbdImage> base_image;
  Content content;
  if (base != 0) {
    base_image = must(RbdImage::open_snapshot(cluster, name, base));
    content = read_all(base_image->impl().image.get());
  }
  auto listed = list(*newer_image, base_image.get(), options);
  if (!listed) return listed.error().describe();
  auto wrong = apply(*newer_image, options, listed->changes, content);
  if (!wrong.empty()) return wrong;
  return difference(read_all(newer_image->impl().image.get()), content);
}

}  // namespace tidemark::test
