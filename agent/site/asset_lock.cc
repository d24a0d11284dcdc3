#include "agent/site/asset_lock.h"

#include "base/crypto.h"

namespace tidemark {

Result<Fd> lock_asset(const Config& config, const AssetName& asset, const std::string& to) {
  const auto locks = config.state / "locks";
  std::error_code failed;
  std::filesystem::create_directories(locks, failed);
  const std::string name =
      sha256(as_bytes(to + "\n" + asset.text())).hex().substr(0, 32) + ".lock";
  auto lock = lock_file(locks / name);
  if (!lock && lock.error().code() == ErrorCode::refused)
    return Error(ErrorCode::refused, "a backup of " + asset.text() + " is running already");
  return lock;
}

}  // namespace tidemark
