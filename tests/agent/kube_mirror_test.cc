// Points and drills as objects of Kubernetes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "agent/kube/claims.h"
#include "agent/kube/drill_object.h"
#include "agent/kube/object_status.h"
#include "agent/kube/recovery_point_object.h"
#include "agent/retention/keep.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using nlohmann::json;
using std::chrono::hours;
using std::chrono::minutes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

PointRow point_of(const std::string& claim, Timestamp time) {
  PointRow row;
  PointRecord& record = row.point.record;
  record.id = random_id<PointId>();
  record.site = "tokyo";
  record.asset = "rbd/rbd/csi-vol-1";
  record.time = time;
  record.size_bytes = 16 * kMiB;
  if (!claim.empty())
    record.labels = {{std::string(kClaimLabel), claim}, {std::string(kClaimUidLabel), "8c2a"}};
  return row;
}

constexpr Timestamp kNoon{1'800'000'000'000'000};

TEST(ShownPointTest, SaysWhatTheStoreSays) {
  PointRow row = point_of("k8s/shop/pvc/orders", kNoon);
  row.point.record.set = "shop-1";
  const ShownPoint shown = shown_point(row, "osaka", "osaka").value();
  EXPECT_EQ(shown.name, row.point.record.id.hex());
  EXPECT_EQ(shown.spec, (json{{"id", shown.name},
                              {"site", "tokyo"},
                              {"asset", "rbd/rbd/csi-vol-1"},
                              {"claim",
                               {{"kind", "PersistentVolumeClaim"},
                                {"namespace", "shop"},
                                {"name", "orders"},
                                {"uid", "8c2a"}}},
                              {"time", format_time(kNoon)},
                              {"storedIn", "osaka"},
                              {"set", "shop-1"},
                              {"sizeBytes", 16 * kMiB}}));
  EXPECT_EQ(shown.labels["tidemark.dev/claim"], "orders");
  EXPECT_EQ(shown.labels["tidemark.dev/claim-namespace"], "shop");
  EXPECT_EQ(shown.labels["tidemark.dev/site"], "tokyo");
  EXPECT_EQ(shown.labels["app.kubernetes.io/managed-by"], "tidemark");
  EXPECT_EQ(shown.available.reason, "InStore");
  row.point.record.labels[std::string(kInPartLabel)] = "3";
  EXPECT_EQ(shown_point(row, "osaka", "osaka")->available.reason, "InPart");
  EXPECT_FALSE(shown_point(point_of("", kNoon), "osaka", "osaka")) << "it is of no claim";
  EXPECT_FALSE(shown_point(point_of("nonsense", kNoon), "osaka", "osaka"));
}

TEST(ShownPointTest, TheNewestOfEachClaimAndOfAllAreLeft) {
  const auto seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](unsigned n) {
    return std::uniform_int_distribution<unsigned>(0, n - 1)(random);
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<ShownPoint> all;
    for (unsigned i = below(60); i > 0; --i)
      all.push_back(shown_point(point_of("k8s/shop/pvc/c" + std::to_string(below(5)),
                                         kNoon + minutes(below(40))),
                                "osaka", "osaka")
                        .value());
    const std::size_t per_claim = below(8), total = below(20);
    // The model: counted by hand.
    std::vector<std::string> expected;
    std::vector<ShownPoint> sorted = all;
    std::ranges::sort(sorted, [](const auto& a, const auto& b) {
      return std::tuple(-a.time.us, a.name) < std::tuple(-b.time.us, b.name);
    });
    for (std::size_t i = 0; i < sorted.size() && expected.size() < total; ++i) {
      const auto newer =
          std::count_if(sorted.begin(), sorted.begin() + static_cast<long>(i),
                        [&](const auto& one) { return one.claim == sorted[i].claim; });
      if (static_cast<std::size_t>(newer) < per_claim) expected.push_back(sorted[i].name);
    }
    const auto names = [](const std::vector<ShownPoint>& points) {
      std::vector<std::string> out;
      for (const auto& one : points) out.push_back(one.name);
      return out;
    };
    std::vector<ShownPoint> whole = all, part;
    leave_newest(whole, per_claim, total);
    EXPECT_EQ(names(whole), expected);
    for (const ShownPoint& one : all) {
      part.push_back(one);
      if (below(4) == 0) leave_newest(part, per_claim, total);
    }
    leave_newest(part, per_claim, total);
    EXPECT_EQ(names(part), expected) << "piece by piece";
  }
}

