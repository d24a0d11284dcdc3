// Lists: all pages of one instant, or none.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/transport/kube_fixture.h"
#include "transport/kube/client.h"

namespace tidemark::testing {
namespace {

using kube::Json;
using kube::kPersistentVolumeClaims;
using kube::kPersistentVolumes;

// The recorded pages by their continue token; `before` may answer instead.
RawServer::Handler recorded_pages(std::function<std::string(std::size_t)> before) {
  return [before = std::move(before)](const SeenRequest& request, std::size_t number) {
    if (const std::string other = before(number); !other.empty()) return RawReply{other};
    const auto query = request.query();
    const auto token = query.find("continue");
    if (token == query.end()) return RawReply{exchange("010").response};
    for (const char* const page : {"011", "012", "014"})
      if (exchange(page).request.query().find("continue")->second == token->second)
        return RawReply{exchange(page).response};
    return RawReply{exchange("022").response};
  };
}

TEST(KubeList, AllPagesShowOneInstant) {
  const RawServer server(recorded_pages([](std::size_t) { return ""; }));
  const auto listed = kube_client(server.url())->list(kPersistentVolumes, {.page = 2});
  ASSERT_TRUE(listed) << listed.error().describe();
  EXPECT_EQ(listed->items.size(), 5U);
  EXPECT_EQ(listed->resource_version, "544");
  EXPECT_EQ(server.seen().size(), 3U);
  for (const Json& item : listed->items) {
    EXPECT_EQ(item.value("kind", ""), "PersistentVolume");
    EXPECT_EQ(item.value("apiVersion", ""), "v1");
  }
}

// The token in the 410 (exchange 014) leads to the rest of another instant.
TEST(KubeList, AnExpiredPositionBeginsAnewAndNothingOfBeforeCounts) {
  const RawServer server(recorded_pages(
      [](std::size_t number) { return number == 1 ? exchange("013").response : ""; }));
  std::size_t items = 0, restarts = 0;
  kube::ListVisitor visitor;
  visitor.item = [&](Json) {
    ++items;
    return Status();
  };
  visitor.restarted = [&] {
    items = 0;
    ++restarts;
  };
  const auto listed = kube_client(server.url())->list(kPersistentVolumes, {.page = 2}, visitor, {});
  ASSERT_TRUE(listed) << listed.error().describe();
  EXPECT_EQ(restarts, 1U);
  EXPECT_EQ(items, 5U);
  EXPECT_EQ(listed->count, 5U);
  ASSERT_EQ(server.seen().size(), 5U);
  EXPECT_FALSE(server.seen()[2].query().contains("continue"));
}

TEST(KubeList, APageOfAnotherInstantBeginsAnew) {
  const RawServer server(recorded_pages(
      [](std::size_t number) { return number == 1 ? exchange("014").response : ""; }));
  const auto listed = kube_client(server.url())->list(kPersistentVolumes, {.page = 2});
  ASSERT_TRUE(listed) << listed.error().describe();
  EXPECT_EQ(listed->items.size(), 5U);
  EXPECT_EQ(listed->resource_version, "544");
}

TEST(KubeList, APositionThatExpiresForEverIsGivenUp) {
  const RawServer server(recorded_pages(
      [](std::size_t number) { return number % 2 == 1 ? exchange("013").response : ""; }));
  const auto listed = kube_client(server.url())->list(kPersistentVolumes, {.page = 2});
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code(), ErrorCode::unavailable);
  EXPECT_EQ(server.seen().size(), 12U);
}

TEST(KubeList, ATokenThatDoesNotGoOnIsAnError) {
  const Json page = {{"metadata", {{"resourceVersion", "1"}, {"continue", "same"}}},
                     {"items", Json::array()}};
  const RawServer server(
      [&](const SeenRequest&, std::size_t) { return RawReply{json_answer(200, page)}; });
  const auto listed = kube_client(server.url())->list(kPersistentVolumes);
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code(), ErrorCode::corruption);
}

