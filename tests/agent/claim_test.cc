// Claims of Kubernetes and the volumes behind them, as a real API server and ceph-csi write them.
#include "agent/kube/claim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/kube_support.h"

namespace tidemark::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Claim claim_of(const char* pvc, const char* pv, const RadosNamespaces& namespaces = {}) {
  const json claim = recorded_body(pvc), volume = recorded_body(pv);
  return volume_claim(claim, &volume, namespaces);
}

TEST(ClaimNameTest, IsWrittenAndReadBack) {
  for (const char* const text : {"k8s/shop/pvc/orders-db", "k8s/shop/obc/photos", "k8s/a/pvc/x.y"})
    EXPECT_EQ(parse_claim_name(text)->text(), text);
  for (const char* const text : {"k8s/shop/pvc", "k8s/shop/pv/x", "k8s//pvc/x", "rbd/shop/pvc/x",
                                 "k8s/shop/pvc/UP", "k8s/shop/pvc/x/y", "k8s/shop/pvc/../x", ""})
    EXPECT_FALSE(parse_claim_name(text)) << text;
}

TEST(ClaimTest, ADynamicVolume) {
  const Claim claim = claim_of("044-pvc-dynamic-bound", "045-pv-dynamic-bound");
  EXPECT_EQ(claim.problem, "");
  ASSERT_TRUE(claim.asset);
  EXPECT_THAT(claim.asset->text(), ::testing::MatchesRegex("rbd/replicapool/csi-vol-[0-9a-f-]+"));
  EXPECT_EQ(claim.name.text(), "k8s/shop/pvc/orders-db");
  EXPECT_EQ(claim.size_bytes, 1ULL << 30);
  EXPECT_FALSE(claim.uid.empty());
  EXPECT_FALSE(claim.block);
  EXPECT_FALSE(claim.encrypted);
}

TEST(ClaimTest, AStaticVolumeIsTheImageThatItsHandleNames) {
  EXPECT_EQ(claim_of("049-pvc-static-bound", "050-pv-static-bound").asset->text(),
            "rbd/replicapool/ledger-image");
}

TEST(ClaimTest, BlockAndEncryptedVolumesAreToldApart) {
  EXPECT_TRUE(claim_of("051-pvc-block-bound", "052-pv-block-bound").block);
  EXPECT_TRUE(claim_of("053-pvc-encrypted-bound", "054-pv-encrypted-bound").encrypted);
}

TEST(ClaimTest, ItsRadosNamespaceFollowsFromTheClusterId) {
  json pv = recorded_body("055-pv-ec-radosnamespace-bound");
  json pvc = recorded_body("044-pvc-dynamic-bound");
  pvc["spec"]["volumeName"] = pv["metadata"]["name"];
  pvc["metadata"]["uid"] = pv["spec"]["claimRef"]["uid"];
  const std::string id = pv["spec"]["csi"]["volumeAttributes"]["clusterID"];
  EXPECT_EQ(volume_claim(pvc, &pv, {{id, "tenant"}}).asset->rbd().ns, "tenant");
  EXPECT_EQ(volume_claim(pvc, &pv, {}).asset->rbd().ns, "");
}

TEST(ClaimTest, BothSidesMustSayThatTheyAreBound) {
  const json pvc = recorded_body("044-pvc-dynamic-bound"),
             pv = recorded_body("045-pv-dynamic-bound");
  json other = pv;
  other["spec"]["claimRef"]["uid"] = "another";  // of an earlier claim of the same name
  EXPECT_THAT(volume_claim(pvc, &other, {}).problem, HasSubstr("another claim's"));
  EXPECT_THAT(volume_claim(pvc, nullptr, {}).problem, HasSubstr("is not there"));
  EXPECT_EQ(volume_claim(recorded_body("042-pvc-dynamic-pending"), nullptr, {}).problem,
            "the claim is not bound");
  EXPECT_EQ(volume_claim(recorded_body("072-pvc-lost"), nullptr, {}).problem, "its volume is lost");
  json dying = pvc;
  dying["metadata"]["deletionTimestamp"] = "2026-11-22T16:11:09Z";
  EXPECT_EQ(volume_claim(dying, &pv, {}).problem, "the claim is being deleted");
}

TEST(ClaimTest, AnotherDriverIsNamed) {
  const json pvc = recorded_body("044-pvc-dynamic-bound");
  json pv = recorded_body("045-pv-dynamic-bound");
  pv["spec"]["csi"]["driver"] = "rook-ceph.cephfs.csi.ceph.com";
  const Claim claim = volume_claim(pvc, &pv, {});
  EXPECT_FALSE(claim.asset);
  EXPECT_EQ(claim.problem, "its volume is of the driver rook-ceph.cephfs.csi.ceph.com");
  pv["spec"].erase("csi");
  EXPECT_THAT(volume_claim(pvc, &pv, {}).problem, HasSubstr("CSI driver"));
}

