#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/service/point_json.h"

namespace tidemark {
namespace {

struct Arguments {
  std::string grace = "1d";
  bool dry_run = false;
};

void print_report(const CollectReport& report, bool dry_run) {
  const auto line = [](const char* what, std::uint64_t packs, std::uint64_t bytes) {
    std::printf("%-16s %llu packs, %s\n", what, static_cast<unsigned long long>(packs),
                format_bytes(bytes).c_str());
  };
  line("in the store", report.packs, report.pack_bytes);
  std::printf("%-16s %s\n", "reached", format_bytes(report.live_bytes).c_str());
  line(dry_run ? "would wait" : "waiting", report.packs_waiting, report.bytes_waiting);
  if (report.packs_to_repack > 0)
    line("mostly dead", report.packs_to_repack, report.bytes_to_repack);
  if (dry_run) return;
  line("removed", report.packs_removed, report.bytes_removed);
  line("written anew", report.packs_repacked, report.bytes_repacked);
  std::printf("%-16s %llu\n", "points dropped",
              static_cast<unsigned long long>(report.points_dropped));
}

Result<int> run(Command& command, const Arguments& arguments) {
  CollectRequest request;
  TM_TRY(request.grace, parse_duration(arguments.grace));
  request.dry_run = arguments.dry_run;
  request.stop = command.stop.get_token();
  TM_TRY(StoreAccess access, command.open_store());
  // Where an agent serves the store, it goes by its own.
  const auto config = command.config();
  if (config && (*config)->store) request.repack = (*config)->store->gc.repack;
  if (access.keys) request.keys = std::make_shared<const StoreKeys>(access.keys->clone());
  TM_TRY(const CollectReport report, access.store->collect(request));
  command.print(collect_report_json(report), [&] { print_report(report, arguments.dry_run); });
  return kExitDone;
}

}  // namespace

void add_gc_command(CLI::App& app, Command& command) {
  auto* gc = app.add_subcommand("gc", "Reclaim the space of what no point reaches");
  auto arguments = std::make_shared<Arguments>();
  gc->add_option("--grace", arguments->grace,
                 "how long deleted points and unreached packs stay (1d)");
  gc->add_flag("--dry-run", arguments->dry_run, "look, and remove nothing");
  gc->callback([&command, arguments] {
    command.action = [&command, arguments] { return run(command, *arguments); };
  });
}

}  // namespace tidemark
