// `restore --to-pvc`.
#pragma once

#include <string>

#include "agent/cli/command.h"

namespace tidemark {

struct ClaimArguments {
  std::string to_claim;  // "NAMESPACE/NAME"; empty: another target
  std::string storage_class, size;
  bool fixed = false, same = false, adopt = false;
  bool any_option() const {
    return !storage_class.empty() || !size.empty() || fixed || same || adopt;
  }
};

void add_claim_options(CLI::App& restore, ClaimArguments& arguments);
// Usage mistakes that need no store to be seen.
Status check(const ClaimArguments& arguments);
Result<int> restore_claim(Command& command, StoreAccess& access, const PointRow& point,
                          const ClaimArguments& arguments, bool force, bool plan);

}  // namespace tidemark
