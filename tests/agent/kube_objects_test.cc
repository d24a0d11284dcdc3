// What objects of Kubernetes ask of the agent, and what it tells in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/kube/frozen.h"
#include "agent/kube/object_status.h"
#include "agent/kube/pod_hooks.h"
#include "agent/kube/policy_object.h"
#include "agent/kube/restore_order.h"
#include "tests/agent/service_support.h"

namespace tidemark::test {
namespace {

using nlohmann::json;
using std::chrono::hours;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Config site_config() {
  return must(parse_config(R"(
site: tokyo
tls: { cert: c, key: k, ca: a }
peers: { osaka: { url: "https://osaka:7443" }, kyoto: {} }
kubernetes: {}
s3: { endpoint: "http://rgw:8080", access_key_file: a, secret_key_file: s }
)",
                           "tidemark.yaml", "/etc/tidemark"));
}

json policy_object(json spec) {
  spec.emplace("destination", "osaka");
  spec.emplace("selector", json::object());
  return {{"metadata", {{"namespace", "shop"}, {"name", "hourly"}, {"uid", "u"}}},
          {"spec", std::move(spec)}};
}

PolicyConfig policy(json spec) {
  return must(policy_of_object(policy_object(std::move(spec)), site_config(), "tidemark"));
}
Error policy_error(const json& object) {
  const auto policy = policy_of_object(object, site_config(), "tidemark");
  if (policy) throw std::runtime_error("it was taken");
  return policy.error();
}

TEST(PolicyObjectTest, SaysWhatAPolicyOfTheConfigurationSays) {
  const PolicyConfig made = policy(
      {{"selector",
        {{"labelSelector",
          {{"matchLabels", {{"app", "db"}}},
           {"matchExpressions",
            json::array({{{"key", "tier"}, {"operator", "In"}, {"values", {"gold", "silver"}}},
                         {{"key", "scratch"}, {"operator", "DoesNotExist"}}})}}},
         {"storageClasses", {"rook-ceph-block"}},
         {"kinds", {"PersistentVolumeClaim", "ObjectBucketClaim"}}}},
       {"schedule", {{"cron", "0 * * * *"}, {"timezone", "Asia/Tokyo"}}},
       {"retention", {{"keepLast", 6}, {"keepDaily", 14}, {"lockedFor", "7d"}}},
       {"consistency",
        {{"group", true},
         {"hooks",
          {{"pre", json::array({{{"command", {"fsfreeze", "-f", "/data"}}, {"timeout", "10s"}}})},
           {"post", json::array({{{"command", {"fsfreeze", "-u", "/data"}}}})}}}}}});
  ASSERT_TRUE(made.claims);
  EXPECT_THAT(made.claims->namespaces, ElementsAre("shop"));
  EXPECT_EQ(made.claims->labels, "app=db,tier in (gold,silver),!scratch");
  EXPECT_THAT(made.claims->storage_classes, ElementsAre("rook-ceph-block"));
  EXPECT_TRUE(made.claims->volumes && made.claims->buckets);
  EXPECT_TRUE(made.cron);
  EXPECT_EQ(made.timezone.name(), "Asia/Tokyo");
  EXPECT_EQ(made.keep->last, 6U);
  EXPECT_EQ(made.keep->daily, 14U);
  EXPECT_EQ(made.keep->locked_for, hours(7 * 24));
  EXPECT_TRUE(made.set);
  EXPECT_EQ(made.to, "osaka");
  EXPECT_THAT(made.hooks.pods->before, ElementsAre("fsfreeze", "-f", "/data"));
  EXPECT_EQ(made.hooks.pods->timeout, seconds(10));
}

TEST(PolicyObjectTest, OfTwoTimeoutsTheLongerOneCounts) {
  const auto timeout = [](const char* before, const char* after) {
    const json hooks = {{"pre", json::array({{{"command", {"a"}}, {"timeout", before}}})},
                        {"post", json::array({{{"command", {"b"}}, {"timeout", after}}})}};
    return policy({{"consistency", {{"hooks", hooks}}}}).hooks.pods->timeout;
  };
  EXPECT_EQ(timeout("90s", "30s"), seconds(90));
  EXPECT_EQ(timeout("10s", "30s"), seconds(30));
  const json wrong = {{"pre", json::array({{{"command", {"a"}}, {"timeout", "soon"}}})}};
  EXPECT_THAT(policy_error(policy_object({{"consistency", {{"hooks", wrong}}}})).message(),
              HasSubstr("soon"));
}

TEST(PolicyObjectTest, SuspendedItHasNoSchedule) {
  EXPECT_EQ(policy({{"schedule", {{"every", "1h"}}}}).every, hours(1));
  EXPECT_FALSE(policy({{"schedule", {{"every", "1h"}}}, {"suspend", true}}).every);
}

TEST(PolicyObjectTest, OtherNamespacesAreForTheAgentsOwnOnly) {
  json object = policy_object({{"selector", {{"namespaces", {"shop", "billing"}}}}});
  EXPECT_EQ(policy_error(object).code(), ErrorCode::refused);
  object["metadata"]["namespace"] = "tidemark";
  const auto made = must(policy_of_object(object, site_config(), "tidemark"));
  EXPECT_THAT(made.claims->namespaces, ElementsAre("shop", "billing"));
}

TEST(PolicyObjectTest, WhatTheConfigurationWouldRefuseIsRefused) {
  EXPECT_EQ(policy_error(policy_object({{"destination", "mars"}})).code(), ErrorCode::not_found);
  EXPECT_EQ(policy_error(policy_object({{"destination", "kyoto"}})).code(), ErrorCode::not_found)
      << "a peer without a url takes no points";
  EXPECT_THAT(policy_error(policy_object({{"schedule", {{"cron", "soon"}}}})).message(),
              HasSubstr("cron"));
  EXPECT_THAT(policy_error(policy_object({{"schedule", {{"every", "1h"}, {"cron", "0 * * * *"}}}}))
                  .message(),
              HasSubstr("cron"));
  const json two = json::array({{{"command", {"a"}}}, {{"command", {"b"}}}});
  EXPECT_EQ(policy_error(policy_object({{"consistency", {{"hooks", {{"pre", two}}}}}})).code(),
            ErrorCode::unsupported);
  const json apart = {{"pre", json::array({{{"command", {"a"}}, {"container", "db"}}})},
                      {"post", json::array({{{"command", {"b"}}}})}};
  EXPECT_EQ(policy_error(policy_object({{"consistency", {{"hooks", apart}}}})).code(),
            ErrorCode::unsupported);
  for (const json& nonsense : {json(), json(3), json{{"spec", 3}}, json{{"metadata", "x"}}})
    EXPECT_FALSE(policy_of_object(nonsense, site_config(), "tidemark"));
}

json restore_object(json spec) {
  return {{"metadata", {{"namespace", "shop"}, {"name", "back"}, {"uid", "u"}, {"generation", 2}}},
          {"spec", std::move(spec)}};
}

TEST(RestoreOrderTest, NamesAPointOrAClaimAndATarget) {
  const RestoreOrder order = must(parse_restore_order(
      restore_object({{"claim", {{"name", "orders"}}},
                      {"asOf", "-2h"},
                      {"target", {{"name", "copy"}, {"storageClassName", "fast"}, {"size", "2Gi"}}},
                      {"force", true}}),
      "tidemark"));
  EXPECT_EQ(order.claim->text(), "k8s/shop/pvc/orders");
  EXPECT_EQ(order.as_of, "-2h");
  EXPECT_EQ(order.target.name.text(), "k8s/shop/pvc/copy");
  EXPECT_EQ(order.target.storage_class, "fast");
  EXPECT_EQ(order.target.size_bytes, 2ULL << 30);
  EXPECT_TRUE(order.target.force);
  EXPECT_EQ(order.generation, 2);
  EXPECT_FALSE(must(parse_restore_order(
                        restore_object({{"point", "5f3a9c"}, {"target", {{"name", "x"}}}}), ""))
                   .claim);
}

TEST(RestoreOrderTest, ReadsAndMakesNothingOfOtherNamespaces) {
  const json from = {{"claim", {{"namespace", "billing"}, {"name", "o"}}},
                     {"target", {{"name", "x"}}}};
  const json to = {{"point", "5f3a"}, {"target", {{"namespace", "billing"}, {"name", "x"}}}};
  for (const json& spec : {from, to}) {
    EXPECT_EQ(code_of(parse_restore_order(restore_object(spec), "tidemark")), ErrorCode::refused);
    EXPECT_TRUE(parse_restore_order(restore_object(spec), "shop")) << "the agent's own may";
  }
  RestoreOrder order;
  order.ns = "shop";
  const ClaimName other{ClaimName::Kind::volume, "billing", "o"};
  EXPECT_FALSE(check_point_of_order(order, other, "tidemark"));
  EXPECT_TRUE(check_point_of_order(order, other, "shop"));
  EXPECT_TRUE(check_point_of_order(order, {ClaimName::Kind::volume, "shop", "o"}, "tidemark"));
}

TEST(RestoreOrderTest, WhoMakesTheVolumeIsSaid) {
  const auto wanted = [](const json& target) {
    return parse_restore_order(restore_object({{"point", "5f3a"}, {"target", target}}), "tidemark")
        ->target;
  };
  using Volume = ClaimTarget::Volume;
  EXPECT_EQ(wanted({{"name", "x"}}).volume, Volume::dynamic);
  EXPECT_EQ(wanted({{"name", "x"}, {"static", true}}).volume, Volume::fixed);
  const ClaimTarget same = wanted({{"name", "x"}, {"sameVolume", true}, {"adopt", true}});
  EXPECT_EQ(same.volume, Volume::same);
  EXPECT_TRUE(same.adopt);
}

TEST(RestoreOrderTest, TheKindOfTheClaimIsThatOfThePointUnlessItIsSaid) {
  constexpr auto kBucket = ClaimName::Kind::bucket, kVolume = ClaimName::Kind::volume;
  const auto order_of = [](const json& spec) {
    return must(parse_restore_order(restore_object(spec), "tidemark"));
  };
  const json claim = {{"kind", "ObjectBucketClaim"}, {"name", "photos"}};
  const RestoreOrder by_claim =
      order_of({{"claim", claim}, {"target", {{"name", "x"}, {"bucketName", "mine"}}}});
  EXPECT_EQ(by_claim.claim->text(), "k8s/shop/obc/photos");
  EXPECT_EQ(by_claim.target.name.text(), "k8s/shop/obc/x");
  EXPECT_EQ(must(target_of_order(by_claim, kBucket)).bucket, "mine");
  const RestoreOrder by_point = order_of({{"point", "5f3a"}, {"target", {{"name", "x"}}}});
  EXPECT_EQ(must(target_of_order(by_point, kBucket)).name.text(), "k8s/shop/obc/x");
  EXPECT_EQ(must(target_of_order(by_point, kVolume)).name.text(), "k8s/shop/pvc/x");
  for (const auto& [target, kind] :
       {std::pair(json{{"kind", "ObjectBucketClaim"}}, kVolume),
        std::pair(json{{"kind", "PersistentVolumeClaim"}}, kBucket),
        std::pair(json{{"size", "1Gi"}}, kBucket), std::pair(json{{"static", true}}, kBucket),
        std::pair(json{{"bucketName", "b"}}, kVolume)}) {
    json spec = {{"point", "5f3a"}, {"target", target}};
    spec["target"]["name"] = "x";
    EXPECT_EQ(code_of(target_of_order(order_of(spec), kind)), ErrorCode::invalid_argument) << spec;
  }
}

TEST(RestoreOrderTest, NonsenseIsRefused) {
  for (const json& spec :
       {json::object(), json{{"target", {{"name", "x"}}}}, json{{"point", "5f3a"}},
        json{{"point", "5f3a"}, {"claim", {{"name", "o"}}}, {"target", {{"name", "x"}}}},
        json{{"point", "5f3a"}, {"target", {{"name", "X y"}}}},
        json{{"point", "5f3a"}, {"target", {{"name", "x"}, {"size", "large"}}}},
        json{{"point", "5f3a"},
             {"target", {{"name", "x"}, {"static", true}, {"sameVolume", true}}}}})
    EXPECT_FALSE(parse_restore_order(restore_object(spec), "tidemark")) << spec;
  EXPECT_FALSE(parse_restore_order(json(3), "tidemark"));
}

TEST(ConditionTest, ItsTimeIsThatOfItsStatus) {
  const Timestamp early{1'000'000'000'000'000}, late = early + hours(1);
  json conditions = with_condition(json(), {"Ready", "False", "Waiting", "x"}, 1, early);
  conditions = with_condition(conditions, {"Other", "True", "Fine", ""}, 1, early);
  conditions = with_condition(conditions, {"Ready", "False", "NotFound", "y"}, 2, late);
  ASSERT_EQ(conditions.size(), 2U);
  EXPECT_EQ(conditions[1]["reason"], "NotFound");
  EXPECT_EQ(conditions[1]["observedGeneration"], 2);
  EXPECT_EQ(conditions[1]["lastTransitionTime"], kube_time(early));
  conditions = with_condition(conditions, {"Ready", "True", "Done", ""}, 2, late);
  EXPECT_EQ(conditions[1]["lastTransitionTime"], kube_time(late));
  EXPECT_EQ(kube_time(Timestamp{1'000'000'000'123'456}),
            kube_time(Timestamp{1'000'000'000'000'000}));
}

json pod(const std::map<std::string, std::string>& annotations) {
  return {{"metadata", {{"namespace", "shop"}, {"name", "db-0"}, {"annotations", annotations}}},
          {"spec",
           {{"volumes", json::array({{{"persistentVolumeClaim", {{"claimName", "orders"}}}},
                                     {{"emptyDir", json::object()}}})}}},
          {"status", {{"phase", "Running"}}}};
}

PodHooksConfig rules_of(std::vector<std::string> before, std::vector<std::string> after,
                        std::string container) {
  PodHooksConfig rules;
  rules.before = std::move(before);
  rules.after = std::move(after);
  rules.container = std::move(container);
  return rules;
}

TEST(PodHookTest, APodSaysWhatIsRunInIt) {
  const PodHook hook = must(hook_of_pod(pod({{"tidemark.dev/before", R"(["freeze", "it"])"},
                                             {"tidemark.dev/after", R"(["thaw"])"},
                                             {"tidemark.dev/container", "db"},
                                             {"tidemark.dev/hook-timeout", "90s"}}),
                                        rules_of({"other"}, {}, "")))
                           .value();
  EXPECT_EQ(hook, (PodHook{{"shop", "db-0"}, "db", {"freeze", "it"}, {"thaw"}, seconds(90)}));
}

TEST(PodHookTest, TheRulesSayItForPodsThatDoNot) {
  EXPECT_FALSE(must(hook_of_pod(pod({}), std::nullopt)));
  const PodHooksConfig rules = rules_of({"freeze"}, {"thaw"}, "db");
  EXPECT_EQ(must(hook_of_pod(pod({}), rules)),
            (PodHook{{"shop", "db-0"}, "db", {"freeze"}, {"thaw"}, seconds(30)}));
}

TEST(PodHookTest, AnnotationsThatCannotBeUnderstoodAreAnError) {
  for (const char* const text : {"fsfreeze -f /data", "{}", "[]", "[1]", "["})
    EXPECT_FALSE(hook_of_pod(pod({{"tidemark.dev/before", text}}), std::nullopt)) << text;
  EXPECT_FALSE(
      hook_of_pod(pod({{"tidemark.dev/before", R"(["x"])"}, {"tidemark.dev/hook-timeout", "soon"}}),
                  std::nullopt));
}

TEST(PodHookTest, OnlyPodsThatRunAndMountTheClaimAreMeant) {
  EXPECT_TRUE(uses_claim(pod({}), "orders"));
  EXPECT_FALSE(uses_claim(pod({}), "other"));
  json ended = pod({});
  ended["status"]["phase"] = "Succeeded";
  EXPECT_FALSE(uses_claim(ended, "orders"));
  EXPECT_FALSE(uses_claim(json(3), "orders"));
  EXPECT_FALSE(uses_claim({{"status", {{"phase", "Running"}}}, {"spec", 3}}, "orders"));
}

class FrozenTest : public ::testing::Test {
 protected:
  // How many notes were taken for those of the dead.
  std::size_t found(const Status& thawed = {}) {
    std::size_t count = 0;
    left_ = must(thaw_what_is_left(dir(), [&](const PodHook& hook) {
      EXPECT_EQ(hook.after, hook_.after);
      EXPECT_EQ(hook.pod, hook_.pod);
      ++count;
      return thawed;
    }));
    return count;
  }
  std::filesystem::path dir() const { return scratch_.path() / "frozen"; }

  Scratch scratch_;
  const PodHook hook_{{"shop", "db-0"}, "db", {"freeze"}, {"thaw", "it"}, seconds(9)};
  std::size_t left_ = 0;
};

TEST_F(FrozenTest, ItsNoteIsReadBack) {
  const PodHook read = must(decode_frozen(encode_frozen(hook_)));
  EXPECT_EQ(read, (PodHook{hook_.pod, "db", {}, hook_.after, seconds(9)}));
  for (const char* const text :
       {"", "{}", "[]", R"({"version":1})", R"({"version":"1"})",
        R"({"version":1,"namespace":"a","pod":"b","after":[1],"timeout_us":1})"})
    EXPECT_EQ(code_of(decode_frozen(text)), ErrorCode::corruption) << text;
  EXPECT_EQ(code_of(decode_frozen(R"({"version":2})")), ErrorCode::unsupported);
}

TEST_F(FrozenTest, OnlyWhatADeadProcessLeftIsThawedByOthers) {
  {
    FrozenNote mine = must(FrozenNote::write(dir(), hook_));
    EXPECT_EQ(found(), 0U) << "who froze it is at work";
    FrozenNote done = must(FrozenNote::write(dir(), hook_));
    must(done.done());
  }
  EXPECT_EQ(found(Error(ErrorCode::unavailable, "the node is away")), 1U);
  EXPECT_EQ(left_, 1U);
  EXPECT_EQ(found(), 1U);
  EXPECT_EQ(left_, 0U);
  EXPECT_EQ(found(), 0U);
}

TEST_F(FrozenTest, APodThatIsGoneNeedsNoThaw) {
  { const FrozenNote left = must(FrozenNote::write(dir(), hook_)); }
  EXPECT_EQ(found(Error(ErrorCode::not_found, "pods \"db-0\" not found")), 1U);
  EXPECT_EQ(found(), 0U);
  EXPECT_EQ(must(thaw_what_is_left(scratch_.path() / "never", {})), 0U);
}

}  // namespace
}  // namespace tidemark::test
