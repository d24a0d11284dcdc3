// Everything of RbdImage that is not data: creation and removal, what an image is, its snapshots.
#include <fmt/format.h>

#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/text.h"
#include "snapshot/rbd/create.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {

namespace {

// Metadata is written by tenants' tools; a point keeps it in memory and in its record.
constexpr std::size_t kMetadataMaxBytes = kMiB;
constexpr std::uint64_t kMetadataPage = 64;

Status write_metadata(const IoContext& io, const RbdImageName& name,
                      const std::map<std::string, std::string>& metadata) {
  if (metadata.empty()) return {};
  rbd_image_t opened = nullptr;
  int result = rbd_open(io.get(), name.image.c_str(), &opened, nullptr);
  if (result < 0) return rbd_error(result, fmt::format("open {}", name.text()));
  const RbdHandle image(opened);
  for (const auto& [key, value] : metadata) {
    result = rbd_metadata_set(image.get(), key.c_str(), value.c_str());
    if (result < 0) {
      return rbd_error(result, fmt::format("set metadata {} of {}", key, name.text()));
    }
  }
  return {};
}

// The keys of one page of metadata behind `after`.
Result<std::vector<std::string>> metadata_keys(rbd_image_t image, const std::string& after) {
  std::size_t keys_size = 16 * kKiB, values_size = 64 * kKiB;
  for (;;) {
    if (keys_size > 2 * kMetadataMaxBytes || values_size > 2 * kMetadataMaxBytes) {
      return Error(ErrorCode::resource_exhausted, "the image's metadata is larger than 1 MiB");
    }
    std::string keys(keys_size, '\0'), values(values_size, '\0');
    const int result = rbd_metadata_list(image, after.c_str(), kMetadataPage, keys.data(),
                                         &keys_size, values.data(), &values_size);
    if (result == -ERANGE) continue;  // the sizes now say what is needed
    if (result < 0) return rbd_error(result, "list metadata");
    std::vector<std::string> list;
    for (std::size_t at = 0; at < keys_size;) {
      std::string key(keys.c_str() + at);
      at += key.size() + 1;
      if (!key.empty()) list.push_back(std::move(key));
    }
    return list;
  }
}

// A value is asked for by its key: one with a NUL byte in it would shift all values of a page.
Result<std::optional<std::string>> metadata_value(rbd_image_t image, const std::string& key) {
  std::size_t size = 4 * kKiB;
  for (;;) {
    if (size > 2 * kMetadataMaxBytes) {
      return Error(ErrorCode::resource_exhausted, "the image's metadata is larger than 1 MiB");
    }
    std::string value(size, '\0');
    const int result = rbd_metadata_get(image, key.c_str(), value.data(), &size);
    if (result == -ERANGE) continue;                             // `size` now says what is needed
    if (result == -ENOENT) return std::optional<std::string>();  // removed meanwhile
    if (result < 0) return rbd_error(result, fmt::format("read metadata {}", key));
    return std::optional<std::string>(value.c_str());
  }
}

Result<std::map<std::string, std::string>> read_metadata(rbd_image_t image) {
  std::map<std::string, std::string> metadata;
  std::size_t total = 0;
  std::string after;
  for (;;) {
    TM_TRY(const auto keys, metadata_keys(image, after));
    if (keys.empty()) return metadata;
    for (const auto& key : keys) {
      TM_TRY(auto value, metadata_value(image, key));
      if (!value) continue;
      total += key.size() + value->size();
      if (total > kMetadataMaxBytes) {
        return Error(ErrorCode::resource_exhausted, "the image's metadata is larger than 1 MiB");
      }
      metadata[key] = *std::move(value);
    }
    if (keys.back() <= after) return metadata;  // a listing that does not advance
    after = keys.back();
  }
}

Result<std::string> data_pool_name(RbdImage::Impl& impl) {
  const std::int64_t id = rbd_get_data_pool_id(impl.image.get());
  if (id < 0) return rbd_error(id, "ask for the data pool");
  if (id == rados_ioctx_get_id(impl.io.get())) return std::string();
  std::array<char, 512> name{};
  const int result =
      rados_pool_reverse_lookup(impl.cluster->impl().rados, id, name.data(), name.size() - 1);
  if (result < 0) return rbd_error(result, fmt::format("name of pool {}", id));
  return std::string(name.data());
}

}  // namespace

