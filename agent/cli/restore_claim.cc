#include "agent/cli/restore_claim.h"

#include <nlohmann/json.hpp>

#include "agent/cli/progress.h"
#include "agent/cli/restore_bucket.h"
#include "agent/kube/api_claims.h"
#include "agent/kube/bucket_fill.h"
#include "agent/kube/claim_restore.h"
#include "agent/kube/fill.h"
#include "agent/service/point_json.h"

namespace tidemark {
namespace {

Result<ClaimTarget> target_of(const ClaimArguments& arguments, bool force) {
  const bool volume = !arguments.to_claim.empty();
  const std::string& text = volume ? arguments.to_claim : arguments.to_bucket_claim;
  const auto slash = text.find('/');
  const std::string ns = text.substr(0, slash);
  const std::string name = slash == std::string::npos ? std::string() : text.substr(slash + 1);
  ClaimTarget target;
  TM_TRY(target.name, parse_claim_name("k8s/" + ns + (volume ? "/pvc/" : "/obc/") + name));
  target.bucket = arguments.bucket;
  target.storage_class = arguments.storage_class;
  target.force = force;
  if (arguments.fixed && arguments.same)
    return Error(ErrorCode::invalid_argument, "either --static or --same-volume");
  if (arguments.fixed) target.volume = ClaimTarget::Volume::fixed;
  if (arguments.same) target.volume = ClaimTarget::Volume::same;
  target.adopt = arguments.adopt;
  if (target.adopt && target.volume == ClaimTarget::Volume::dynamic)
    return Error(ErrorCode::invalid_argument, "--adopt goes with --static or --same-volume");
  if (!arguments.size.empty()) {
    auto size = parse_quantity(arguments.size);
    if (!size)
      if (const auto bytes = parse_bytes(arguments.size); bytes) size = *bytes;
    if (!size)
      return Error(ErrorCode::invalid_argument, "'" + arguments.size + "' is not a size")
          .with_hint("as Kubernetes writes it: 20Gi");
    target.size_bytes = *size;
  }
  return target;
}

Result<const Config*> config_with_claims(Command& command) {
  TM_TRY(const Config* const config, command.config());
  if (config->kubernetes) return config;
  return Error(ErrorCode::invalid_argument, config->name + ": 'kubernetes' is needed for claims");
}

void tell_people(const Command& command, ClaimRestoreOptions& options) {
  if (!command.globals.quiet)
    options.tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
}

int print_plan(const Command& command, const PointRow& point, const std::string& target) {
  command.print({{"point", point_json(point)}, {"target", target}},
                [&] { std::printf("nothing refuses a restore to %s\n", target.c_str()); });
  return kExitDone;
}

int print_bucket_claim(const Command& command, const PointRow& point, const std::string& target,
                       const BucketClaimRestored& done, const BucketFill& work,
                       std::chrono::microseconds elapsed) {
  const BucketFill::Progress progress = work.progress();
  const auto problems = work.problems();
  const auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json() : nlohmann::json(text);
  };
  const nlohmann::json json = {{"point", point_json(point)},
                               {"target", target},
                               {"bucket", done.bucket},
                               {"object_bucket", done.object_bucket},
                               {"resumed", done.resumed},
                               {"put_aside", or_null(done.put_aside)},
                               {"old_keys", done.old_keys},
                               {"problems", problems_json(problems)},
                               {"written_bytes", progress.written_bytes},
                               {"objects_written", progress.objects_written},
                               {"duration_ms", elapsed / std::chrono::milliseconds(1)}};
  command.print(json, [&] {
    std::printf("restored %s to %s: bucket %s, %llu objects and %s written, %s\n",
                point.point.record.id.hex().substr(0, 12).c_str(), target.c_str(),
                done.bucket.c_str(), static_cast<unsigned long long>(progress.objects_written),
                format_bytes(progress.written_bytes).c_str(), format_duration(elapsed).c_str());
    if (done.old_keys)
      std::puts("the application's keys are those it had");
    else
      std::printf("the application has new keys%s%s\n", done.keys_note.empty() ? "" : ": ",
                  done.keys_note.c_str());
    if (!done.put_aside.empty())
      std::printf("the claim that was there is gone; its bucket %s is kept, with its user\n",
                  done.put_aside.c_str());
  });
  print_problems(problems);
  return problems.empty() ? kExitDone : kExitPartial;
}

}  // namespace

void add_claim_options(CLI::App& restore, ClaimArguments& arguments) {
  restore.add_option("--to-pvc", arguments.to_claim,
                     "NAMESPACE/NAME: a claim of Kubernetes, with a new volume");
  restore.add_option("--to-obc", arguments.to_bucket_claim,
                     "NAMESPACE/NAME: a bucket claim of Kubernetes, with a new bucket");
  restore.add_option("--storage-class", arguments.storage_class,
                     "with --to-pvc and --to-obc: of this class (default: as it was)");
  restore.add_option("--size", arguments.size,
                     "with --to-pvc: this large, 20Gi (default: as it was)");
  restore.add_flag(
      "--static", arguments.fixed,
      "with --to-pvc: a static volume around a new image, in place of one of its class");
  restore.add_flag("--same-volume", arguments.same,
                   "with --to-pvc: the volume that it was, with the class's cluster and pool");
  restore.add_flag(
      "--adopt", arguments.adopt,
      "with those two: take the image that is there as it is, and write nothing to it");
  restore.add_option("--bucket", arguments.bucket,
                     "with --to-obc: its bucket's name (default: as it was, where that is free)");
}

