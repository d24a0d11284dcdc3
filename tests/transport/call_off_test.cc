// Connections that are called off at any moment of being made. What is looked for is a crash, or a
// race that the thread sanitizer sees.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <random>
#include <thread>

#include "tests/transport/fixture.h"
#include "transport/http_pool.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

// Runs `attempt` again and again, each time called off after a moment of up to twice what one
// takes.
void call_off(int rounds, const std::function<Status(std::stop_token)>& attempt) {
  std::mt19937_64 random(test_seed());
  int done = 0;
  auto usual = std::chrono::microseconds(1);
  for (int round = 0; round < rounds; ++round) {
    std::stop_source stop;
    const auto began = std::chrono::steady_clock::now();
    const auto moment = began + std::chrono::microseconds(std::uniform_int_distribution<long>(
                                    0, 2 * usual.count())(random));
    std::jthread caller([&] {
      while (std::chrono::steady_clock::now() < moment) {
      }
      stop.request_stop();
    });
    const Status end = attempt(stop.get_token());
    if (end) {
      ++done;
      const auto took = std::chrono::steady_clock::now() - began;
      usual = (usual * 7 + std::chrono::duration_cast<std::chrono::microseconds>(took)) / 8 +
              std::chrono::microseconds(1);
    } else {
      EXPECT_EQ(end.error().code(), ErrorCode::cancelled) << end.error().describe();
      usual += usual / 16 + std::chrono::microseconds(1);
    }
  }
  EXPECT_GT(done, 0) << "none was ever made";
}

TEST(CallOff, AConnectionOfAPool) {
  const auto listener = net::listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(listener);
  // Takes connections and lets go of them.
  const std::jthread taking([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd waiting{listener->get(), POLLIN, 0};
      if (::poll(&waiting, 1, 10) == 1) const Fd taken(::accept(listener->get(), nullptr, nullptr));
    }
  });
  net::HttpPoolOptions options;
  options.origin = {"127.0.0.1", *net::local_port(listener->get()), "127.0.0.1", false};
  options.connect_timeout = options.stall_timeout = std::chrono::seconds(10);
  net::HttpPool pool(options);
  call_off(4000, [&](std::stop_token stop) -> Status {
    TM_TRY(const auto lease, pool.lease(true, std::nullopt, stop));
    return {};
  });
}

TEST(CallOff, AConnectionToASite) {
  const Pki pki;
  const auto server = start_server(server_options(pki.issue("osaka")), echo);
  const TlsFiles ours = pki.issue("tokyo");
  call_off(300, [&](std::stop_token stop) -> Status {
    const auto client = make_client(client_options(ours, server->port()));
    TM_TRY(const auto answer, client->request("GET", "/", {}, {}, stop));
    return {};
  });
}

}  // namespace
}  // namespace tidemark::testing
