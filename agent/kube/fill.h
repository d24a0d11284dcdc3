// What a restore to a claim takes of a point, and its data in images of the cluster.
#pragma once

#include <memory>

#include "agent/kube/claim_restore.h"
#include "agent/restore/volume_restore.h"
#include "config/config.h"

namespace tidemark {

// Everything of a restore of the point to `target` but who is told and what stops it.
Result<ClaimRestoreOptions> restore_options_of(const PointRow& point, const StoreKeys& keys,
                                               ClaimTarget target);
// Of a volume's: everything but that and `images`.
Result<ClaimRestore::Options> claim_restore_of(const PointRow& point, const StoreKeys& keys,
                                               const KubernetesConfig& config, ClaimTarget target);

// Brings the image to the point and to `size_bytes`, or leaves it larger; what lies past the
// point's end reads as zeros. What ceph-csi keeps in an image's metadata to open an encrypted
// volume comes with it. `invalid_argument` for a size that is less than the point's. Repeated, it
// compares and writes what differs. REQUIRES: nobody else has the image open, nor opens it.
Status fill_image(VolumeRestore& restore, const std::shared_ptr<CephCluster>& cluster,
                  const RbdImageName& name, std::uint64_t size_bytes);

// The images of one cluster, for one point. Used by one thread.
class RestoredImages final : public ClaimImages {
 public:
  using Connect = std::function<Result<std::shared_ptr<CephCluster>>()>;
  // `connect` is called when the cluster is first needed. What `show` returns lives while data is
  // written: it tells how far that is. May be empty.
  RestoredImages(VolumeRestore& restore, Connect connect,
                 std::function<std::shared_ptr<void>()> show)
      : restore_(restore), connect_(std::move(connect)), show_(std::move(show)) {}

  Status fill(const RbdImageName& image, std::uint64_t size_bytes,
              const std::function<Result<bool>()>& wanted) override;
  void let_go() override { held_.reset(); }
  Result<std::string> make(const ImageWish& wish) override;
  Result<std::int64_t> pool_id(const std::string& pool) override;
  Status reserve(const CsiReservation& reservation) override;

 private:
  Result<std::shared_ptr<CephCluster>> cluster();
  Status hold(const RbdImageName& image);
  Status make_new(const ImageWish& wish);

  VolumeRestore& restore_;
  const Connect connect_;
  const std::function<std::shared_ptr<void>()> show_;
  std::shared_ptr<CephCluster> cluster_;
  std::unique_ptr<RbdImage> held_;  // while it is filled
};

}  // namespace tidemark
