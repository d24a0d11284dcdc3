#include "agent/kube/fill.h"

#include <algorithm>

#include "agent/backup/manifests.h"

namespace tidemark {
namespace {

// Both forms that releases of ceph-csi use: https://github.com/ceph/ceph-csi,
// internal/rbd/encryption.go
bool opens_encryption(const std::string& key) {
  return key.starts_with("rbd.csi.ceph.com/") || key.starts_with(".rbd.csi.ceph.com/");
}

}  // namespace

Result<ClaimRestore::Options> claim_restore_of(const PointRow& point, const StoreKeys& keys,
                                               const KubernetesConfig& config, ClaimTarget target) {
  const PointRecord& record = point.point.record;
  ClaimRestore::Options options;
  options.target = std::move(target);
  options.point = record.id.hex();
  options.point_bytes = record.size_bytes;
  TM_TRY(options.manifests, read_manifests(record, keys));
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
  TM_DO(restore.in_place(cluster, name, false));
  TM_TRY(const auto image, RbdImage::open_read_write(cluster, name));
  if (image->size() != size_bytes) TM_DO(image->resize(size_bytes));
  for (const auto& [key, value] : restore.meta().image.metadata)
    if (opens_encryption(key)) TM_DO(image->set_metadata(key, value));
  return {};
}

}  // namespace tidemark
