// One at a time: what is done to an asset at its site for one store.
#pragma once

#include <string>

#include "base/asset.h"
#include "base/files.h"
#include "config/config.h"

namespace tidemark {

// Held until it is destroyed, or the process ends. `refused` while another process or thread has
// it.
Result<Fd> lock_asset(const Config& config, const AssetName& asset, const std::string& to);

}  // namespace tidemark
