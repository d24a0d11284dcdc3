// A point's data in an image that a provisioner made.
#pragma once

#include <memory>

#include "agent/restore/volume_restore.h"

namespace tidemark {

// Brings the image to the point and to `size_bytes`, or leaves it larger; what lies past the
// point's end reads as zeros. What ceph-csi keeps in an image's metadata to open an encrypted
// volume comes with it. `refused` while somebody has the image open, `invalid_argument` for a size
// that is less than the point's. Repeated, it compares and writes what differs.
Status fill_image(VolumeRestore& restore, const std::shared_ptr<CephCluster>& cluster,
                  const RbdImageName& name, std::uint64_t size_bytes);

}  // namespace tidemark