Status check(const ClaimArguments& arguments) {
  const bool volume = !arguments.to_claim.empty(), bucket = !arguments.to_bucket_claim.empty();
  const auto wrong = [](const char* text) { return Error(ErrorCode::invalid_argument, text); };
  if (!arguments.storage_class.empty() && !volume && !bucket)
    return wrong("--storage-class goes with --to-pvc and --to-obc");
  const bool of_volumes =
      !arguments.size.empty() || arguments.fixed || arguments.same || arguments.adopt;
  if (of_volumes && !volume)
    return wrong("--size, --static, --same-volume and --adopt go with --to-pvc");
  if (!arguments.bucket.empty() && !bucket) return wrong("--bucket goes with --to-obc");
  if (!volume && !bucket) return {};
  const auto target = target_of(arguments, false);
  return target ? Status() : Status(target.error());
}

Result<int> restore_claim(Command& command, StoreAccess& access, const PointRow& point,
                          const ClaimArguments& arguments, bool force, bool plan) {
  TM_TRY(const Config* const config, config_with_claims(command));
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  const auto started = command.clock.uptime();
  TM_TRY(const ClaimTarget wanted, target_of(arguments, force));
  TM_TRY(auto options, claim_restore_of(point, *keys, *config->kubernetes, wanted));
  options.stop = command.stop.get_token();
  TM_TRY(const auto restore, VolumeRestore::open(*access.store, *keys, point, options.stop));
  const auto show = [&]() -> std::shared_ptr<void> {
    return std::make_shared<ProgressDisplay>("restore", command.globals.quiet, [&] {
      const RestoreProgress& progress = restore->progress();
      return ProgressState{progress.position_bytes, progress.total_bytes, progress.written_bytes,
                           format_bytes(progress.written_bytes) + " written"};
    });
  };
  RestoredImages images(
      *restore, [&] { return command.connect_cluster(); }, show);
  options.images = &images;
  tell_people(command, options);
  const std::string target = wanted.name.text();
  TM_TRY(const auto client, connect_kube(*config->kubernetes));
  ClaimRestore claim(*client, std::move(options));
  TM_DO(claim.check());
  if (plan) return print_plan(command, point, target);
  TM_TRY(const ClaimRestored done, claim.run());
  const auto elapsed = command.clock.uptime() - started;
  const RestoreProgress& progress = restore->progress();
  const nlohmann::json json = {
      {"point", point_json(point)},
      {"target", target},
      {"volume", done.volume},
      {"image", done.image.text()},
      {"resumed", done.resumed},
      {"put_aside", done.put_aside.empty() ? nlohmann::json() : nlohmann::json(done.put_aside)},
      {"written_bytes", progress.written_bytes.load()},
      {"duration_ms", elapsed / std::chrono::milliseconds(1)}};
  command.print(json, [&] {
    std::printf("restored %s to %s: volume %s, image %s, %s written, %s\n",
                point.point.record.id.hex().substr(0, 12).c_str(), target.c_str(),
                done.volume.c_str(), done.image.text().c_str(),
                format_bytes(progress.written_bytes).c_str(), format_duration(elapsed).c_str());
    if (!done.put_aside.empty())
      std::printf("the claim that was there is gone; its volume %s is retained\n",
                  done.put_aside.c_str());
  });
  return kExitDone;
}

Result<int> restore_bucket_claim(Command& command, StoreAccess& access, const PointRow& point,
                                 const ClaimArguments& arguments, bool force, bool plan) {
  TM_TRY(const Config* const config, config_with_claims(command));
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  const auto started = command.clock.uptime();
  TM_TRY(const ClaimTarget wanted, target_of(arguments, force));
  TM_TRY(auto options, restore_options_of(point, *keys, wanted));
  options.stop = command.stop.get_token();
  tell_people(command, options);
  TM_TRY(const auto opened, BucketPoint::open(*access.store, *keys, point));
  BucketFill fill(*opened, options.manifests, config->s3, command.clock, options.stop);
  BucketWork work = fill.work();
  work.fill = [&, inner = work.fill](const BucketLogin& login, const std::string& user) {
    const ProgressDisplay display("restore", command.globals.quiet, [&] {
      const BucketFill::Progress now = fill.progress();
      return ProgressState{now.done_bytes, point.point.record.size_bytes, now.written_bytes,
                           std::to_string(now.objects_written) + " objects written"};
    });
    return inner(login, user);
  };
  const std::string target = wanted.name.text();
  TM_TRY(const auto client, connect_kube(*config->kubernetes));
  BucketClaimRestore claim(*client, std::move(options), std::move(work));
  TM_DO(claim.check());
  if (plan) return print_plan(command, point, target);
  TM_TRY(const BucketClaimRestored done, claim.run());
  return print_bucket_claim(command, point, target, done, fill, command.clock.uptime() - started);
}

}  // namespace tidemark
