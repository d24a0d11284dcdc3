// What the client repeats, what it does not, and what it makes of errors.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/transport/kube_fixture.h"
#include "transport/kube/client.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;
using kube::kConfigMaps;

const kube::ObjectRef kPlan{"shop", "plan"};
const Json kObject = {{"apiVersion", "v1"},
                      {"kind", "ConfigMap"},
                      {"metadata", {{"namespace", "shop"}, {"name", "plan"}}}};

// Answers with one text after the other; the last one is repeated.
RawServer::Handler in_turn(std::vector<std::string> answers) {
  return [answers = std::move(answers)](const SeenRequest&, std::size_t number) {
    return RawReply{answers[std::min(number, answers.size() - 1)]};
  };
}

const std::string kFine = json_answer(200, kObject);

TEST(KubeClient, WhatWasNotDoneIsSentAgainAsTold) {
  for (const unsigned status : {429U, 503U}) {
    const RawServer server(in_turn({text_answer(status, "busy", "Retry-After: 1\r\n"), kFine}));
    const auto client = kube_client(server.url(), patient);
    const auto begin = net::uptime();
    const auto made = client->create(kConfigMaps, kObject);
    ASSERT_TRUE(made) << made.error().describe();
    EXPECT_GE(net::uptime() - begin, 1s);
    EXPECT_EQ(server.seen().size(), 2U);
  }
}

TEST(KubeClient, AServerThatStaysBusyIsGivenUpWithKnownOutcome) {
  const RawServer server(in_turn({text_answer(429, "busy", "Retry-After: 0\r\n")}));
  const auto client = kube_client(server.url(), patient);
  const auto made = client->create(kConfigMaps, kObject);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::unavailable);
  EXPECT_FALSE(made.error().outcome_unknown);
  EXPECT_EQ(made.error().retry_after, 0s);
  EXPECT_EQ(server.seen().size(), 5U);
}

TEST(KubeClient, WritesWhoseOutcomeIsUnknownAreNotRepeated) {
  const std::vector<RawReply> replies = {
      {exchange("205").response},
      {text_answer(503, "away")},
      {text_answer(502, "bad gateway")},
      {json_answer(500, failure_status(500, "InternalError"))},
      {"", {}, true},
      {"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{", {}, true},
      {"what is this?\r\n\r\n", {}, true}};
  for (const RawReply& reply : replies) {
    SCOPED_TRACE(reply.bytes);
    const RawServer server([&](const SeenRequest&, std::size_t) { return reply; });
    const auto client = kube_client(server.url(), patient);
    const kube::WriteOptions blind{.unconditional = true};
    const auto created = client->create(kConfigMaps, kObject);
    const auto updated = client->update(kConfigMaps, kObject, blind);
    const auto patched = client->patch(kConfigMaps, kPlan, kube::PatchKind::merge, kObject);
    for (const auto* const result : {&created, &updated, &patched}) {
      ASSERT_FALSE(*result);
      EXPECT_EQ(result->error().code(), ErrorCode::unavailable) << result->error().describe();
      EXPECT_TRUE(result->error().outcome_unknown);
    }
    const auto removed = client->remove(kConfigMaps, kPlan);
    ASSERT_FALSE(removed);
    EXPECT_TRUE(removed.error().outcome_unknown);
    EXPECT_EQ(server.seen().size(), 4U);
  }
}

TEST(KubeClient, ReadsAreRepeated) {
  for (const RawReply& reply :
       {RawReply{"", {}, true}, RawReply{exchange("207").response},
        RawReply{text_answer(503, "away")},
        RawReply{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", {}, true}}) {
    SCOPED_TRACE(reply.bytes);
    const RawServer server([&](const SeenRequest&, std::size_t number) {
      return number == 0 ? reply : RawReply{kFine};
    });
    const auto got = kube_client(server.url(), patient)->get(kConfigMaps, kPlan);
    ASSERT_TRUE(got) << got.error().describe();
    EXPECT_EQ(server.seen().size(), 2U);
  }
}

TEST(KubeClient, AServerErrorThatComesAgainUnchangedIsFinal) {
  const RawServer server(in_turn({exchange("023").response}));
  const auto got = kube_client(server.url(), patient)->get(kConfigMaps, kPlan);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::internal) << got.error().describe();
  EXPECT_FALSE(got.error().outcome_unknown);
  EXPECT_EQ(server.seen().size(), 2U);
}

TEST(KubeClient, ADeleteOfOneIncarnationIsRepeatedAndOneByNameIsNot) {
  const auto cut_once = [](const SeenRequest&, std::size_t number) {
    return number == 0 ? RawReply{"", {}, true} : RawReply{exchange("090").response};
  };
  {
    const RawServer server(cut_once);
    const auto client = kube_client(server.url(), patient);
    const auto removed = client->remove(kConfigMaps, kPlan, {.uid = "one"});
    ASSERT_TRUE(removed) << removed.error().describe();
    EXPECT_TRUE(removed->gone);
    EXPECT_EQ(Json::parse(server.seen()[1].body)["preconditions"]["uid"], "one");
  }
  const RawServer server(cut_once);
  const auto removed = kube_client(server.url(), patient)->remove(kConfigMaps, kPlan);
  ASSERT_FALSE(removed);
  EXPECT_TRUE(removed.error().outcome_unknown);
  EXPECT_EQ(server.seen().size(), 1U);
}

TEST(KubeClient, AServerThatIsNotThereWasNotAskedForAnything) {
  std::string url;
  {
    const RawServer server(in_turn({kFine}));
    url = server.url();
  }
  const auto made = kube_client(url, patient)->create(kConfigMaps, kObject);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::unavailable);
  EXPECT_TRUE(made.error().untried);
  EXPECT_FALSE(made.error().outcome_unknown);
}

