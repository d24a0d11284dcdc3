#include "agent/kube/fill.h"

#include <algorithm>

#include "agent/backup/manifests.h"
#include "agent/standby/mark.h"
#include "base/crypto.h"
#include "base/queue.h"
#include "snapshot/rbd/omap.h"

namespace tidemark {
namespace {

// Both forms that releases of ceph-csi use: https://github.com/ceph/ceph-csi,
// internal/rbd/encryption.go
bool opens_encryption(const std::string& key) {
  return key.starts_with("rbd.csi.ceph.com/") || key.starts_with(".rbd.csi.ceph.com/");
}

// In the metadata of an image that was made for a claim: the point, and the claim.
constexpr const char* kMadeForKey = "tidemark.made-for";
constexpr int kHoldTries = 5;
constexpr std::chrono::milliseconds kHoldPause{100};

// An image that is there, as it is.
Status check_adoptable(RbdImage& image, const ImageWish& wish) {
  if (image.size() < wish.size_bytes)
    return Error(ErrorCode::invalid_argument, "image " + wish.image.text() + " has " +
                                                  format_bytes(image.size()) + " of " +
                                                  format_bytes(wish.size_bytes));
  TM_TRY(const auto text, image.metadata(StandbyMark::kKey));
  if (!text) return {};
  TM_TRY(const StandbyMark mark, decode_standby_mark(*text));
  if (mark.primary) return {};
  return Error(ErrorCode::refused, "image " + wish.image.text() + " follows " + mark.site)
      .with_hint("release it first: tidemark standby promote");
}

}  // namespace

Result<ClaimRestoreOptions> restore_options_of(const PointRow& point, const StoreKeys& keys,
                                               ClaimTarget target) {
  const PointRecord& record = point.point.record;
  ClaimRestoreOptions options;
  options.target = std::move(target);
  options.point = record.id.hex();
  TM_TRY(options.manifests, read_manifests(record, keys));
  return options;
}

Result<ClaimRestore::Options> claim_restore_of(const PointRow& point, const StoreKeys& keys,
                                               const KubernetesConfig& config, ClaimTarget target) {
  TM_TRY(ClaimRestoreOptions common, restore_options_of(point, keys, std::move(target)));
  ClaimRestore::Options options;
  static_cast<ClaimRestoreOptions&>(options) = std::move(common);
  options.point_bytes = point.point.record.size_bytes;
  options.rados_namespaces = config.rados_namespaces;
  return options;
}

Status fill_image(VolumeRestore& restore, const std::shared_ptr<CephCluster>& cluster,
                  const RbdImageName& name, std::uint64_t size_bytes) {
  const std::uint64_t bytes = restore.point().point.record.size_bytes;
  if (size_bytes < bytes)
    return Error(ErrorCode::invalid_argument, "image " + name.text() + " is to have " +
                                                  format_bytes(size_bytes) +
                                                  ", and the point has " + format_bytes(bytes));
  {
    TM_TRY(const auto image, RbdImage::open_read_only(cluster, name));
    size_bytes = std::max(size_bytes, image->size());
  }
  TM_DO(restore.in_place(cluster, name, true));
  TM_TRY(const auto image, RbdImage::open_read_write(cluster, name));
  if (image->size() != size_bytes) TM_DO(image->resize(size_bytes));
  for (const auto& [key, value] : restore.meta().image.metadata)
    if (opens_encryption(key)) TM_DO(image->set_metadata(key, value));
  return {};
}

Result<std::shared_ptr<CephCluster>> RestoredImages::cluster() {
  if (!cluster_) {
    TM_TRY(cluster_, connect_());
  }
  return cluster_;
}

// Opens it so that others see that, and sees whether others have done so. Where both did at the
// same time, one of them is to come through.
Status RestoredImages::hold(const RbdImageName& image) {
  TM_TRY(const auto cluster, this->cluster());
  for (int tries = 0; tries < kHoldTries; ++tries) {
    TM_TRY(held_, RbdImage::open_read_write(cluster, image));
    TM_TRY(const bool others, held_->watched_by_others());
    if (!others) return {};
    held_.reset();
    Bytes chance(1);
    random_bytes(chance);
    if (!sleep_for(restore_.stop(), kHoldPause * (1 + chance[0] % 8)))
      return Error(ErrorCode::cancelled, "interrupted");
  }
  return Error(ErrorCode::unavailable, "image " + image.text() + " is in use by another client")
      .with_hint(
          "another restore to the claim may be at work; a killed one is forgotten in half a "
          "minute");
}

Status RestoredImages::fill(const RbdImageName& image, std::uint64_t size_bytes,
                            const std::function<Result<bool>()>& wanted) {
  TM_TRY(const auto cluster, this->cluster());
  TM_DO(hold(image));
  TM_TRY(const bool go, wanted());
  if (!go) return {};
  const std::shared_ptr<void> shown = show_ ? show_() : nullptr;
  return fill_image(restore_, cluster, image, size_bytes);
}

Status RestoredImages::make_new(const ImageWish& wish) {
  const std::shared_ptr<void> shown = show_ ? show_() : nullptr;
  VolumeRestore::NewImage as;
  as.adjust = [&](CreateImage& what) {
    what.size_bytes = wish.size_bytes;
    what.data_pool = wish.data_pool;
  };
  as.complete = [&](RbdImage& image) { return image.set_metadata(kMadeForKey, wish.mark); };
  TM_DO(restore_.to_new_image(cluster_, wish.image, as));
  return {};
}

Result<std::string> RestoredImages::make(const ImageWish& wish) {
  TM_TRY(const auto cluster, this->cluster());
  auto image = RbdImage::open_read_only(cluster, wish.image);
  if (!image && (image.error().code() != ErrorCode::not_found || wish.adopt))
    return std::move(image).error();
  if (!image) {
    TM_DO(make_new(wish));
    TM_TRY(image, RbdImage::open_read_only(cluster, wish.image));
  } else if (wish.adopt) {
    TM_DO(check_adoptable(**image, wish));
  } else {
    TM_TRY(const auto made_for, (*image)->metadata(kMadeForKey));
    if (made_for != wish.mark)
      return Error(ErrorCode::already_exists, "image " + wish.image.text() + " is there")
          .with_hint("remove it, or take it as it is with --adopt");
  }
  TM_TRY(const ImageInfo info, (*image)->info());
  return info.id;
}

Result<std::int64_t> RestoredImages::pool_id(const std::string& pool) {
  TM_TRY(const auto cluster, this->cluster());
  return tidemark::pool_id(*cluster, pool);
}

Status RestoredImages::reserve(const CsiReservation& reservation) {
  TM_TRY(const auto cluster, this->cluster());
  return reserve_volume(*cluster, reservation);
}

}  // namespace tidemark
