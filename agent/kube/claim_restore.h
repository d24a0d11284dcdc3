// A claim that holds what a point holds: a new volume of a storage class, filled before anybody can
// use it, and then handed to the claim.
//
//   nothing --create--> filling claim --provisioner--> bound --fill--> filled --retain, delete the
//   filling claim--> released --claimRef--> reserved --create--> claim --bound--> done
//
// The volume is one that the storage class made: it can grow, be snapshotted and cloned as any
// other. The filling claim has another name than the claim, so that no pod can use it before its
// data is complete; its name follows from the claim's, so that two restores to one claim meet
// there. A kill at any arrow: the next run finds by names, annotations and the label of the volume
// how far the one before came, and goes on. Nothing is deleted but the filling claim; with `force`
// a claim that is in the way goes, and its volume is retained, never its data lost.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/kube/claim.h"
#include "transport/kube/client.h"

namespace tidemark {

struct ClaimTarget {
  ClaimName name;                           // of a volume
  std::string storage_class;                // empty: that of the claim that the point was taken of
  std::optional<std::uint64_t> size_bytes;  // nothing: as large as it was
  bool force = false;                       // puts aside a claim of that name
};

struct ClaimRestored {
  std::string volume;  // the PersistentVolume
  RbdImageName image;
  bool resumed = false;   // an earlier run had begun
  std::string put_aside;  // the volume of a claim that was in the way; empty: there was none
};

// Used by one thread.
class ClaimRestore {
 public:
  struct Options {
    ClaimTarget target;
    std::string point;              // its id: what annotations name
    std::uint64_t point_bytes = 0;  // its size
    nlohmann::json manifests;       // what the point carries; an empty array: nothing is known
    RadosNamespaces rados_namespaces;
    // Makes the image what the point is, and `size_bytes` large, which is not less than the point.
    // Called again by a run that goes on where it did not end.
    std::function<Status(const RbdImageName& image, std::uint64_t size_bytes)> fill;
    std::function<void(const std::string& line)> tell;        // for people; may be empty
    std::chrono::seconds patience = std::chrono::minutes(5);  // with provisioner and binder
    std::chrono::milliseconds step{500};                      // between looks
    std::stop_token stop;
  };
  // `client` must outlive it.
  ClaimRestore(kube::Client& client, Options options);

  // Looks at everything that could refuse it, and changes nothing: `not_found` for a namespace or a
  // storage class that is not there, `already_exists` for a claim in the way (pods that use it are
  // named), `unsupported` for a class that is not of ceph-csi RBD or that waits for a pod,
  // `invalid_argument` for a size that is too small.
  Status check();
  // REQUIRES: check() succeeded. `refused` where another restore to the claim is under way;
  // `deadline_exceeded` where provisioner or binder do not answer, with what they said.
  Result<ClaimRestored> run();

 private:
  using Json = nlohmann::json;
  struct Found {
    std::optional<Json> claim, filling, volume;
  };
  Result<std::optional<Json>> get(const kube::Resource& resource, const kube::ObjectRef& ref);
  Result<Found> look();
  Status check_class();
  Status check_in_the_way();
  Result<std::string> pods_that_use(const std::string& claim);
  Status put_aside(const Json& claim, ClaimRestored& done);
  Json filling_claim() const;
  Json final_claim(const std::string& volume) const;
  Json spec_of_claim() const;
  Result<Json> filled_volume(Found& found);
  Result<RbdImageName> image_of_target(const std::string& volume);
  Result<Json> fill_volume(const Json& filling);
  Result<Json> release(const Json& filling, Json volume);
  Status hand_over(const Json& volume, ClaimRestored& done);
  Result<Json> wait_until_bound(const std::string& name);
  Result<std::string> last_event_of(const std::string& claim);
  Status wait_until_gone(const std::string& claim, const std::string& uid);
  Result<Json> patch_volume(const std::string& name, kube::PatchKind kind, const Json& patch);
  template <class Look>
  Status wait_for(const std::string& what, const Look& look);
  void tell(const std::string& line) const;
  kube::Call call() const;
  const Json* manifest(std::string_view kind) const;
  bool is_ours(const Json& object) const;

  kube::Client& client_;
  Options options_;
  const std::string filling_name_;
  const std::string mark_;  // the label's value, by which the volume is found
  std::string storage_class_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tidemark
