#include "agent/kube/bucket_fill.h"

#include <algorithm>
#include <array>
#include <bit>
#include <random>

#include "agent/read/bucket_diff.h"
#include "agent/restore/object_writer.h"
#include "agent/service/point_json.h"
#include "agent/site/s3_access.h"
#include "base/crypto.h"
#include "base/json.h"

namespace tidemark {
namespace {

using s3::BucketDocument;
using s3::Versioning;

// Of the proof: an object is one of so many keys, and no larger where there is one.
constexpr std::size_t kDrawnOf = 20'000;
constexpr std::uint64_t kDrawnBytesMax = 64 * kMiB;

// What is missing in the bucket when it was not restored; other problems are of its settings.
bool is_data(const RestoreProblem& problem) {
  return problem.what == "object" || problem.what == "delete";
}

}  // namespace

BucketFill::BucketFill(BucketPoint& point, const nlohmann::json& manifests,
                       std::optional<S3Config> s3, const Clock& clock, std::stop_token stop)
    : point_(point), s3_(std::move(s3)), clock_(clock), stop_(std::move(stop)) {
  old_users_.push_back(point_.meta().owner);
  for (const nlohmann::json& object : manifests)
    if (text_at(object, "kind") == "ObjectBucket")
      old_users_.push_back(json_text(object, {"spec", "additionalState", "cephUser"}));
}

BucketWork BucketFill::work() {
  BucketWork work;
  work.name = point_.meta().name;
  work.is_free = [this](const std::string& bucket) { return is_free(bucket); };
  work.fill = [this](const BucketLogin& login, const std::string& user) {
    return fill(login, user);
  };
  work.reach = [this](const BucketLogin& login) -> Status {
    TM_TRY(const auto client, connect(login));
    return client->head_bucket(login.bucket, call());
  };
  work.add_keys = [this](const std::string& user, const s3::Credentials& keys) {
    return add_keys(user, keys);
  };
  work.prove = [this](const BucketLogin& login) { return prove(login); };
  return work;
}

s3::Call BucketFill::call() const {
  s3::Call call;
  call.stop = stop_;
  return call;
}

// What the ConfigMap names can be resolved within the cluster only: where this site has a way of
// its own, that is taken.
Result<std::unique_ptr<s3::Client>> BucketFill::connect(const BucketLogin& login) const {
  S3Config config;
  if (s3_)
    config = *s3_;
  else
    config.endpoint = login.endpoint();
  if (!s3_ && !login.region.empty()) config.region = login.region;
  return connect_s3(config, [keys = login.keys]() -> Result<s3::Credentials> { return keys; });
}

Result<std::optional<bool>> BucketFill::is_free(const std::string& bucket) const {
  if (!s3_) return std::optional<bool>();
  TM_TRY(const auto client, connect_s3(*s3_));
  const Status found = client->head_bucket(bucket, call());
  if (found || found.error().code() == ErrorCode::permission_denied) return std::optional(false);
  if (found.error().code() == ErrorCode::not_found) return std::optional(true);
  return found.error();
}

// Takes back what a run that was killed may have set already, and what keeps the rest from being
// written: a policy can forbid it, and versions need versioning.
Status BucketFill::prepare(s3::Client& client, const std::string& bucket) {
  TM_TRY(const auto policy, client.document(bucket, BucketDocument::policy, call()));
  if (policy) TM_DO(client.remove_document(bucket, BucketDocument::policy, call()));
  if (point_.meta().versioning == Versioning::never) return {};
  return client.set_versioning(bucket, true, call());
}

Status BucketFill::fill(const BucketLogin& login, const std::string& user) {
  TM_TRY(auto client, connect(login));
  std::unique_ptr<s3::Client> admin;
  if (s3_) {
    TM_TRY(admin, connect_s3(*s3_));
  }
  TM_DO(prepare(*client, login.bucket));
  BucketRestoreOptions options;
  options.bucket = login.bucket;
  options.versions = point_.meta().versioning != Versioning::never;
  options.delete_extra = options.force = true;  // nobody else knows the bucket yet
  options.admin = admin.get();
  if (!user.empty())
    for (const std::string& old : old_users_) options.users.emplace(old, user);
  {
    const std::lock_guard lock(mutex_);
    restore_.reset();
    client_ = std::move(client);
    admin_ = std::move(admin);
    restore_ = std::make_unique<BucketRestore>(point_, *client_, std::move(options), clock_, stop_);
  }
  TM_DO(restore_->run());
  return check_complete(restore_->problems());
}

Status BucketFill::check_complete(const ProblemList& problems) const {
  const auto list = problems.list();
  const auto first = std::ranges::find_if(list, is_data);
  // Of very many not all are kept: one of the others may be an object.
  if (first == list.end() && problems.count() == list.size()) return {};
  const std::string what = first == list.end()
                               ? std::to_string(problems.count()) + " things"
                               : "object '" + printable_key(first->key) + "': " + first->message;
  return Error(problems.damage() ? ErrorCode::corruption : ErrorCode::unsupported,
               "not all of the point could be written: " + what)
      .with_hint("the claim is not handed over; --to-bucket writes what can be");
}

BucketFill::Progress BucketFill::progress() const {
  const std::lock_guard lock(mutex_);
  if (!restore_) return {};
  const BucketCounts& counts = restore_->counts();
  return {counts.written_bytes + counts.skipped_bytes, counts.written_bytes, counts.written};
}

std::vector<RestoreProblem> BucketFill::problems() const {
  const std::lock_guard lock(mutex_);
  return restore_ ? restore_->problems().list() : std::vector<RestoreProblem>();
}

// Old keys are what the application's configuration may hold: they go on working where this site
// may administrate users and nobody else has them.
Result<std::optional<std::string>> BucketFill::add_keys(const std::string& user,
                                                        const s3::Credentials& keys) const {
  const auto because = [](std::string why) { return std::optional(std::move(why)); };
  if (!s3_) return because("the configuration names no gateway");
  TM_TRY(const auto admin, connect_s3(*s3_));
  const auto holder =
      admin->admin("GET", "/admin/user", {{"access-key", keys.access_key}}, {}, call());
  if (holder) {
    const auto json = parse_json(as_text(*holder));
    const std::string name = json ? text_at(*json, "user_id") : std::string();
    if (name == user) return std::optional<std::string>();
    if (!name.empty()) return because("user " + name + " has them");
  } else if (holder.error().code() == ErrorCode::cancelled) {
    return holder.error();
  }
  // Keys of somebody else are refused by the gateway itself, too.
  const auto added = admin->admin("PUT", "/admin/user",
                                  {{"key", ""},
                                   {"uid", user},
                                   {"key-type", "s3"},
                                   {"access-key", keys.access_key},
                                   {"secret-key", keys.secret_key},
                                   {"generate-key", "false"}},
                                  {}, call());
  if (added) return std::optional<std::string>();
  if (added.error().code() == ErrorCode::cancelled) return added.error();
  if (added.error().code() == ErrorCode::permission_denied)
    return because("the gateway's user of this site has no capability users=write");
  return because(added.error().message());
}

// Any current object, each as likely as the others; nothing where the point has none.
Result<std::optional<ObjectEntry>> BucketFill::draw() const {
  std::array<std::uint8_t, sizeof(std::uint64_t)> seed{};
  random_bytes(seed);
  std::mt19937_64 random(std::bit_cast<std::uint64_t>(seed));
  std::optional<ObjectEntry> drawn;
  std::uint64_t fitting = 0;
  KeyCursor cursor = point_.keys({});
  for (std::size_t seen = 0; seen < kDrawnOf; ++seen) {
    TM_TRY(const auto key, cursor.next());
    if (!key) break;
    const ObjectEntry* const current = key->current();
    if (current == nullptr) continue;
    const bool fits = current->size_bytes <= kDrawnBytesMax;
    if (fits) ++fitting;
    const bool smaller = !drawn || current->size_bytes < drawn->size_bytes;
    if (fits ? std::uniform_int_distribution<std::uint64_t>(1, fitting)(random) == 1
             : fitting == 0 && smaller)
      drawn = *current;
  }
  return drawn;
}

Status BucketFill::prove(const BucketLogin& login) const {
  TM_TRY(const auto client, connect(login));
  TM_TRY(const auto drawn, draw());
  s3::ListOptions options;
  if (drawn) options.prefix = drawn->place.key;
  options.page_size = 1;
  const auto listing = client->list_objects(login.bucket, options, call());
  const auto page = listing->next_page();
  if (!page) return page.error().context("list it");
  if (!drawn) return {};
  const std::string what = "object '" + printable_key(drawn->place.key) + "'";
  if (page->empty() || page->front().key != drawn->place.key)
    return Error(ErrorCode::corruption, what + " is not listed");
  BucketCounts counts;
  ProblemList problems;
  TargetBucket bucket;
  bucket.name = login.bucket;
  ObjectWriter reader(*client, point_.reader(), bucket, counts, problems, clock_, stop_);
  const auto same = reader.has_same(*drawn);
  if (!same) return same.error().context("read " + what);
  if (!*same) return Error(ErrorCode::corruption, what + " is not as the point has it");
  return {};
}

}  // namespace tidemark