TEST(ClaimTest, WhatIsNoObjectIsNoClaim) {
  for (const json& nonsense : {json(), json(3), json::array(), json{{"spec", 3}, {"status", "x"}},
                               json{{"metadata", {{"labels", {{"a", 1}}}}}}}) {
    EXPECT_FALSE(volume_claim(nonsense, &nonsense, {}).asset);
    EXPECT_FALSE(bucket_claim(nonsense).asset);
  }
}

TEST(BucketClaimTest, OnlyAPhaseOfBoundCounts) {
  const Claim bound = bucket_claim(recorded_body("187-obc-bound"));
  ASSERT_TRUE(bound.asset) << bound.problem;
  EXPECT_THAT(bound.asset->text(), HasSubstr("s3/photos-"));
  EXPECT_EQ(bound.name.text(), "k8s/shop/obc/photos");
  EXPECT_EQ(bound.volume, "obc-shop-photos");
  EXPECT_EQ(bucket_claim(recorded_body("192-obc-fixed-name-not-bound")).problem,
            "the claim is not bound");
  EXPECT_EQ(bucket_claim(recorded_body("194-obc-deleting")).problem, "the claim is being deleted");
}

TEST(VolumeHandleTest, IsReadByTheLengthOfItsClusterId) {
  for (const char* const text :
       {"0001-0009-rook-ceph-0000000000000002-8c2a78e7-0046-4115-90af-6829d806ed04",
        "0001-0020-0123456789abcdef0123456789abcdef-000000000000001f-"
        "8c2a78e7-0046-4115-90af-6829d806ed04"})
    EXPECT_EQ(parse_volume_handle(text)->text(), text);
  EXPECT_EQ(parse_volume_handle(
                "0001-0009-rook-ceph-0000000000000002-8c2a78e7-0046-4115-90af-6829d806ed04")
                ->cluster_id,
            "rook-ceph");
  for (const char* const text :
       {"", "0001-", "ledger-image", "0001-ffff-rook-ceph-0000000000000002-x",
        "0002-0009-rook-ceph-0000000000000002-8c2a78e7-0046-4115-90af-6829d806ed04",
        "0001-0009-rook-ceph-000000000000000z-8c2a78e7-0046-4115-90af-6829d806ed04"})
    EXPECT_FALSE(parse_volume_handle(text)) << text;
}

TEST(DriverTest, OfAnyOperatorNamespace) {
  EXPECT_TRUE(is_rbd_driver("rook-ceph.rbd.csi.ceph.com"));
  EXPECT_TRUE(is_rbd_driver("rbd.csi.ceph.com"));
  EXPECT_FALSE(is_rbd_driver("xrbd.csi.ceph.com"));
  EXPECT_FALSE(is_rbd_driver(".rbd.csi.ceph.com"));
  EXPECT_FALSE(is_rbd_driver("rook-ceph.cephfs.csi.ceph.com"));
}

TEST(QuantityTest, IsReadInBytes) {
  EXPECT_EQ(parse_quantity("1Gi"), 1ULL << 30);
  EXPECT_EQ(parse_quantity("1500M"), 1'500'000'000U);
  EXPECT_EQ(parse_quantity("2.5Gi"), 2684354560U);
  EXPECT_EQ(parse_quantity("1k"), 1000U);
  EXPECT_EQ(parse_quantity("1e3"), 1000U);
  EXPECT_EQ(parse_quantity("1500m"), 2U);
  EXPECT_EQ(parse_quantity("0"), 0U);
  for (const char* const text : {"", "Gi", "-1", "1gi", "1Gib", "1K", "nan", "inf", "9E", "1 Gi"})
    EXPECT_EQ(parse_quantity(text),
              text == std::string("9E") ? std::optional(9000000000000000000U) : std::nullopt)
        << text;
  EXPECT_EQ(parse_quantity("10E"), std::nullopt);
  for (const std::uint64_t bytes :
       {0ULL, 1ULL, 1023ULL, 1024ULL, 1500ULL << 20, 3ULL << 40, 7ULL << 60})
    EXPECT_EQ(parse_quantity(quantity_text(bytes)), bytes);
  EXPECT_EQ(quantity_text(16 << 20), "16Mi");
}

}  // namespace
}  // namespace tidemark::test
