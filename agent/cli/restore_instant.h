// `restore --instant`.
#pragma once

#include <string>

#include "agent/cli/command.h"

namespace tidemark {

struct InstantArguments {
  bool instant = false, abort = false;
  std::string serve_at;  // HOST:PORT; empty: any port of loopback
};

void add_instant_options(CLI::App& restore, InstantArguments& arguments);
// Usage mistakes that need no store to be seen.
Status check(const InstantArguments& arguments, bool to_image);
Result<int> restore_instant(Command& command, StoreAccess& access, const PointRow& point,
                            const std::string& image, const InstantArguments& arguments);

}  // namespace tidemark
