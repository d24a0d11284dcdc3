#include <nlohmann/json.hpp>

#include "agent/cli/progress.h"
#include "agent/cli/restore_bucket.h"
#include "agent/read/bucket_diff.h"
#include "agent/restore/bucket_directory.h"
#include "agent/restore/bucket_restore.h"
#include "agent/service/point_json.h"
#include "agent/site/s3_access.h"
#include "base/text.h"

namespace tidemark {
namespace {

using Arguments = BucketRestoreArguments;

SecretRef file_ref(const std::string& path) {
  SecretRef ref;
  ref.from = SecretRef::From::file;
  ref.file = path;
  return ref;
}

Result<std::unique_ptr<s3::Client>> connect(Command& command, const Arguments& arguments) {
  S3Config config;
  if (!arguments.s3_endpoint.empty()) {
    config.endpoint = arguments.s3_endpoint;
    config.access_key = file_ref(arguments.s3_access_key_file);
    config.secret_key = file_ref(arguments.s3_secret_key_file);
    config.ca_file = arguments.s3_ca_file;
    if (!arguments.s3_region.empty()) config.region = arguments.s3_region;
    return connect_s3(config);
  }
  if (!command.globals.store_url.empty())
    return Error(ErrorCode::invalid_argument, "--store goes without a configuration")
        .with_hint("name the gateway: --s3-endpoint, --s3-access-key-file, --s3-secret-key-file");
  TM_TRY(const Config* const loaded, command.config());
  if (!loaded->s3)
    return Error(ErrorCode::invalid_argument, "the configuration names no gateway")
        .with_hint("set s3: in it, or use --s3-endpoint");
  return connect_s3(*loaded->s3);
}

std::string target_text(const Arguments& arguments) {
  return arguments.to_dir.empty() ? "s3/" + arguments.to_bucket : arguments.to_dir;
}

nlohmann::json counts_json(const BucketCounts& counts) {
  return {{"written_bytes", counts.written_bytes.load()},
          {"skipped_bytes", counts.skipped_bytes.load()},
          {"overwritten_bytes", counts.overwritten_bytes.load()},
          {"deleted_bytes", counts.deleted_bytes.load()},
          {"objects_written", counts.written.load()},
          {"objects_overwritten", counts.overwritten.load()},
          {"objects_skipped", counts.skipped.load()},
          {"objects_deleted", counts.deleted.load()},
          {"objects_compared", counts.compared.load()},
          {"objects_extra", counts.extra.load()},
          {"delete_markers_written", counts.markers.load()}};
}

unsigned long long number(const std::atomic<std::uint64_t>& value) { return value.load(); }

void print_counts(const BucketCounts& counts) {
  std::printf("written     %llu objects, %s; %llu delete markers\n", number(counts.written),
              format_bytes(counts.written_bytes).c_str(), number(counts.markers));
  std::printf("overwritten %llu of them, %s before\n", number(counts.overwritten),
              format_bytes(counts.overwritten_bytes).c_str());
  std::printf("deleted     %llu\n", number(counts.deleted));
  std::printf("left alone  %llu the same, %s; %llu not in the point\n", number(counts.skipped),
              format_bytes(counts.skipped_bytes).c_str(), number(counts.extra));
}

struct Outcome {
  const BucketCounts& counts;
  const ProblemList& problems;
  bool settings_applied = false, bucket_created = false;
};

int exit_code(const ProblemList& problems) {
  if (problems.damage()) return kExitDamaged;
  return problems.count() == 0 ? kExitDone : kExitPartial;
}

int print_outcome(Command& command, const PointRow& row, const Arguments& arguments, bool plan,
                  const Outcome& outcome, std::chrono::microseconds elapsed) {
  nlohmann::json json = counts_json(outcome.counts);
  json["point"] = point_json(row);
  json["target"] = target_text(arguments);
  json["plan"] = plan;
  json["duration_ms"] = elapsed / std::chrono::milliseconds(1);
  json["bucket_created"] = outcome.bucket_created;
  json["settings_applied"] = outcome.settings_applied;
  json["problems"] = problems_json(outcome.problems.list());
  json["problems_total"] = outcome.problems.count();
  command.print(json, [&] {
    std::printf("%s %s to %s%s\n", plan ? "plan: restore" : "restored",
                row.point.record.id.hex().substr(0, 12).c_str(), target_text(arguments).c_str(),
                plan ? "; nothing was written" : (", " + format_duration(elapsed)).c_str());
    print_counts(outcome.counts);
    if (!plan && arguments.to_dir.empty() && !outcome.settings_applied)
      std::puts("settings    left as they were: the bucket was there before (see --force)");
  });
  print_problems(outcome.problems.list());
  return exit_code(outcome.problems);
}

// Runs with progress shown; the time it took.
template <class Work>
Result<std::chrono::microseconds> run_shown(Command& command, const PointRow& row, Work& work) {
  const auto started = command.clock.uptime();
  const ProgressDisplay display("restore", command.globals.quiet, [&] {
    const BucketCounts& counts = work.counts();
    return ProgressState{counts.written_bytes + counts.skipped_bytes, row.point.record.size_bytes,
                         counts.written_bytes, std::to_string(counts.written) + " objects written"};
  });
  TM_DO(work.run());
  return command.clock.uptime() - started;
}

}  // namespace

nlohmann::json problems_json(const std::vector<RestoreProblem>& problems) {
  nlohmann::json list = nlohmann::json::array();
  for (const RestoreProblem& problem : problems) {
    nlohmann::json json = {{"what", problem.what}, {"message", problem.message}};
    put_object_key(json, problem.key);
    list.push_back(std::move(json));
  }
  return list;
}

void print_problems(const std::vector<RestoreProblem>& problems) {
  for (const RestoreProblem& problem : problems)
    std::fprintf(stderr, "tidemark: not restored: %s%s%s: %s\n", problem.what.c_str(),
                 problem.key.empty() ? "" : " of ", printable_key(problem.key).c_str(),
                 printable_key(problem.message).c_str());
}

Status check(const Arguments& arguments) {
  const auto wrong = [](const char* text) { return Error(ErrorCode::invalid_argument, text); };
  if (!arguments.to_dir.empty() && (arguments.delete_extra || arguments.versions))
    return wrong("--delete-extra and --versions go with --to-bucket");
  if (!arguments.prefix.empty() && !arguments.key.empty()) return wrong("either --prefix or --key");
  if (!arguments.version.empty() && arguments.key.empty())
    return wrong("--version goes with --key");
  if (!arguments.version.empty() && arguments.versions)
    return wrong("either --version or --versions");
  const bool keys = !arguments.s3_access_key_file.empty() && !arguments.s3_secret_key_file.empty();
  if (!arguments.s3_endpoint.empty() && !keys)
    return wrong("--s3-endpoint needs --s3-access-key-file and --s3-secret-key-file");
  return {};
}

void add_bucket_restore_options(CLI::App& restore, Arguments& arguments) {
  restore.add_option("--to-bucket", arguments.to_bucket, "a bucket, made where it does not exist");
  restore.add_option("--to-dir", arguments.to_dir, "a directory: a file for each object");
  restore.add_option("--prefix", arguments.prefix, "only keys that begin with this");
  restore.add_option("--key", arguments.key, "only this key");
  restore.add_option("--version", arguments.version, "with --key: this version of it");
  restore.add_flag("--delete-extra", arguments.delete_extra,
                   "delete what the bucket has and the point has not");
  restore.add_flag("--versions", arguments.versions, "all versions, in their order");
  restore.add_option("--s3-endpoint", arguments.s3_endpoint,
                     "the gateway's URL, instead of the configuration's");
  restore.add_option("--s3-access-key-file", arguments.s3_access_key_file, "with --s3-endpoint");
  restore.add_option("--s3-secret-key-file", arguments.s3_secret_key_file, "with --s3-endpoint");
  restore.add_option("--s3-ca-file", arguments.s3_ca_file,
                     "with --s3-endpoint: roots for its certificate; the system's unless given");
  restore.add_option("--s3-region", arguments.s3_region,
                     "with --s3-endpoint: the region to sign for; us-east-1 unless given");
}

Result<int> restore_bucket(Command& command, StoreAccess& access, PointRow row,
                           const Arguments& arguments, bool force, bool plan) {
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(const auto point, BucketPoint::open(*access.store, *keys, std::move(row)));
  const BucketSelection selection{arguments.prefix, arguments.key, arguments.version};
  if (!arguments.to_dir.empty()) {
    DirectoryRestoreOptions options;
    options.directory = arguments.to_dir;
    options.selection = selection;
    options.force = force;
    options.plan = plan;
    DirectoryRestore work(*point, options, command.stop.get_token());
    TM_TRY(const auto elapsed, run_shown(command, point->row(), work));
    return print_outcome(command, point->row(), arguments, plan,
                         {work.counts(), work.problems(), false, false}, elapsed);
  }
  BucketRestoreOptions options;
  options.bucket = arguments.to_bucket;
  options.selection = selection;
  options.versions = arguments.versions;
  options.delete_extra = arguments.delete_extra;
  options.force = force;
  options.plan = plan;
  TM_TRY(const auto client, connect(command, arguments));
  BucketRestore work(*point, *client, options, command.clock, command.stop.get_token());
  TM_TRY(const auto elapsed, run_shown(command, point->row(), work));
  return print_outcome(command, point->row(), arguments, plan,
                       {work.counts(), work.problems(), work.settings_applied(), work.created()},
                       elapsed);
}

}  // namespace tidemark