bool ImageInfo::object_map_usable() const {
  constexpr std::uint64_t kNeeded = RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF;
  constexpr std::uint64_t kInvalid = RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID;
  return (features & kNeeded) == kNeeded && (flags & kInvalid) == 0;
}

int rbd_open_as(const IoContext& io, const std::string& id, const std::string& name,
                RbdHandle& into) {
  rbd_image_t image = nullptr;
  const int result = id.empty() ? rbd_open_read_only(io.get(), name.c_str(), &image, nullptr)
                                : rbd_open_by_id_read_only(io.get(), id.c_str(), &image, nullptr);
  if (result >= 0) into = RbdHandle(image);
  return result;
}

Result<std::string> rbd_image_id(rbd_image_t image) {
  std::array<char, 256> id{};
  const int result = rbd_get_id(image, id.data(), id.size() - 1);
  if (result == -EINVAL) return std::string();  // an image of format 1 has none
  if (result < 0) return rbd_error(result, "ask for the image's id");
  return std::string(id.data());
}

Result<bool> rbd_snapshot_in_trash(rbd_image_t image, std::uint64_t id) {
  rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_USER;
  const int result = rbd_snap_get_namespace_type(image, id, &type);
  if (result < 0) return rbd_error(result, fmt::format("kind of snapshot {}", id));
  return type == RBD_SNAP_NAMESPACE_TYPE_TRASH;
}

namespace {

// Empty where it cannot be told: the snapshot is then nobody's that we know.
std::string trashed_name(rbd_image_t image, std::uint64_t id) {
  std::array<char, 4096> name{};
  const int result = rbd_snap_get_trash_namespace(image, id, name.data(), name.size());
  return result < 0 ? std::string() : std::string(name.data());
}

}  // namespace

Result<std::vector<SnapshotInfo>> rbd_snapshots(rbd_image_t image) {
  int room = 64;
  for (;;) {
    std::vector<rbd_snap_info_t> listed(static_cast<std::size_t>(room));
    const int count = rbd_snap_list(image, listed.data(), &room);
    if (count == -ERANGE) continue;  // `room` now says how many there are
    if (count < 0) return rbd_error(count, "list snapshots");
    std::vector<SnapshotInfo> snapshots;
    int result = 0;
    for (int i = 0; i < count && result >= 0; ++i) {
      const auto& from = listed[static_cast<std::size_t>(i)];
      rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_USER;
      result = rbd_snap_get_namespace_type(image, from.id, &type);
      if (result == -ENOENT)
        result = 0;  // removed between the two calls
      else if (result >= 0)
        snapshots.push_back(
            {from.id, from.name, from.size, type == RBD_SNAP_NAMESPACE_TYPE_USER,
             type == RBD_SNAP_NAMESPACE_TYPE_TRASH ? trashed_name(image, from.id) : std::string()});
    }
    if (count > 0) rbd_snap_list_end(listed.data());
    if (result < 0) return rbd_error(result, "list snapshots");
    return snapshots;
  }
}

