// Every recorded exchange with a real API server: the client sends what was sent then, and makes of
// the answer what it says.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/transport/kube_exchange_table.h"
#include "tests/transport/kube_fixture.h"
#include "transport/http_text.h"
#include "transport/kube/event_parser.h"
#include "transport/kube/exec.h"
#include "transport/kube/websocket.h"

namespace tidemark::testing {
namespace {

using kube::Json;
using kube::Outcome;

// A path taken apart.
struct Addressed {
  std::string group, version, ns, plural, name, sub;

  explicit Addressed(const std::string& path) {
    std::vector<std::string> parts;
    std::string rest = path.substr(1);
    while (!rest.empty()) {
      const auto end = rest.find('/');
      parts.push_back(rest.substr(0, end));
      rest = end == std::string::npos ? "" : rest.substr(end + 1);
    }
    std::size_t at = 1;
    if (parts.at(0) == "apis") group = parts.size() > at ? parts.at(at++) : "";
    if (parts.size() > at) version = parts.at(at++);
    if (parts.size() > at + 2 && parts.at(at) == "namespaces") {
      ns = parts.at(at + 1);
      at += 2;
    }
    if (parts.size() > at) plural = parts.at(at++);
    if (parts.size() > at) name = parts.at(at++);
    if (parts.size() > at) sub = parts.at(at++);
  }
  kube::Resource resource() const { return {group, version, plural, "", !ns.empty()}; }
  kube::ObjectRef ref() const { return {ns, name}; }
};

kube::WriteOptions write_options(const SeenRequest& request, const Addressed& to) {
  kube::WriteOptions options;
  options.subresource = to.sub;
  options.strict = false;
  options.unconditional = true;
  for (const auto& [key, value] : request.query()) {
    if (key == "fieldValidation") options.strict = value == "Strict";
    if (key == "dryRun") options.dry_run = true;
    if (key == "fieldManager") options.field_manager = value;
    if (key == "force") options.force = true;
  }
  return options;
}

struct Got {
  Outcome<Json> json;
  std::string text = {};
};

// What the typed calls do not cover is sent as it was.
Got send_as_it_was(kube::Client& client, const SeenRequest& request) {
  kube::ApiRequest raw;
  raw.method = request.method;
  raw.path = request.path();
  for (const auto& [key, value] : request.query()) raw.query.emplace_back(key, value);
  raw.body = request.body;
  raw.accept = request.headers.at("accept");
  if (request.headers.contains("content-type"))
    raw.content_type = request.headers.at("content-type");
  raw.repeatable = request.method == "GET";
  auto answer = client.send(raw);
  if (!answer) return {answer.error()};
  return {answer->body, answer->text};
}

Got perform(kube::Client& client, const SeenRequest& request) {
  const Addressed to(request.path());
  const Json body = Json::parse(request.body, nullptr, false);
  const auto query = request.query();
  const bool typed = !to.plural.empty() && !query.contains("timeout") && !query.contains("limit");
  const auto type = request.headers.find("content-type");
  const std::string content_type = type == request.headers.end() ? "" : type->second;
  if (request.method == "GET" && typed && !to.name.empty())
    return {client.get(to.resource(), to.ref(), {}, to.sub)};
  if (typed && request.method == "POST" && to.sub.empty() && body.is_object() &&
      content_type == "application/json") {
    Json object = body;
    if (!to.ns.empty()) object["metadata"]["namespace"] = to.ns;
    return {client.create(to.resource(), object, write_options(request, to))};
  }
  if (typed && request.method == "PUT" && !to.name.empty() && body.is_object()) {
    Json object = body;
    if (!to.ns.empty()) object["metadata"]["namespace"] = to.ns;
    return {client.update(to.resource(), object, write_options(request, to))};
  }
  const bool apply = content_type == "application/apply-patch+yaml";
  if (typed && request.method == "PATCH" && !content_type.starts_with("application/strategic") &&
      (!apply || query.contains("fieldManager"))) {
    const auto kind = apply                                           ? kube::PatchKind::apply
                      : content_type == "application/json-patch+json" ? kube::PatchKind::json
                                                                      : kube::PatchKind::merge;
    return {client.patch(to.resource(), to.ref(), kind, apply ? Json::object() : body,
                         write_options(request, to))};
  }
  if (typed && request.method == "DELETE" && !to.name.empty()) {
    kube::RemoveOptions options;
    if (body.is_object() && body.contains("preconditions")) {
      options.uid = body["preconditions"].value("uid", "");
      options.resource_version = body["preconditions"].value("resourceVersion", "");
    }
    auto removed = client.remove(to.resource(), to.ref(), options);
    if (!removed) return {removed.error()};
    EXPECT_EQ(removed->gone, removed->answer.value("kind", "") == "Status");
    return {removed->answer};
  }
  return send_as_it_was(client, request);
}

// The same request but for what the typed calls fill in.
void expect_same_request(const SeenRequest& sent, const SeenRequest& recorded) {
  EXPECT_EQ(sent.method, recorded.method);
  EXPECT_EQ(sent.path(), recorded.path());
  EXPECT_EQ(sent.query(), recorded.query());
  EXPECT_EQ(sent.headers.at("accept"), recorded.headers.at("accept"));
  if (recorded.body.empty()) return;
  EXPECT_EQ(sent.headers.at("content-type"), recorded.headers.at("content-type"));
  Json mine = Json::parse(sent.body, nullptr, false);
  Json theirs = Json::parse(recorded.body, nullptr, false);
  if (!theirs.is_object() || !mine.is_object() || mine.empty()) return;
  const bool named = theirs.contains("metadata");
  if (!named) mine.erase("metadata");
  if (named && recorded.method != "PATCH")
    for (Json* one : {&mine, &theirs}) (*one)["metadata"].erase("namespace");
  EXPECT_EQ(mine, theirs);
}

std::string audit_id_of(const std::string& response) {
  const auto at = response.find("Audit-Id: ");
  return at == std::string::npos ? "" : response.substr(at + 10, 36);
}

void expect_answer(const Got& got, const ExpectedAnswer& expected, const Exchange& one) {
  if (!expected.code) {
    ASSERT_TRUE(got.json) << got.json.error().describe();
    if (std::string_view(expected.where) == "text") {
      EXPECT_TRUE(got.text.starts_with(expected.what)) << got.text;
      return;
    }
    const Json::json_pointer pointer(expected.where);
    const bool there = got.json->contains(pointer);
    EXPECT_EQ(there ? (*got.json)[pointer].dump() : std::string(kAbsent), expected.what);
    return;
  }
  ASSERT_FALSE(got.json) << *got.json;
  const kube::ApiError& error = got.json.error();
  EXPECT_EQ(to_string(error.code()), to_string(*expected.code)) << error.describe();
  EXPECT_EQ(error.reason, expected.where);
  EXPECT_EQ(error.causes.empty() ? "" : error.causes.front().reason, expected.what);
  EXPECT_EQ(std::to_string(error.status), one.response.substr(9, 3));
  EXPECT_EQ(error.audit_id, audit_id_of(one.response));
  EXPECT_NE(error.message().find(error.audit_id), std::string::npos) << error.message();
  EXPECT_EQ(error.outcome_unknown, one.request.method != "GET" && error.status >= 500);
}

bool is_watch(const Exchange& one) {
  return one.request.query().contains("watch") && one.response.starts_with("HTTP/1.1 200");
}

bool is_exec(const Exchange& one) { return one.request.path().ends_with("/exec"); }

std::vector<std::size_t> random_pieces(std::mt19937_64& random) {
  std::vector<std::size_t> pieces;
  for (int i = 0; i < 40; ++i) pieces.push_back(1 + random() % (i % 2 == 0 ? 40 : 3000));
  return pieces;
}

TEST(KubeExchanges, EveryAnswerIsReadAsWhatItSays) {
  std::mt19937_64 random(test_seed());
  std::set<std::string> tested;
  std::string response;
  std::vector<std::size_t> pieces;
  const RawServer server([&](const SeenRequest&, std::size_t) {
    return RawReply{response, pieces};
  });
  const auto client = kube_client(server.url());
  for (const ExpectedAnswer& expected : kExpectedAnswers) {
    const Exchange& one = exchange(expected.number);
    tested.insert(one.name);
    // On one connection, whole and in pieces: what one leaves behind would harm the next.
    for (const bool cut : {false, true}) {
      SCOPED_TRACE(one.name + (cut ? " in pieces" : ""));
      response = one.response;
      pieces = cut ? random_pieces(random) : std::vector<std::size_t>();
      const Got got = perform(*client, one.request);
      ASSERT_FALSE(server.seen().empty());
      expect_same_request(server.seen().back(), one.request);
      expect_answer(got, expected, one);
    }
  }
  for (const Exchange& one : exchanges())
    EXPECT_TRUE(tested.contains(one.name) || is_watch(one) || is_exec(one)) << one.name;
}

// Wherever an answer is cut, there is no object.
TEST(KubeExchanges, AnAnswerThatIsCutIsAnError) {
  for (const char* const number : {"044", "024", "090"}) {
    const std::string& whole = exchange(number).response;
    for (std::size_t size = 0; size < whole.size(); size += size < 700 ? 7 : 97) {
      const RawServer server([&](const SeenRequest&, std::size_t) {
        return RawReply{whole.substr(0, size), {}, true};
      });
      const auto got = perform(*kube_client(server.url()), exchange(number).request);
      ASSERT_FALSE(got.json) << number << " cut at " << size;
      ASSERT_TRUE(got.json.error().retryable()) << got.json.error().describe();
    }
  }
}

struct ExpectedWatch {
  const char* number;
  const char* events;            // first letters of the types: A, M, D, B, E
  const char* resource_version;  // of the last event
  bool clean;                    // the stream ends with its final chunk
};

constexpr ExpectedWatch kExpectedWatches[] = {
    {"025", "", "", true},
    {"030", "A8 B1 D2 M25", "400", true},
    {"031", "A6 B1 D1 M17", "399", true},
    {"032", "A2 B1 D1 M1", "400", true},
    {"033", "A8 B2 D3 M12", "447", true},
    {"034", "A2 B1 D1 M5", "509", true},
    {"035", "E1", "", true},
    {"036", "E1", "", true},
    {"037", "A6 B1", "547", true},
    {"039", "A6", "367", true},
    {"220", "B1 M1", "571", true},
    {"221", "", "", true},
    {"225", "M1", "588", false},
};

struct SeenEvents {
  std::map<char, int> counts;
  std::string resource_version;
  Json last;

