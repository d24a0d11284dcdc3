// Claims as the API server lists them.
#pragma once

#include <memory>
#include <stop_token>

#include "agent/kube/claims.h"
#include "transport/kube/client.h"

namespace tidemark {

// How this site reaches its API server. Errors as of kube::access_from_kubeconfig().
Result<std::unique_ptr<kube::Client>> connect_kube(const KubernetesConfig& config);

// What is read where it is asked for, however the claims themselves are known.
class ClientClaims : public ClaimSource {
 public:
  Result<std::string> manifests(const Claim& claim, bool secrets) override;
  PointHooks hooks(std::vector<ClaimName> claims, std::optional<PodHooksConfig> rules,
                   std::filesystem::path notes, std::stop_token stop) override;

 protected:
  ClientClaims(std::unique_ptr<kube::Client> client, const KubernetesConfig& config)
      : client_(std::move(client)), config_(config) {}
  virtual kube::Call call() const = 0;

  const std::unique_ptr<kube::Client> client_;
  const KubernetesConfig config_;
};

// Asks for all of them each time. Safe from any thread.
class ApiClaims : public ClientClaims {
 public:
  ApiClaims(std::unique_ptr<kube::Client> client, const KubernetesConfig& config,
            std::stop_token stop)
      : ClientClaims(std::move(client), config), stop_(std::move(stop)) {}

  Result<ClaimList> claims() override;

 private:
  Status add_volumes(ClaimList& out);
  Status add_buckets(ClaimList& out);
  // Those of the configured namespaces, or of all. A namespace that may not be read is a problem.
  Status each_claim(const kube::Resource& resource, ClaimList& out,
                    const std::function<void(const nlohmann::json&)>& each);
  kube::Call call() const override;

  const std::stop_token stop_;
};

// What volume_claim() reads of a PersistentVolume, and nothing else: thousands are held at a time.
nlohmann::json essence_of_volume(const nlohmann::json& pv);
// Likewise of a claim of either kind: what volume_claim() and bucket_claim() read.
nlohmann::json essence_of_claim(const nlohmann::json& claim);

}  // namespace tidemark
