#include "snapshot/rbd/ancestors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace tidemark {

namespace {

// Far more than librbd lets pile up unless told to (rbd_max_clone_depth, 16 where it is used).
constexpr std::size_t kDepthMax = 64;

Result<std::unique_ptr<RbdImage::Impl>> open_parent(const RbdImage::Impl& child,
                                                    const RbdParent& parent) {
  const std::string doing = fmt::format("open {}, the parent of {}", parent.text, child.text());
  auto impl = std::make_unique<RbdImage::Impl>();
  impl->cluster = child.cluster;
  impl->name = parent.name;
  TM_TRY(impl->io, IoContext::open(*child.cluster, parent.pool_id, parent.name.ns));
  int result = rbd_open_as(impl->io, parent.image_id, parent.name.image, impl->image);
  if (result >= 0) result = rbd_snap_set_by_id(impl->image.get(), parent.snapshot_id);
  if (result == -ENOENT) {
    return Error(ErrorCode::refused, doing + ": it is gone")
        .with_hint("a clone that is being flattened can be captured afterwards");
  }
  if (result < 0) return rbd_error(result, doing);
  impl->snapshot = parent.snapshot_id;
  return impl;
}

}  // namespace

Result<std::vector<Ancestor>> open_ancestors(RbdImage::Impl& image) {
  const SignalsBlocked signals;
  std::vector<Ancestor> ancestors;
  RbdImage::Impl* child = &image;
  std::uint64_t shown = UINT64_MAX;
  for (;;) {
    TM_TRY(const RbdParent parent, rbd_parent(child->image.get()));
    shown = std::min(shown, parent.overlap);
    if (parent.identity.empty() || shown == 0) return ancestors;
    if (ancestors.size() == kDepthMax) {
      return Error(ErrorCode::unsupported, fmt::format("{} is a clone of more than {} generations",
                                                       image.text(), kDepthMax))
          .with_hint("flatten it, or one of its parents");
    }
    TM_TRY(auto opened, open_parent(*child, parent));
    child = opened.get();
    ancestors.push_back({std::move(opened), shown});
  }
}

}  // namespace tidemark
