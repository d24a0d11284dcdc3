#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/read/volume_view.h"
#include "agent/service/point_json.h"
#include "base/log.h"
#include "transport/nbd/server.h"
#include "transport/range_server.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kCacheBytesMin = 16 * kMiB;
// A region is opened whole (up to 4 MiB), however little of it is asked for: a client that reads
// here and there is served at the speed of memory where the cache holds what it goes about in, and
// at that of opening regions where it does not.
constexpr std::uint64_t kOwnCacheMax = 4 * kGiB;
constexpr std::uint64_t kOwnCachePart = 4;  // of the machine's memory

struct ServeArguments {
  std::string what, as_of, set;  // an asset's point, or a point's id
  std::string nbd, http;
  std::string cache;
  std::vector<std::string> allow;
  bool tls = false;
};

Result<net::ServeAddress> parse_address(std::string_view text) {
  static constexpr std::string_view kUnix = "unix:";
  net::ServeAddress address;
  if (text.starts_with(kUnix) || text.find('/') != std::string_view::npos) {
    address.socket = text.substr(text.starts_with(kUnix) ? kUnix.size() : 0);
    return address;
  }
  TM_TRY(const ListenAddress listen, parse_listen(text));
  address.host = listen.host;
  address.port = listen.port;
  return address;
}

Result<std::uint64_t> cache_bytes(const std::string& text) {
  if (text.empty()) {
    const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
    const auto page = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PAGESIZE)));
    return std::clamp(pages * page / kOwnCachePart, kCacheBytesMin, kOwnCacheMax);
  }
  TM_TRY(const std::uint64_t bytes, parse_bytes(text));
  if (bytes < kCacheBytesMin)
    return Error(ErrorCode::invalid_argument,
                 "--cache is at least " + format_bytes(kCacheBytesMin));
  return bytes;
}

Result<PointRow> choose(Command& command, StoreAccess& access, const ServeArguments& arguments) {
  if (arguments.what.find('/') != std::string::npos)
    return command.find_point(access, arguments.what, "", arguments.as_of, arguments.set);
  if (!arguments.as_of.empty() || !arguments.set.empty())
    return Error(ErrorCode::invalid_argument, "--as-of and --set go with an asset");
  return command.find_point_by_id(access, arguments.what);
}

// The door of an address: none where only this machine can connect, unless it is asked for.
Result<std::shared_ptr<net::TlsDoor>> door_for(Command& command, const ServeArguments& arguments,
                                               const net::ServeAddress& address) {
  if (!address.socket.empty() || (address.is_local() && !arguments.tls))
    return std::shared_ptr<net::TlsDoor>();
  if (!command.globals.store_url.empty())
    return Error(ErrorCode::invalid_argument,
                 "without a configuration there is no certificate to serve " + address.text() +
                     " with")
        .with_hint("serve on a loopback address or a Unix socket");
  TM_TRY(const Config* const config, command.config());
  if (!config->tls)
    return Error(ErrorCode::invalid_argument,
                 config->name + ": 'tls' is needed to serve " + address.text())
        .with_hint("serve on a loopback address or a Unix socket");
  std::vector<std::string> sites = arguments.allow;
  sites.push_back(config->site);
  TM_TRY(auto door, net::TlsDoor::open(tls_files(*config->tls), std::move(sites)));
  return std::shared_ptr<net::TlsDoor>(std::move(door));
}

Result<std::unique_ptr<nbd::Server>> start_nbd(Command& command, const ServeArguments& arguments,
                                               const PointRow& point, BlockView& view) {
  const PointRecord& record = point.point.record;
  nbd::Options options;
  TM_TRY(options.address, parse_address(arguments.nbd));
  TM_TRY(options.door, door_for(command, arguments, options.address));
  options.name = record.id.hex();
  options.description = record.site + ":" + record.asset + " at " + shown_time(record.time);
  return nbd::Server::start(view, std::move(options));
}