TEST(LabelValueTest, IsOneWhateverTheTextIs) {
  EXPECT_EQ(label_value("tokyo-1.example_x"), "tokyo-1.example_x");
  EXPECT_EQ(label_value(""), "");
  const std::string longest(63, 'a');
  EXPECT_EQ(label_value(longest), longest);
  std::set<std::string> seen;
  for (const std::string& text :
       {longest + "a", longest + "b", std::string("-x"), std::string("x-"), std::string("a b"),
        std::string("a:b"), std::string("東京"), std::string("---")}) {
    const std::string value = label_value(text);
    EXPECT_LE(value.size(), 63U) << text;
    EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(value.front())) &&
                std::isalnum(static_cast<unsigned char>(value.back())))
        << value;
    EXPECT_EQ(value.find_first_not_of(
                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."),
              std::string::npos)
        << value;
    EXPECT_TRUE(seen.insert(value).second) << text << " is told from the others";
  }
}

TEST(MergePatchTest, MakesOneOfTheOther) {
  const auto check = [](const json& found, const json& wanted) {
    json patched = found;
    patched.merge_patch(merge_patch_between(found, wanted));
    EXPECT_EQ(patched, wanted);
  };
  check({{"a", 1}, {"b", {{"c", 2}, {"d", 3}}}}, {{"b", {{"c", 2}, {"e", 4}}}, {"f", {1, 2}}});
  check({{"a", {{"b", 1}}}}, {{"a", 3}});
  check({{"a", 3}}, {{"a", {{"b", 1}}}});
  check(json::object(), {{"a", 1}});
  EXPECT_TRUE(merge_patch_between({{"a", {{"b", 1}}}}, {{"a", {{"b", 1}}}}).empty());
}

TEST(StatusTest, HoldsWhereItSaysAllThatIsWanted) {
  const json object = {{"status", {{"a", 1}, {"b", "x"}}}};
  EXPECT_TRUE(status_holds(object, {{"a", 1}}));
  EXPECT_TRUE(status_holds(object, {{"a", 1}, {"c", nullptr}}));
  EXPECT_FALSE(status_holds(object, {{"a", nullptr}}));
  EXPECT_FALSE(status_holds(object, {{"b", "y"}}));
  EXPECT_FALSE(status_holds(object, {{"c", 1}}));
  EXPECT_FALSE(status_holds(json::object(), {{"a", 1}}));
}

Config store_site() {
  return must(parse_config(R"(
site: osaka
tls: { cert: c, key: k, ca: a }
listen: 127.0.0.1:1
state: /var/lib/tidemark
store: { backend: { type: file, path: /srv } }
peers: { tokyo: {}, kyoto: { url: "https://kyoto:7443" } }
kubernetes: {}
)",
                           "tidemark.yaml", "/etc/tidemark"));
}

json drill_object(json spec, const std::string& ns = "tidemark") {
  spec.emplace("assets", json::array({"tokyo:rbd/rbd/vol"}));
  spec.emplace("pool", "drill");
  return {{"metadata", {{"namespace", ns}, {"name", "weekly"}, {"uid", "u"}}},
          {"spec", std::move(spec)}};
}
Error drill_error(const json& object) {
  const auto plan = drill_of_object(object, store_site(), "tidemark");
  if (plan) throw std::runtime_error("it was taken");
  return plan.error();
}

TEST(DrillObjectTest, SaysWhatAPlanOfTheConfigurationSays) {
  const DrillConfig plan =
      must(drill_of_object(drill_object({{"point", "random"},
                                         {"method", "instant"},
                                         {"checks", {{"content", false}, {"sample", 9}}},
                                         {"limits", {{"keepFree", "20%"}, {"parallel", 2}}},
                                         {"objective", {{"rpo", "2h"}, {"rto", "30m"}}},
                                         {"calendar", "Sun 03:00"},
                                         {"timezone", "Asia/Tokyo"},
                                         {"overdueAfter", "9d"}}),
                           store_site(), "tidemark"));
  EXPECT_THAT(plan.assets, ElementsAre("tokyo:rbd/rbd/vol"));
  EXPECT_EQ(plan.point, "random");
  EXPECT_EQ(plan.from, "osaka") << "the store here";
  EXPECT_EQ(plan.method, DrillConfig::Method::instant);
  EXPECT_FALSE(plan.checks.content);
  EXPECT_EQ(plan.checks.sample, 9U);
  EXPECT_DOUBLE_EQ(plan.limits.keep_free, 0.2);
  EXPECT_EQ(plan.objective.rto, minutes(30));
  EXPECT_TRUE(has_schedule(plan));
  EXPECT_EQ(plan.timezone.name(), "Asia/Tokyo");
  EXPECT_EQ(plan.overdue_after, hours(9 * 24));
  EXPECT_EQ(plan.scratch, "/var/lib/tidemark/drills/scratch");
  EXPECT_FALSE(has_schedule(must(drill_of_object(drill_object({}), store_site(), "tidemark"))));
  EXPECT_EQ(drill_name_of("shop", "weekly"), "k8s.shop.weekly");
}

