// How a process of this site reaches what its configuration names: clusters, stores and their keys.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/service/point_store.h"
#include "base/clock.h"
#include "config/config.h"
#include "snapshot/rbd/image.h"
#include "store/backend.h"
#include "store/keys.h"
#include "transport/http.h"

namespace tidemark {

// A store within reach, and its keys where they are at hand.
struct StoreAccess {
  std::unique_ptr<PointStore> store;
  StoreDescriptor descriptor;
  std::optional<StoreKeys> keys;
  std::string name;  // for messages: "peer osaka", "file:/srv/tidemark"

  // `permission_denied` where the store is encrypted and no key is at hand.
  Result<const StoreKeys*> need_keys() const;
};

// The keys of a store out of a key file's or passphrase's reference; nothing where neither is set.
Result<std::optional<StoreKeys>> open_keys(const StoreDescriptor& descriptor, const SecretRef& key,
                                           const SecretRef& passphrase);

BackendConfig backend_config(const StoreBackendConfig& config);
CephConfig ceph_config(const CephSettings& settings);
TlsFiles tls_files(const TlsConfig& config);

// The store that this site serves: through its agent where that runs, in this process otherwise.
Result<StoreAccess> open_own_store(const Config& config, Clock& clock, std::stop_token stop);
// What this site's running agent answers at a path of its API. `unavailable` where none runs.
Result<std::string> ask_own_agent(const Config& config, std::string_view method,
                                  const std::string& target, std::stop_token stop);
// A peer may be restarting: calls fail once it was away for `patience`.
inline constexpr std::chrono::seconds kPeerPatience{60};
Result<StoreAccess> open_peer_store(const Config& config, const std::string& peer,
                                    std::stop_token stop,
                                    std::chrono::seconds patience = kPeerPatience);
// The peers whose stores can be reached from here, in the order of their names.
std::vector<std::string> peers_with_url(const Config& config);
// A policy's `to`: a peer, or this site itself.
Result<StoreAccess> open_store_named(const Config& config, const std::string& name, Clock& clock,
                                     std::stop_token stop,
                                     std::chrono::seconds patience = kPeerPatience);
// Without agent and catalog: read-only, from the backend alone.
Result<StoreAccess> open_bare_store(const BackendConfig& backend, const SecretRef& key,
                                    const SecretRef& passphrase);

}  // namespace tidemark
