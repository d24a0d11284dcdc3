#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/cli/progress.h"
#include "agent/cli/restore_bucket.h"
#include "agent/cli/restore_claim.h"
#include "agent/cli/restore_instant.h"
#include "agent/drill/predict.h"
#include "agent/drill/run.h"
#include "agent/kube/claim_points.h"
#include "agent/restore/volume_restore.h"
#include "agent/service/point_json.h"

namespace tidemark {
namespace {

struct RestoreArguments {
  std::string asset, point, as_of, set;
  std::string to_image, to_file, format = "raw", from_point;
  bool force = false, in_place = false, plan = false;
  BucketRestoreArguments bucket;
  InstantArguments instant;
  ClaimArguments claim;
};

std::string target_text(const RestoreArguments& arguments) {
  if (!arguments.to_file.empty()) return arguments.to_file == "-" ? "stdout" : arguments.to_file;
  return "rbd/" + arguments.to_image;
}

// Exactly one target; what belongs to buckets goes with those of buckets, and the other way round.
Status check_targets(const RestoreArguments& arguments) {
  int targets = 0;
  for (const std::string* target :
       {&arguments.to_image, &arguments.to_file, &arguments.bucket.to_bucket,
        &arguments.bucket.to_dir, &arguments.claim.to_claim, &arguments.claim.to_bucket_claim,
        &arguments.claim.to_namespace})
    targets += target->empty() ? 0 : 1;
  if (targets != 1)
    return Error(ErrorCode::invalid_argument,
                 "say where to: exactly one of --to, --to-file, --to-pvc, --to-bucket, --to-dir, "
                 "--to-obc and --to-namespace");
  if (!arguments.bucket.any_target() && arguments.bucket.any_option())
    return Error(ErrorCode::invalid_argument,
                 "--prefix, --key, --version, --versions and --delete-extra go with --to-bucket "
                 "or --to-dir");
  const bool all = !arguments.claim.to_namespace.empty();
  if (all != parse_site_namespace(arguments.asset).has_value() || (all && !arguments.point.empty()))
    return Error(ErrorCode::invalid_argument,
                 "--to-namespace goes with [<site>:]k8s/<namespace>, by its newest points, "
                 "--as-of or --set");
  if ((arguments.bucket.any_target() || !arguments.claim.to_bucket_claim.empty() || all) &&
      (arguments.in_place || arguments.format != "raw" || !arguments.from_point.empty()))
    return Error(ErrorCode::invalid_argument,
                 "--in-place, --format and --from-point are for volumes");
  TM_DO(check(arguments.claim));
  return check(arguments.bucket);
}

Status check(const RestoreArguments& arguments) {
  const bool to_image = !arguments.to_image.empty(), to_file = !arguments.to_file.empty();
  TM_DO(check_targets(arguments));
  TM_DO(check(arguments.instant, to_image));
  if (arguments.instant.instant && (arguments.in_place || arguments.force || arguments.plan))
    return Error(ErrorCode::invalid_argument,
                 "--instant makes a new image: --in-place, --force and --plan are for others");
  if (arguments.in_place && !to_image)
    return Error(ErrorCode::invalid_argument, "--in-place goes with --to");
  if (arguments.format != "raw" && arguments.format != "rbd-diff")
    return Error(ErrorCode::invalid_argument, "--format is 'raw' or 'rbd-diff'");
  if (arguments.format == "rbd-diff" && !to_file)
    return Error(ErrorCode::invalid_argument, "--format rbd-diff goes with --to-file");
  if (!arguments.from_point.empty() && arguments.format != "rbd-diff")
    return Error(ErrorCode::invalid_argument, "--from-point goes with --format rbd-diff");
  if (arguments.to_file == "-" && ::isatty(STDOUT_FILENO) == 1)
    return Error(ErrorCode::invalid_argument, "a volume is not written to a terminal")
        .with_hint("redirect or pipe it");
  return {};
}

Result<RestoreReport> write_diff(Command& command, StoreAccess& access, VolumeRestore& restore,
                                 const RestoreArguments& arguments) {
  std::optional<PointRow> from;
  if (!arguments.from_point.empty()) {
    TM_TRY(from, command.find_point_by_id(access, arguments.from_point));
    if (from->point.record.asset != restore.point().point.record.asset)
      return Error(ErrorCode::invalid_argument, "the two points are of different assets");
  }
  const PointRow* const base = from ? &*from : nullptr;
  if (arguments.to_file == "-") return restore.to_rbd_diff(STDOUT_FILENO, base);
  TM_TRY(const Fd fd, open_file(arguments.to_file,
                                O_WRONLY | O_CREAT | (arguments.force ? O_TRUNC : O_EXCL), 0644));
  auto report = restore.to_rbd_diff(fd.get(), base);
  if (report && ::fsync(fd.get()) != 0) return errno_error(errno, "fsync");
  return report;
}

Result<RestoreReport> execute(Command& command, StoreAccess& access, VolumeRestore& restore,
                              const RestoreArguments& arguments) {
  if (arguments.format == "rbd-diff") return write_diff(command, access, restore, arguments);
  if (arguments.to_file == "-") return restore.to_raw_stream(STDOUT_FILENO);
  if (!arguments.to_file.empty()) return restore.to_file(arguments.to_file, arguments.force);
  TM_TRY(const RbdImageName name, parse_rbd_image(arguments.to_image));
  TM_TRY(const auto cluster, command.connect_cluster());
  return arguments.in_place ? restore.in_place(cluster, name, arguments.force)
                            : restore.to_new_image(cluster, name, arguments.force);
}

// From the drills of this site; without a configuration nothing is known.
Predictor predictor(Command& command) {
  std::vector<DrillReport> reports;
  if (command.globals.store_url.empty())
    if (const auto config = command.config(); config)
      if (const auto book = drill_book(**config).all(); book)
        for (const DrillBook::Entry& entry : *book) reports.push_back(entry.report);
  return Predictor(reports);
}

Result<int> print_plan(Command& command, VolumeRestore& restore,
                       const RestoreArguments& arguments) {
  RestoreEstimate estimate;
  if (arguments.in_place) {
    TM_TRY(const RbdImageName name, parse_rbd_image(arguments.to_image));
    TM_TRY(const auto cluster, command.connect_cluster());
    TM_TRY(estimate, restore.estimate_in_place(cluster, name));
  } else {
    TM_TRY(estimate, restore.estimate_everything());
  }
  const PointRecord& record = restore.point().point.record;
  const std::string method = arguments.to_file.empty() ? "restore" : "file";
  const Predictor earlier = predictor(command);
  const Prediction expected = earlier.predict(record.site, record.asset, method,
                                              estimate.write_bytes + estimate.zero_bytes);
  const PredictionRecord accuracy = earlier.record(method);
  const Duration time = expected.time.value_or(Duration::zero());
  const nlohmann::json json = {{"point", point_json(restore.point())},
                               {"target", target_text(arguments)},
                               {"in_place", arguments.in_place},
                               {"compares_everything", estimate.compares_everything},
                               {"write_bytes", estimate.write_bytes},
                               {"zero_bytes", estimate.zero_bytes},
                               {"size_bytes", record.size_bytes},
                               {"current_size_bytes", estimate.current_size_bytes},
                               {"expected_ms", time / std::chrono::milliseconds(1)},
                               {"expected_from", expected.from},
                               {"predictions", accuracy.count},
                               {"predictions_median", accuracy.median},
                               {"predictions_worst", accuracy.worst}};
  command.print(json, [&] {
    std::printf("point     %s of %s:%s, %s\n", record.id.hex().c_str(), record.site.c_str(),
                record.asset.c_str(), format_time(record.time).c_str());
    std::printf(
        "target    %s%s\n", target_text(arguments).c_str(),
        arguments.in_place ? " (in place: what it holds now and the point does not is lost)" : "");
    std::printf(
        "%s    %s in %llu regions%s\n", estimate.compares_everything ? "compare" : "write  ",
        format_bytes(estimate.write_bytes).c_str(),
        static_cast<unsigned long long>(estimate.regions),
        estimate.zero_bytes > 0 ? (", " + format_bytes(estimate.zero_bytes) + " zeroed").c_str()
                                : "");
    if (arguments.in_place && estimate.current_size_bytes != record.size_bytes)
      std::printf("resize    %s to %s\n", format_bytes(estimate.current_size_bytes).c_str(),
                  format_bytes(record.size_bytes).c_str());
    const char* const from = expected.from == "asset"    ? "as its drills went"
                             : expected.from == "others" ? "as the drills of other assets went"
                                                         : "at an assumed 200 MiB/s";
    std::printf("expected  about %s, %s\n", format_duration(time).c_str(), from);
    std::printf("          %s\n", to_text(accuracy).c_str());
    std::puts("nothing was written");
  });
  return kExitDone;
}

Result<int> run_restore(Command& command, const RestoreArguments& arguments) {
  TM_DO(check(arguments));
  if (!arguments.claim.to_namespace.empty())
    return restore_namespace(command, arguments.asset, arguments.as_of, arguments.set,
                             arguments.claim, arguments.force, arguments.plan);
  const auto started = command.clock.uptime();
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(PointRow row, command.find_point(access, arguments.asset, arguments.point, arguments.as_of,
                                          arguments.set));
  const bool of_bucket = row.point.record.kind == PointKind::bucket;
  const bool to_bucket_claim = !arguments.claim.to_bucket_claim.empty();
  if (of_bucket != (arguments.bucket.any_target() || to_bucket_claim))
    return Error(ErrorCode::invalid_argument,
                 of_bucket ? "a bucket's point goes to --to-bucket, --to-dir or --to-obc"
                           : "a volume's point goes to --to, --to-file or --to-pvc");
  if (of_bucket || !arguments.claim.to_claim.empty()) {
    auto code =
        arguments.bucket.any_target()
            ? restore_bucket(command, access, std::move(row), arguments.bucket, arguments.force,
                             arguments.plan)
            : restore_claim(command, access, row, arguments.claim, arguments.force, arguments.plan);
    if (!code) return std::move(code).error().context("restore " + arguments.asset);
    return code;
  }
  if (arguments.instant.instant)
    return restore_instant(command, access, row, arguments.to_image, arguments.instant);
  TM_TRY(const auto restore,
         VolumeRestore::open(*access.store, *keys, std::move(row), command.stop.get_token()));
  if (arguments.plan) return print_plan(command, *restore, arguments);
  auto report = [&] {
    const ProgressDisplay display("restore", command.globals.quiet, [&] {
      const RestoreProgress& progress = restore->progress();
      return ProgressState{progress.position_bytes, progress.total_bytes, progress.written_bytes,
                           format_bytes(progress.written_bytes) + " written"};
    });
    return execute(command, access, *restore, arguments);
  }();
  if (!report) return std::move(report).error().context("restore " + arguments.asset);
  const auto elapsed = command.clock.uptime() - started;
  const nlohmann::json json = {{"point", point_json(restore->point())},
                               {"written_bytes", report->written_bytes},
                               {"zeroed_bytes", report->zeroed_bytes},
                               {"skipped_bytes", report->skipped_bytes},
                               {"fetched_bytes", report->fetched_bytes},
                               {"duration_ms", elapsed / std::chrono::milliseconds(1)},
                               {"target", target_text(arguments)}};
  if (arguments.to_file == "-") return kExitDone;  // stdout is the volume
  command.print(json, [&] {
    std::printf("restored %s to %s: %s written, %s fetched, %s\n",
                restore->point().point.record.id.hex().substr(0, 12).c_str(),
                target_text(arguments).c_str(), format_bytes(report->written_bytes).c_str(),
                format_bytes(report->fetched_bytes).c_str(), format_duration(elapsed).c_str());
  });
  return kExitDone;
}

}  // namespace

void add_restore_command(CLI::App& app, Command& command) {
  auto* restore = app.add_subcommand("restore", "Bring a recovery point back");
  auto arguments = std::make_shared<RestoreArguments>();
  restore
      ->add_option("ASSET", arguments->asset,
                   "[<site>:]<asset>, also a claim: k8s/<namespace>/pvc/<name> (or obc), or all of "
                   "a namespace: k8s/<namespace>")
      ->required();
  auto* point = restore->add_option("--point", arguments->point, "id, or its first digits");
  auto* as_of =
      restore->add_option("--as-of", arguments->as_of, "newest point at a time (default: latest)")
          ->excludes(point);
  restore
      ->add_option("--set", arguments->set,
                   "its point of a set: an id, how one begins, or 'latest' (that is complete)")
      ->excludes(point)
      ->excludes(as_of);
  restore->add_option("--to", arguments->to_image, "POOL[/NAMESPACE]/IMAGE: a new image");
  restore->add_flag("--in-place", arguments->in_place,
                    "roll an existing image back, writing only what differs");
  restore->add_flag("--force", arguments->force,
                    "overwrite what exists; write under a client in use");
  restore->add_option("--to-file", arguments->to_file, "a file or block device, '-' for stdout");
  restore->add_option("--format", arguments->format, "raw or rbd-diff");
  restore->add_option("--from-point", arguments->from_point,
                      "with rbd-diff: only what changed since");
  add_instant_options(*restore, arguments->instant);
  add_bucket_restore_options(*restore, arguments->bucket);
  add_claim_options(*restore, arguments->claim);
  restore->add_flag("--plan", arguments->plan, "say what would be done, and do nothing");
  restore->footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 3 done in part, 4 not found, 5 refused, "
      "6 damaged data, 130 interrupted.");
  restore->callback([&command, arguments] {
    command.action = [&command, arguments] { return run_restore(command, *arguments); };
  });
}

}  // namespace tidemark
