// What restores to claims of both kinds have in common: which claim, what the API server remembers
// of a restore, and waiting for provisioners and controllers.
//
// A restore fills a claim of another name first. That name, "tidemark-restore-<mark>", follows from
// the target, so that a run that goes on after a kill finds it, and two restores to one claim meet
// there. Annotations say which point is meant and how far it came.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/kube/claim.h"
#include "transport/kube/client.h"

namespace tidemark {

inline constexpr const char* kPointAnnotation = "tidemark.dev/point";      // its id
inline constexpr const char* kTargetAnnotation = "tidemark.dev/restores";  // ClaimName::text()
inline constexpr const char* kFilledAnnotation = "tidemark.dev/filled";    // the point, once whole
inline constexpr const char* kRestoreLabel = "tidemark.dev/restore";       // the mark

struct ClaimTarget {
  ClaimName name;
  std::string storage_class;  // empty: that of the claim that the point was taken of
  std::map<std::string, std::string> classes;  // what that one is called here, where not the same
  std::optional<std::uint64_t> size_bytes;     // of volumes; nothing: as large as it was
  std::string bucket;  // of bucket claims; empty: as it was, where that is free
  bool force = false;  // puts aside a claim of that name
  // Who makes a volume: the storage class; we, as a static one; we, as the one that it was.
  enum class Volume : std::uint8_t { dynamic, fixed, same } volume = Volume::dynamic;
  // Not with a dynamic one: the image is there, and is taken as it is.
  bool adopt = false;
};

// Of every restore to a claim.
struct ClaimRestoreOptions {
  ClaimTarget target;
  std::string point;                                        // its id: what annotations name
  nlohmann::json manifests;                                 // of the point; may be an empty array
  std::function<void(const std::string& line)> tell;        // for people; may be empty
  std::chrono::seconds patience = std::chrono::minutes(5);  // with provisioners and controllers
  std::chrono::milliseconds step{500};                      // between looks
  std::stop_token stop;
};

std::string annotation_of(const nlohmann::json& object, const char* key);
std::string phase_of(const nlohmann::json& object);
std::string name_of(const nlohmann::json& object);
// Whether a pod still runs, or is going to.
bool is_running(const nlohmann::json& pod);

// Base of the two. Used by one thread.
class ClaimSteps {
 protected:
  using Json = nlohmann::json;
  // `claims` is PersistentVolumeClaims or ObjectBucketClaims. `client` must outlive it.
  ClaimSteps(kube::Client& client, const kube::Resource& claims, ClaimRestoreOptions options);

  const ClaimName& target() const { return common_.target.name; }
  kube::ObjectRef own(const std::string& name) const { return {target().ns, name}; }
  void tell(const std::string& line) const;
  kube::Call call() const;
  // What the point carries of a kind; null where it carries none.
  const Json* manifest(std::string_view kind) const;
  // Whether the object belongs to a restore to this target, of whichever point.
  bool is_ours(const Json& object) const;
  // Whether the claim is what this very restore made.
  bool is_restored(const std::optional<Json>& claim) const;

  // Nothing where there is no such object.
  Result<std::optional<Json>> get(const kube::Resource& resource, const kube::ObjectRef& ref);
  // What was done already, and what may have been, is no error: it is seen where the run goes on.
  Status create(const kube::Resource& resource, const Json& object);
  Status remove(const kube::Resource& resource, const Json& object);
  Status wait_until_gone(const kube::Resource& resource, const Json& object);
  // Until `look` says true; `deadline_exceeded` when the patience is at its end.
  Status wait_for(const std::string& what, const std::function<Result<bool>()>& look);
  // The claim of that name. `deadline_exceeded` with what was said of it last.
  Result<Json> wait_until_bound(const std::string& name);

  // `not_found` for a namespace that is not there.
  Status check_namespace();
  // The class that is to be used. `not_found` for one that is not there.
  Result<Json> find_storage_class();
  // `refused` where the object belongs to a restore of another point.
  Status check_under_way(const std::optional<Json>& object) const;
  // What is said of a claim in the way: `already_exists`, or with force `refused` while pods use
  // it.
  Status check_in_the_way(const std::function<bool(const Json& pod_spec)>& uses);

  // Metadata of the filling claim, and of the one that is made of it.
  Json filling_metadata() const;
  Json final_metadata() const;

  kube::Client& client_;
  const kube::Resource& claims_;
  const ClaimRestoreOptions common_;
  const std::string mark_;  // the label's value
  const std::string filling_name_;

 private:
  Result<std::string> pods_that_use(const std::function<bool(const Json& pod_spec)>& uses);
  Result<std::string> last_event_of(const std::string& claim);
};

}  // namespace tidemark