TEST(DrillObjectTest, WhatTheConfigurationWouldRefuseIsRefused) {
  EXPECT_THAT(drill_error(drill_object({{"from", "mars"}})).message(), HasSubstr("mars"));
  EXPECT_THAT(drill_error(drill_object({{"from", "tokyo"}})).message(), HasSubstr("url"));
  EXPECT_THAT(drill_error(drill_object({{"method", "standby"}})).message(), HasSubstr("standby"));
  EXPECT_THAT(drill_error(drill_object({{"every", "1d"}, {"cron", "0 1 * * *"}})).message(),
              HasSubstr("cron"));
  EXPECT_THAT(drill_error(drill_object({{"checks", {{"command", {"probe"}}}}})).message(),
              HasSubstr("absolute"));
  json long_name = drill_object({});
  long_name["metadata"]["name"] = std::string(253, 'a');
  EXPECT_THAT(drill_error(long_name).message(), HasSubstr("too long"));
  for (const json& nonsense : {json(), json(3), json{{"spec", 3}}, json{{"spec", json::object()}}})
    EXPECT_FALSE(drill_of_object(nonsense, store_site(), "tidemark"));
}

TEST(DrillObjectTest, OtherNamespacesRunNoProgramsAndNameEachAsset) {
  const std::vector<json> specs = {{{"checks", {{"command", {"/bin/true"}}}}},
                                   {{"checks", {{"mount", {"/bin/true"}}}}},
                                   {{"scratch", "/etc"}},
                                   {{"assets", {"tokyo:rbd/rbd/csi-vol-*"}}},
                                   {{"assets", {"tokyo:rbd/rbd/vol", "tokyo:s3/photo?"}}}};
  for (const json& spec : specs) {
    EXPECT_EQ(drill_error(drill_object(spec, "shop")).code(), ErrorCode::refused) << spec;
    EXPECT_TRUE(drill_of_object(drill_object(spec), store_site(), "tidemark")) << spec;
  }
  EXPECT_TRUE(drill_of_object(drill_object({}, "shop"), store_site(), "tidemark"));
}

class NamespaceTest : public ::testing::Test {
 protected:
  void add(const std::string& asset, const std::string& claim) {
    StoreService& service = store_.service();
    const UploadSession session = must(service.begin("tokyo", asset, {}));
    PointRecord record = store_.record(session, "tokyo", asset, TreeRoot{});
    if (!claim.empty()) record.labels[std::string(kClaimLabel)] = claim;
    must(service.commit(session, store_.sealed(record)));
  }
  Status check(const std::vector<std::string>& assets) {
    DrillConfig plan;
    plan.assets = assets;
    return check_assets_of_namespace(store_.service(), plan, "shop");
  }
  TestService store_;
};

TEST_F(NamespaceTest, EveryPointOfAnAssetHasToBeOfItsClaims) {
  add("rbd/rbd/mine", "k8s/shop/pvc/orders");
  add("rbd/rbd/mine", "k8s/shop/pvc/orders-2");
  add("rbd/rbd/theirs", "k8s/billing/pvc/orders");
  add("rbd/rbd/plain", "");
  add("rbd/rbd/handed", "k8s/billing/pvc/orders");
  add("rbd/rbd/handed", "k8s/shop/pvc/orders");
  EXPECT_TRUE(check({"tokyo:rbd/rbd/mine"}));
  for (const char* const asset : {"theirs", "plain", "handed", "none"})
    EXPECT_EQ(code_of(check({"tokyo:rbd/rbd/mine", std::string("tokyo:rbd/rbd/") + asset})),
              ErrorCode::refused)
        << asset;
  EXPECT_EQ(code_of(check({"kyoto:rbd/rbd/mine"})), ErrorCode::refused) << "of another site";
}

TEST_F(NamespaceTest, TheJournalMovesWithThePointsAndWithNothingElse) {
  const auto position = [&] { return must(store_.service().stats()).journal; };
  add("rbd/rbd/a", "");
  const std::uint64_t first = position();
  EXPECT_GT(first, 0U);
  EXPECT_EQ(position(), first);
  const UploadSession session = must(store_.service().begin("tokyo", "rbd/rbd/b", {}));
  must(store_.service().abandon(session));
  EXPECT_EQ(position(), first) << "no point came of it";
  add("rbd/rbd/a", "");
  const std::uint64_t second = position();
  EXPECT_GT(second, first);
  const auto rows = must(store_.service().points("tokyo", "rbd/rbd/a"));
  must(store_.service().remove(rows.front().point.record.id));
  EXPECT_GT(position(), second);
  Reach remote(store_, Access::remote);
  EXPECT_EQ(must(remote.as("tokyo").stats()).journal, position());
}

}  // namespace
}  // namespace tidemark::test