TEST(KubeList, SelectorsAndMetadataOnlyAreAskedFor) {
  const RawServer server(
      [&](const SeenRequest&, std::size_t) { return RawReply{exchange("021").response}; });
  kube::ListOptions options;
  options.ns = "shop";
  options.label_selector = "tidemark=protect,app!=x";
  options.field_selector = "metadata.name=a&b";
  options.metadata_only = true;
  const auto listed = kube_client(server.url())->list(kPersistentVolumeClaims, options);
  ASSERT_TRUE(listed) << listed.error().describe();
  const auto query = server.seen()[0].query();
  EXPECT_EQ(query.find("labelSelector")->second, options.label_selector);
  EXPECT_EQ(query.find("fieldSelector")->second, options.field_selector);
  EXPECT_EQ(server.seen()[0].headers.at("accept"), exchange("021").request.headers.at("accept"));
  EXPECT_EQ(server.seen()[0].path(), "/api/v1/namespaces/shop/persistentvolumeclaims");
}

TEST(KubeList, AnErrorOfTheVisitorEndsIt) {
  const RawServer server(recorded_pages([](std::size_t) { return ""; }));
  kube::ListVisitor visitor;
  visitor.item = [](Json) -> Status { return Error(ErrorCode::refused, "enough"); };
  const auto listed = kube_client(server.url())->list(kPersistentVolumes, {}, visitor, {});
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code(), ErrorCode::refused);
}

// A claim of about 4 KiB as JSON.
Json large_claim(std::size_t number) {
  Json claim = {{"metadata",
                 {{"name", "claim-" + std::to_string(number)},
                  {"namespace", "shop"},
                  {"uid", "uid-" + std::to_string(number)},
                  {"resourceVersion", std::to_string(number)}}}};
  for (int i = 0; i < 60; ++i)
    claim["metadata"]["managedFields"].push_back(
        {{"manager", "someone"}, {"operation", "Update"}, {"field", std::to_string(i)}});
  return claim;
}

// Pages of as many of `total` claims as were asked for.
RawReply page_of_claims(const SeenRequest& request, std::size_t total) {
  const auto query = request.query();
  const auto token = query.find("continue");
  const std::size_t begin = token == query.end() ? 0 : std::stoul(token->second);
  const std::size_t end = std::min(total, begin + std::stoul(query.find("limit")->second));
  Json page = {{"kind", "PersistentVolumeClaimList"},
               {"apiVersion", "v1"},
               {"metadata", {{"resourceVersion", "7"}}},
               {"items", Json::array()}};
  if (end < total) page["metadata"]["continue"] = std::to_string(end);
  for (std::size_t i = begin; i < end; ++i) page["items"].push_back(large_claim(i));
  return RawReply{json_answer(200, page)};
}

std::size_t peak_kib() {
  std::ifstream file("/proc/self/status");
  std::string word;
  while (file >> word)
    if (word == "VmHWM:") break;
  std::size_t kib = 0;
  file >> kib;
  return kib;
}

TEST(KubeList, FiveThousandClaimsTakeLittleMemory) {
  constexpr std::size_t kTotal = 5000;
  const RawServer server(
      [](const SeenRequest& request, std::size_t) { return page_of_claims(request, kTotal); });
  std::size_t bytes = 0;
  kube::ListVisitor visitor;
  visitor.item = [&](Json claim) {
    bytes += claim.dump().size();
    return Status();
  };
  const std::size_t before = peak_kib();
  const auto listed = kube_client(server.url())->list(kPersistentVolumeClaims, {}, visitor, {});
  ASSERT_TRUE(listed) << listed.error().describe();
  EXPECT_EQ(listed->count, kTotal);
  EXPECT_GT(bytes, 15 * kMiB);
  // The server's own pages are in it as well.
#ifndef __SANITIZE_ADDRESS__
  EXPECT_LT(peak_kib() - before, 100 * kKiB);
#else
  static_cast<void>(before);
#endif
}

TEST(KubeList, PagesThatAreTooLargeAreAskedForSmaller) {
  const RawServer server(
      [](const SeenRequest& request, std::size_t) { return page_of_claims(request, 40); });
  const auto client = kube_client(
      server.url(), [](kube::ClientOptions& options) { options.answer_bytes_max = 64 * kKiB; });
  const auto listed = client->list(kPersistentVolumeClaims, {.page = 64});
  ASSERT_TRUE(listed) << listed.error().describe();
  EXPECT_EQ(listed->items.size(), 40U);
}

}  // namespace
}  // namespace tidemark::testing
