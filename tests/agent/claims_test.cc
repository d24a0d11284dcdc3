// Which claims a policy means, and points by the claim that they were taken of.
#include "agent/kube/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/backup/manifests.h"
#include "agent/backup/set_moment.h"
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
           const std::string& uid, const std::string& name = "k8s/shop/pvc/orders-db",
           const std::string& set = {}, int members = 1) {
    StoreService& service = store_.service();
    const UploadSession session = must(service.begin(site, asset, {}));
    PointRecord record = store_.record(session, site, asset, TreeRoot{});
    record.time = Timestamp{hour * 3'600'000'000};
    Claim claim = orders();
    claim.uid = uid;
    claim.name = must(parse_claim_name(name));
    if (!uid.empty()) record.labels = labels_of(claim);
    record.set = set;
    record.labels[std::string(kSetMembersLabel)] = std::to_string(members);
    must(service.commit(session, store_.sealed(record)));
  }
  Result<std::string> found(const std::string& text, std::optional<std::int64_t> hour = {}) {
    std::optional<Timestamp> as_of;
    if (hour) as_of = Timestamp{*hour * 3'600'000'000};
    TM_TRY(const SiteClaim claim, parse_site_claim(text));
    TM_TRY(const SiteAsset asset, asset_of_claim(store_.service(), claim, as_of));
    return asset.site + ":" + asset.asset.text();
  }

  // "claim=asset@hour", of a namespace.
  static std::vector<std::string> shown(const ClaimPoints& points) {
    std::vector<std::string> out;
    for (const auto& [claim, row] : points)
      out.push_back(claim.text() + "=" + row.point.record.asset + "@" +
                    std::to_string(row.point.record.time.us / 3'600'000'000));
    return out;
  }
  Result<std::vector<std::string>> all(const std::string& text,
                                       std::optional<std::int64_t> hour = {}) {
    std::optional<Timestamp> as_of;
    if (hour) as_of = Timestamp{*hour * 3'600'000'000};
    TM_TRY(const auto points,
           points_of_namespace(store_.service(), *parse_site_namespace(text), as_of));
    return shown(points);
  }
  Result<std::vector<std::string>> all_of_set(const std::string& text, const std::string& set) {
    TM_TRY(const auto points,
           points_of_namespace_in_set(store_.service(), *parse_site_namespace(text), set));
    return shown(points);
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

TEST(SiteNamespaceTest, IsWhatAClaimMayLieIn) {
  const auto read = [](const char* text) {
    const auto found = parse_site_namespace(text);
    return found ? found->site + "|" + found->ns : "none";
  };
  EXPECT_EQ(read("k8s/shop"), "|shop");
  EXPECT_EQ(read("tokyo:k8s/shop"), "tokyo|shop");
  for (const char* const other :
       {"", "k8s", "k8s/", "k8s/shop/", "k8s/shop/pvc", "k8s/shop/pvc/a", "k8s/Shop", "k8s/a b",
        "rbd/rbd/a", "tokyo:rbd/rbd/a", "tokyo:s3/k8s", "shop"})
    EXPECT_EQ(read(other), "none") << other;
}

TEST_F(ClaimPointsTest, ANamespaceIsTheNewestPointOfEachOfItsClaims) {
  EXPECT_EQ(must(all("tokyo:k8s/shop")), std::vector<std::string>());
  add("tokyo", "s3/photos", 5, "uid-5", "k8s/shop/obc/photos");
  add("tokyo", "rbd/rbd/old", 10, "uid-1");
  add("tokyo", "rbd/rbd/old", 12, "uid-1");
  add("tokyo", "rbd/rbd/new", 20, "uid-2");
  add("tokyo", "rbd/rbd/queue", 11, "uid-3", "k8s/shop/pvc/queue");
  add("tokyo", "rbd/rbd/else", 30, "uid-4", "k8s/shopping/pvc/orders-db");
  add("tokyo", "rbd/rbd/none", 30, "");
  EXPECT_THAT(must(all("k8s/shop")), ElementsAre("k8s/shop/pvc/orders-db=rbd/rbd/new@20",
                                                 "k8s/shop/pvc/queue=rbd/rbd/queue@11",
                                                 "k8s/shop/obc/photos=s3/photos@5"));
  EXPECT_THAT(must(all("k8s/shop", 11)), ElementsAre("k8s/shop/pvc/orders-db=rbd/rbd/old@10",
                                                     "k8s/shop/pvc/queue=rbd/rbd/queue@11",
                                                     "k8s/shop/obc/photos=s3/photos@5"));
  EXPECT_THAT(must(all("tokyo:k8s/shop", 7)), ElementsAre("k8s/shop/obc/photos=s3/photos@5"));
  EXPECT_EQ(must(all("kyoto:k8s/shop")), std::vector<std::string>());
  add("kyoto", "rbd/rbd/old", 10, "uid-1");
  EXPECT_EQ(code_of(all("k8s/shop")), ErrorCode::invalid_argument);
  EXPECT_EQ(must(all("kyoto:k8s/shop")).size(), 1U);
}

TEST_F(ClaimPointsTest, ANamespaceOfASetIsWhatTheSetHas) {
  add("tokyo", "rbd/rbd/old", 10, "uid-1", "k8s/shop/pvc/orders-db", "aaaa", 2);
  add("tokyo", "rbd/rbd/queue", 10, "uid-3", "k8s/shop/pvc/queue", "aaaa", 2);
  add("tokyo", "rbd/rbd/else", 20, "uid-4", "k8s/other/pvc/orders-db", "bbbb", 1);
  add("tokyo", "rbd/rbd/new", 30, "uid-2", "k8s/shop/pvc/orders-db", "aabb", 2);
  // The newest set is not complete, and the one before it is of another namespace.
  EXPECT_THAT(
      must(all_of_set("k8s/shop", "latest")),
      ElementsAre("k8s/shop/pvc/orders-db=rbd/rbd/old@10", "k8s/shop/pvc/queue=rbd/rbd/queue@10"));
  EXPECT_THAT(must(all_of_set("tokyo:k8s/shop", "aabb")),
              ElementsAre("k8s/shop/pvc/orders-db=rbd/rbd/new@30"));
  EXPECT_EQ(code_of(all_of_set("k8s/shop", "aa")), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(all_of_set("k8s/shop", "bbbb")), ErrorCode::not_found);
  EXPECT_EQ(code_of(all_of_set("kyoto:k8s/shop", "latest")), ErrorCode::not_found);
}

}  // namespace
}  // namespace tidemark::test
