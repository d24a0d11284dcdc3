#include "snapshot/rbd/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace tidemark {

namespace {

bool usable(std::uint64_t features, std::uint64_t flags) {
  ImageInfo info;
  info.features = features;
  info.flags = flags;
  return info.object_map_usable();
}

Result<SnapshotFacts> read_snapshot(rbd_image_t image, std::uint64_t id) {
  const Error gone(ErrorCode::not_found, fmt::format("snapshot {}: it does not exist", id));
  TM_TRY(const auto snapshots, rbd_snapshots(image));
  const auto found = std::find_if(snapshots.begin(), snapshots.end(),
                                  [&](const SnapshotInfo& s) { return s.id == id; });
  if (found == snapshots.end()) return gone;
  if (!found->user) {
    TM_TRY(const bool in_trash, rbd_snapshot_in_trash(image, id));
    if (in_trash) return gone;
  }
  SnapshotFacts facts{id, found->name, found->size_bytes, found->user, 0, {}};
  int result = rbd_snap_set_by_id(image, id);
  if (result == -ENOENT) return gone;
  if (result >= 0) result = rbd_get_flags(image, &facts.flags);
  if (result < 0) return rbd_error(result, fmt::format("snapshot {}", id));
  TM_TRY(facts.parent, rbd_parent(image));
  return facts;
}

bool same(const SnapshotFacts& a, const SnapshotFacts& b) {
  return a.id == b.id && a.size == b.size && a.parent == b.parent;
}

}  // namespace

bool ImageFacts::object_maps_usable() const {
  return usable(features, head_flags) && usable(features, newer.flags) &&
         (!base || usable(features, base->flags));
}

Result<ImageFacts> read_facts(RbdImage::Impl& newer, const std::string& image_id,
                              std::optional<std::uint64_t> base_id) {
  const SignalsBlocked signals;
  RbdHandle image;
  int result = rbd_open_as(newer.io, image_id, newer.name.image, image);
  if (result < 0) return rbd_error(result, fmt::format("open {}", newer.name.text()));
  ImageFacts facts;
  facts.image_id = image_id;
  result = rbd_get_features(image.get(), &facts.features);
  if (result >= 0) result = rbd_get_flags(image.get(), &facts.head_flags);
  if (result < 0) return rbd_error(result, fmt::format("inspect {}", newer.name.text()));
  TM_TRY(facts.newer, read_snapshot(image.get(), *newer.snapshot));
  if (base_id) {
    TM_TRY(facts.base, read_snapshot(image.get(), *base_id));
  }
  return facts;
}

Status check_unchanged(const ImageFacts& before, const ImageFacts& now) {
  const bool snapshots_same = same(before.newer, now.newer) &&
                              before.base.has_value() == now.base.has_value() &&
                              (!before.base || same(*before.base, *now.base));
  if (!snapshots_same) {
    return Error(ErrorCode::refused, "a snapshot changed while it was compared")
        .with_hint("a clone that is being flattened can be captured afterwards");
  }
  if (before.object_maps_usable() && !now.object_maps_usable()) {
    return Error(ErrorCode::unavailable, "an object map became invalid while it was used");
  }
  return {};
}

}  // namespace tidemark