  Status take(kube::WatchEvent event) {
    constexpr std::string_view kLetters = "AMDBE?";
    ++counts[kLetters[static_cast<std::size_t>(event.type)]];
    const std::string version = kube::resource_version_of(event.object);
    if (!version.empty()) resource_version = version;
    last = std::move(event.object);
    return {};
  }
  std::string summary() const {
    std::string text;
    for (const auto& [letter, count] : counts)
      text += (text.empty() ? "" : " ") + std::string(1, letter) + std::to_string(count);
    return text;
  }
};

void expect_watch(const ExpectedWatch& expected, const std::vector<std::size_t>& pieces) {
  const Exchange& one = exchange(expected.number);
  const RawServer server([&](const SeenRequest&, std::size_t) {
    return RawReply{one.response, pieces, !expected.clean};
  });
  const auto client = kube_client(server.url());
  kube::ApiRequest request;
  request.path = one.request.path();
  for (const auto& [key, value] : one.request.query()) request.query.emplace_back(key, value);
  auto answer = client->requester().open(request, {}, std::chrono::seconds(30));
  ASSERT_TRUE(answer) << answer.error().describe();
  kube::EventParser parser(1 * kMiB);
  SeenEvents seen;
  Bytes buffer(4096);
  bool clean = false;
  while (true) {
    const auto n = answer->read(buffer, {});
    clean = n && *n == 0;
    if (!n || *n == 0) break;
    const auto fed = parser.feed(ByteView(buffer).first(*n), [&](kube::WatchEvent event) {
      return seen.take(std::move(event));
    });
    ASSERT_TRUE(fed) << fed.error().describe();
  }
  EXPECT_EQ(clean, expected.clean);
  EXPECT_EQ(seen.summary(), expected.events);
  EXPECT_EQ(seen.resource_version, expected.resource_version);
  if (seen.counts.contains('E')) {
    EXPECT_TRUE(kube::error_of_status(seen.last).expired());
  }
}

TEST(KubeExchanges, EveryWatchDeliversItsEventsHoweverItIsCut) {
  std::mt19937_64 random(test_seed());
  std::set<std::string> tested;
  for (const ExpectedWatch& expected : kExpectedWatches) {
    tested.insert(exchange(expected.number).name);
    SCOPED_TRACE(expected.number);
    expect_watch(expected, {});
    expect_watch(expected, {1});
    for (int i = 0; i < 3; ++i) expect_watch(expected, random_pieces(random));
  }
  for (const Exchange& one : exchanges())
    if (is_watch(one)) {
      EXPECT_TRUE(tested.contains(one.name)) << one.name;
    }
}

// The parser alone: byte by byte, and cut in two at every byte (of long streams, at some).
TEST(KubeExchanges, EventsDoNotDependOnWhereTheBytesAreCut) {
  for (const ExpectedWatch& expected : kExpectedWatches) {
    const std::string body = body_of(exchange(expected.number).response);
    const auto expect_parts = [&](std::size_t first, std::size_t step) {
      kube::EventParser parser(1 * kMiB);
      SeenEvents seen;
      ByteView rest = as_bytes(body);
      for (std::size_t size = first;; size = step) {
        const ByteView part = rest.first(std::min(size, rest.size()));
        const auto fed =
            parser.feed(part, [&](kube::WatchEvent event) { return seen.take(std::move(event)); });
        ASSERT_TRUE(fed) << fed.error().describe();
        rest = rest.subspan(part.size());
        if (rest.empty()) break;
      }
      ASSERT_EQ(seen.summary(), expected.events) << expected.number << " cut at " << first;
      ASSERT_FALSE(parser.is_within_event());
    };
    expect_parts(1, 1);
    const std::size_t step = body.size() < 9000 ? 1 : 211;
    for (std::size_t cut = 0; cut <= body.size(); cut += step) expect_parts(cut, body.size());
  }
}

struct ExpectedExec {
  const char* number;
  ErrorCode code;
  const char* reason;
  unsigned status;
  bool outcome_unknown;
};

constexpr ExpectedExec kExpectedExecs[] = {
    {"210", ErrorCode::unavailable, "InternalError", 500, true},
    {"211", ErrorCode::unavailable, "", 500, true},
    {"212", ErrorCode::invalid_argument, "BadRequest", 400, false},
    {"213", ErrorCode::not_found, "NotFound", 404, false},
    {"214", ErrorCode::unavailable, "", 500, true},
    {"215", ErrorCode::permission_denied, "Forbidden", 403, false},
    {"216", ErrorCode::unavailable, "InternalError", 500, true},
};

// The recorded answer to our own key.
std::string with_accept(std::string response, const SeenRequest& request) {
  const std::string name = "Sec-WebSocket-Accept: ";
  const auto at = response.find(name);
  if (at == std::string::npos) return response;
  const std::string key = request.headers.at("sec-websocket-key");
  return response.replace(at + name.size(), 28, kube::accept_of(key));
}

TEST(KubeExchanges, EveryExecFailsAsItsStatusSays) {
  std::set<std::string> tested;
  for (const ExpectedExec& expected : kExpectedExecs) {
    const Exchange& one = exchange(expected.number);
    tested.insert(one.name);
    for (const std::size_t piece : {100'000UL, 1UL}) {
      SCOPED_TRACE(one.name);
      const RawServer server([&](const SeenRequest& request, std::size_t) {
        return RawReply{with_accept(one.response, request), {piece}, true};
      });
      const auto client = kube_client(server.url());
      kube::ExecRequest request;
      const Addressed to(one.request.path());
      request.pod = to.ref();
      for (const auto& [key, value] : one.request.query()) {
        if (key == "command") request.command.push_back(value);
        if (key == "container") request.container = value;
      }
      const auto result = kube::exec(*client, request);
      ASSERT_FALSE(result);
      EXPECT_EQ(to_string(result.error().code()), to_string(expected.code))
          << result.error().describe();
      EXPECT_EQ(result.error().reason, expected.reason);
      EXPECT_EQ(result.error().status, expected.status);
      EXPECT_EQ(result.error().outcome_unknown, expected.outcome_unknown);
      ASSERT_EQ(server.seen().size(), 1U);
      EXPECT_EQ(server.seen()[0].path(), one.request.path());
    }
  }
  for (const Exchange& one : exchanges())
    if (is_exec(one)) {
      EXPECT_TRUE(tested.contains(one.name)) << one.name;
    }
}

}  // namespace
}  // namespace tidemark::testing
