// The objects around a bucket claim, as Rook writes them and as a restore makes them.
#include "agent/kube/bucket_objects.h"

#include <gtest/gtest.h>

#include "tests/agent/kube_support.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using nlohmann::json;

json new_claim() {
  return {{"metadata", {{"namespace", "gallery"}, {"name", "pictures"}, {"uid", "u-1"}}}};
}

TEST(BucketObjectsTest, AnApplicationFindsItsBucketByConfigMapAndSecret) {
  json config_map = recorded_body("189-obc-configmap");
  const json secret = recorded_body("190-obc-secret");
  const BucketLogin login = must(bucket_login(config_map, secret));
  EXPECT_EQ(login.endpoint(), "http://rook-ceph-rgw-my-store.rook-ceph.svc:80");
  EXPECT_EQ(login.bucket, "photos-1b9c0f7e-5b0e-4d7a-9f0a-2c9f6a0f3a11");
  EXPECT_EQ(login.keys.access_key, "EXAMPLEACCESSKEY0001");
  EXPECT_EQ(login.keys.secret_key, "example-secret-key-not-a-real-one-00000001");
  config_map["data"]["BUCKET_PORT"] = "443";
  EXPECT_EQ(must(bucket_login(config_map, secret)).endpoint().substr(0, 8), "https://");
  config_map["data"]["BUCKET_SSL"] = "false";
  EXPECT_EQ(must(bucket_login(config_map, secret)).endpoint().substr(0, 7), "http://");
  for (const json& nonsense : {json(), json(3), json{{"data", 3}}, json{{"data", {{"a", 1}}}}}) {
    EXPECT_EQ(code_of(bucket_login(nonsense, secret)), ErrorCode::corruption);
    EXPECT_EQ(code_of(bucket_login(config_map, nonsense)), ErrorCode::corruption);
    EXPECT_FALSE(keys_of_secret(nonsense));
  }
  EXPECT_FALSE(keys_of_secret({{"data", {{"AWS_ACCESS_KEY_ID", "%"}}}}));
}

TEST(BucketObjectsTest, OtherKeysArePutIntoASecretAndReadBack) {
  const json before = recorded_body("190-obc-secret");
  const json after = with_keys(before, {"old", "s3cr3t", ""});
  EXPECT_EQ(keys_of_secret(after)->access_key, "old");
  EXPECT_EQ(keys_of_secret(after)->secret_key, "s3cr3t");
  EXPECT_EQ(after["metadata"], before["metadata"]);
}

TEST(BucketObjectsTest, PartsOfAClaimAreItsOwnAndHoldWhatTheFillingOnesDo) {
  for (const char* const name : {"189-obc-configmap", "190-obc-secret"}) {
    const json before = recorded_body(name), after = connection_of_claim(before, new_claim());
    EXPECT_EQ(after["data"], before["data"]);
    EXPECT_EQ(after["kind"], before["kind"]);
    EXPECT_EQ(after.value("type", ""), before.value("type", ""));
    EXPECT_EQ(after["metadata"],
              (json{{"namespace", "gallery"},
                    {"name", "pictures"},
                    {"labels", before["metadata"]["labels"]},
                    {"finalizers", {"objectbucket.io/finalizer"}},
                    {"ownerReferences", json::array({{{"apiVersion", "objectbucket.io/v1alpha1"},
                                                      {"kind", "ObjectBucketClaim"},
                                                      {"name", "pictures"},
                                                      {"uid", "u-1"},
                                                      {"controller", true},
                                                      {"blockOwnerDeletion", true}}})}}));
    EXPECT_TRUE(is_owned_by(after, "u-1"));
    EXPECT_FALSE(is_owned_by(after, "u-2"));
    EXPECT_FALSE(is_owned_by(before, ""));
  }
  const json before = recorded_body("188-ob-bound");
  json after = object_bucket_of_claim(before, new_claim());
  EXPECT_EQ(after["metadata"]["name"], "obc-gallery-pictures");
  EXPECT_TRUE(is_bucket_of(after, "gallery", "pictures"));
  EXPECT_FALSE(is_bucket_of(before, "gallery", "pictures"));
  EXPECT_EQ(after["spec"]["claimRef"]["uid"], "u-1");
  after["spec"]["claimRef"] = before["spec"]["claimRef"];
  EXPECT_EQ(after["spec"], before["spec"]);
}

TEST(BucketObjectsTest, ProvisionersOfRookAreToldApart) {
  EXPECT_TRUE(is_bucket_provisioner("rook-ceph.ceph.rook.io/bucket"));
  EXPECT_TRUE(is_bucket_provisioner("ceph.rook.io/bucket"));
  EXPECT_FALSE(is_bucket_provisioner("xceph.rook.io/bucket"));
  EXPECT_FALSE(is_bucket_provisioner("openshift-storage.noobaa.io/obc"));
  EXPECT_FALSE(is_bucket_provisioner(""));
}

TEST(BucketObjectsTest, EveryWayInWhichAPodTakesTheConnectionCounts) {
  const auto container = [](const json& one) { return json{{"containers", json::array({one})}}; };
  const auto volume = [](const json& one) { return json{{"volumes", json::array({one})}}; };
  const json from = {{"envFrom", json::array({{{"configMapRef", {{"name", "photos"}}}}})}};
  for (const json& spec :
       {container(from), json{{"initContainers", json::array({json{{"name", "x"}}, from})}},
        json{{"ephemeralContainers", json::array({from})}},
        container({{"envFrom", json::array({{{"secretRef", {{"name", "photos"}}}}})}}),
        container(
            {{"env", json::array({{{"valueFrom", {{"secretKeyRef", {{"name", "photos"}}}}}}})}}),
        container(
            {{"env", json::array({{{"valueFrom", {{"configMapKeyRef", {{"name", "photos"}}}}}}})}}),
        volume({{"secret", {{"secretName", "photos"}}}}),
        volume({{"configMap", {{"name", "photos"}}}}),
        volume({{"projected", {{"sources", json::array({{{"secret", {{"name", "photos"}}}}})}}}}),
        volume({{"projected",
                 {{"sources", json::array({{{"configMap", {{"name", "photos"}}}}})}}}})}) {
    EXPECT_TRUE(uses_connection(spec, "photos")) << spec;
    EXPECT_FALSE(uses_connection(spec, "other")) << spec;
  }
  for (const json& nonsense :
       {json(), json(3), json{{"containers", 3}}, json{{"volumes", {1, "x"}}}})
    EXPECT_FALSE(uses_connection(nonsense, "photos"));
}

}  // namespace
}  // namespace tidemark::test
