// `restore --to-pvc` and `restore --to-obc`.
#pragma once

#include <string>

#include "agent/cli/command.h"

namespace tidemark {

struct ClaimArguments {
  std::string to_claim, to_bucket_claim;  // "NAMESPACE/NAME"; both empty: another target
  std::string storage_class, size, bucket;
  bool fixed = false, same = false, adopt = false;
};

void add_claim_options(CLI::App& restore, ClaimArguments& arguments);
// Usage mistakes that need no store to be seen.
Status check(const ClaimArguments& arguments);
Result<int> restore_claim(Command& command, StoreAccess& access, const PointRow& point,
                          const ClaimArguments& arguments, bool force, bool plan);

Result<int> restore_bucket_claim(Command& command, StoreAccess& access, const PointRow& point,
                                 const ClaimArguments& arguments, bool force, bool plan);

}  // namespace tidemark