Result<RbdParent> rbd_parent(rbd_image_t image) {
  rbd_linked_image_spec_t spec{};
  rbd_snap_spec_t snapshot{};
  int result = rbd_get_parent(image, &spec, &snapshot);
  if (result == -ENOENT) return RbdParent{};
  if (result < 0) return rbd_error(result, "ask for the parent");
  RbdParent parent;
  parent.identity =
      fmt::format("{}/{}/{}@{}", spec.pool_id, spec.pool_namespace, spec.image_id, snapshot.id);
  parent.pool_id = spec.pool_id;
  parent.name = {spec.pool_name, spec.pool_namespace, spec.image_name};
  parent.image_id = spec.image_id;
  parent.snapshot_id = snapshot.id;
  parent.text = fmt::format("{}@{}", parent.name.text(), snapshot.name);
  rbd_linked_image_spec_cleanup(&spec);
  rbd_snap_spec_cleanup(&snapshot);
  result = rbd_get_overlap(image, &parent.overlap);
  if (result < 0) return rbd_error(result, "ask for the parent's overlap");
  return parent;
}

Result<ImageInfo> RbdImage::info() {
  rbd_image_t image = impl_->image.get();
  const auto failed = [&](std::int64_t result) {
    return rbd_error(result, fmt::format("inspect {}", impl_->text()));
  };
  ImageInfo info;
  TM_TRY(info.id, rbd_image_id(image));
  rbd_image_info_t stat{};
  int result = rbd_stat(image, &stat, sizeof stat);
  if (result < 0) return failed(result);
  info.size_bytes = stat.size;
  info.order = static_cast<unsigned>(stat.order);
  if (result = rbd_get_stripe_unit(image, &info.stripe_unit); result < 0) return failed(result);
  if (result = rbd_get_stripe_count(image, &info.stripe_count); result < 0) return failed(result);
  if (result = rbd_get_features(image, &info.features); result < 0) return failed(result);
  if (result = rbd_get_flags(image, &info.flags); result < 0) return failed(result);
  TM_TRY(info.data_pool, data_pool_name(*impl_));
  TM_TRY(RbdParent parent, rbd_parent(image));
  info.parent = std::move(parent.text);
  info.parent_overlap = parent.overlap;
  auto metadata = read_metadata(image);
  if (!metadata) return std::move(metadata).error().context("inspect " + impl_->text());
  info.metadata = *std::move(metadata);
  return info;
}

Result<bool> RbdImage::has_exclusive_lock() {
  std::uint64_t features = 0;
  const int result = rbd_get_features(impl_->image.get(), &features);
  if (result < 0) return rbd_error(result, fmt::format("inspect {}", impl_->text()));
  return (features & RBD_FEATURE_EXCLUSIVE_LOCK) != 0;
}

Result<std::vector<SnapshotInfo>> RbdImage::snapshots() {
  auto snapshots = rbd_snapshots(impl_->image.get());
  if (!snapshots) return std::move(snapshots).error().context(impl_->text());
  return snapshots;
}

Result<std::uint64_t> RbdImage::create_snapshot(const std::string& name) {
  const std::string doing = fmt::format("create snapshot {} of {}", name, impl_->text());
  if (!impl_->writable) return Error(ErrorCode::refused, doing + ": opened read-only");
  int result = rbd_snap_create(impl_->image.get(), name.c_str());
  if (result < 0) return rbd_error(result, doing);
  std::uint64_t id = 0;
  result = rbd_snap_get_id(impl_->image.get(), name.c_str(), &id);
  if (result < 0) return rbd_error(result, doing);
  return id;
}

Result<std::optional<std::string>> RbdImage::metadata(const std::string& key) {
  return metadata_value(impl_->image.get(), key);
}

Status RbdImage::set_metadata(const std::string& key, const std::string& value) {
  const int result = rbd_metadata_set(impl_->image.get(), key.c_str(), value.c_str());
  if (result < 0)
    return rbd_error(result, fmt::format("set metadata {} of {}", key, impl_->text()));
  return {};
}

Result<bool> RbdImage::has_labels(const std::map<std::string, std::string>& wanted) {
  for (const auto& [name, pattern] : wanted) {
    TM_TRY(const auto value, metadata_value(impl_->image.get(), name));
    if (!value || !glob_match(pattern, *value)) return false;
  }
  return true;
}