TEST(KubeClient, ARightThatIsMissingAtTheStartIsWaitedFor) {
  const std::string& denied = exchange("231").response;
  {
    const RawServer server(in_turn({denied, denied, kFine}));
    const auto client = kube_client(server.url(), [](kube::ClientOptions& options) {
      patient(options);
      options.forbidden_patience = 5s;
    });
    EXPECT_TRUE(client->create(kConfigMaps, kObject));
    EXPECT_EQ(server.seen().size(), 3U);
  }
  // A namespace that goes is no missing right.
  const RawServer server(in_turn({exchange("200").response}));
  const auto client = kube_client(server.url(), [](kube::ClientOptions& options) {
    patient(options);
    options.forbidden_patience = 5s;
  });
  const auto made = client->create(kConfigMaps, kObject);
  ASSERT_FALSE(made);
  EXPECT_TRUE(made.error().namespace_terminating());
  EXPECT_EQ(made.error().code(), ErrorCode::refused);
  EXPECT_EQ(server.seen().size(), 1U);
}

TEST(KubeClient, ConflictsAndWhatIsMissingCanBeToldApart) {
  const auto error_of = [](const char* number) {
    const RawServer server(in_turn({exchange(number).response}));
    auto got = kube_client(server.url())->get(kConfigMaps, kPlan);
    return got ? kube::ApiError(Error(ErrorCode::internal, "no error")) : got.error();
  };
  EXPECT_TRUE(error_of("081").already_exists());
  EXPECT_FALSE(error_of("081").conflict());
  EXPECT_TRUE(error_of("082").conflict());
  EXPECT_FALSE(error_of("082").already_exists());
  EXPECT_TRUE(error_of("013").expired());
  EXPECT_TRUE(error_of("090").no_object());
  EXPECT_TRUE(error_of("091").no_such_api());
  EXPECT_FALSE(error_of("091").no_object());
  EXPECT_TRUE(error_of("129").has_cause("FieldManagerConflict"));
  EXPECT_EQ(error_of("018").retry_after, 1s);
  EXPECT_EQ(error_of("230").retry_after, 5s);
}

TEST(KubeClient, TheTokenIsReadAgainOnceItIsRefused) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "token";
  ASSERT_TRUE(write_file_durably(file, as_bytes("old\n")));
  const RawServer server([&](const SeenRequest& request, std::size_t number) {
    // The kubelet replaces the file while the first request is under way.
    if (number == 1 && !write_file_durably(file, as_bytes("new\n"))) std::abort();
    const bool good = number == 0 || request.headers.at("authorization") == "Bearer new";
    return RawReply{good ? kFine : exchange("156").response};
  });
  const auto client = kube_client(
      server.url(), [&](kube::ClientOptions& options) { options.access.token_file = file; });
  ASSERT_TRUE(client->get(kConfigMaps, kPlan));
  const auto made = client->create(kConfigMaps, kObject);
  ASSERT_TRUE(made) << made.error().describe();
  ASSERT_EQ(server.seen().size(), 3U);
  EXPECT_EQ(server.seen()[1].headers.at("authorization"), "Bearer old");
}

TEST(KubeClient, ATokenThatStaysRefusedIsTriedTwiceAndOneWithoutAFileOnce) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "token";
  ASSERT_TRUE(write_file_durably(file, as_bytes("old\n")));
  for (const bool from_file : {true, false}) {
    const RawServer server(in_turn({exchange("141").response}));
    const auto client = kube_client(server.url(), [&](kube::ClientOptions& options) {
      patient(options);
      if (from_file)
        options.access.token_file = file;
      else
        options.access.token = "fixed";
    });
    const auto got = client->get(kConfigMaps, kPlan);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::permission_denied);
    EXPECT_EQ(server.seen().size(), from_file ? 2U : 1U);
  }
}

TEST(KubeClient, AConnectionServesManyCalls) {
  const RawServer server(in_turn({kFine, exchange("090").response, kFine}));
  const auto client = kube_client(server.url());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(client->get(kConfigMaps, kPlan));
    EXPECT_EQ(client->create(kConfigMaps, kObject).has_value(), i != 0);
  }
  EXPECT_EQ(server.connections(), 1U);
}

