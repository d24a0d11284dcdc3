#include "snapshot/rbd/objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace tidemark {

namespace {

constexpr std::size_t kDepth = 64;  // questions under way at once

// Rados_aio_stat writes its answer until it is complete, so an object of this kind must not go
// before; its destructor waits.
struct Question {
  rados_completion_t completion = nullptr;
  std::uint64_t size = 0;
  std::time_t modified = 0;

  Question() = default;
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;
  ~Question() {
    if (completion == nullptr) return;
    rados_aio_wait_for_complete(completion);
    rados_aio_release(completion);
  }

  int ask(rados_ioctx_t io, const std::string& object) {
    int result = rados_aio_create_completion2(nullptr, nullptr, &completion);
    if (result < 0) return result;
    result = rados_aio_stat(io, object.c_str(), completion, &size, &modified);
    if (result < 0) {
      rados_aio_release(completion);
      completion = nullptr;
    }
    return result;
  }
  int answer() {
    rados_aio_wait_for_complete(completion);
    return rados_aio_get_return_value(completion);
  }
};

}  // namespace

std::vector<std::uint64_t> ObjectLayout::objects_of(std::uint64_t offset,
                                                    std::uint64_t size) const {
  std::vector<std::uint64_t> objects;
  if (size == 0) return objects;
  const std::uint64_t stripes_per_object = object_bytes / stripe_unit;
  const std::uint64_t last = (offset + size - 1) / stripe_unit;
  for (std::uint64_t block = offset / stripe_unit; block <= last; ++block) {
    const std::uint64_t set = block / stripe_count / stripes_per_object;
    objects.push_back(set * stripe_count + block % stripe_count);
  }
  std::sort(objects.begin(), objects.end());
  objects.erase(std::unique(objects.begin(), objects.end()), objects.end());
  return objects;
}

Result<ObjectLayout> read_layout(rbd_image_t image) {
  rbd_image_info_t stat{};
  ObjectLayout layout;
  int result = rbd_stat(image, &stat, sizeof stat);
  if (result >= 0) result = rbd_get_stripe_unit(image, &layout.stripe_unit);
  if (result >= 0) result = rbd_get_stripe_count(image, &layout.stripe_count);
  if (result < 0) return rbd_error(result, "ask for the image's layout");
  layout.object_bytes = stat.obj_size;
  if (layout.stripe_unit == 0 || layout.stripe_count == 0 ||
      layout.object_bytes % layout.stripe_unit != 0) {
    return Error(ErrorCode::unsupported, "an image layout that makes no sense");
  }
  return layout;
}

Result<std::unique_ptr<ObjectProbe>> ObjectProbe::open(RbdImage::Impl& image,
                                                       std::uint64_t snapshot_id) {
  const std::int64_t pool = rbd_get_data_pool_id(image.image.get());
  if (pool < 0) return rbd_error(pool, "ask for the data pool");
  std::array<char, 128> prefix{};
  int result = rbd_get_block_name_prefix(image.image.get(), prefix.data(), prefix.size() - 1);
  if (result < 0) return rbd_error(result, "ask for the names of data objects");
  auto probe = std::make_unique<ObjectProbe>();
  TM_TRY(probe->io_, IoContext::open(*image.cluster, pool, image.name.ns));
  rados_ioctx_snap_set_read(probe->io_.get(), snapshot_id);
  probe->prefix_ = prefix.data();
  return probe;
}

Result<std::vector<bool>> ObjectProbe::exist(const std::vector<std::uint64_t>& objects) const {
  std::vector<bool> found;
  found.reserve(objects.size());
  for (std::size_t begin = 0; begin < objects.size(); begin += kDepth) {
    const std::size_t count = std::min(kDepth, objects.size() - begin);
    std::array<Question, kDepth> questions;
    for (std::size_t i = 0; i < count; ++i) {
      const int result =
          questions[i].ask(io_.get(), fmt::format("{}.{:016x}", prefix_, objects[begin + i]));
      if (result < 0) return rbd_error(result, "ask for an object");
    }
    for (std::size_t i = 0; i < count; ++i) {
      const int result = questions[i].answer();
      if (result < 0 && result != -ENOENT) return rbd_error(result, "ask for an object");
      found.push_back(result >= 0);
    }
  }
  return found;
}

}  // namespace tidemark
