#include "agent/kube/bucket_claim_restore.h"

#include <algorithm>
#include <array>
#include <vector>

namespace tidemark {
namespace {

using nlohmann::json;

constexpr int kConflictsMax = 8;
constexpr std::array kConnectionParts = {&kube::kConfigMaps, &kube::kSecrets};

std::string user_of(const json& object_bucket) {
  return json_text(object_bucket, {"spec", "additionalState", "cephUser"});
}

std::string bucket_name_of(const json& object_bucket) {
  return json_text(object_bucket, {"spec", "endpoint", "bucketName"});
}

bool has_finalizer(const json& object) {
  const json* const found = json_at(object, {"metadata", "finalizers"});
  return found != nullptr && found->is_array() &&
         std::ranges::find(*found, json(kBucketFinalizer)) != found->end();
}

// The finalizers without the provisioner's; null where none is left, which a merge patch takes for
// "remove".
json other_finalizers(const json& object) {
  json out = json::array();
  for (const json& one : object["metadata"]["finalizers"])
    if (one != kBucketFinalizer) out.push_back(one);
  return out.empty() ? json() : out;
}

}  // namespace

Result<std::optional<json>> BucketClaimRestore::bucket_of(const std::string& claim) {
  return get(kube::kObjectBuckets, {"", object_bucket_name(target().ns, claim)});
}

Result<BucketClaimRestore::Found> BucketClaimRestore::look() {
  Found found;
  TM_TRY(found.claim, get(claims_, own(target().name)));
  TM_TRY(found.filling, get(claims_, own(filling_name_)));
  TM_TRY(found.bucket, bucket_of(target().name));
  return found;
}

Status BucketClaimRestore::check_class() {
  TM_TRY(class_, find_storage_class());
  const std::string what = "storage class " + name_of(class_);
  const std::string provisioner = json_text(class_, {"provisioner"});
  if (!is_bucket_provisioner(provisioner))
    return Error(ErrorCode::unsupported,
                 what + " is of " + provisioner + ", not of Rook's bucket provisioner");
  const std::string bucket = json_text(class_, {"parameters", "bucketName"});
  if (!bucket.empty())
    return Error(ErrorCode::unsupported,
                 what + " gives access to bucket " + bucket + ", makes none")
        .with_hint("name one that makes buckets with --storage-class");
  return {};
}

// What has the names that the claim's parts are going to have, and is not the claim's.
Status BucketClaimRestore::check_names(const Found& found) {
  if (found.bucket && !is_bucket_of(*found.bucket, target().ns, target().name))
    return Error(ErrorCode::already_exists,
                 "ObjectBucket " + name_of(*found.bucket) + " is there, of claim " +
                     json_text(*found.bucket, {"spec", "claimRef", "namespace"}) + "/" +
                     json_text(*found.bucket, {"spec", "claimRef", "name"}))
        .with_hint("restore to another name");
  for (const kube::Resource* const resource : kConnectionParts) {
    TM_TRY(const auto part, get(*resource, own(target().name)));
    if (!part) continue;
    // Those of a claim that is gone are about to go themselves.
    const json* const owners = json_at(*part, {"metadata", "ownerReferences"});
    const bool owned = owners != nullptr && owners->is_array() &&
                       std::ranges::any_of(*owners, [&](const json& owner) {
                         return json_text(owner, {"kind"}) == claims_.kind &&
                                json_text(owner, {"name"}) == target().name;
                       });
    if (!owned)
      return Error(ErrorCode::already_exists, std::string(resource->kind) + " " + target().ns +
                                                  "/" + target().name +
                                                  " is there, and belongs to no bucket claim")
          .with_hint("remove it, or restore to another name");
  }
  return {};
}

Status BucketClaimRestore::choose_bucket() {
  const std::string& wanted = common_.target.bucket;
  bucket_ = wanted.empty() ? work_.name : wanted;
  if (bucket_.empty()) return {};
  TM_TRY(const auto free, work_.is_free(bucket_));
  if (!wanted.empty() && free && !*free)
    return Error(ErrorCode::already_exists, "bucket " + wanted + " is there")
        .with_hint("name another one, or none, with --bucket");
  // A name that is taken would keep the claim waiting for ever.
  if (wanted.empty() && !free.value_or(false)) bucket_.clear();
  return {};
}

Status BucketClaimRestore::check() {
  TM_DO(check_namespace());
  TM_DO(check_class());
  TM_TRY(const Found found, look());
  TM_DO(check_under_way(found.filling));
  TM_DO(check_names(found));
  const bool begun = found.filling || is_restored(found.claim);
  if (!begun) TM_DO(choose_bucket());
  return check_others(found);
}

Status BucketClaimRestore::check_others(const Found& found) {
  if (is_restored(found.claim) || (!found.claim && !found.bucket)) return {};
  return check_in_the_way([&](const json& pod) { return uses_connection(pod, target().name); });
}

json BucketClaimRestore::filling_claim() const {
  json spec = {{"storageClassName", name_of(class_)}};
  const json* const claim = manifest(claims_.kind);
  std::string prefix;
  if (claim != nullptr) {
    prefix = json_text(*claim, {"spec", "generateBucketName"});
    const auto config = json_texts(*claim, {"spec", "additionalConfig"});
    if (!config.empty()) spec["additionalConfig"] = config;
  }
  // The provisioner refuses both at once.
  if (!bucket_.empty())
    spec["bucketName"] = bucket_;
  else
    spec["generateBucketName"] = prefix.empty() ? target().name : prefix;
  return {{"apiVersion", claims_.api_version()},
          {"kind", std::string(claims_.kind)},
          {"metadata", filling_metadata()},
          {"spec", std::move(spec)}};
}

// With labels of the provisioner, which it puts on the filling claim and by which others find it.
json BucketClaimRestore::final_claim(const json& filling) const {
  json metadata = final_metadata();
  for (const auto& [key, value] : json_texts(filling, {"metadata", "labels"}))
    if (!key.starts_with("tidemark.dev/") && key != "app.kubernetes.io/managed-by")
      metadata["labels"][key] = value;
  metadata["finalizers"] = json::array({kBucketFinalizer});
  json spec = {{"storageClassName", json_text(filling, {"spec", "storageClassName"})},
               {"objectBucketName", object_bucket_name(target().ns, target().name)}};
  const auto config = json_texts(filling, {"spec", "additionalConfig"});
  if (!config.empty()) spec["additionalConfig"] = config;
  return {{"apiVersion", claims_.api_version()},
          {"kind", std::string(claims_.kind)},
          {"metadata", std::move(metadata)},
          {"spec", std::move(spec)}};
}

// Those that are there and are the claim's own.
Result<BucketClaimRestore::Connection> BucketClaimRestore::connection_of(const json& claim) {
  Connection out;
  TM_TRY(out.config_map, get(kube::kConfigMaps, own(name_of(claim))));
  TM_TRY(out.secret, get(kube::kSecrets, own(name_of(claim))));
  for (std::optional<json>* const part : {&out.config_map, &out.secret})
    if (*part && !is_owned_by(**part, kube::uid_of(claim))) part->reset();
  return out;
}

Status BucketClaimRestore::fill(const json& filling) {
  const std::string name = name_of(filling);
  TM_TRY(const Connection connection, connection_of(filling));
  TM_TRY(const auto bucket, bucket_of(name));
  if (!connection.config_map || !connection.secret || !bucket)
    return Error(ErrorCode::not_found,
                 "claim " + name +
                     " is bound, and its ConfigMap, Secret or ObjectBucket is not its own")
        .with_hint("remove claim " + target().ns + "/" + name + ", and give the command again");
  TM_TRY(const BucketLogin login, bucket_login(*connection.config_map, *connection.secret));
  if (annotation_of(filling, kFilledAnnotation) == common_.point) {
    const Status reached = work_.reach(login);
    if (reached || reached.error().retryable()) return reached;
    return Error(reached.error())
        .context("the bucket that was filled, " + login.bucket)
        .with_hint("where it is gone, remove claim " + target().ns + "/" + name +
                   ", and give the command again");
  }
  tell("fills bucket " + login.bucket);
  TM_DO(work_.fill(login, user_of(*bucket)));
  const auto marked = client_.patch(
      claims_, kube::ref_of(filling), kube::PatchKind::merge,
      {{"metadata",
        {{"uid", kube::uid_of(filling)}, {"annotations", {{kFilledAnnotation, common_.point}}}}}},
      {}, call());
  if (!marked) return Error(marked.error()).context("claim " + name);
  return {};
}

// What a filling claim left that was taken away by somebody else: the provisioner would take it for
// the new one's.
Status BucketClaimRestore::remove_leftovers() {
  std::vector<std::pair<const kube::Resource*, json>> parts;
  for (const kube::Resource* const resource : kConnectionParts) {
    TM_TRY(auto part, get(*resource, own(filling_name_)));
    if (part) parts.emplace_back(resource, *std::move(part));
  }
  TM_TRY(const auto bucket, bucket_of(filling_name_));
  if (bucket && is_bucket_of(*bucket, target().ns, filling_name_))
    tell("leaves bucket " + bucket_name_of(*bucket) + ", which a restore before had begun to fill");
  TM_DO(remove_filling());
  for (const auto& [resource, part] : parts) TM_DO(wait_until_gone(*resource, part));
  return {};
}

// The filling claim, bound to a bucket with everything that the point holds.
Result<json> BucketClaimRestore::filled_claim(std::optional<json> filling) {
  if (filling && is_being_deleted(*filling)) {
    TM_DO(wait_until_gone(claims_, *filling));
    filling.reset();
  }
  if (!filling) {
    TM_DO(remove_leftovers());
    tell("asks storage class " + name_of(class_) + " for " +
         (bucket_.empty() ? "a bucket" : "bucket " + bucket_));
    TM_DO(create(claims_, filling_claim()));
  }
  TM_TRY(json bound, wait_until_bound(filling_name_));
  TM_DO(fill(bound));
  return bound;
}

// Takes the provisioner's finalizer off. Only off an object as it was read: one that begins to be
// deleted in between is looked at again.
Status BucketClaimRestore::release(const kube::Resource& resource, const kube::ObjectRef& ref) {
  for (int tries = 0; tries < kConflictsMax; ++tries) {
    TM_TRY(const auto object, get(resource, ref));
    if (!object || !has_finalizer(*object)) return {};
    // Its bucket is on its way out, or denied to its owner.
    if (resource.plural == claims_.plural && is_being_deleted(*object))
      return Error(ErrorCode::refused,
                   "claim " + kube::to_string(ref) + " is being deleted, with its bucket");
    const auto patched = client_.patch(resource, ref, kube::PatchKind::merge,
                                       {{"metadata",
                                         {{"uid", kube::uid_of(*object)},
                                          {"resourceVersion", kube::resource_version_of(*object)},
                                          {"finalizers", other_finalizers(*object)}}}},
                                       {}, call());
    if (patched) return {};
    const kube::ApiError& error = patched.error();
    if (!error.conflict() && !error.no_object() && !error.outcome_unknown) return Error(error);
  }
  return Error(ErrorCode::unavailable,
               std::string(resource.kind) + " " + kube::to_string(ref) + " changes all the time");
}

Status BucketClaimRestore::remove_object_bucket(const json& bucket) {
  TM_DO(release(kube::kObjectBuckets, kube::ref_of(bucket)));
  TM_DO(remove(kube::kObjectBuckets, bucket));
  return wait_until_gone(kube::kObjectBuckets, bucket);
}

// A claim in the way goes, and its bucket stays: without an ObjectBucket the provisioner knows of
// none that it should delete or deny to its user.
Status BucketClaimRestore::put_aside(const Found& found, BucketClaimRestored& done) {
  const std::optional<json>& claim = found.claim;
  if (claim && is_being_deleted(*claim)) return wait_until_gone(claims_, *claim);
  if (!claim && !found.bucket) return {};
  Connection connection;
  if (claim) {
    TM_TRY(connection, connection_of(*claim));
  }
  if (found.bucket)
    done.put_aside = bucket_name_of(*found.bucket);
  else if (connection.config_map)
    done.put_aside = json_text(*connection.config_map, {"data", "BUCKET_NAME"});
  tell("puts aside the claim that is there; bucket " + done.put_aside + " is kept");
  if (found.bucket) TM_DO(remove_object_bucket(*found.bucket));
  if (!claim) return {};
  TM_DO(release(claims_, kube::ref_of(*claim)));
  for (const kube::Resource* const resource : kConnectionParts)
    TM_DO(release(*resource, own(target().name)));
  TM_DO(remove(claims_, *claim));
  TM_DO(wait_until_gone(claims_, *claim));
  // The garbage collector takes them.
  if (connection.config_map) TM_DO(wait_until_gone(kube::kConfigMaps, *connection.config_map));
  return connection.secret ? wait_until_gone(kube::kSecrets, *connection.secret) : Status();
}

Result<json> BucketClaimRestore::make_claim(const json& filling) {
  TM_TRY(const auto bucket, bucket_of(filling_name_));
  if (!bucket)
    return Error(ErrorCode::not_found, "the ObjectBucket of " + filling_name_ + " is gone");
  json wanted = final_claim(filling);
  wanted["spec"]["bucketName"] = bucket_name_of(*bucket);
  TM_DO(create(claims_, wanted));
  TM_TRY(auto claim, get(claims_, own(target().name)));
  if (!is_restored(claim))
    return Error(ErrorCode::refused, target().text() + " was made by somebody else meanwhile")
        .with_hint("claim " + target().ns + "/" + filling_name_ + " has the restored bucket");
  return *std::move(claim);
}

// The claim's own ConfigMap or Secret. One that an earlier claim of the name left goes first.
Result<json> BucketClaimRestore::make_part(const kube::Resource& resource, const json& claim,
                                           const json& part) {
  const kube::ObjectRef ref = own(target().name);
  TM_TRY(const auto before, get(resource, ref));
  if (before) TM_DO(wait_until_gone(resource, *before));
  TM_DO(create(resource, part));
  TM_TRY(auto made, get(resource, ref));
  if (!made || !is_owned_by(*made, kube::uid_of(claim)))
    return Error(ErrorCode::already_exists, std::string(resource.kind) + " " +
                                                kube::to_string(ref) +
                                                " was made by somebody else meanwhile");
  return *std::move(made);
}

// With the application's old keys, where its user can have them.
Result<json> BucketClaimRestore::secret_with_keys(json secret, BucketClaimRestored& done) {
  const json* const old = manifest("Secret");
  const auto keys = old == nullptr ? std::nullopt : keys_of_secret(*old);
  TM_TRY(const auto bucket, bucket_of(filling_name_));
  const std::string user = bucket ? user_of(*bucket) : std::string();
  if (!keys) {
    done.keys_note = "the point does not have them";
  } else if (user.empty()) {
    done.keys_note = "the bucket's user is not known";
  } else {
    TM_TRY(const auto refused, work_.add_keys(user, *keys));
    if (!refused) return with_keys(std::move(secret), *keys);
    done.keys_note = *refused;
  }
  return secret;
}

Status BucketClaimRestore::make_connection(const json& claim, BucketClaimRestored& done) {
  TM_TRY(Connection there, connection_of(claim));
  if (!there.config_map || !there.secret) {
    TM_TRY(const auto filling, get(claims_, own(filling_name_)));
    const Connection none;
    TM_TRY(const Connection from, filling ? connection_of(*filling) : Result<Connection>(none));
    if (!from.config_map || !from.secret)
      return Error(ErrorCode::not_found,
                   "the ConfigMap or the Secret of claim " + filling_name_ + " is gone")
          .with_hint("remove claims " + target().name + " and " + filling_name_ + " in " +
                     target().ns + ", and give the command again");
    if (!there.config_map) {
      TM_TRY(there.config_map,
             make_part(kube::kConfigMaps, claim, connection_of_claim(*from.config_map, claim)));
    }
    if (!there.secret) {
      TM_TRY(const json secret, secret_with_keys(connection_of_claim(*from.secret, claim), done));
      TM_TRY(there.secret, make_part(kube::kSecrets, claim, secret));
    }
  }
  tell_keys(*there.secret, done);
  return {};
}

void BucketClaimRestore::tell_keys(const json& secret, BucketClaimRestored& done) const {
  const json* const old = manifest("Secret");
  const auto before = old == nullptr ? std::nullopt : keys_of_secret(*old);
  const auto now = keys_of_secret(secret);
  done.old_keys = before && now && before->access_key == now->access_key;
  if (done.old_keys) done.keys_note.clear();
}

// From here on a filling claim that is deleted takes nothing along.
Status BucketClaimRestore::disarm_filling() { return release(claims_, own(filling_name_)); }

Status BucketClaimRestore::set_bound(const kube::Resource& resource, const json& object) {
  if (phase_of(object) == "Bound") return {};
  kube::WriteOptions options;
  options.subresource = "status";
  const auto set = client_.patch(
      resource, kube::ref_of(object), kube::PatchKind::merge,
      {{"metadata", {{"uid", kube::uid_of(object)}}}, {"status", {{"phase", "Bound"}}}}, options,
      call());
  if (!set) return Error(set.error()).context("status of " + name_of(object));
  return {};
}

Status BucketClaimRestore::make_object_bucket(const json& claim) {
  TM_TRY(auto bucket, bucket_of(target().name));
  if (!bucket) {
    TM_TRY(const auto from, bucket_of(filling_name_));
    if (!from || !is_bucket_of(*from, target().ns, filling_name_) || phase_of(*from) != "Bound" ||
        is_being_deleted(*from))
      return Error(ErrorCode::not_found,
                   "the bucket that was filled is not " + filling_name_ + "'s any more")
          .with_hint("remove claims " + target().name + " and " + filling_name_ + " in " +
                     target().ns + ", and give the command again");
    TM_DO(create(kube::kObjectBuckets, object_bucket_of_claim(*from, claim)));
    TM_TRY(bucket, bucket_of(target().name));
  }
  if (!bucket || json_text(*bucket, {"spec", "claimRef", "uid"}) != kube::uid_of(claim))
    return Error(ErrorCode::already_exists, "ObjectBucket " +
                                                object_bucket_name(target().ns, target().name) +
                                                " was made by somebody else meanwhile");
  return set_bound(kube::kObjectBuckets, *bucket);
}

// By what an application would find now.
Status BucketClaimRestore::prove(const json& claim) {
  TM_TRY(const Connection connection, connection_of(claim));
  if (!connection.config_map || !connection.secret)
    return Error(ErrorCode::not_found,
                 "the ConfigMap or the Secret of " + target().text() + " was removed meanwhile");
  TM_TRY(const BucketLogin login, bucket_login(*connection.config_map, *connection.secret));
  tell("reads as the application would");
  const Status proven = work_.prove(login);
  if (proven) return {};
  return proven.error().context("bucket " + login.bucket + " with the keys of Secret " +
                                target().ns + "/" + target().name);
}

Status BucketClaimRestore::hand_over(const json& claim, BucketClaimRestored& done) {
  TM_DO(make_connection(claim, done));
  TM_DO(disarm_filling());
  TM_DO(make_object_bucket(claim));
  TM_DO(prove(claim));
  return set_bound(claims_, claim);
}

// Its ObjectBucket first: without one the provisioner has nothing to delete.
Status BucketClaimRestore::remove_filling() {
  TM_TRY(const auto bucket, bucket_of(filling_name_));
  if (bucket && is_bucket_of(*bucket, target().ns, filling_name_))
    TM_DO(remove_object_bucket(*bucket));
  for (const kube::Resource* const resource : kConnectionParts)
    TM_DO(release(*resource, own(filling_name_)));
  TM_TRY(const auto filling, get(claims_, own(filling_name_)));
  if (!filling) return {};
  TM_DO(release(claims_, own(filling_name_)));
  TM_DO(remove(claims_, *filling));
  return wait_until_gone(claims_, *filling);
}

Result<BucketClaimRestored> BucketClaimRestore::run() {
  BucketClaimRestored done;
  TM_TRY(Found found, look());
  bool made = is_restored(found.claim);
  done.resumed = found.filling || made;
  if (made && is_being_deleted(*found.claim)) {
    TM_DO(wait_until_gone(claims_, *found.claim));
    made = false;
  }
  if (!made) {
    TM_TRY(const json filling, filled_claim(std::move(found.filling)));
    // That took its time: what is in the way now counts.
    TM_TRY(found, look());
    TM_DO(check_others(found));
    if (!is_restored(found.claim)) TM_DO(put_aside(found, done));
    TM_TRY(found.claim, make_claim(filling));
  }
  if (phase_of(*found.claim) != "Bound") {
    TM_DO(hand_over(*found.claim, done));
  } else {
    TM_TRY(const Connection connection, connection_of(*found.claim));
    if (connection.secret) tell_keys(*connection.secret, done);
  }
  TM_DO(remove_filling());
  done.bucket = json_text(*found.claim, {"spec", "bucketName"});
  done.object_bucket = json_text(*found.claim, {"spec", "objectBucketName"});
  return done;
}

}  // namespace tidemark
