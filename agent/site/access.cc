#include "agent/site/access.h"

#include "agent/service/bare_store.h"
#include "agent/service/point_json.h"
#include "agent/service/remote_store.h"
#include "agent/service/store_service.h"

namespace tidemark {
namespace {

// A peer may be restarting; our own agent is either there or not.
constexpr std::chrono::seconds kOwnRetry{5};

Result<StoreAccess> finish(StoreAccess access, const SecretRef& key, const SecretRef& passphrase) {
  auto descriptor = access.store->descriptor();
  if (!descriptor) return std::move(descriptor).error().context(access.name);
  access.descriptor = *std::move(descriptor);
  auto keys = open_keys(access.descriptor, key, passphrase);
  if (!keys) return std::move(keys).error().context(access.name);
  access.keys = *std::move(keys);
  return access;
}

Result<std::unique_ptr<PointStore>> connect(const Config& config, const std::string& url,
                                            const std::string& site, bool check_host,
                                            std::chrono::seconds retry_for, std::stop_token stop) {
  if (!config.tls)
    return Error(ErrorCode::invalid_argument, config.name + ": 'tls' is needed to reach " + site);
  RemoteStore::Options options;
  options.http.url = url;
  options.http.tls = tls_files(*config.tls);
  options.http.expect_site = site;
  options.http.check_host = check_host;
  options.retry_for = retry_for;
  options.stop = std::move(stop);
  TM_TRY(auto store, RemoteStore::create(std::move(options)));
  return std::unique_ptr<PointStore>(std::move(store));
}

// Our own agent: at the address it listens on, or at loopback where that is any address.
std::string own_url(const ListenAddress& listen) {
  ListenAddress address = listen;
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return "https://" + address.text();
}

}  // namespace

Result<const StoreKeys*> StoreAccess::need_keys() const {
  if (keys) return &*keys;
  return Error(ErrorCode::permission_denied,
               name + ": the store is encrypted and no key is at hand")
      .with_hint("name its key_file in the configuration, or give --key-file");
}

Result<std::optional<StoreKeys>> open_keys(const StoreDescriptor& descriptor, const SecretRef& key,
                                           const SecretRef& passphrase) {
  if (!descriptor.encrypted) return std::optional(StoreKeys::unencrypted());
  if (key) {
    TM_TRY(const std::string text, read_secret(key));
    TM_TRY(const SecretKey file_key, parse_key_file(text));
    TM_TRY(const SecretKey master, open_with_key_file(descriptor, file_key));
    return std::optional(StoreKeys(master));
  }
  if (passphrase) {
    TM_TRY(const std::string text, read_secret(passphrase));
    TM_TRY(const SecretKey master, open_with_passphrase(descriptor, text));
    return std::optional(StoreKeys(master));
  }
  return std::optional<StoreKeys>();
}

BackendConfig backend_config(const StoreBackendConfig& config) {
  BackendConfig out;
  out.type = config.type == StoreBackendConfig::Type::file ? BackendConfig::Type::file
                                                           : BackendConfig::Type::rados;
  out.path = config.path.string();
  out.ceph_conf = config.ceph_conf.string();
  out.ceph_user = config.ceph_user;
  out.pool = config.pool;
  out.ns = config.ns;
  return out;
}

CephConfig ceph_config(const CephSettings& settings) {
  CephConfig out;
  out.conf = settings.conf.string();
  out.user = settings.user;
  return out;
}

TlsFiles tls_files(const TlsConfig& config) { return {config.cert, config.key, config.ca}; }

Result<StoreAccess> open_own_store(const Config& config, Clock& clock, std::stop_token stop) {
  if (!config.store)
    return Error(ErrorCode::invalid_argument,
                 config.name + ": site " + config.site + " serves no store");
  StoreAccess access;
  TM_TRY(auto backend, open_backend(backend_config(config.store->backend), false));
  access.name = backend->url();
  auto service = StoreService::open(std::move(backend), config.store->catalog, clock);
  if (service) {
    TM_DO((*service)->set_rules(store_rules(config)));
    access.store = *std::move(service);
  } else if (service.error().code() == ErrorCode::refused && config.listen) {
    // The agent has the store open: it is asked instead.
    TM_TRY(access.store,
           connect(config, own_url(*config.listen), config.site, false, kOwnRetry, stop));
  } else {
    return std::move(service).error().context(access.name);
  }
  return finish(std::move(access), config.store->key, config.store->passphrase);
}

Result<std::string> ask_own_agent(const Config& config, std::string_view method,
                                  const std::string& target, std::stop_token stop) {
  if (!config.listen || !config.tls)
    return Error(ErrorCode::invalid_argument,
                 config.name + ": 'listen' and 'tls' are needed to reach this site's agent");
  HttpClientOptions options;
  options.url = own_url(*config.listen);
  options.tls = tls_files(*config.tls);
  options.expect_site = config.site;
  options.check_host = false;
  TM_TRY(const auto client, HttpClient::create(std::move(options)));
  auto response = client->request(method, target, {}, {}, std::move(stop));
  if (!response && response.error().code() == ErrorCode::unavailable)
    return Error(ErrorCode::unavailable,
                 "this site's agent does not answer: " + response.error().message())
        .with_hint("start it: it is what holds the standby images");
  if (!response) return std::move(response).error();
  const std::string_view text = as_text(response->body);
  if (response->status < 200 || response->status >= 300)
    return error_from_json(text, "the agent answered " + std::to_string(response->status));
  return std::string(text);
}

Result<StoreAccess> open_peer_store(const Config& config, const std::string& name,
                                    std::stop_token stop, std::chrono::seconds patience) {
  const auto it = config.peers.find(name);
  if (it == config.peers.end())
    return Error(ErrorCode::invalid_argument, config.name + ": there is no peer '" + name + "'");
  if (it->second.url.empty())
    return Error(ErrorCode::invalid_argument, config.name + ": peer '" + name + "' has no url");
  StoreAccess access;
  access.name = "peer " + name;
  TM_TRY(access.store, connect(config, it->second.url, name, true, patience, std::move(stop)));
  return finish(std::move(access), it->second.key, it->second.passphrase);
}

std::vector<std::string> peers_with_url(const Config& config) {
  std::vector<std::string> out;
  for (const auto& [name, peer] : config.peers)
    if (!peer.url.empty()) out.push_back(name);
  return out;
}

Result<StoreAccess> open_store_named(const Config& config, const std::string& name, Clock& clock,
                                     std::stop_token stop, std::chrono::seconds patience) {
  return name == config.site ? open_own_store(config, clock, std::move(stop))
                             : open_peer_store(config, name, std::move(stop), patience);
}

Result<StoreAccess> open_bare_store(const BackendConfig& config, const SecretRef& key,
                                    const SecretRef& passphrase) {
  TM_TRY(auto backend, open_backend(config, false));
  StoreAccess access;
  access.name = backend->url();
  auto store = BareStore::open(std::move(backend));
  if (!store) return std::move(store).error().context(access.name);
  access.store = *std::move(store);
  return finish(std::move(access), key, passphrase);
}

}  // namespace tidemark
