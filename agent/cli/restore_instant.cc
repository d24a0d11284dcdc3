#include "agent/cli/restore_instant.h"

#include <nlohmann/json.hpp>

#include "agent/cli/progress.h"
#include "agent/restore/instant_restore.h"
#include "agent/service/point_json.h"

namespace tidemark {
namespace {

Result<InstantRestore::Options> options_of(Command& command, const std::string& image,
                                           const InstantArguments& arguments) {
  InstantRestore::Options options;
  TM_TRY(options.name, parse_rbd_image(image));
  TM_TRY(options.cluster, command.connect_cluster());
  if (!arguments.serve_at.empty()) {
    TM_TRY(const ListenAddress listen, parse_listen(arguments.serve_at));
    options.address.host = listen.host;
    options.address.port = listen.port;
  }
  options.stop = command.stop.get_token();
  return options;
}

}  // namespace

void add_instant_options(CLI::App& restore, InstantArguments& arguments) {
  restore.add_flag("--instant", arguments.instant,
                   "with --to: the image can be used at once, on this host; its data follows");
  restore.add_option("--serve-at", arguments.serve_at,
                     "with --instant: where the data is served meanwhile (a loopback address)");
  restore.add_flag("--abort", arguments.abort,
                   "with --instant: give up an unfinished one and remove its image");
}

Status check(const InstantArguments& arguments, bool to_image) {
  if (arguments.instant && !to_image)
    return Error(ErrorCode::invalid_argument, "--instant goes with --to");
  if (!arguments.instant && (arguments.abort || !arguments.serve_at.empty()))
    return Error(ErrorCode::invalid_argument, "--abort and --serve-at go with --instant");
  return {};
}

Result<int> restore_instant(Command& command, StoreAccess& access, const PointRow& point,
                            const std::string& image, const InstantArguments& arguments) {
  const auto started = command.clock.uptime();
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(InstantRestore::Options options, options_of(command, image, arguments));
  std::atomic<std::uint64_t> done{0}, of{0};
  const std::uint64_t size = point.point.record.size_bytes;
  options.progress = [&](std::uint64_t parts, std::uint64_t all) {
    done = parts;
    of = all;
  };
  options.on_usable = [&] {
    if (!command.globals.quiet)
      std::fprintf(stderr,
                   "rbd/%s can be used now, on this host and not by krbd; its data follows\n",
                   image.c_str());
  };
  InstantRestore restore(*access.store, *keys, std::move(options));
  // "latest" may have moved on since the run that is gone on with.
  PointRow target = point;
  TM_TRY(const auto note, restore.unfinished());
  if (note && note->point != point.point.record.id) {
    TM_TRY(PointRow earlier, command.find_point_by_id(access, note->point.hex()));
    const PointRecord &a = earlier.point.record, &b = point.point.record;
    if (a.site == b.site && a.asset == b.asset) target = std::move(earlier);
  }
  if (arguments.abort) {
    TM_DO(restore.abort(target));
    command.print({{"aborted", "rbd/" + image}},
                  [&] { std::printf("rbd/%s is removed\n", image.c_str()); });
    return kExitDone;
  }
  auto report = [&] {
    const ProgressDisplay display("restore", command.globals.quiet, [&] {
      const double share = of == 0 ? 0 : static_cast<double>(done) / static_cast<double>(of);
      const auto position = static_cast<std::uint64_t>(share * static_cast<double>(size));
      return ProgressState{position, size, position, "can be used"};
    });
    return restore.run(target);
  }();
  if (!report) return std::move(report).error().context("restore to rbd/" + image);
  const auto elapsed = command.clock.uptime() - started;
  using std::chrono::milliseconds;
  const nlohmann::json json = {{"point", point_json(target)},
                               {"written_bytes", size},
                               {"skipped_bytes", 0},
                               {"fetched_bytes", report->fetched_bytes},
                               {"resumed", report->resumed},
                               {"usable_ms", report->usable_after / milliseconds(1)},
                               {"duration_ms", elapsed / milliseconds(1)},
                               {"target", "rbd/" + image}};
  command.print(json, [&] {
    std::printf("restored %s to rbd/%s: usable after %s, %s fetched, complete after %s\n",
                target.point.record.id.hex().substr(0, 12).c_str(), image.c_str(),
                format_duration(report->usable_after).c_str(),
                format_bytes(report->fetched_bytes).c_str(), format_duration(elapsed).c_str());
  });
  return kExitDone;
}

}  // namespace tidemark
