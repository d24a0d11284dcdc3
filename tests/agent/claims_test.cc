// Which claims a policy means, and points by the claim that they were taken of.
#include "agent/kube/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/backup/manifests.h"
#include "agent/kube/claim_points.h"
#include "tests/agent/kube_support.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Claim orders() {
  Claim claim;
  claim.name = {ClaimName::Kind::volume, "shop", "orders-db"};
  claim.uid = "8c2a78e7";
  claim.labels = {{"app", "db"}};
  claim.storage_class = "rook-ceph-block";
  return claim;
}

TEST(SelectsTest, AllThatIsGivenMustFit) {
  ClaimsConfig rules;
  EXPECT_TRUE(selects("p", rules, orders()));
  rules.namespaces = {"billing", "sh*"};
  rules.labels = "app=db";
  rules.storage_classes = {"rook-*"};
  EXPECT_TRUE(selects("p", rules, orders()));
  for (const auto& spoil : std::vector<std::function<void(ClaimsConfig&)>>{
           [](auto& r) { r.namespaces = {"billing"}; }, [](auto& r) { r.labels = "app!=db"; },
           [](auto& r) { r.storage_classes = {"local"}; }, [](auto& r) { r.volumes = false; },
           [](auto& r) { r.annotated = true; }}) {
    ClaimsConfig spoiled = rules;
    spoil(spoiled);
    EXPECT_FALSE(selects("p", spoiled, orders()));
  }
  Claim bucket = orders();
  bucket.name.kind = ClaimName::Kind::bucket;
  EXPECT_TRUE(selects("p", rules, bucket));
  rules.buckets = false;
  EXPECT_FALSE(selects("p", rules, bucket));
}

TEST(SelectsTest, AClaimThatNamesItsPolicyIsInThatOneOnly) {
  Claim claim = orders();
  claim.policy = "hourly";
  ClaimsConfig annotated, elsewhere;
  annotated.annotated = true;
  elsewhere.namespaces = {"other"};
  EXPECT_TRUE(selects("hourly", annotated, claim));
  EXPECT_TRUE(selects("hourly", {}, claim));
  EXPECT_FALSE(selects("daily", {}, claim));
  EXPECT_FALSE(selects("hourly", elsewhere, claim)) << "the policy's word counts";
}

TEST(BareManifestTest, HasWhatTheUserWroteAndNothingOfItsCluster) {
  const json bare = bare_manifest(recorded_body("044-pvc-dynamic-bound"));
  EXPECT_FALSE(bare.contains("status"));
  std::vector<std::string> keys;
  for (const auto& [key, value] : bare["metadata"].items()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("annotations", "labels", "name", "namespace"));
  EXPECT_EQ(bare["metadata"]["annotations"], (json{{"tidemark.io/policy", "gold"}}));
  EXPECT_EQ(bare["spec"]["resources"]["requests"]["storage"], "1Gi");
  EXPECT_EQ(bare_manifest(json(3)), json(3));
  EXPECT_EQ(bare_manifest(json{{"metadata", 3}}), (json{{"metadata", 3}}));
}

TEST(ManifestsTest, AreReadBackFromASealedRecordAndByTheKeyOnly) {
  TestService store;
  const UploadSession session = must(store.service().begin("tokyo", "rbd/rbd/a", {}));
  PointRecord record = store.record(session, "tokyo", "rbd/rbd/a", TreeRoot{});
  const json objects = json::array({{{"kind", "PersistentVolumeClaim"}, {"a", "secret words"}}});
  record.sealed_meta =
      seal_meta(with_manifests(R"({"image":{}})", objects.dump()), record.id, store.keys());
  const std::string seen(as_text(record.sealed_meta));
  EXPECT_EQ(seen.find("secret words"), std::string::npos);
  const PointRow row = must(store.service().commit(session, store.sealed(record)));
  EXPECT_EQ(must(read_manifests(row.point.record, store.keys())), objects);
}

TEST(ManifestsTest, WhatCannotBeCarriedIsLeftOutOfThePoint) {
  EXPECT_EQ(with_manifests(R"({"a":1})", ""), R"({"a":1})");
  EXPECT_EQ(with_manifests(R"({"a":1})", "{}"), R"({"a":1})");
  const std::string large = "[\"" + std::string(kManifestsBytesMax, 'x') + "\"]";
  EXPECT_EQ(with_manifests(R"({"a":1})", large), R"({"a":1})");
}

class ClaimPointsTest : public ::testing::Test {
 protected:
  void add(const std::string& site, const std::string& asset, std::int64_t hour,
           const std::string& uid) {
    StoreService& service = store_.service();
    const UploadSession session = must(service.begin(site, asset, {}));
    PointRecord record = store_.record(session, site, asset, TreeRoot{});
    record.time = Timestamp{hour * 3'600'000'000};
    Claim claim = orders();
    claim.uid = uid;
    if (!uid.empty()) record.labels = labels_of(claim);
    must(service.commit(session, store_.sealed(record)));
  }
  Result<std::string> found(const std::string& text, std::optional<std::int64_t> hour = {}) {
    std::optional<Timestamp> as_of;
    if (hour) as_of = Timestamp{*hour * 3'600'000'000};
    TM_TRY(const SiteClaim claim, parse_site_claim(text));
    TM_TRY(const SiteAsset asset, asset_of_claim(store_.service(), claim, as_of));
    return asset.site + ":" + asset.asset.text();
  }

  TestService store_;
};

TEST_F(ClaimPointsTest, AClaimIsTheAssetOfItsNewestPoint) {
  add("tokyo", "rbd/rbd/csi-vol-old", 10, "uid-1");
  add("tokyo", "rbd/rbd/other", 40, "");
  EXPECT_EQ(must(found("tokyo:k8s/shop/pvc/orders-db")), "tokyo:rbd/rbd/csi-vol-old");
  // It was deleted and made anew under the same name: another volume.
  add("tokyo", "rbd/rbd/csi-vol-new", 20, "uid-2");
  EXPECT_EQ(must(found("tokyo:k8s/shop/pvc/orders-db")), "tokyo:rbd/rbd/csi-vol-new");
  EXPECT_EQ(must(found("k8s/shop/pvc/orders-db", 15)), "tokyo:rbd/rbd/csi-vol-old");
  EXPECT_EQ(must(found("k8s/shop/pvc/orders-db@uid-1")), "tokyo:rbd/rbd/csi-vol-old");
  EXPECT_EQ(code_of(found("k8s/shop/pvc/orders-db@uid-3")), ErrorCode::not_found);
  EXPECT_EQ(code_of(found("k8s/shop/pvc/orders-db", 5)), ErrorCode::not_found);
  EXPECT_EQ(code_of(found("k8s/shop/pvc/other")), ErrorCode::not_found);
  EXPECT_EQ(code_of(found("kyoto:k8s/shop/pvc/orders-db")), ErrorCode::not_found);
}

TEST_F(ClaimPointsTest, WhichSiteIsMeantHasToBeSaidWhereSeveralHaveIt) {
  add("tokyo", "rbd/rbd/a", 10, "uid-1");
  add("kyoto", "rbd/rbd/a", 20, "uid-2");
  EXPECT_EQ(code_of(found("k8s/shop/pvc/orders-db")), ErrorCode::invalid_argument);
  EXPECT_EQ(must(found("tokyo:k8s/shop/pvc/orders-db")), "tokyo:rbd/rbd/a");
}

}  // namespace
}  // namespace tidemark::test
