// A bucket claim that holds what a point of a bucket holds: a new bucket of Rook's provisioner,
// filled before an application can find it, and then handed to the claim.
//
//   nothing --create--> filling claim --provisioner--> bound --fill--> filled --create--> claim
//     --> ConfigMap, Secret --> filling claim disarmed --> ObjectBucket --> proven --> Bound
//     --remove the filling claim--> done
//
// An application finds its bucket by the ConfigMap and the Secret of its claim's name: they are
// made when the bucket holds everything, and the claim is Bound after what stands in them was
// tried.
//
// What the provisioner would do to the data on the way. It deletes the bucket of a claim that is
// deleted, which it finds by the name of the ObjectBucket, and takes no notice of a claim that has
// spec.objectBucketName. So the final claim has that from the beginning; it has no ObjectBucket
// until the filling claim can be deleted without harm, which is when its finalizer is off; and of
// whatever goes without its data, the ObjectBucket goes first. At each moment at most one claim's
// deletion takes the data along: that of the filling claim before, that of the claim afterwards.
//
// A kill at any arrow: the next run finds by names and annotations how far the one before came, and
// goes on. Nothing is deleted but what the filling claim had. With `force` a claim in the way goes
// with its ConfigMap, Secret and ObjectBucket; its bucket and that one's user stay as they are.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "agent/kube/bucket_objects.h"
#include "agent/kube/claim_steps.h"

namespace tidemark {

struct BucketClaimRestored {
  std::string bucket;
  std::string object_bucket;
  bool resumed = false;   // an earlier run had begun
  std::string put_aside;  // the bucket of a claim that was in the way; empty: there was none
  bool old_keys = false;  // the keys that the application had go on working
  std::string keys_note;  // why they do not; empty where that is not known any more
};

// What is done in the object store.
struct BucketWork {
  std::string name;  // what the point's bucket was called
  // Whether a bucket could be made under the name; nothing: that cannot be known.
  std::function<Result<std::optional<bool>>(const std::string& bucket)> is_free;
  // Makes the bucket what the point is. `user` owns it. Called again by a run that goes on where it
  // did not end.
  std::function<Status(const BucketLogin& login, const std::string& user)> fill;
  // `permission_denied` and `not_found` where these keys cannot use the bucket.
  std::function<Status(const BucketLogin& login)> reach;
  // Gives the user a second pair of keys. Why not, where that cannot be: it is no error.
  std::function<Result<std::optional<std::string>>(const std::string& user,
                                                   const s3::Credentials& keys)>
      add_keys;
  // Reads as an application would, and compares with the point.
  std::function<Status(const BucketLogin& login)> prove;
};

// Used by one thread.
class BucketClaimRestore : private ClaimSteps {
 public:
  // `client` must outlive it.
  BucketClaimRestore(kube::Client& client, ClaimRestoreOptions options, BucketWork work)
      : ClaimSteps(client, kube::kObjectBucketClaims, std::move(options)), work_(std::move(work)) {}

  // Looks at everything that could refuse it, and changes nothing: `not_found` for a namespace or a
  // storage class that is not there, `already_exists` for a claim in the way (pods that use it are
  // named), a ConfigMap, Secret or ObjectBucket of its name, or a bucket of the name that was asked
  // for; `unsupported` for a class that is not of Rook's buckets, or that makes none.
  Status check();
  // REQUIRES: check() succeeded. `refused` where another restore to the claim is under way;
  // `deadline_exceeded` where the provisioner does not answer.
  Result<BucketClaimRestored> run();

 private:
  struct Found {
    std::optional<Json> claim, filling, bucket;
  };
  struct Connection {
    std::optional<Json> config_map, secret;
  };
  Result<Found> look();
  Status check_class();
  Status check_names(const Found& found);
  // A claim of that name, or its ObjectBucket alone, in the way.
  Status check_others(const Found& found);
  Status choose_bucket();
  Result<Connection> connection_of(const Json& claim);
  Result<std::optional<Json>> bucket_of(const std::string& claim);

  Json filling_claim() const;
  Json final_claim(const Json& filling) const;
  Result<Json> filled_claim(std::optional<Json> filling);
  Status fill(const Json& filling);
  Status put_aside(const Found& found, BucketClaimRestored& done);
  Result<Json> make_claim(const Json& filling);
  Status hand_over(const Json& claim, BucketClaimRestored& done);
  Status make_connection(const Json& claim, BucketClaimRestored& done);
  Status prove(const Json& claim);
  Result<Json> make_part(const kube::Resource& resource, const Json& claim, const Json& part);
  Result<Json> secret_with_keys(Json secret, BucketClaimRestored& done);
  Status disarm_filling();
  Status make_object_bucket(const Json& claim);
  Status remove_filling();
  Status remove_leftovers();
  Status remove_object_bucket(const Json& bucket);

  Status release(const kube::Resource& resource, const kube::ObjectRef& ref);
  Status set_bound(const kube::Resource& resource, const Json& object);
  void tell_keys(const Json& secret, BucketClaimRestored& done) const;

  const BucketWork work_;
  Json class_;
  std::string bucket_;  // the name to ask for; empty: one that the provisioner makes up
};

}  // namespace tidemark
