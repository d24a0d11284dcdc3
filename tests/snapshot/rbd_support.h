// What the tests of capture share: connections to the test cluster, images that remove themselves,
// and the check that everything is about: the reported changes, applied to the bytes of the base,
// give the bytes of the newer snapshot.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "snapshot/rbd/changes.h"
#include "snapshot/rbd/image.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark::test {

// The path of the test cluster's ceph.conf; nothing where no cluster was given.
const char* test_conf();

// Skips the test without a cluster.
#define TM_REQUIRE_CLUSTER() \
  if (::tidemark::test::test_conf() == nullptr) GTEST_SKIP() << "TM_TEST_CEPH_CONF is not set"

// The value of a result that must be there.
template <class T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().describe();
    throw std::runtime_error(result.error().describe());
  }
  return *std::move(result);
}
inline void must(Status status) {
  if (status) return;
  ADD_FAILURE() << status.error().describe();
  throw std::runtime_error(status.error().describe());
}
// A call of librbd that must succeed; `what` for the message.
int must_rbd(std::int64_t result, const char* what);

std::shared_ptr<CephCluster> connect(
    std::chrono::seconds operation_timeout = std::chrono::seconds(120));
// A client of the kind that images have in real life: its own options, not ours.
std::shared_ptr<CephCluster> connect_as_client(const std::map<std::string, std::string>& options);

// A name that no other test uses.
RbdImageName unique_image(const std::string& pool = "rbd", const std::string& ns = "");
void make_pool(CephCluster& cluster, const std::string& pool);
void make_namespace(CephCluster& cluster, const std::string& pool, const std::string& ns);

// Removes the image with all its snapshots when it goes out of scope.
class ImageGuard {
 public:
  ImageGuard(std::shared_ptr<CephCluster> cluster, RbdImageName name)
      : cluster_(std::move(cluster)), name_(std::move(name)) {}
  ~ImageGuard();
  ImageGuard(const ImageGuard&) = delete;
  ImageGuard& operator=(const ImageGuard&) = delete;

 private:
  std::shared_ptr<CephCluster> cluster_;
  RbdImageName name_;
};

// Stops the OSD for as long as it lives: a cluster that does not answer.
class StoppedOsd {
 public:
  StoppedOsd();
  ~StoppedOsd();
  StoppedOsd(const StoppedOsd&) = delete;
  StoppedOsd& operator=(const StoppedOsd&) = delete;
  bool stopped() const { return pid_ > 1; }

 private:
  int pid_ = 0;
};

using Content = std::vector<std::uint8_t>;

// Through librbd itself, not through RbdImage.
Content read_all(rbd_image_t image);
Content read_snapshot(const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name,
                      std::uint64_t snapshot);
void write_fill(RbdImage& image, std::uint64_t offset, std::size_t size, std::uint8_t value);
Status write_sync(RbdImage& image, std::uint64_t offset, ByteView data);
Status zero_sync(RbdImage& image, std::uint64_t offset, std::uint64_t size);

struct Listed {
  std::vector<RegionChange> changes;
  ChangeStats stats;
};
Result<Listed> list(RbdImage& newer, RbdImage* base, const ListChanges& options = {});

// Checks what the header promises about the form of the changes, then applies them to `content` (of
// the base, or empty), reading data from `newer`. An explanation where the form is wrong.
std::string apply(RbdImage& newer, const ListChanges& options,
                  const std::vector<RegionChange>& changes, Content& content);

// Where two contents differ first, for messages; empty where they do not.
std::string difference(const Content& expected, const Content& actual);

// Lists, applies, compares with what librbd reads at the newer snapshot. Empty where all is right.
std::string check_changes(const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name,
                          std::uint64_t base, std::uint64_t newer, const ListChanges& options = {});

}  // namespace tidemark::test
