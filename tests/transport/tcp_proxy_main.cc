// tidemark_tcp_proxy: TcpProxy for programs in other languages. Prints its port, then forwards
// until it is ended by a signal.
#include <pthread.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "tests/transport/tcp_proxy.h"

int main(int argc, char** argv) {
  using namespace tidemark::testing;
  TcpProxyOptions options;
  std::string mode = "rst";
  std::uint64_t cut_after = 0, cut_up = 0, cut_down = 0;
  std::int64_t delay_ms = 0;
  CLI::App app("Forwards TCP connections on loopback and harms them on demand");
  app.add_option("--listen", options.listen_port, "port to listen on; 0: any free one");
  app.add_option("--to", options.to_port, "port to forward to")->required();
  app.add_option("--cut-after-bytes", cut_after,
                 "cut a connection after N bytes, both ways summed");
  app.add_option("--cut-after-up", cut_up, "cut after N bytes from the client");
  app.add_option("--cut-after-down", cut_down, "cut after N bytes from the server");
  app.add_option("--cut-random-max", options.cut_random_max, "cut after 1 to N random bytes");
  app.add_option("--seed", options.seed, "for --cut-random-max");
  app.add_option("--cut-times", options.cut_times, "after N cuts everything passes");
  app.add_option("--mode", mode, "rst, fin or blackhole")
      ->check(CLI::IsMember({"rst", "fin", "blackhole"}));
  app.add_option("--delay-ms", delay_ms, "each way");
  app.add_option("--rate-bytes", options.rate_bytes, "bytes per second, each way");
  CLI11_PARSE(app, argc, argv);
  options.mode = *parse_cut_mode(mode);
  if (cut_after > 0) options.cut_after_total = cut_after;
  if (cut_up > 0) options.cut_after_up = cut_up;
  if (cut_down > 0) options.cut_after_down = cut_down;
  options.delay = std::chrono::milliseconds(delay_ms);

  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  auto proxy = TcpProxy::start(options);
  if (!proxy) {
    std::fprintf(stderr, "%s\n", proxy.error().describe().c_str());
    return 1;
  }
  std::printf("%u\n", static_cast<unsigned>((*proxy)->port()));
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  std::fprintf(stderr, "up %llu down %llu connections %llu cuts %llu\n",
               static_cast<unsigned long long>((*proxy)->bytes_up()),
               static_cast<unsigned long long>((*proxy)->bytes_down()),
               static_cast<unsigned long long>((*proxy)->connections()),
               static_cast<unsigned long long>((*proxy)->cuts()));
  return 0;
}
