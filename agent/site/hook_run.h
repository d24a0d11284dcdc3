// What a policy has done around the moment that a point is of: a program that is run, or a request
// that is sent.
#pragma once

#include <stop_token>
#include <string>

#include "config/config.h"

namespace tidemark {

struct HookContext {
  std::string site, policy, asset;
  std::string phase;  // "before", "after"
};

// A program knows by TIDEMARK_SITE, TIDEMARK_POLICY, TIDEMARK_ASSET and TIDEMARK_PHASE what it is
// for, a request by {"site","policy","asset","phase"}. `refused` where the hook failed and the
// policy ends the backup then; what failed and does not is a warning in the log.
Status run_hook(const HookConfig& hook, const HookContext& context, std::stop_token stop);

}  // namespace tidemark
