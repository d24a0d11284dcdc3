// `restore --to-pvc`, `--to-obc` and `--to-namespace`.
#pragma once

#include <string>

#include "agent/cli/command.h"

namespace tidemark {

struct ClaimArguments {
  // "NAMESPACE/NAME", or a namespace alone; all empty: another target
  std::string to_claim, to_bucket_claim, to_namespace;
  std::string storage_class, size, bucket;
  bool fixed = false, same = false, adopt = false;
  bool any_target() const {
    return !to_claim.empty() || !to_bucket_claim.empty() || !to_namespace.empty();
  }
};

void add_claim_options(CLI::App& restore, ClaimArguments& arguments);
// Usage mistakes that need no store to be seen.
Status check(const ClaimArguments& arguments);
// REQUIRES: the point is of a volume for --to-pvc, and of a bucket for --to-obc.
Result<int> restore_claim(Command& command, StoreAccess& access, const PointRow& point,
                          const ClaimArguments& arguments, bool force, bool plan);

// All claims of the namespace `asset` ("[<site>:]k8s/<namespace>"), one after the other: each by
// its newest point, by its newest as of a time, or by its point of a set. One that cannot be
// restored holds up no other.
Result<int> restore_namespace(Command& command, const std::string& asset, const std::string& as_of,
                              const std::string& set, const ClaimArguments& arguments, bool force,
                              bool plan);

}  // namespace tidemark
