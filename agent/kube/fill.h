// What a restore to a claim takes of a point, and its data in an image that a provisioner made.
#pragma once

#include <memory>

#include "agent/kube/claim_restore.h"
#include "agent/restore/volume_restore.h"
#include "config/config.h"

namespace tidemark {

// Everything of a restore of the point to `target` but who is told, what stops it, and `fill`.
Result<ClaimRestore::Options> claim_restore_of(const PointRow& point, const StoreKeys& keys,
                                               const KubernetesConfig& config, ClaimTarget target);

// Brings the image to the point and to `size_bytes`, or leaves it larger; what lies past the
// point's end reads as zeros. What ceph-csi keeps in an image's metadata to open an encrypted
// volume comes with it. `refused` while somebody has the image open, `invalid_argument` for a size
// that is less than the point's. Repeated, it compares and writes what differs.
Status fill_image(VolumeRestore& restore, const std::shared_ptr<CephCluster>& cluster,
                  const RbdImageName& name, std::uint64_t size_bytes);

}  // namespace tidemark
