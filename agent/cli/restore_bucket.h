// `tidemark restore` of a bucket's point: to a bucket or to a directory.
#pragma once

#include "agent/cli/command.h"
#include "agent/restore/bucket_problems.h"

namespace tidemark {

struct BucketRestoreArguments {
  std::string to_bucket, to_dir;
  std::string prefix, key, version;
  bool delete_extra = false, versions = false;
  // Instead of the configuration.
  std::string s3_endpoint, s3_access_key_file, s3_secret_key_file, s3_ca_file, s3_region;

  bool any_target() const { return !to_bucket.empty() || !to_dir.empty(); }
  // Whether something was asked that only buckets have.
  bool any_option() const {
    return !prefix.empty() || !key.empty() || !version.empty() || delete_extra || versions;
  }
};

void add_bucket_restore_options(CLI::App& restore, BucketRestoreArguments& arguments);
// `invalid_argument` for what does not go together.
Status check(const BucketRestoreArguments& arguments);
nlohmann::json problems_json(const std::vector<RestoreProblem>& problems);
// What did not come back, on stderr.
void print_problems(const std::vector<RestoreProblem>& problems);
Result<int> restore_bucket(Command& command, StoreAccess& access, PointRow row,
                           const BucketRestoreArguments& arguments, bool force, bool plan);

}  // namespace tidemark
