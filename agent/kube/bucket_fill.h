// What a restore to a bucket claim does in the object store: fills the claim's bucket by the
// claim's own keys, so that its objects are the application's, and tries it as the application
// would.
#pragma once

#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/kube/bucket_claim_restore.h"
#include "agent/read/bucket_reader.h"
#include "agent/restore/bucket_restore.h"
#include "config/config.h"

namespace tidemark {

class BucketFill {
 public:
  // `s3`: how this site reaches its gateway; nothing: as the claim's ConfigMap says. `manifests`
  // are the point's. Everything given by reference must outlive it.
  BucketFill(BucketPoint& point, const nlohmann::json& manifests, std::optional<S3Config> s3,
             const Clock& clock, std::stop_token stop);

  // Of this object, which must outlive it.
  BucketWork work();

  struct Progress {
    std::uint64_t done_bytes = 0, written_bytes = 0, objects_written = 0;
  };
  // From any thread.
  Progress progress() const;
  // What of the bucket's settings did not come back, in this run. Not while work() is done.
  std::vector<RestoreProblem> problems() const;

 private:
  Result<std::unique_ptr<s3::Client>> connect(const BucketLogin& login) const;
  Result<std::optional<bool>> is_free(const std::string& bucket) const;
  Status fill(const BucketLogin& login, const std::string& user);
  Status prepare(s3::Client& client, const std::string& bucket);
  Status check_complete(const ProblemList& problems) const;
  Result<std::optional<std::string>> add_keys(const std::string& user,
                                              const s3::Credentials& keys) const;
  Result<std::optional<ObjectEntry>> draw() const;
  Status prove(const BucketLogin& login) const;
  s3::Call call() const;

  BucketPoint& point_;
  std::vector<std::string> old_users_;  // who owned the bucket
  const std::optional<S3Config> s3_;
  const Clock& clock_;
  const std::stop_token stop_;
  mutable std::mutex mutex_;
  std::unique_ptr<s3::Client> client_, admin_;  // outlive restore_
  std::unique_ptr<BucketRestore> restore_;      // guarded by mutex_ where it is set
};

}  // namespace tidemark