Result<std::unique_ptr<RangeServer>> start_http(Command& command, const ServeArguments& arguments,
                                                const PointRow& point, BlockView& view) {
  RangeServerOptions options;
  TM_TRY(options.address, parse_address(arguments.http));
  TM_TRY(options.door, door_for(command, arguments, options.address));
  options.name = point.point.record.id.hex();
  options.etag = options.name;
  return RangeServer::start(view, std::move(options));
}

void print_served(const Command& command, const PointRow& point, const std::string& nbd,
                  const std::string& http) {
  const PointRecord& record = point.point.record;
  nlohmann::json json = {{"point", point_json(point)}, {"size_bytes", record.size_bytes}};
  json["nbd"] = nbd.empty() ? nlohmann::json() : nlohmann::json(nbd);
  json["http"] = http.empty() ? nlohmann::json() : nlohmann::json(http);
  command.print(json, [&] {
    std::printf("serving %s of %s:%s at %s, %s, read-only:%s%s%s%s\n",
                record.id.hex().substr(0, 12).c_str(), record.site.c_str(), record.asset.c_str(),
                shown_time(record.time).c_str(), format_bytes(record.size_bytes).c_str(),
                nbd.empty() ? "" : " ", nbd.c_str(), http.empty() ? "" : " ", http.c_str());
  });
  std::fflush(stdout);  // whoever waits for the line waits now
}

Result<int> run_serve(Command& command, const ServeArguments& arguments) {
  if (arguments.nbd.empty() && arguments.http.empty())
    return Error(ErrorCode::invalid_argument, "say where: --nbd, --http, or both");
  VolumeViewOptions options;
  TM_TRY(options.cache_bytes, cache_bytes(arguments.cache));
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(const PointRow point, choose(command, access, arguments));
  TM_TRY(const auto view, VolumeView::open(*access.store, *keys, point, options));
  std::unique_ptr<nbd::Server> nbd;
  std::unique_ptr<RangeServer> http;
  if (!arguments.nbd.empty()) {
    TM_TRY(nbd, start_nbd(command, arguments, point, *view));
  }
  if (!arguments.http.empty()) {
    TM_TRY(http, start_http(command, arguments, point, *view));
  }
  print_served(command, point, nbd ? nbd->uri() : "", http ? http->url() : "");
  while (sleep_for(command.stop.get_token(), std::chrono::hours(24))) {
  }
  log::info("serve: ended; {} were fetched from {}", format_bytes(view->fetched_bytes()),
            access.name);
  return kExitDone;
}

}  // namespace

void add_serve_command(CLI::App& app, Command& command) {
  auto* serve = app.add_subcommand("serve", "Give a point out read-only, without copying it");
  auto arguments = std::make_shared<ServeArguments>();
  serve
      ->add_option("POINT_OR_ASSET", arguments->what,
                   "a point's id, its first digits, or [<site>:]<asset> for its newest point")
      ->required();
  auto* as_of = serve->add_option("--as-of", arguments->as_of, "newest point at a time");
  serve->add_option("--set", arguments->set, "its point of a set")->excludes(as_of);
  serve->add_option("--nbd", arguments->nbd, "NBD at HOST:PORT (port 0: any), or a socket's path");
  serve->add_option("--http", arguments->http, "HTTP with ranges, likewise");
  serve->add_flag("--tls", arguments->tls, "TLS on loopback addresses too");
  serve->add_option("--allow", arguments->allow,
                    "with TLS: also this site's certificate (own site only)");
  serve->add_option("--cache", arguments->cache,
                    "most memory for data read before (a quarter of the machine's, up to 4GiB)");
  serve->footer(
      "Runs until it is stopped. Addresses other than loopback are served with mutual TLS "
      "only.");
  serve->callback([&command, arguments] {
    command.action = [&command, arguments] { return run_serve(command, *arguments); };
  });
}

}  // namespace tidemark