TEST(KubeClient, ThreadsShareIt) {
  const RawServer server([](const SeenRequest& request, std::size_t) {
    return RawReply{json_answer(200, {{"path", request.path()}})};
  });
  const auto client =
      kube_client(server.url(), [](kube::ClientOptions& options) { options.connections_max = 3; });
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        const auto got = client->get(kConfigMaps, {"shop", name});
        EXPECT_EQ(got ? got->value("path", "") : got.error().describe(),
                  "/api/v1/namespaces/shop/configmaps/" + name);
      }
    });
  threads.clear();
  EXPECT_LE(server.connections(), 3U);
}

TEST(KubeClient, WhatHangsCanBeCalledOffAndEndsAtItsDeadline) {
  const RawServer server([](const SeenRequest&, std::size_t) {
    return RawReply{"", {}, false, true};
  });
  const auto client = kube_client(server.url(), patient);
  const auto begin = net::uptime();
  const auto late = client->create(kConfigMaps, kObject, {}, {{}, begin + 300ms});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::deadline_exceeded) << late.error().describe();
  EXPECT_TRUE(late.error().outcome_unknown);
  std::stop_source stop;
  const std::jthread stopper([&] {
    while (server.seen().size() < 2) ::usleep(1000);
    stop.request_stop();
  });
  const auto stopped = client->create(kConfigMaps, kObject, {}, {stop.get_token(), {}});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::cancelled);
  EXPECT_TRUE(stopped.error().outcome_unknown);
  EXPECT_LT(net::uptime() - begin, 5s);
}

TEST(KubeClient, AnObjectWithoutAResourceVersionIsNotPutByAccident) {
  const RawServer server(in_turn({kFine}));
  const auto put = kube_client(server.url())->update(kConfigMaps, kObject);
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code(), ErrorCode::invalid_argument);
  EXPECT_TRUE(server.seen().empty());
}

TEST(KubeClient, NamesThatNoObjectCanHaveAreRefusedUnsent) {
  const RawServer server(in_turn({kFine}));
  const auto client = kube_client(server.url());
  for (const kube::ObjectRef& ref : {kube::ObjectRef{"shop", ".."},
                                     {"shop", "a/b"},
                                     {"shop", ""},
                                     {"..", "plan"},
                                     {"", "plan"}}) {
    const auto got = client->get(kConfigMaps, ref);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::invalid_argument);
  }
  EXPECT_FALSE(client->get(kube::kPersistentVolumes, {"shop", "pv"}));
  EXPECT_TRUE(server.seen().empty());
  // What they may hold is encoded, so that it names nothing else.
  EXPECT_TRUE(client->get(kConfigMaps, {"shop", "a?b=%2F#c"}));
  EXPECT_EQ(server.seen()[0].target, "/api/v1/namespaces/shop/configmaps/a%3Fb%3D%252F%23c");
}

TEST(KubeClient, AnAnswerAboveTheLimitIsNotRead) {
  const RawServer server(in_turn({stream_head() + chunk(std::string(9000, ' ')) + kLastChunk,
                                  text_answer(200, std::string(9000, ' '))}));
  const auto client = kube_client(
      server.url(), [](kube::ClientOptions& options) { options.answer_bytes_max = 8000; });
  for (int i = 0; i < 2; ++i) {
    const auto got = client->get(kConfigMaps, kPlan);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::resource_exhausted) << got.error().describe();
  }
}

// Whoever takes such a document apart goes down by recursion.
TEST(KubeClient, ADocumentThatIsNestedWithoutEndIsNone) {
  const std::string deep = R"({"a":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  const RawServer server(in_turn({text_answer(200, deep), text_answer(404, deep)}));
  const auto client = kube_client(server.url());
  const auto got = client->get(kConfigMaps, kPlan);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::corruption) << got.error().describe();
  const auto missing = client->get(kConfigMaps, kPlan);
  ASSERT_FALSE(missing);
  EXPECT_TRUE(missing.error().no_such_api());
}

TEST(KubeClient, WarningsAreLogged) {
  const RawServer server(in_turn({exchange("107").response}));
  const auto client = kube_client(server.url());
  ::testing::internal::CaptureStderr();
  const auto made = client->create(kConfigMaps, kObject);
  const std::string logged = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(made);
  EXPECT_NE(logged.find("spec.keeep"), std::string::npos) << logged;
}

TEST(KubeClient, APrefixOfTheAddressGoesBeforeEveryPath) {
  const RawServer server(in_turn({kFine}));
  ASSERT_TRUE(kube_client(server.url() + "/k8s/clusters/c-1/")->get(kConfigMaps, kPlan));
  EXPECT_EQ(server.seen()[0].target, "/k8s/clusters/c-1/api/v1/namespaces/shop/configmaps/plan");
}

TEST(KubeClient, SecretsDoNotTravelInTheOpen) {
  kube::ClientOptions options;
  options.access.server = "http://api.example:8080";
  const auto client = kube::Client::create(std::move(options));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace tidemark::testing
