// A claim that holds what a point holds: a new volume, filled before anybody can use it, and then
// handed to the claim.
//
// By default the storage class makes the volume:
//
//   nothing --create--> filling claim --provisioner--> bound --fill, retain--> kept --filled-->
//   filled
//   --delete the filling claim--> released --claimRef--> reserved --create--> claim --bound--> done
//
// The volume is one that the storage class made: it can grow, be snapshotted and cloned as any
// other. The filling claim has another name than the claim, so that no pod can use it before its
// data is complete; its name follows from the claim's, so that two restores to one claim meet
// there. A kill at any arrow: the next run finds by names, annotations and the label of the volume
// how far the one before came, and goes on. Nothing is deleted but the filling claim; with `force`
// a claim that is in the way goes, and its volume is retained, never its data lost.
//
// Somebody else may delete the filling claim at any time, to give it up: until the volume is
// retained, its provisioner deletes the image then. So a volume counts as filled only if the claim
// was still there after that.
//
// Or the volume is made here, around an image that is made first, and reserved for the claim from
// its beginning: as a static one of ceph-csi, or as the very volume that the point was taken of,
// with the cluster's id and the pool's of this cluster, as after a failover.
#pragma once

#include <optional>
#include <string>

#include "agent/kube/claim_steps.h"
#include "agent/kube/csi_journal.h"
#include "agent/kube/own_volume.h"

namespace tidemark {

// An image that is to be there for a volume.
struct ImageWish {
  RbdImageName image;
  std::uint64_t size_bytes = 0;
  std::string data_pool;  // empty: none
  std::string mark;       // of this restore, kept in the image's metadata
  bool adopt = false;     // it must be there already
};

// The images of the cluster, for the restore of one point.
class ClaimImages {
 public:
  virtual ~ClaimImages() = default;
  // Makes the image what the point is, and `size_bytes` large, which is not less than the point.
  // Called again by a run that goes on where it did not end. The image is held open until
  // let_go(): of two that fill it the second one gets `unavailable`. `wanted` is asked once it is
  // held; where it says no, nothing is written.
  virtual Status fill(const RbdImageName& image, std::uint64_t size_bytes,
                      const std::function<Result<bool>()>& wanted) = 0;
  virtual void let_go() = 0;
  // A new image that is what the point is; it has its name when it is complete. One that has the
  // mark is that already; `already_exists` for any other. With `adopt` whichever is there is taken,
  // but one that is too small (`invalid_argument`) or still follows another site (`refused`). The
  // image's id.
  virtual Result<std::string> make(const ImageWish& wish) = 0;
  virtual Result<std::int64_t> pool_id(const std::string& pool) = 0;
  virtual Status reserve(const CsiReservation& reservation) = 0;
};

struct ClaimRestored {
  std::string volume;  // the PersistentVolume
  RbdImageName image;
  bool resumed = false;   // an earlier run had begun
  std::string put_aside;  // the volume of a claim that was in the way; empty: there was none
};

// Used by one thread.
class ClaimRestore : private ClaimSteps {
 public:
  struct Options : ClaimRestoreOptions {
    std::uint64_t point_bytes = 0;  // its size
    RadosNamespaces rados_namespaces;
    ClaimImages* images = nullptr;  // outlives it
  };
  // `client` must outlive it.
  ClaimRestore(kube::Client& client, Options options);

  // Looks at everything that could refuse it, and changes nothing: `not_found` for a namespace or a
  // storage class that is not there, `already_exists` for a claim in the way (pods that use it are
  // named) or a volume of the same identity, `unsupported` for a class that is not of ceph-csi RBD
  // and for the identity of a volume that has none, `invalid_argument` for a size that is too
  // small.
  Status check();
  // REQUIRES: check() succeeded. `refused` where another restore to the claim is under way;
  // `deadline_exceeded` where provisioner or binder do not answer, with what they said.
  Result<ClaimRestored> run();

 private:
  struct Found {
    std::optional<Json> claim, filling;
    std::optional<Json> volume;     // with the point's data
    std::optional<Json> abandoned;  // retained, and not known to be whole
  };
  Result<Found> look();
  Status check_class();
  Status check_volume(const Found& found);
  Status put_aside(const Json& claim, ClaimRestored& done);
  bool waits_for_pods() const;
  Result<std::string> node_to_provision_for();
  Result<Json> filling_claim();
  Json final_claim(const std::string& volume) const;
  Json spec_of_claim() const;
  Result<Json> filled_volume(Found& found);
  Result<Json> own_volume(Found& found);
  Result<OwnVolume> own_volume_of_target();
  Result<RbdImageName> image_of_target(const std::string& volume);
  Result<Json> fill_volume(const Json& filling);
  Result<Json> keep_volume(const Json& filling, const Json& volume);
  Status abandon(const Json& volume);
  Result<bool> is_held_by(const Json& volume, const Json& claim);
  Result<Json> release(const Json& filling, Json volume);
  Result<bool> is_reserved(const Json& volume);
  Status reserve(const Json& volume);
  Status hand_over(const Json& volume, ClaimRestored& done);
  Result<Json> patch_volume(const std::string& name, kube::PatchKind kind, const Json& patch);

  const std::uint64_t point_bytes_;
  const RadosNamespaces rados_namespaces_;
  ClaimImages& images_;
  Json class_;  // the StorageClass, after check()
  std::string storage_class_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tidemark