Status RbdImage::remove_snapshot(std::uint64_t id, const std::string& name) {
  const std::string doing = fmt::format("remove snapshot {} ({}) of {}", id, name, impl_->text());
  if (!impl_->writable) return Error(ErrorCode::refused, doing + ": opened read-only");
  TM_TRY(const auto list, snapshots());
  for (const auto& snapshot : list) {
    if (snapshot.id != id) continue;
    bool in_trash = false;
    if (!snapshot.user) {
      TM_TRY(in_trash, rbd_snapshot_in_trash(impl_->image.get(), id));
      if (!in_trash) return Error(ErrorCode::refused, doing + ": not a user's snapshot");
    } else if (snapshot.name != name) {
      return Error(ErrorCode::refused, fmt::format("{}: it is called {}", doing, snapshot.name));
    }
    const int result = rbd_snap_remove_by_id(impl_->image.get(), id);
    // In the trash it is removed already, and kept for the clones made from it: then it is busy.
    if (result == 0 || result == -ENOENT || (in_trash && result == -EBUSY)) return {};
    return rbd_error(result, doing);
  }
  return {};
}

Status RbdImage::resize(std::uint64_t size_bytes) {
  const std::string doing = fmt::format("resize {} to {}", impl_->text(), size_bytes);
  if (!impl_->writable) return Error(ErrorCode::refused, doing + ": opened read-only");
  // Librbd calls the progress function without looking whether there is one.
  const auto progress = [](std::uint64_t, std::uint64_t, void*) { return 0; };
  const int result = rbd_resize2(impl_->image.get(), size_bytes, true, progress, nullptr);
  if (result < 0) return rbd_error(result, doing);
  return {};
}

Result<bool> RbdImage::watched_by_others() {
  // Librbd's watches carry the global id of the client that keeps them.
  const std::uint64_t own = rados_get_instance_id(impl_->cluster->impl().rados);
  std::size_t room = 16;
  for (;;) {
    std::vector<rbd_image_watcher_t> watchers(room);
    const int result = rbd_watchers_list(impl_->image.get(), watchers.data(), &room);
    if (result == -ERANGE) continue;  // `room` now says how many there are
    if (result < 0) return rbd_error(result, fmt::format("watchers of {}", impl_->text()));
    bool others = false;
    for (std::size_t i = 0; i < room; ++i) {
      others = others || static_cast<std::uint64_t>(watchers[i].id) != own;
    }
    rbd_watchers_list_cleanup(watchers.data(), room);
    return others;
  }
}

Status RbdImage::create(CephCluster& cluster, const RbdImageName& name, const CreateImage& what) {
  const SignalsBlocked signals;
  const std::string doing = fmt::format("create {}", name.text());
  TM_TRY(const IoContext io, IoContext::open(cluster, name.pool, name.ns));
  ImageOptions options;
  TM_DO(fill_options(what, options));
  const int result = rbd_create4(io.get(), name.image.c_str(), what.size_bytes, options.get());
  if (result < 0) return rbd_error(result, doing);
  auto status = write_metadata(io, name, what.metadata);
  if (!status) {
    // An image without the metadata that was asked for is not what was asked for.
    rbd_remove(io.get(), name.image.c_str());
    return std::move(status).error().context(doing);
  }
  return {};
}

Status RbdImage::remove(CephCluster& cluster, const RbdImageName& name) {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(cluster, name.pool, name.ns));
  const int result = rbd_remove(io.get(), name.image.c_str());
  if (result < 0) return rbd_error(result, fmt::format("remove {}", name.text()));
  return {};
}

Status RbdImage::rename(CephCluster& cluster, const RbdImageName& from, const std::string& to) {
  const SignalsBlocked signals;
  TM_TRY(const IoContext io, IoContext::open(cluster, from.pool, from.ns));
  const int result = rbd_rename(io.get(), from.image.c_str(), to.c_str());
  if (result < 0) return rbd_error(result, fmt::format("rename {} to {}", from.text(), to));
  return {};
}

}  // namespace tidemark
