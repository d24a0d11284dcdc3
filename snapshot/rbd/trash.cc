#include <fmt/format.h>
#include <rbd/librbd.h>

#include <algorithm>
#include <cerrno>

#include "snapshot/rbd/librbd.h"

namespace tidemark {
namespace {

constexpr std::size_t kFirstRoom = 64;

// Ids of those in the trash of `io` that had the name.
Result<std::vector<std::string>> trashed_ids(rados_ioctx_t io, const std::string& name) {
  std::size_t count = kFirstRoom;
  std::vector<rbd_trash_image_info_t> entries;
  int result = -ERANGE;
  while (result == -ERANGE) {
    entries.assign(count, {});
    result = rbd_trash_list(io, entries.data(), &count);
    if (result == -ERANGE) count = std::max(count, 2 * entries.size());
  }
  if (result == -ENOENT) return std::vector<std::string>();
  if (result < 0) return rbd_error(result, "list the trash");
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < count; ++i)
    if (name == entries[i].name) ids.emplace_back(entries[i].id);
  rbd_trash_list_cleanup(entries.data(), count);
  return ids;
}

}  // namespace

Result<std::vector<std::unique_ptr<RbdImage>>> RbdImage::open_trashed(
    const std::shared_ptr<CephCluster>& cluster, const RbdImageName& name) {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(*cluster, name.pool, name.ns));
  TM_TRY(const auto ids, trashed_ids(io.get(), name.image));
  std::vector<std::unique_ptr<RbdImage>> out;
  for (const std::string& id : ids) {
    auto impl = std::make_unique<RbdImage::Impl>();
    TM_TRY(impl->io, IoContext::open(*cluster, name.pool, name.ns));
    rbd_image_t image = nullptr;
    const int result = rbd_open_by_id(impl->io.get(), id.c_str(), &image, nullptr);
    if (result == -ENOENT) continue;  // it was purged meanwhile
    if (result < 0) return rbd_error(result, fmt::format("open {} in the trash", name.text()));
    impl->image = RbdHandle(image);
    impl->cluster = cluster;
    impl->name = name;
    impl->writable = true;
    out.push_back(std::make_unique<RbdImage>(std::move(impl)));
  }
  return out;
}

}  // namespace tidemark
