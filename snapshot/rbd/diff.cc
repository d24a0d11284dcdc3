#include "snapshot/rbd/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

namespace tidemark {

namespace {

struct Callback {
  const DiffSink* sink;
  const std::stop_token* stop;
  std::uint64_t image_bytes;
  std::mutex mutex;  // librbd does not say from which threads it calls
};

int on_extent(std::uint64_t offset, std::size_t size, int exists, void* argument) {
  auto& callback = *static_cast<Callback*>(argument);
  if (callback.stop->stop_requested()) return -ECANCELED;
  if (size == 0 || offset >= callback.image_bytes) return 0;
  const std::uint64_t clipped = std::min<std::uint64_t>(size, callback.image_bytes - offset);
  const std::lock_guard lock(callback.mutex);
  (*callback.sink)(offset, clipped, exists == 0);
  return 0;
}

// Ranges outside the image and empty ones never reach librbd: a whole-object diff of nothing aborts
// the process.
Status iterate(RbdImage::Impl& image, const char* from, DiffRange range, bool whole_object,
               const DiffSink& sink, const std::stop_token& stop) {
  std::uint64_t image_bytes = 0;
  int result = rbd_get_size(image.image.get(), &image_bytes);
  if (result < 0) return rbd_error(result, fmt::format("size of {}", image.text()));
  if (range.offset >= image_bytes || range.size == 0) return {};
  range.size = std::min(range.size, image_bytes - range.offset);
  Callback callback{&sink, &stop, image_bytes, {}};
  constexpr std::uint8_t kWithoutParents = 0;
  result = rbd_diff_iterate2(image.image.get(), from, range.offset, range.size, kWithoutParents,
                             whole_object ? 1 : 0, on_extent, &callback);
  if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped");
  if (result < 0) return rbd_error(result, fmt::format("list the changes of {}", image.text()));
  return {};
}

}  // namespace

Status mark_existing(RbdImage::Impl& image, std::uint32_t region_bytes, std::uint64_t first_region,
                     std::vector<bool>& exists, const std::stop_token& stop) {
  const std::uint64_t end_region = first_region + exists.size();
  const DiffSink mark = [&](std::uint64_t offset, std::uint64_t size, bool zero) {
    if (zero) return;  // it existed once, and does not now
    const std::uint64_t first = std::max(offset / region_bytes, first_region);
    const std::uint64_t end = std::min((offset + size - 1) / region_bytes + 1, end_region);
    for (std::uint64_t region = first; region < end; ++region) {
      exists[region - first_region] = true;
    }
  };
  return iterate(image, nullptr, {first_region * region_bytes, exists.size() * region_bytes}, true,
                 mark, stop);
}

Status list_extents(RbdImage::Impl& image, const char* from, DiffRange range, const DiffSink& sink,
                    const std::stop_token& stop) {
  return iterate(image, from, range, false, sink, stop);
}

}  // namespace tidemark
