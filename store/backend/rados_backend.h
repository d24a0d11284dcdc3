// The `rados` backend: one RADOS object per blob, in one pool and namespace. Layout, promises and
// limits: docs/backends.md.
#pragma once

#include <memory>

#include "store/backend.h"

namespace tidemark {

// Connects to the cluster. `not_found` where the pool does not exist; `unavailable` or
// `deadline_exceeded` where no monitor answers within half a minute.
Result<std::unique_ptr<Backend>> open_rados_backend(const BackendConfig& config);

}  // namespace tidemark
