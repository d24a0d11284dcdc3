#include "agent/cli/restore_claim.h"

#include <nlohmann/json.hpp>

#include "agent/cli/progress.h"
#include "agent/kube/api_claims.h"
#include "agent/kube/claim_restore.h"
#include "agent/kube/fill.h"
#include "agent/service/point_json.h"

namespace tidemark {
namespace {

Result<ClaimTarget> target_of(const ClaimArguments& arguments, bool force) {
  const auto slash = arguments.to_claim.find('/');
  const std::string ns = arguments.to_claim.substr(0, slash);
  const std::string name =
      slash == std::string::npos ? std::string() : arguments.to_claim.substr(slash + 1);
  ClaimTarget target;
  TM_TRY(target.name, parse_claim_name("k8s/" + ns + "/pvc/" + name));
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

}  // namespace

void add_claim_options(CLI::App& restore, ClaimArguments& arguments) {
  restore.add_option("--to-pvc", arguments.to_claim,
                     "NAMESPACE/NAME: a claim of Kubernetes, with a new volume");
  restore.add_option("--storage-class", arguments.storage_class,
                     "with --to-pvc: of this class (default: as it was)");
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
}

Status check(const ClaimArguments& arguments) {
  if (arguments.to_claim.empty())
    return arguments.any_option() ? Status(Error(ErrorCode::invalid_argument,
                                                 "--storage-class, --size, --static, --same-volume "
                                                 "and --adopt go with --to-pvc"))
                                  : Status();
  const auto target = target_of(arguments, false);
  return target ? Status() : Status(target.error());
}

Result<int> restore_claim(Command& command, StoreAccess& access, const PointRow& point,
                          const ClaimArguments& arguments, bool force, bool plan) {
  TM_TRY(const Config* const config, command.config());
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  if (!config->kubernetes)
    return Error(ErrorCode::invalid_argument, config->name + ": 'kubernetes' is needed for claims");
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
  if (!command.globals.quiet)
    options.tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  const std::string target = wanted.name.text();
  TM_TRY(const auto client, connect_kube(*config->kubernetes));
  ClaimRestore claim(*client, std::move(options));
  TM_DO(claim.check());
  if (plan) {
    command.print({{"point", point_json(point)}, {"target", target}},
                  [&] { std::printf("nothing refuses a restore to %s\n", target.c_str()); });
    return kExitDone;
  }
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

}  // namespace tidemark
